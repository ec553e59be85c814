/**
 * What both key schemes have in common (P §3.2.2): the threshold, a share with its place, and the
 * polynomial's coefficients, derived so that every endorser of one transaction computes the same.
 */
import { expand, extract } from '@noble/hashes/hkdf.js';
import { sha512 } from '@noble/hashes/sha2.js';
import { concatBytes } from './bytes.ts';
import { encodeCanonical } from './cbor.ts';
import { ProtocolError } from './errors.ts';
import { LIMITS } from './limits.ts';

/** Length of a secret, in bytes. */
export const SECRET_BYTES = 32;
/** Bytes that each coefficient is derived as (PROTOCOL §4). */
export const COEFFICIENT_BYTES = 64;

const DOMAIN = 'blocktorrent/coefficient/v1';

/** One share and its place: the x at which the polynomial was evaluated, from 1. */
export interface IndexedShare {
  readonly index: number;
  readonly share: Uint8Array;
}

/** `COEFFICIENT_BYTES` of coefficient `index`, 1..k-1; the same whenever asked. */
export type Coefficients = (index: number) => Uint8Array;

/**
 * Coefficients from HKDF-SHA-512 (RFC 5869) over the key and fresh entropy, bound to `context`
 * and the index: every endorser of one transaction computes the same, nobody else can.
 */
export function deriveCoefficients(
  secret: Uint8Array,
  entropy: Uint8Array,
  context: readonly (string | number)[],
): Coefficients {
  const key = extract(sha512, concatBytes(secret, entropy));
  return (index) =>
    expand(sha512, key, encodeCanonical([DOMAIN, ...context, index]), COEFFICIENT_BYTES);
}

/** Throws ProtocolError `bad-argument` unless 2 <= k <= n <= `LIMITS.shardsMax`. */
export function requireThreshold(k: number, n: number): void {
  if (!Number.isInteger(k) || !Number.isInteger(n) || k < 2 || k > n || n > LIMITS.shardsMax) {
    throw new ProtocolError(
      'bad-argument',
      `expected 2 <= k <= n <= ${LIMITS.shardsMax}, got k = ${k}, n = ${n}`,
    );
  }
}

/** Throws ProtocolError `bad-argument` on a secret that has not 32 bytes. */
export function requireSecret(secret: Uint8Array): void {
  if (secret.length !== SECRET_BYTES) {
    throw new ProtocolError('bad-argument', `secret: expected 32 bytes, got ${secret.length}`);
  }
}

/**
 * Throws ProtocolError `bad-shard` unless there are 2..`LIMITS.shardsMax` shares of `shareBytes`
 * each, at distinct places 1..indexMax.
 */
export function requireShares(
  shares: readonly IndexedShare[],
  shareBytes: number,
  indexMax: number,
): void {
  if (shares.length < 2 || shares.length > LIMITS.shardsMax) {
    throw new ProtocolError(
      'bad-shard',
      `expected 2..${LIMITS.shardsMax} shares, got ${shares.length}`,
    );
  }
  const seen = new Set<number>();
  for (const { index, share } of shares) {
    if (!Number.isInteger(index) || index < 1 || index > indexMax || seen.has(index)) {
      throw new ProtocolError(
        'bad-shard',
        `share index ${index} is repeated or not in 1..${indexMax}`,
      );
    }
    if (share.length !== shareBytes) {
      throw new ProtocolError(
        'bad-shard',
        `share ${index}: expected ${shareBytes} bytes, got ${share.length}`,
      );
    }
    seen.add(index);
  }
}
