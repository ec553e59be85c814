/**
 * The three digests of a chunk by node:crypto, without holding up the event loop: SHA-384 and
 * SHA-512 run on libuv's threads, SHA3-256 in slices on this one.
 */
import { createHash, webcrypto } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { ChunkDigests } from '@blocktorrent/protocol/digest.ts';

/** About 1 ms of SHA3-256. */
const SLICE_BYTES = 512 * 1024;

/** SHA3-256, SHA-384 and SHA-512 of `bytes` (P §3.2.1). */
export async function digestChunkAsync(bytes: Uint8Array): Promise<ChunkDigests> {
  const view = new Uint8Array(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.byteLength);
  const [sha3, sha384, sha512] = await Promise.all([
    sha3Sliced(view),
    webcrypto.subtle.digest('SHA-384', view),
    webcrypto.subtle.digest('SHA-512', view),
  ]);
  return { sha3, sha384: new Uint8Array(sha384), sha512: new Uint8Array(sha512) };
}

async function sha3Sliced(bytes: Uint8Array): Promise<Uint8Array> {
  const hash = createHash('sha3-256');
  for (let at = 0; at < bytes.length; at += SLICE_BYTES) {
    if (at > 0) await nextTurn();
    hash.update(bytes.subarray(at, at + SLICE_BYTES));
  }
  return hash.digest();
}
