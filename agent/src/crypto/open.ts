/**
 * Opens a sealed file: age decryption, then the padding off, then the zstd frames, one by one.
 *
 * The reverse of `seal/seal.ts`, streamed: memory does not grow with the file. The output appears
 * only once the whole of it is known to be right. Whatever is wrong with the file is a
 * ProtocolError; file system errors and AbortError pass as they are.
 */
import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { constants, createZstdDecompress } from 'node:zlib';
import { decryptStream } from '@blocktorrent/protocol/age.ts';
import { ProtocolError } from '@blocktorrent/protocol/errors.ts';
import { skipPadding } from '@blocktorrent/protocol/padding.ts';
import { framesOf } from '@blocktorrent/protocol/zstd-frame.ts';
import { readPieces, through, writeWhole } from './files.ts';
import { nodeAead } from './node-aead.ts';

/** The disk is looked at after so many bytes of output, and then again and again. */
const LOOK_BYTES = 16 * 1024 * 1024;
/** So much of it stays free, whatever a few bytes of ciphertext swell to. */
const RESERVE_BYTES = 256 * 1024 * 1024;

/** 2^23 bytes: the largest window that `framesOf` lets through. */
const WINDOW_LOG_MAX = 23;
const OUTPUT_BYTES = 256 * 1024;

export interface OpenFileOptions {
  readonly ciphertextPath: string;
  /** age identities, 32 bytes each; the first that fits is used. */
  readonly identities: readonly Uint8Array[];
  /** Is overwritten, and absent if anything fails. */
  readonly outputPath: string;
  readonly signal: AbortSignal;
  /** What an output of more than 16 MiB must leave of the disk. */
  readonly reserveBytes?: number;
}

/**
 * Decrypts and decompresses to `outputPath`, and says how many bytes that is. Throws ProtocolError:
 * `no-identity-matched`, `bad-digest` (altered), `truncated`, `bad-padding`, `malformed` (no age
 * file, anything but zstd frames, or corrupt inside), `bad-version`, `too-large`; and an Error with the
 * code `ENOSPC` before the disk is full.
 */
export async function openFile(options: OpenFileOptions): Promise<{ plainBytes: number }> {
  const { ciphertextPath, identities, outputPath, signal } = options;
  signal.throwIfAborted();
  const decrypted = decryptStream(readPieces(ciphertextPath), identities, nodeAead);
  const counted = new CountedPieces(decompressed(framesOf(skipPadding(decrypted))), () =>
    requireRoom(outputPath, options.reserveBytes ?? RESERVE_BYTES),
  );
  try {
    await writeWhole(outputPath, counted, { signal });
  } catch (error) {
    throw isZstdError(error)
      ? new ProtocolError('malformed', 'open: a zstd frame is corrupt', { cause: error })
      : error;
  }
  return { plainBytes: counted.bytes };
}

/** Each frame through a decoder of its own: node:zlib's passes over what follows the first. */
async function* decompressed(
  frames: AsyncIterable<AsyncIterable<Uint8Array>>,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const frame of frames) {
    const decompress = createZstdDecompress({
      chunkSize: OUTPUT_BYTES,
      params: { [constants.ZSTD_d_windowLogMax]: WINDOW_LOG_MAX },
    });
    yield* through(decompress, frame, { handedOver: true });
  }
}

/** Passes pieces on, counts their bytes, and calls `look` after each `LOOK_BYTES` of them. */
class CountedPieces {
  bytes = 0;
  readonly #pieces: AsyncIterable<Uint8Array>;
  readonly #look: () => Promise<void>;

  constructor(pieces: AsyncIterable<Uint8Array>, look: () => Promise<void>) {
    this.#pieces = pieces;
    this.#look = look;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    let lookAtBytes = LOOK_BYTES;
    for await (const piece of this.#pieces) {
      this.bytes += piece.length;
      if (this.bytes >= lookAtBytes) {
        await this.#look();
        lookAtBytes = this.bytes + LOOK_BYTES;
      }
      yield piece;
    }
  }
}

async function requireRoom(outputPath: string, reserveBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(dirname(outputPath));
  const freeBytes = bavail * bsize;
  if (freeBytes >= reserveBytes) return;
  const text =
    `${outputPath}: the disk has ${freeBytes} bytes left, ${reserveBytes} of them stay free: ` +
    'open it where there is more room; a small file may hold very much';
  throw Object.assign(new Error(text), { code: 'ENOSPC' });
}

function isZstdError(error: unknown): boolean {
  return (
    error instanceof Error &&
    'code' in error &&
    typeof error.code === 'string' &&
    error.code.startsWith('ZSTD_')
  );
}
