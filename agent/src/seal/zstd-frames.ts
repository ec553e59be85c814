/**
 * Compresses pieces side by side: each becomes a zstd frame of its own, in a thread of libuv's pool.
 *
 * In: pieces, each left as it is while the next two are used. Out: their frames, in order, whose
 * memory goes to the reader. One a processor is under way, three at most, so that one of the pool's
 * four threads is left for files, and memory does not grow with the input.
 */
import { availableParallelism } from 'node:os';
import { constants, createZstdCompress } from 'node:zlib';
import { concatBytes } from '@blocktorrent/protocol/bytes.ts';
import { through } from '../crypto/files.ts';

/** Input of a frame. With half of it, frames are 0.5 to 1.5 % larger; more costs memory. */
export const FRAME_BYTES = 2 * 1024 * 1024;

const FRAMES_AT_ONCE = Math.min(3, availableParallelism());
const OUTPUT_BYTES = 256 * 1024;
const PARAMS = { [constants.ZSTD_c_compressionLevel]: 3, [constants.ZSTD_c_checksumFlag]: 1 };

/**
 * The frames of the pieces, one of nothing where there are no pieces. Rejects as the pieces do. Once it
 * has ended, whichever way, no piece is being read.
 */
export async function* zstdFrames(
  pieces: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const underWay: Promise<Uint8Array>[] = [];
  let none = true;
  try {
    for await (const piece of pieces) {
      none = false;
      underWay.push(heard(zstdFrame(piece)));
      if (underWay.length < FRAMES_AT_ONCE) continue;
      for (const oldest of underWay.splice(0, 1)) yield await oldest;
    }
    if (none) underWay.push(zstdFrame(new Uint8Array(0)));
    for (const frame of underWay) yield await frame;
  } finally {
    await Promise.allSettled(underWay);
  }
}

/** One frame that says how much it holds. zlib's own buffers are given back: else GC waits for 60 MB. */
async function zstdFrame(piece: Uint8Array): Promise<Uint8Array> {
  const zstd = createZstdCompress({
    chunkSize: OUTPUT_BYTES,
    params: PARAMS,
    pledgedSrcSize: piece.length,
  });
  const parts = await Array.fromAsync(through(zstd, [piece], { handedOver: false }));
  const frame = concatBytes(...parts);
  for (const { buffer } of parts) {
    if (buffer instanceof ArrayBuffer && !buffer.detached) buffer.transfer(0);
  }
  return frame;
}

/** Its failure is no surprise to the process before its turn comes. */
function heard<T>(promise: Promise<T>): Promise<T> {
  void Promise.allSettled([promise]);
  return promise;
}
