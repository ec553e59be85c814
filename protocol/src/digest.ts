/**
 * The three digests of a chunk (P §3.2.1): SHA3-256, SHA-384 and SHA-512.
 *
 * Each names one owner, all three are checked on every transfer. Packed, they are 144 bytes in
 * that order. An agent's hot path has node:crypto do the same.
 */
import { sha384, sha512 } from '@noble/hashes/sha2.js';
import { sha3_256 } from '@noble/hashes/sha3.js';
import { concatBytes, equalBytes } from './bytes.ts';
import { ProtocolError } from './errors.ts';

/** A chunk's digests, each in its full length. */
export interface ChunkDigests {
  /** SHA3-256, 32 bytes. */
  readonly sha3: Uint8Array;
  /** SHA-384, 48 bytes. */
  readonly sha384: Uint8Array;
  /** SHA-512, 64 bytes. */
  readonly sha512: Uint8Array;
}

/** Length of packed digests: 32 + 48 + 64 bytes. */
export const DIGEST_BYTES = 144;

/** The three digests of one chunk's bytes. */
export function digestChunk(bytes: Uint8Array): ChunkDigests {
  return { sha3: sha3_256(bytes), sha384: sha384(bytes), sha512: sha512(bytes) };
}

/** Whether all three digests agree. */
export function digestsEqual(a: ChunkDigests, b: ChunkDigests): boolean {
  return (
    equalBytes(a.sha3, b.sha3) && equalBytes(a.sha384, b.sha384) && equalBytes(a.sha512, b.sha512)
  );
}

/** SHA3-256 | SHA-384 | SHA-512, 144 bytes. */
export function packDigests(digests: ChunkDigests): Uint8Array {
  const packed = concatBytes(digests.sha3, digests.sha384, digests.sha512);
  requirePacked(packed);
  return packed;
}

/** Digests from their 144 packed bytes. Throws ProtocolError `malformed` on another length. */
export function unpackDigests(packed: Uint8Array): ChunkDigests {
  requirePacked(packed);
  return {
    sha3: packed.slice(0, 32),
    sha384: packed.slice(32, 80),
    sha512: packed.slice(80, DIGEST_BYTES),
  };
}

function requirePacked(packed: Uint8Array): void {
  if (packed.length !== DIGEST_BYTES) {
    throw new ProtocolError(
      'malformed',
      `digests: expected ${DIGEST_BYTES} bytes, got ${packed.length}`,
    );
  }
}
