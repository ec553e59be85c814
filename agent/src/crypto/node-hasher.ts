/**
 * A chunk's hash functions by node:crypto: about ten times as fast as the pure JavaScript ones.
 *
 * Same in and out as protocol's `nobleHasher`, which tests compare it with.
 */
import { hash } from 'node:crypto';
import type { Hasher } from '@blocktorrent/protocol/digest.ts';

/** For the hot path: verifying chunks. */
export const nodeHasher: Hasher = {
  sha3_256: (bytes) => hash('sha3-256', bytes, 'buffer'),
  sha384: (bytes) => hash('sha384', bytes, 'buffer'),
  sha512: (bytes) => hash('sha512', bytes, 'buffer'),
};

const SHA256_BYTES = 32;

/**
 * SHA-256, 32 bytes, into `digest` if given: for chains and whole small files. Its way over a text takes half as long as
 * asking Node for a Buffer, which has memory of its own outside of V8's.
 */
export function nodeSha256(
  bytes: Uint8Array,
  digest: Uint8Array = new Uint8Array(SHA256_BYTES),
): Uint8Array {
  const text = hash('sha256', bytes, 'binary');
  for (let at = 0; at < SHA256_BYTES; at += 1) digest[at] = text.charCodeAt(at);
  return digest;
}
