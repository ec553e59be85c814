/**
 * A shard: one share of a file's key, as it lies in its holder's private collection.
 *
 * Canonical CBOR, exactly the bytes that are stored, hashed and proven (P §3.2.2). It says which
 * file and which split it belongs to, so that it cannot pass for another's.
 */
import { fromHex, toHex } from './bytes.ts';
import { decodeCanonical, encodeCanonical } from './cbor.ts';
import { ProtocolError } from './errors.ts';
import { Fields } from './fields.ts';
import { KEY_SCHEMES } from './key-schemes.ts';
import type { Hex, KeyScheme } from './ledger-api.ts';
import { LIMITS } from './limits.ts';

/** One share and what it is a share of. */
export interface Shard {
  readonly version: 1;
  readonly scheme: KeyScheme;
  readonly fileId: Hex;
  /** From 1 to n. */
  readonly index: number;
  readonly k: number;
  readonly n: number;
  /** 48 bytes for `shamir-gf256`, 32 for `feldman-25519` (little-endian, below l). */
  readonly share: Uint8Array;
}

/** Longest encoding of a shard, in bytes. */
export const SHARD_BYTES_MAX = 1024;
/** Longest encoding of a bundle, in bytes: every shard with the head of its byte string. */
export const BUNDLE_BYTES_MAX = 16 + LIMITS.shardsPerDepositMax * (SHARD_BYTES_MAX + 3);

const KEYS = ['version', 'scheme', 'fileId', 'index', 'k', 'n', 'share'] as const;
const SCHEMES: readonly KeyScheme[] = ['feldman-25519', 'shamir-gf256'];

/** The bytes to store. Throws ProtocolError where the shard breaks a bound. */
export function encodeShard(shard: Shard): Uint8Array {
  const bytes = encodeCanonical({ ...shard, fileId: fromHex(shard.fileId, 32) });
  decodeShard(bytes);
  return bytes;
}

/** The shard in `bytes`; ProtocolError `malformed`, `too-large`, `not-canonical`, `bad-version`. */
export function decodeShard(bytes: Uint8Array): Shard {
  if (bytes.length > SHARD_BYTES_MAX) {
    throw new ProtocolError(
      'too-large',
      `shard: expected at most ${SHARD_BYTES_MAX} bytes, got ${bytes.length}`,
    );
  }
  const fields = new Fields('shard', decodeCanonical(bytes), KEYS);
  const n = fields.integer('n', 2, LIMITS.shardsMax);
  const scheme = fields.oneOf('scheme', SCHEMES);
  return {
    version: fields.version('version', 1),
    scheme,
    fileId: toHex(fields.bytes('fileId', 32)),
    index: fields.integer('index', 1, n),
    k: fields.integer('k', 2, n),
    n,
    share: fields.bytes('share', KEY_SCHEMES[scheme].shareBytes),
  };
}

/** What a holder stores of one `DepositMany`: a canonical CBOR list of its encoded shards. */
export function encodeBundle(shards: readonly Uint8Array[]): Uint8Array {
  return encodeCanonical([...shards]);
}

/**
 * The encoded shards in a bundle, each still to be checked by itself. Throws ProtocolError
 * `malformed`, `too-large`, `not-canonical`.
 */
export function decodeBundle(bytes: Uint8Array): Uint8Array[] {
  if (bytes.length > BUNDLE_BYTES_MAX) {
    throw new ProtocolError(
      'too-large',
      `bundle: expected at most ${BUNDLE_BYTES_MAX} bytes, got ${bytes.length}`,
    );
  }
  const shards = decodeCanonical(bytes);
  if (!Array.isArray(shards)) throw new ProtocolError('malformed', 'bundle: expected a list');
  return shards.map((shard: unknown) => {
    if (shard instanceof Uint8Array) return shard;
    throw new ProtocolError('malformed', 'bundle: expected byte strings');
  });
}
