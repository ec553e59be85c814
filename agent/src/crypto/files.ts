/**
 * Streams of bytes from and to files, in constant memory, with files that appear whole or not at all.
 *
 * Node's own streams leave one dead buffer a piece, and V8 lets about 64 MB of them pile up before
 * it collects. So reading goes round a ring of buffers, writing gathers into one, and memory that
 * a piece was handed over with is given back at once. A file is written beside its place as
 * `PATH.partial`, synced, and renamed; what a crash leaves there is overwritten by the next try.
 */
import { open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Transform } from 'node:stream';

const PIECE_BYTES = 1024 * 1024;
const RING_PIECES = 4;
const WRITE_BYTES = 1024 * 1024;

/** Buffers for `readPieces`, of `pieceBytes` each; give them back when you are done with its pieces. */
export function pieceRing(pieceBytes = PIECE_BYTES): Uint8Array[] {
  return Array.from({ length: RING_PIECES }, () => blank(pieceBytes));
}

/** Memory with whatever was in it: zeros would take all of its pages, a small file's bytes take few. */
function blank(bytes: number): Uint8Array {
  return new Uint8Array(Buffer.allocUnsafeSlow(bytes).buffer);
}

/**
 * The file's bytes in pieces as large as a buffer of the ring, each read while the one before it is
 * used. A piece stays as it is while the next two are used, then its memory is used again: keep none.
 */
export async function* readPieces(
  path: string,
  ring = pieceRing(),
): AsyncGenerator<Uint8Array, void, undefined> {
  const file = await open(path, 'r');
  let turn = 0;
  const readNext = () => {
    const reading = file.read(ring[turn++ % RING_PIECES] ?? blank(PIECE_BYTES));
    // Until it is asked for, or if it never is, a failure has nobody else to hear it.
    return { reading, settled: Promise.allSettled([reading]) };
  };
  let next = readNext();
  try {
    for (;;) {
      const { buffer, bytesRead } = await next.reading;
      if (bytesRead === 0) return;
      next = readNext();
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await next.settled;
    await file.close();
  }
}

/**
 * The pieces through a zlib transform, with its errors and theirs. With `handedOver`, their memory
 * goes with them and is given back once they are through.
 */
export async function* through(
  transform: Transform,
  pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  options: { readonly handedOver: boolean },
): AsyncGenerator<Uint8Array, void, undefined> {
  const feeding = feed(transform, pieces, options.handedOver);
  try {
    yield* transform;
  } finally {
    transform.destroy();
    await feeding;
  }
}

/** Never rejects: what goes wrong, the transform's reader gets to hear. */
async function feed(
  transform: Transform,
  pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  handedOver: boolean,
): Promise<void> {
  try {
    for await (const piece of pieces) {
      await written(transform, piece);
      if (handedOver) giveBack(piece);
    }
    transform.end();
  } catch (error) {
    transform.destroy(error instanceof Error ? error : new Error(String(error)));
  }
}

/** Resolves when the transform is done with the piece; a zlib error closes it without saying so. */
function written(transform: Transform, piece: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    const onClose = () => reject(new Error('the transform closed'));
    transform.once('close', onClose);
    transform.write(piece, (error) => {
      transform.off('close', onClose);
      if (error) reject(error);
      else resolve();
    });
  });
}

/**
 * Writes `pieces` to `path`, readable by its owner only, without making it durable. The pieces'
 * memory goes with them. Rejects with whatever they throw, or with the signal's reason.
 */
export async function writePieces(
  path: string,
  pieces: AsyncIterable<Uint8Array>,
  options: { readonly signal: AbortSignal; readonly durable?: boolean },
): Promise<void> {
  const file = await open(path, 'w', 0o600);
  try {
    const gathered = blank(WRITE_BYTES);
    let filled = 0;
    for await (const piece of pieces) {
      options.signal.throwIfAborted();
      for (let start = 0; start < piece.length; ) {
        const part = piece.subarray(start, start + WRITE_BYTES - filled);
        gathered.set(part, filled);
        filled += part.length;
        start += part.length;
        if (filled < WRITE_BYTES) continue;
        await file.writeFile(gathered);
        filled = 0;
      }
      giveBack(piece);
    }
    await file.writeFile(gathered.subarray(0, filled));
    if (options.durable === true) await file.sync();
  } finally {
    await file.close();
  }
}

/** Writes `pieces` to `path` as `writePieces` does: whole and durable, or not at all. */
export async function writeWhole(
  path: string,
  pieces: AsyncIterable<Uint8Array>,
  options: { readonly signal: AbortSignal },
): Promise<void> {
  const partial = `${path}.partial`;
  try {
    await writePieces(partial, pieces, { ...options, durable: true });
    options.signal.throwIfAborted();
    await rename(partial, path);
    await syncDirectory(dirname(path));
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  }
}

/** Makes the names in a directory durable. */
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/**
 * Gives back the memory behind a piece that nobody needs any more, if the piece is the end of it:
 * zlib cuts one buffer into several pieces, in order. Node's pool of small buffers, which can be
 * neither given back nor told apart but by its size, is left alone.
 */
export function giveBack(piece: Uint8Array): void {
  const { buffer, byteOffset, byteLength } = piece;
  if (byteLength === 0 || !(buffer instanceof ArrayBuffer)) return;
  const isWhole = byteLength === buffer.byteLength;
  const isEnd = byteOffset + byteLength === buffer.byteLength;
  if (isWhole || (isEnd && buffer.byteLength > Buffer.poolSize)) buffer.transfer(0);
}
