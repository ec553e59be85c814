/**
 * Hashes a ciphertext as it is written: the whole, and each of its chunks.
 *
 * In: pieces of any size, in order. Out: SHA-256 of the whole, SHA-1 and the three digests of each
 * chunk. It keeps hash states and results, never a chunk's bytes.
 */
import { createHash, type Hash } from 'node:crypto';
import {
  type ChunkBounds,
  chunkBytesFor,
  chunkCountOf,
  PIECE_HASH_BYTES,
} from '@blocktorrent/protocol/chunking.ts';
import { DIGEST_BYTES, packDigests } from '@blocktorrent/protocol/digest.ts';

/** Hashes of one ciphertext whose size is known before its bytes. */
export class ChunkHasher {
  readonly chunkBytes: number;
  readonly chunkCount: number;
  /** SHA-1 of each finished chunk, 20 bytes each. */
  readonly pieces: Uint8Array;
  /** Packed digests of each finished chunk, 144 bytes each. */
  readonly digests: Uint8Array;
  readonly #whole = createHash('sha256');
  #chunk = new OneChunk();
  #chunkFilled = 0;
  #index = 0;

  /** For a ciphertext of `fileBytes` in at most `chunksTarget` chunks, each within `bounds`. */
  constructor(fileBytes: number, chunksTarget: number, bounds?: ChunkBounds) {
    this.chunkBytes = chunkBytesFor(fileBytes, chunksTarget, bounds);
    this.chunkCount = chunkCountOf(fileBytes, this.chunkBytes);
    this.pieces = new Uint8Array(PIECE_HASH_BYTES * this.chunkCount);
    this.digests = new Uint8Array(DIGEST_BYTES * this.chunkCount);
  }

  update(piece: Uint8Array): void {
    this.#whole.update(piece);
    for (let start = 0; start < piece.length; ) {
      const end = Math.min(piece.length, start + this.chunkBytes - this.#chunkFilled);
      this.#chunk.update(piece.subarray(start, end));
      this.#chunkFilled += end - start;
      if (this.#chunkFilled === this.chunkBytes) this.#endChunk();
      start = end;
    }
  }

  /** SHA-256 of the whole, 32 bytes; ends the last chunk. Call it once, last. */
  finish(): Uint8Array {
    if (this.#chunkFilled > 0) this.#endChunk();
    if (this.#index !== this.chunkCount) {
      throw new Error(`chunk hasher: expected ${this.chunkCount} chunks, got ${this.#index}`);
    }
    return this.#whole.digest();
  }

  #endChunk(): void {
    const { sha1, digests } = this.#chunk.finish();
    this.pieces.set(sha1, PIECE_HASH_BYTES * this.#index);
    this.digests.set(digests, DIGEST_BYTES * this.#index);
    this.#index++;
    this.#chunkFilled = 0;
    this.#chunk = new OneChunk();
  }
}

class OneChunk {
  readonly #sha1 = createHash('sha1');
  readonly #sha3 = createHash('sha3-256');
  readonly #sha384 = createHash('sha384');
  readonly #sha512 = createHash('sha512');

  update(bytes: Uint8Array): void {
    const hashes: readonly Hash[] = [this.#sha1, this.#sha3, this.#sha384, this.#sha512];
    for (const hash of hashes) hash.update(bytes);
  }

  finish(): { sha1: Uint8Array; digests: Uint8Array } {
    const digests = packDigests({
      sha3: this.#sha3.digest(),
      sha384: this.#sha384.digest(),
      sha512: this.#sha512.digest(),
    });
    return { sha1: this.#sha1.digest(), digests };
  }
}
