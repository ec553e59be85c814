/**
 * Work on whole chunks beside the event loop, in one thread of the process, started when it is first
 * needed: the three digests (P §3.2.1), of a chunk or of a file's chunks, and writing a chunk's file.
 *
 * Enters: bytes, best in shared memory (`sharedBuffer`), which are then not copied. Leaves: results.
 * Always holds: the thread keeps no process alive that has nothing else to do; when it dies, what
 * it was asked for fails, and the next job starts another. It is ended when it has had nothing to do
 * for a minute and knows no part of a file whose end is to come.
 */
import { Worker } from 'node:worker_threads';
import type { ChunkDigests } from '@blocktorrent/protocol/digest.ts';
import type { Digests, Done, FilePart, Job, Shared } from './chunk-work.ts';

type Waiting = PromiseWithResolvers<Done>;

/** MiB: all that the thread makes are messages. */
const HEAP = { maxYoungGenerationSizeMb: 1, maxOldGenerationSizeMb: 32 };

const IDLE_MS = 60_000;

const waiting = new Map<number, Waiting>();
/** Files of which the thread knows the beginning. */
const begun = new Set<number>();
let thread: Worker | null = null;
let idle: NodeJS.Timeout | null = null;
let jobs = 0;
let files = 0;

/** Memory of `bytes` length that the thread can read where it is. */
export function sharedBuffer(bytes: number): Buffer {
  return Buffer.from(new SharedArrayBuffer(bytes));
}

/** SHA3-256, SHA-384 and SHA-512 of `bytes`, which must not change until it resolves. */
export async function digestChunkInThread(bytes: Uint8Array): Promise<ChunkDigests> {
  const { digests: [digests] = [] } = await submit({ kind: 'digest', bytes: share(bytes) });
  if (digests === undefined) throw new Error('the thread for chunks gave no digests');
  return named(digests);
}

/** A number for `digestPartInThread` that no other file of this process has. */
export function newFileNumber(): number {
  files += 1;
  return files;
}

/**
 * The three digests of each chunk that ends in this part, in order; `bytes` must not change until it
 * resolves. Rejects when the thread does not know the parts before it: it died meanwhile.
 */
export async function digestPartInThread(
  bytes: Uint8Array,
  part: FilePart,
): Promise<ChunkDigests[]> {
  begun.add(part.file);
  try {
    const { digests = [] } = await submit({ kind: 'part', bytes: share(bytes), ...part });
    if (part.last) begun.delete(part.file);
    return digests.map(named);
  } catch (error) {
    begun.delete(part.file);
    throw error;
  }
}

function named([sha3, sha384, sha512]: Digests): ChunkDigests {
  return { sha3, sha384, sha512 };
}

/**
 * Writes `bytes` and then `table` into `temporary`, reads them back, compares, and renames it to
 * `path`; not synced. Rejects with the system's error, its `code` kept; `temporary` is gone then.
 */
export async function writeChunkInThread(
  path: string,
  temporary: string,
  bytes: Uint8Array,
  table: Uint8Array,
): Promise<void> {
  await submit({ kind: 'write', bytes: share(bytes), table, temporary, path });
}

function share(bytes: Uint8Array): Shared {
  const { buffer, byteOffset, length } = bytes;
  if (buffer instanceof SharedArrayBuffer) return { memory: buffer, offset: byteOffset, length };
  const memory = new SharedArrayBuffer(length);
  new Uint8Array(memory).set(bytes);
  return { memory, length, offset: 0 };
}

type WithoutId<T> = T extends unknown ? Omit<T, 'id'> : never;

function submit(job: WithoutId<Job>): Promise<Done> {
  const worker = thread ?? start();
  jobs += 1;
  const done = Promise.withResolvers<Done>();
  if (waiting.size === 0) worker.ref();
  waiting.set(jobs, done);
  worker.postMessage({ ...job, id: jobs });
  return done.promise;
}

function start(): Worker {
  const worker = new Worker(new URL('./chunk-work.ts', import.meta.url), {
    resourceLimits: HEAP,
    name: 'chunks',
  });
  worker.on('message', (done: Done) => settle(worker, done));
  const end = (reason: Error) => {
    if (thread !== worker) return;
    thread = null;
    for (const job of waiting.values()) job.reject(reason);
    waiting.clear();
    begun.clear();
  };
  worker.on('error', (cause) => end(new Error('the thread for chunks failed', { cause })));
  worker.on('exit', (code) => end(new Error(`the thread for chunks ended (${code})`)));
  worker.unref();
  thread = worker;
  return worker;
}

/** Ends the thread if it is still idle then: its heap and stack are 10 MiB. */
function endWhenIdle(): void {
  if (idle !== null) {
    idle.refresh();
    return;
  }
  idle = setTimeout(() => {
    idle = null;
    if (waiting.size > 0 || begun.size > 0) return;
    void thread?.terminate();
    thread = null;
  }, IDLE_MS);
  idle.unref();
}

function settle(worker: Worker, { id, digests, error }: Done): void {
  const job = waiting.get(id);
  waiting.delete(id);
  if (waiting.size === 0) {
    worker.unref();
    endWhenIdle();
  }
  if (error === undefined) job?.resolve(digests === undefined ? { id } : { id, digests });
  else job?.reject(Object.assign(new Error(error.message), { code: error.code }));
}
