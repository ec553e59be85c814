/**
 * Seals a file (PROTOCOL §2, steps 2 and 3): zstd, padding, age to a fresh identity, chunk digests.
 *
 * In: a plain file. Out: its ciphertext on disk, durable, and everything that a manifest says of it.
 * Both passes are streamed: memory does not grow with the file. Sealing again after a crash starts
 * over, with another identity, and overwrites what was left. What is sealed already can be sealed anew,
 * where nothing else is left of it.
 */
import { rm, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import {
  decryptStream,
  encryptedBytesOf,
  encryptStream,
  identityFromRandom,
  type Random,
  recipientOf,
} from '@blocktorrent/protocol/age.ts';
import { toHex } from '@blocktorrent/protocol/bytes.ts';
import { type ChunkBounds, encodeInfo } from '@blocktorrent/protocol/chunking.ts';
import {
  PADDING_HEADER_BYTES,
  paddingFor,
  paddingFrameHeader,
  skipPadding,
} from '@blocktorrent/protocol/padding.ts';
import { giveBack, pieceRing, readPieces, writePieces, writeWhole } from '../crypto/files.ts';
import { nodeAead } from '../crypto/node-aead.ts';
import { ChunkHasher } from './chunk-hasher.ts';
import { FRAME_BYTES, zstdFrames } from './zstd-frames.ts';

const ZEROS = new Uint8Array(64 * 1024);

export interface SealFileOptions {
  readonly inputPath: string;
  /** Where the input is sealed itself, for this age identity: its content is sealed anew. */
  readonly inputIdentity?: Uint8Array;
  /** Where the ciphertext goes; is overwritten, and absent if sealing fails. */
  readonly outputPath: string;
  /** Holds the compressed plaintext while sealing; give it the same protection as the input. */
  readonly workDir: string;
  /** Further `age1...` recipients besides the file's own. */
  readonly recipients: readonly string[];
  readonly random: Random;
  /** Chunks to aim at; a big file may have more where chunks would be too big. */
  readonly chunksTarget: number;
  /** Sizes that the consortium's policy allows; absent: those of the protocol. */
  readonly chunkBounds?: ChunkBounds;
  readonly signal: AbortSignal;
}

/** What is known of a file once it is sealed. */
export interface SealedFile {
  /** The file's key: a clamped age identity, 32 bytes. Secret. */
  readonly identity: Uint8Array;
  /** `age1...` of the identity: public. */
  readonly recipient: string;
  readonly ciphertextBytes: number;
  /** 32 bytes. */
  readonly ciphertextSha256: Uint8Array;
  /** Bencoded infodict; its name is made from the ciphertext's digest. */
  readonly info: Uint8Array;
  /** 144 bytes for each chunk. */
  readonly digests: Uint8Array;
  readonly chunkBytes: number;
  readonly chunkCount: number;
  /** Null where the input was sealed itself. */
  readonly plainBytes: number | null;
  readonly compressedBytes: number;
  /** Compressed size with padding: a Padmé size, all that the ciphertext's size tells. */
  readonly paddedBytes: number;
}

/** Which step of sealing failed; `cause` says why. `read`: it is the input that fails. */
export class SealError extends Error {
  override readonly name = 'SealError';
  readonly code: 'read' | 'compress' | 'open' | 'encrypt';

  constructor(code: SealError['code'], inputPath: string, cause: unknown) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    super(`seal ${inputPath}: ${code}: ${reason}`, { cause });
    this.code = code;
  }
}

/**
 * Seals one file. Rejects with SealError (a full disk, an unreadable input, a bad recipient), or
 * with the signal's reason.
 */
export async function sealFile(options: SealFileOptions): Promise<SealedFile> {
  const { inputPath, outputPath, signal } = options;
  const compressedPath = join(options.workDir, `${basename(outputPath)}.zst`);
  signal.throwIfAborted();
  try {
    const { inputIdentity } = options;
    const plainBytes =
      inputIdentity === undefined
        ? await step('compress', options, () => compress(inputPath, compressedPath, signal))
        : await step('open', options, () =>
            uncover(inputPath, inputIdentity, compressedPath, signal),
          );
    const sealed = await step('encrypt', options, () => encrypt(compressedPath, options));
    return { ...sealed, plainBytes };
  } finally {
    await rm(compressedPath, { force: true });
  }
}

async function step<T>(
  code: SealError['code'],
  { inputPath, signal }: SealFileOptions,
  run: () => Promise<T>,
): Promise<T> {
  try {
    return await run();
  } catch (error) {
    signal.throwIfAborted();
    throw error instanceof SealError ? error : new SealError(code, inputPath, error);
  }
}

/** Compresses to `outputPath` and says how many bytes the input has. */
async function compress(
  inputPath: string,
  outputPath: string,
  signal: AbortSignal,
): Promise<number> {
  let plainBytes = 0;
  const ring = pieceRing(FRAME_BYTES);
  async function* counted(): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      for await (const piece of readPieces(inputPath, ring)) {
        plainBytes += piece.length;
        yield piece;
      }
    } catch (error) {
      throw new SealError('read', inputPath, error);
    }
  }
  try {
    await writePieces(outputPath, zstdFrames(counted()), { signal });
  } finally {
    ring.forEach(giveBack);
  }
  return plainBytes;
}

/** Writes what is compressed in a sealed file to `outputPath`. */
async function uncover(
  sealedPath: string,
  identity: Uint8Array,
  outputPath: string,
  signal: AbortSignal,
): Promise<null> {
  const decrypted = decryptStream(readPieces(sealedPath), [identity], nodeAead);
  await writePieces(outputPath, skipPadding(decrypted), { signal });
  return null;
}

async function encrypt(
  compressedPath: string,
  options: SealFileOptions,
): Promise<Omit<SealedFile, 'plainBytes'>> {
  const { outputPath, chunksTarget, chunkBounds, random, signal } = options;
  const identity = identityFromRandom(random(32));
  const recipient = recipientOf(identity);
  const recipients = [...new Set([recipient, ...options.recipients])];
  const { size: compressedBytes } = await stat(compressedPath);
  const { totalBytes: paddedBytes, frameBytes } = paddingFor(compressedBytes);
  const ciphertextBytes = encryptedBytesOf(paddedBytes, recipients.length);
  const hasher = new ChunkHasher(ciphertextBytes, chunksTarget, chunkBounds);
  const ring = pieceRing();
  const padded = withPadding(readPieces(compressedPath, ring), frameBytes);
  const ciphertext = encryptStream(padded, recipients, random, nodeAead);
  try {
    await writeWhole(outputPath, hashed(ciphertext, hasher), { signal });
  } finally {
    ring.forEach(giveBack);
  }
  const ciphertextSha256 = await finished(hasher, outputPath);
  const { chunkBytes, chunkCount, digests, pieces } = hasher;
  const info = encodeInfo({
    name: `${toHex(ciphertextSha256.subarray(0, 16))}.age`,
    pieceLength: chunkBytes,
    length: ciphertextBytes,
    pieces,
  });
  return {
    identity,
    recipient,
    ciphertextBytes,
    ciphertextSha256,
    info,
    digests,
    chunkBytes,
    chunkCount,
    compressedBytes,
    paddedBytes,
  };
}

async function* withPadding(
  pieces: AsyncIterable<Uint8Array>,
  frameBytes: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  if (frameBytes > 0) {
    yield paddingFrameHeader(frameBytes);
    for (let left = frameBytes - PADDING_HEADER_BYTES; left > 0; ) {
      const zeros = ZEROS.subarray(0, left);
      yield zeros;
      left -= zeros.length;
    }
  }
  yield* pieces;
}

async function* hashed(
  pieces: AsyncIterable<Uint8Array>,
  hasher: ChunkHasher,
): AsyncGenerator<Uint8Array, void, undefined> {
  let whole = false;
  try {
    for await (const piece of pieces) {
      await hasher.update(piece);
      yield piece;
    }
    whole = true;
  } finally {
    if (!whole) await hasher.drop();
  }
}

/** What is written while the digests were still being made goes again when they fail. */
async function finished(hasher: ChunkHasher, outputPath: string): Promise<Uint8Array> {
  try {
    return await hasher.finish();
  } catch (error) {
    await rm(outputPath, { force: true });
    throw error;
  }
}
