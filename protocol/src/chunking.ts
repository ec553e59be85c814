/**
 * How a ciphertext is cut into chunks, and the BitTorrent v1 infodict (BEP 3) that says so.
 *
 * Chunks are equal, a multiple of 16 KiB, the last may be shorter. The infodict has exactly the
 * keys `length`, `name`, `piece length`, `pieces` and `private` = 1 (BEP 27: no client announces it
 * to a public DHT), in bencode's one canonical form; decoding takes nothing else.
 * SHA-1 is there for ordinary BitTorrent clients: trust rests on the manifest's digests.
 */
import { sha1 } from '@noble/hashes/legacy.js';
import { concatBytes, equalBytes, fromUtf8, utf8 } from './bytes.ts';
import { ProtocolError } from './errors.ts';
import type { Policy } from './ledger-api.ts';
import { LIMITS } from './limits.ts';

/** Length of one SHA-1 piece hash, in bytes. */
export const PIECE_HASH_BYTES = 20;

/** One file's infodict. */
export interface TorrentInfo {
  /** File name that an ordinary client would use; 1..64 characters, no path. */
  readonly name: string;
  /** Chunk size in bytes, a multiple of 16 KiB. */
  readonly pieceLength: number;
  /** Ciphertext size in bytes. */
  readonly length: number;
  /** SHA-1 of each chunk, 20 bytes each. */
  readonly pieces: Uint8Array;
}

/** Sizes between which a chunk's lies, in bytes, both inclusive; a shorter file is one chunk. */
export interface ChunkBounds {
  readonly bytesMin: number;
  readonly bytesMax: number;
}

/** Chunk sizes that a policy allows, with what stands for absent ones. */
export function chunkBoundsOf(
  policy: Pick<Policy, 'chunkBytesMin' | 'chunkBytesMax'>,
): ChunkBounds {
  return {
    bytesMin: policy.chunkBytesMin ?? LIMITS.blockBytes,
    bytesMax: policy.chunkBytesMax ?? LIMITS.chunkBytesMax,
  };
}

/**
 * Smallest multiple of 16 KiB within `bounds` that cuts `fileBytes` into at most `chunksTarget`
 * chunks, or the largest chunk allowed where that is smaller. Throws ProtocolError `too-large` past
 * `LIMITS`.
 */
export function chunkBytesFor(
  fileBytes: number,
  chunksTarget: number,
  { bytesMin, bytesMax }: ChunkBounds = chunkBoundsOf({}),
): number {
  requireFileBytes(fileBytes);
  if (!Number.isSafeInteger(chunksTarget) || chunksTarget < 1) {
    throw new ProtocolError('bad-argument', `chunksTarget: expected >= 1, got ${chunksTarget}`);
  }
  const chunks = Math.min(chunksTarget, LIMITS.chunksPerFileMax);
  const blocks = Math.ceil(fileBytes / (chunks * LIMITS.blockBytes));
  return Math.min(Math.max(blocks * LIMITS.blockBytes, bytesMin), bytesMax);
}

/** Number of chunks of `chunkBytes` in a file of `fileBytes`; the last may be shorter. */
export function chunkCountOf(fileBytes: number, chunkBytes: number): number {
  requireFileBytes(fileBytes);
  requireChunkBytes(chunkBytes);
  const count = Math.ceil(fileBytes / chunkBytes);
  if (count > LIMITS.chunksPerFileMax) {
    throw new ProtocolError(
      'too-large',
      `chunks: expected at most ${LIMITS.chunksPerFileMax}, got ${count}`,
    );
  }
  return count;
}

/** Size in bytes of chunk `index` of a file of `fileBytes` cut into `chunkBytes`. */
export function chunkLengthOf(fileBytes: number, chunkBytes: number, index: number): number {
  const count = chunkCountOf(fileBytes, chunkBytes);
  if (!Number.isInteger(index) || index < 0 || index >= count) {
    throw new ProtocolError('bad-argument', `chunk ${index} is not in 0..${count - 1}`);
  }
  return index < count - 1 ? chunkBytes : fileBytes - chunkBytes * (count - 1);
}

/** Canonical bencode of the infodict. Throws ProtocolError where it contradicts itself. */
export function encodeInfo(info: TorrentInfo): Uint8Array {
  requireInfo(info);
  const name = utf8(info.name);
  const { length, pieceLength, pieces } = info;
  return concatBytes(
    utf8(`d6:lengthi${length}e4:name${name.length}:`),
    name,
    utf8(`12:piece lengthi${pieceLength}e6:pieces${pieces.length}:`),
    pieces,
    utf8('7:privatei1ee'),
  );
}

/**
 * The infodict in `bytes`. Throws ProtocolError `malformed` unless they are exactly what
 * `encodeInfo` makes: these keys, this order, shortest numbers, nothing behind.
 */
export function decodeInfo(bytes: Uint8Array): TorrentInfo {
  const reader = new InfoReader(bytes);
  reader.expect('d6:lengthi');
  const length = reader.number('e');
  reader.expect('4:name');
  const name = fromUtf8(reader.string());
  reader.expect('12:piece lengthi');
  const pieceLength = reader.number('e');
  reader.expect('6:pieces');
  const pieces = reader.string().slice();
  reader.expect('7:privatei1ee');
  reader.end();
  const info = { name, pieceLength, length, pieces };
  requireInfo(info);
  return info;
}

/** BitTorrent's name for the file: SHA-1 of the infodict, 20 bytes. */
export function infoHashOf(infoBytes: Uint8Array): Uint8Array {
  return sha1(infoBytes);
}

/** Walks over canonical bencode whose shape is known; every step names what it expected. */
class InfoReader {
  readonly #bytes: Uint8Array;
  #offset = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  expect(text: string): void {
    const found = this.#bytes.subarray(this.#offset, this.#offset + text.length);
    if (!equalBytes(found, utf8(text))) throw this.#error(`expected "${text}"`);
    this.#offset += text.length;
  }

  /** Decimal digits without leading zeros, up to the terminator, which is passed over. */
  number(terminator: 'e' | ':'): number {
    const start = this.#offset;
    let value = 0;
    for (let digit = this.#digit(); digit !== null; digit = this.#digit()) {
      value = value * 10 + digit;
      if (this.#offset - start > 15) throw this.#error('number too long');
    }
    const digits = this.#offset - start;
    if (digits === 0 || (digits > 1 && this.#bytes[start] === 0x30)) {
      throw this.#error('expected a number without leading zeros');
    }
    this.expect(terminator);
    return value;
  }

  string(): Uint8Array {
    const length = this.number(':');
    if (length > this.#bytes.length - this.#offset) throw this.#error('string past the end');
    this.#offset += length;
    return this.#bytes.subarray(this.#offset - length, this.#offset);
  }

  end(): void {
    if (this.#offset !== this.#bytes.length) throw this.#error('expected the end');
  }

  #digit(): number | null {
    const byte = this.#bytes[this.#offset];
    if (byte === undefined || byte < 0x30 || byte > 0x39) return null;
    this.#offset++;
    return byte - 0x30;
  }

  #error(what: string): ProtocolError {
    return new ProtocolError('malformed', `infodict: ${what} at byte ${this.#offset}`);
  }
}

function requireInfo(info: TorrentInfo): void {
  const count = chunkCountOf(info.length, info.pieceLength);
  if (info.pieces.length !== PIECE_HASH_BYTES * count) {
    throw new ProtocolError(
      'malformed',
      `infodict: expected ${count} piece hashes of 20 bytes, got ${info.pieces.length} bytes`,
    );
  }
  const { name } = info;
  if (
    name.length === 0 ||
    name.length > LIMITS.nameCharsMax ||
    !name.isWellFormed() ||
    name === '.' ||
    name === '..' ||
    /[/\\\p{Cc}]/u.test(name)
  ) {
    throw new ProtocolError(
      'malformed',
      `infodict: expected a name of 1..${LIMITS.nameCharsMax} characters without a path`,
    );
  }
}

function requireFileBytes(fileBytes: number): void {
  if (!Number.isSafeInteger(fileBytes) || fileBytes < 1) {
    throw new ProtocolError('malformed', `file: expected at least 1 byte, got ${fileBytes}`);
  }
  if (fileBytes > LIMITS.fileBytesMax) {
    throw new ProtocolError(
      'too-large',
      `file: expected at most ${LIMITS.fileBytesMax} bytes, got ${fileBytes}`,
    );
  }
}

function requireChunkBytes(chunkBytes: number): void {
  if (
    !Number.isSafeInteger(chunkBytes) ||
    chunkBytes < LIMITS.blockBytes ||
    chunkBytes > LIMITS.chunkBytesMax ||
    chunkBytes % LIMITS.blockBytes !== 0
  ) {
    throw new ProtocolError(
      'malformed',
      `chunk: expected a multiple of ${LIMITS.blockBytes} bytes up to ${LIMITS.chunkBytesMax}, got ${chunkBytes}`,
    );
  }
}
