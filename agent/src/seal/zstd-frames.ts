/**
 * Compresses pieces side by side: each becomes a zstd frame of its own, in a thread of libuv's pool.
 *
 * In: pieces, each left as it is while the next two are used. Out: their frames, in order, whose
 * memory goes to the reader. At most three are under way, so that one of the pool's four threads is
 * left for files, and memory does not grow with the input.
 */
import { constants, createZstdCompress } from 'node:zlib';
import { through } from '../crypto/files.ts';

/** Input of a frame. With half of it, frames are 0.5 to 1.5 % larger; more costs memory. */
export const FRAME_BYTES = 2 * 1024 * 1024;

const FRAMES_AT_ONCE = 3;
const OUTPUT_BYTES = 256 * 1024;
const PARAMS = { [constants.ZSTD_c_compressionLevel]: 3, [constants.ZSTD_c_checksumFlag]: 1 };

/** The frames of the pieces, one of nothing where there are no pieces. Rejects as the pieces do. */
export async function* zstdFrames(
  pieces: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const underWay: Promise<Uint8Array[]>[] = [];
  let none = true;
  try {
    for await (const piece of pieces) {
      none = false;
      underWay.push(heard(zstdFrame(piece)));
      if (underWay.length === FRAMES_AT_ONCE) yield* (await underWay.shift()) ?? [];
    }
    if (none) underWay.push(zstdFrame(new Uint8Array(0)));
    while (underWay.length > 0) yield* (await underWay.shift()) ?? [];
  } finally {
    await Promise.allSettled(underWay);
  }
}

/** One frame that says how much it holds. */
function zstdFrame(piece: Uint8Array): Promise<Uint8Array[]> {
  const zstd = createZstdCompress({
    chunkSize: OUTPUT_BYTES,
    params: PARAMS,
    pledgedSrcSize: piece.length,
  });
  return Array.fromAsync(through(zstd, [piece], { handedOver: false }));
}

/** Its failure is no surprise to the process before its turn comes. */
function heard<T>(promise: Promise<T>): Promise<T> {
  void Promise.allSettled([promise]);
  return promise;
}
