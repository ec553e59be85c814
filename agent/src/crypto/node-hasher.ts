/** SHA-256 by node:crypto: about ten times as fast as the pure JavaScript one. */
import { hash } from 'node:crypto';

const SHA256_BYTES = 32;

/**
 * SHA-256, 32 bytes, into `digest` if given: for chains and whole small files. Its way over a text
 * takes half as long as asking Node for a Buffer, which has memory of its own outside of V8's.
 */
export function nodeSha256(
  bytes: Uint8Array,
  digest: Uint8Array = new Uint8Array(SHA256_BYTES),
): Uint8Array {
  const text = hash('sha256', bytes, 'binary');
  for (let at = 0; at < SHA256_BYTES; at += 1) digest[at] = text.charCodeAt(at);
  return digest;
}
