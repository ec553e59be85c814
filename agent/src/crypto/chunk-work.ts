/**
 * The thread behind `chunk-thread.ts`: digests of whole chunks, writing them, and digests of a file's
 * chunks as it comes, one job at a time.
 *
 * In: a job over shared memory. Out: its result, or what went wrong. Always holds: a file appears
 * under its name whole, by rename, and after what was written was read back and compared; a file's
 * part is hashed behind what came before it, or not at all.
 */
import { createHash, hash } from 'node:crypto';
import { closeSync, openSync, readSync, renameSync, rmSync, writevSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';

/** Bytes that the main thread shares with this one until the job is done. */
export interface Shared {
  readonly memory: SharedArrayBuffer;
  readonly offset: number;
  readonly length: number;
}

export type Job =
  | { readonly id: number; readonly kind: 'digest'; readonly bytes: Shared }
  | {
      readonly id: number;
      readonly kind: 'write';
      readonly bytes: Shared;
      /** Goes behind the bytes. */
      readonly table: Uint8Array;
      readonly temporary: string;
      readonly path: string;
    }
  | ({ readonly id: number; readonly kind: 'part'; readonly bytes: Shared } & FilePart);

/** Where a part of a file stands. */
export interface FilePart {
  /** Tells this file's parts from those of others. */
  readonly file: number;
  /** Bytes of the file before it. */
  readonly fileOffset: number;
  /** Bytes of each of the file's chunks but the last. */
  readonly chunkBytes: number;
  /** Ends the last chunk; the thread forgets the file. */
  readonly last: boolean;
}

/** SHA3-256, SHA-384, SHA-512. */
export type Digests = readonly [Uint8Array, Uint8Array, Uint8Array];

export interface Done {
  readonly id: number;
  /** Of a `digest`, one; of a `part`, one for each chunk that ends in it. */
  readonly digests?: readonly Digests[];
  readonly error?: { readonly message: string; readonly code: string | null };
}

/** Compared at once after a write. */
const READ_BACK_BYTES = 256 * 1024;
const readBack = Buffer.allocUnsafeSlow(READ_BACK_BYTES);

/** Files of which a part was hashed and the last part was not. */
const files = new Map<number, FileDigests>();

/** Digests of a file's chunks, whatever their size, in the memory of a few hash states. */
class FileDigests {
  readonly #chunkBytes: number;
  #hashes = newHashes();
  #filled = 0;
  seenBytes = 0;

  constructor(chunkBytes: number) {
    this.#chunkBytes = chunkBytes;
  }

  /** Digests of the chunks that end in `bytes`. */
  take(bytes: Uint8Array, last: boolean): Digests[] {
    const ended: Digests[] = [];
    for (let start = 0; start < bytes.length; ) {
      const end = Math.min(bytes.length, start + this.#chunkBytes - this.#filled);
      const piece = bytes.subarray(start, end);
      for (const each of this.#hashes) each.update(piece);
      this.#filled += piece.length;
      if (this.#filled === this.#chunkBytes) ended.push(this.#endChunk());
      start = end;
    }
    if (last && this.#filled > 0) ended.push(this.#endChunk());
    this.seenBytes += bytes.length;
    return ended;
  }

  #endChunk(): Digests {
    const [sha3, sha384, sha512] = this.#hashes;
    this.#hashes = newHashes();
    this.#filled = 0;
    return [sha3.digest(), sha384.digest(), sha512.digest()];
  }
}

function newHashes() {
  return [createHash('sha3-256'), createHash('sha384'), createHash('sha512')] as const;
}

function takePart(bytes: Uint8Array, part: FilePart): Digests[] {
  const file = files.get(part.file) ?? new FileDigests(part.chunkBytes);
  files.delete(part.file);
  if (file.seenBytes !== part.fileOffset) {
    throw new Error(`a part at ${part.fileOffset} of a file of which ${file.seenBytes} are known`);
  }
  if (!part.last) files.set(part.file, file);
  return file.take(bytes, part.last);
}

function digest(bytes: Uint8Array): Digests {
  return [
    hash('sha3-256', bytes, 'buffer'),
    hash('sha384', bytes, 'buffer'),
    hash('sha512', bytes, 'buffer'),
  ];
}

function write(bytes: Uint8Array, table: Uint8Array, temporary: string, path: string): void {
  try {
    const file = openSync(temporary, 'wx+', 0o600);
    try {
      const written = writevSync(file, [bytes, table], 0);
      if (written !== bytes.length + table.length) {
        throw new Error(`only ${written} bytes were written`);
      }
      requireSame(file, bytes, 0);
      requireSame(file, table, bytes.length);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

function requireSame(file: number, bytes: Uint8Array, position: number): void {
  for (let at = 0; at < bytes.length; at += READ_BACK_BYTES) {
    const expected = bytes.subarray(at, at + READ_BACK_BYTES);
    const read = readSync(file, readBack, 0, expected.length, position + at);
    if (read !== expected.length || readBack.compare(expected, 0, read, 0, read) !== 0) {
      throw new Error(`the file does not hold what was written at ${position + at}`);
    }
  }
}

function run(job: Job): Done {
  const { memory, offset, length } = job.bytes;
  const bytes = new Uint8Array(memory, offset, length);
  try {
    if (job.kind === 'digest') return { id: job.id, digests: [digest(bytes)] };
    if (job.kind === 'part') return { id: job.id, digests: takePart(bytes, job) };
    write(bytes, job.table, job.temporary, job.path);
    return { id: job.id };
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const code = error instanceof Error && 'code' in error ? String(error.code) : null;
    return { id: job.id, error: { message, code } };
  }
}

parentPort?.on('message', (job: Job) => parentPort?.postMessage(run(job)));
