/**
 * Shamir's secret sharing over GF(256) (P §3.2.2), by secrets.js-grempe, made deterministic.
 *
 * In: a 32-byte secret, k, n and the polynomial's coefficients. Out: n shares of 48 bytes each, of
 * which any k rebuild the secret. The library pads a secret to 48 bytes behind a marker bit, and
 * takes one random byte for each coefficient and byte of secret, from the low end. Its generator
 * is module-global and is called as a self-test first, so it is set for each split, answers the
 * test with a constant, and only then hands out coefficients; zero is a coefficient like others.
 */
import secrets from 'secrets.js-grempe';
import { fromHex, toHex } from './bytes.ts';
import { ProtocolError } from './errors.ts';
import {
  type Coefficients,
  type IndexedShare,
  requireSecret,
  requireShares,
  requireThreshold,
  SECRET_BYTES,
} from './sharing.ts';

/** Length of a share's data, in bytes: the library pads to a multiple of 128 bits. */
export const SHARE_BYTES = 48;
const PAD_BITS = 128;
const SHARE_PREFIX = '8';
const INDEX_MAX = 255;

/**
 * Splits `secret` (32 bytes) into shares 1..n of 48 bytes, any k of which rebuild it.
 * Throws ProtocolError `bad-argument` unless 2 <= k <= n <= 64 and the secret has 32 bytes.
 */
export function splitSecret(
  secret: Uint8Array,
  k: number,
  n: number,
  coefficients: Coefficients,
): Uint8Array[] {
  requireSecret(secret);
  requireThreshold(k, n);
  const rows: Uint8Array[] = [];
  for (let index = 1; index < k; index++) {
    const row = coefficients(index);
    if (row.length < SHARE_BYTES) {
      throw new ProtocolError(
        'bad-argument',
        `coefficient ${index}: expected ${SHARE_BYTES} bytes`,
      );
    }
    rows.push(row);
  }
  let drawn = -1;
  const generator = (bits: number): string => {
    if (drawn < 0) return '1'.padStart(bits, '0');
    const byte = rows[drawn % rows.length]?.[Math.floor(drawn / rows.length)] ?? 0;
    drawn++;
    return byte.toString(2).padStart(bits, '0');
  };
  setGenerator(generator);
  drawn = 0;
  const shares = secrets.share(toHex(secret), n, k, PAD_BITS);
  if (drawn !== rows.length * SHARE_BYTES) throw new Error(`split drew ${drawn} coefficients`);
  return shares.map((share) => fromHex(share.slice(SHARE_PREFIX.length + 2), SHARE_BYTES));
}

/**
 * The secret (32 bytes) behind the shares; give exactly k or more. Too few, or wrong ones, give
 * another secret or ProtocolError `bad-shard`: compare what comes back with what commits to it.
 * Throws `bad-shard` as well on a share of another length, a repeated or impossible index.
 */
export function combineShares(shares: readonly IndexedShare[]): Uint8Array {
  requireShares(shares, SHARE_BYTES, INDEX_MAX);
  const texts = shares.map(
    ({ index, share }) => `${SHARE_PREFIX}${index.toString(16).padStart(2, '0')}${toHex(share)}`,
  );
  const secret = secrets.combine(texts);
  if (secret.length !== 2 * SECRET_BYTES) {
    throw new ProtocolError('bad-shard', 'the shares do not belong together, or are too few');
  }
  return fromHex(secret, SECRET_BYTES);
}

/** The library's types leave out that `setRNG` takes a function. */
function setGenerator(generator: (bits: number) => string): void {
  const setRNG: unknown = secrets.setRNG;
  if (typeof setRNG !== 'function') throw new Error('secrets.js-grempe has no setRNG');
  setRNG.call(secrets, generator);
}
