/**
 * The thread behind `chunk-thread.ts`: digests of whole chunks, and writing them, one job at a time.
 *
 * In: a job over shared memory. Out: its result, or what went wrong. Always holds: a file appears
 * under its name whole, by rename, and after what was written was read back and compared.
 */
import { hash } from 'node:crypto';
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
    };

/** Digests of a `digest`: SHA3-256, SHA-384, SHA-512. */
export interface Done {
  readonly id: number;
  readonly digests?: readonly [Uint8Array, Uint8Array, Uint8Array];
  readonly error?: { readonly message: string; readonly code: string | null };
}

/** Compared at once after a write. */
const READ_BACK_BYTES = 256 * 1024;
const readBack = Buffer.allocUnsafeSlow(READ_BACK_BYTES);

function digest(bytes: Uint8Array): NonNullable<Done['digests']> {
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
    if (job.kind === 'digest') return { id: job.id, digests: digest(bytes) };
    write(bytes, job.table, job.temporary, job.path);
    return { id: job.id };
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const code = error instanceof Error && 'code' in error ? String(error.code) : null;
    return { id: job.id, error: { message, code } };
  }
}

parentPort?.on('message', (job: Job) => parentPort?.postMessage(run(job)));
