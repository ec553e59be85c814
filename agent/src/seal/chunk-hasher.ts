/**
 * Hashes a ciphertext as it is written: the whole, and each of its chunks.
 *
 * In: pieces of any size, in order. Out: SHA-256 of the whole, SHA-1 and the three digests of each
 * chunk. SHA-256 and SHA-1 are computed at once, the digests in the thread for chunks, behind the
 * writer by at most 4 MiB: that much memory, hash states and results are all that it holds.
 */
import { createHash } from 'node:crypto';
import {
  type ChunkBounds,
  chunkBytesFor,
  chunkCountOf,
  PIECE_HASH_BYTES,
} from '@blocktorrent/protocol/chunking.ts';
import { type ChunkDigests, DIGEST_BYTES, packDigests } from '@blocktorrent/protocol/digest.ts';
import { digestPartInThread, newFileNumber, sharedBuffer } from '../crypto/chunk-thread.ts';

const PART_BYTES = 512 * 1024;
const PARTS_AT_ONCE = 8;

/** Hashes of one ciphertext whose size is known before its bytes. */
export class ChunkHasher {
  readonly chunkBytes: number;
  readonly chunkCount: number;
  /** SHA-1 of each finished chunk, 20 bytes each. */
  readonly pieces: Uint8Array;
  /** Packed digests of each chunk, 144 bytes each; whole once `finish` has resolved. */
  readonly digests: Uint8Array;
  readonly #file = newFileNumber();
  readonly #whole = createHash('sha256');
  readonly #buffers: Buffer[];
  /** Parts in the thread, oldest first. */
  readonly #parts = new Set<Promise<void>>();
  #failure: unknown = null;
  #filled = 0;
  #submittedBytes = 0;
  #sha1 = createHash('sha1');
  #chunkFilled = 0;
  #pieceCount = 0;
  #digestCount = 0;

  /** For a ciphertext of `fileBytes` in at most `chunksTarget` chunks, each within `bounds`. */
  constructor(fileBytes: number, chunksTarget: number, bounds?: ChunkBounds) {
    this.chunkBytes = chunkBytesFor(fileBytes, chunksTarget, bounds);
    this.chunkCount = chunkCountOf(fileBytes, this.chunkBytes);
    this.pieces = new Uint8Array(PIECE_HASH_BYTES * this.chunkCount);
    this.digests = new Uint8Array(DIGEST_BYTES * this.chunkCount);
    const bytes = Math.min(PART_BYTES, fileBytes);
    const count = Math.min(PARTS_AT_ONCE, Math.ceil(fileBytes / PART_BYTES));
    this.#buffers = Array.from({ length: count }, () => sharedBuffer(bytes));
  }

  /** Takes a copy of the next bytes; waits while the thread is 4 MiB behind, rejects when it failed. */
  async update(piece: Uint8Array): Promise<void> {
    this.#whole.update(piece);
    this.#updatePieces(piece);
    for (let start = 0; start < piece.length; ) {
      const buffer = this.#buffers[0] ?? (await this.#nextFree());
      const part = piece.subarray(start, start + buffer.length - this.#filled);
      buffer.set(part, this.#filled);
      this.#filled += part.length;
      start += part.length;
      if (this.#filled === buffer.length) this.#submit(false);
    }
  }

  /** SHA-256 of the whole, 32 bytes; ends the last chunk. Call it once, last. Rejects as `update`. */
  async finish(): Promise<Uint8Array> {
    if (this.#chunkFilled > 0) this.#endPiece();
    await this.drop();
    if (this.#failure !== null) throw this.#failure;
    if (this.#digestCount !== this.chunkCount || this.#pieceCount !== this.chunkCount) {
      throw new Error(`chunk hasher: expected ${this.chunkCount} chunks, got ${this.#pieceCount}`);
    }
    return this.#whole.digest();
  }

  /** Has the thread forget the file, when there is no `finish`. Never rejects. */
  async drop(): Promise<void> {
    this.#submit(true);
    await Promise.all(this.#parts);
  }

  async #nextFree(): Promise<Buffer> {
    const [oldest] = this.#parts;
    await oldest;
    const buffer = this.#buffers[0];
    if (this.#failure !== null) throw this.#failure;
    if (buffer === undefined) throw new Error('chunk hasher: no buffer came back');
    return buffer;
  }

  #submit(last: boolean): void {
    const buffer = this.#filled === 0 ? undefined : this.#buffers.shift();
    const bytes = buffer?.subarray(0, this.#filled) ?? new Uint8Array(0);
    const { chunkBytes } = this;
    const part = { file: this.#file, fileOffset: this.#submittedBytes, chunkBytes, last };
    const digesting = digestPartInThread(bytes, part);
    const settling = this.#settle(digesting, buffer).finally(() => this.#parts.delete(settling));
    this.#parts.add(settling);
    this.#submittedBytes += this.#filled;
    this.#filled = 0;
  }

  async #settle(digesting: Promise<ChunkDigests[]>, buffer: Buffer | undefined): Promise<void> {
    try {
      for (const digests of await digesting) {
        this.digests.set(packDigests(digests), DIGEST_BYTES * this.#digestCount);
        this.#digestCount++;
      }
    } catch (error) {
      this.#failure ??= error;
    } finally {
      if (buffer !== undefined) this.#buffers.push(buffer);
    }
  }

  #updatePieces(bytes: Uint8Array): void {
    for (let start = 0; start < bytes.length; ) {
      const end = Math.min(bytes.length, start + this.chunkBytes - this.#chunkFilled);
      this.#sha1.update(bytes.subarray(start, end));
      this.#chunkFilled += end - start;
      if (this.#chunkFilled === this.chunkBytes) this.#endPiece();
      start = end;
    }
  }

  #endPiece(): void {
    this.pieces.set(this.#sha1.digest(), PIECE_HASH_BYTES * this.#pieceCount);
    this.#pieceCount++;
    this.#chunkFilled = 0;
    this.#sha1 = createHash('sha1');
  }
}
