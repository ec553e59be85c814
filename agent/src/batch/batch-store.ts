/**
 * The gateway's private database (P §3.2.3, step 1): one open batch, and closed ones behind it.
 *
 * Enters: readings in order. Leaves: closed batch files, for sealing. Always holds: what `append`
 * returned from survives any crash; seq and chain go on over batches; a file named `<n>.sqlite` is
 * complete, never changes, and has no journal beside it. Files: `<n>.open.sqlite` (one, WAL), then
 * `<n>.sqlite`. A batch without readings is never closed.
 */
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { join } from 'node:path';
import { CHAIN_START, type Reading } from '@blocktorrent/protocol/reading.ts';
import type { Database } from 'better-sqlite3';
import { BatchError } from './batch-error.ts';
import {
  type BatchMeta,
  BatchWriter,
  beginBatch,
  hasRules,
  markClosed,
  readMeta,
  readReadings,
  rulesIn,
} from './batch-file.ts';
import type { BatchRule } from './batch-rule.ts';

export interface BatchStoreOptions {
  /** Folder of the batch files; made if missing. */
  readonly folder: string;
  /** MSP id of the organisation. */
  readonly source: string;
  /** Peer name of this gateway. */
  readonly gateway: string;
  readonly bootId: string;
  readonly rules: readonly BatchRule[];
  /** A batch is closed when it is so old, has so many readings, or is so large. */
  readonly maxAgeMs: number;
  readonly maxReadings: number;
  readonly maxBytes: number;
  readonly nowMs: () => number;
  /** Opens a file for writing, synced at each commit, in WAL mode. */
  readonly openDatabase: (path: string) => Database;
  readonly openReadOnly: (path: string) => Database;
}

/** A batch that is complete on the disk. */
export interface ClosedBatch extends BatchMeta {
  readonly path: string;
  readonly bytes: number;
  readonly closedMs: number;
  /** Rules of its topics, by their filters; null for topics that no rule fits. */
  readonly rules: readonly (string | null)[];
}

/** Why a batch was closed. */
export type RotationReason = 'age' | 'readings' | 'bytes';

/** Closed batches that stay, whatever became of them: repetitions of their readings may come. */
const KEPT_FOR_DUPLICATES = 2;
const FILE_NAME = /^([1-9]\d{0,14})(\.open)?\.sqlite(-wal|-shm|-journal)?$/;

/** Open with `BatchStore.open`, which recovers from a crash at any point. */
export class BatchStore {
  readonly #options: BatchStoreOptions;
  /** Closed batches by number, in order. */
  readonly #closed: Map<number, ClosedBatch>;
  #writer: BatchWriter;
  /** The writer's batch is closed, and the next one could not be begun yet (disk full, …). */
  #ended = false;
  #ageFromMs: number;

  private constructor(
    options: BatchStoreOptions,
    closed: Map<number, ClosedBatch>,
    writer: BatchWriter,
  ) {
    this.#options = options;
    this.#closed = closed;
    this.#writer = writer;
    this.#ageFromMs = writer.meta.openedMs;
  }

  /**
   * Opens the folder: finishes a rotation that was cut off, drops what never became a batch, and
   * goes on with the open one. Throws BatchError `bad-folder` or `bad-batch`, or SqliteError.
   */
  static open(options: BatchStoreOptions): BatchStore {
    mkdirSync(options.folder, { recursive: true, mode: 0o700 });
    const { closed, open } = recoverFolder(options);
    const writer = open ?? beginNext(options, closed);
    const store = new BatchStore(options, closed, writer);
    if (!hasRules(writer.database, options.rules)) store.#takeNewRules();
    return store;
  }

  /** Seq that the next reading must have. */
  get nextSeq(): number {
    return this.#writer.meta.lastSeq + 1;
  }

  /** Meta of the open batch, or of the one to come; its `chainEnd` is the chain's head. */
  get current(): BatchMeta {
    return this.#ended ? nextMeta(this.#options, this.#closed) : this.#writer.meta;
  }

  /** Size of the open batch, in bytes. */
  get currentBytes(): number {
    return this.#ended ? 0 : this.#writer.bytes;
  }

  /**
   * Appends readings in one synced transaction, all or none. Throws BatchError `out-of-order`,
   * ProtocolError on a reading that is none, SqliteError (disk full, …): then nothing has changed.
   */
  append(readings: readonly Reading[]): void {
    if (this.#ended) this.#begin();
    const wasEmpty = this.#writer.meta.count === 0;
    this.#writer.append(readings);
    if (wasEmpty) this.#ageFromMs = this.#options.nowMs();
  }

  /** Why the open batch should be closed now, or null; an empty one never. */
  due(nowMs: number): RotationReason | null {
    if (this.#ended || this.#writer.meta.count === 0) return null;
    // A clock that was set back must not keep a batch open for years.
    if (nowMs < this.#ageFromMs) this.#ageFromMs = nowMs;
    if (this.#writer.meta.count >= this.#options.maxReadings) return 'readings';
    if (nowMs - this.#ageFromMs >= this.#options.maxAgeMs) return 'age';
    return this.#writer.bytes >= this.#options.maxBytes ? 'bytes' : null;
  }

  /** Closes the open batch if it is due; returns it, or null. Throws as `closeCurrent`. */
  rotateIfDue(nowMs: number): ClosedBatch | null {
    return this.due(nowMs) === null ? null : this.closeCurrent();
  }

  /**
   * Closes the open batch, whatever its age; null if it is empty. The next one begins with the next
   * reading. Throws BatchError `busy` while another process reads it: nothing has changed then.
   */
  closeCurrent(): ClosedBatch | null {
    if (this.#ended || this.#writer.meta.count === 0) return null;
    const closed = finishBatch(this.#options, this.#writer.database);
    this.#ended = true;
    this.#closed.set(closed.batch, closed);
    return closed;
  }

  /** Closed batches, oldest first. */
  list(): readonly ClosedBatch[] {
    return [...this.#closed.values()];
  }

  /** Whether `delete` would remove this closed batch: not one of the newest two. */
  deletable(batch: number): boolean {
    if (!this.#closed.has(batch)) return false;
    const newer = [...this.#closed.keys()].filter((other) => other > batch);
    return newer.length >= KEPT_FOR_DUPLICATES;
  }

  /** Unlinks a closed batch. Throws BatchError `unknown-batch`, or `still-needed` (`deletable`). */
  delete(batch: number): void {
    const closed = this.#closed.get(batch);
    if (closed === undefined) throw new BatchError('unknown-batch', `no batch ${batch}`, batch);
    if (!this.deletable(batch)) {
      throw new BatchError('still-needed', `batch ${batch} is one of the newest`, batch);
    }
    this.#unlink(closed);
  }

  /**
   * Unlinks a closed batch to make room, also one of the newest. Throws BatchError `unknown-batch`,
   * or `still-needed` for the one that the next batch has to follow.
   */
  drop(batch: number): void {
    const closed = this.#closed.get(batch);
    if (closed === undefined) throw new BatchError('unknown-batch', `no batch ${batch}`, batch);
    if (this.#ended && [...this.#closed.keys()].at(-1) === batch) {
      throw new BatchError('still-needed', `the next batch follows batch ${batch}`, batch);
    }
    this.#unlink(closed);
  }

  #unlink({ path, batch }: ClosedBatch): void {
    rmSync(path, { force: true });
    syncFolder(this.#options.folder);
    this.#closed.delete(batch);
  }

  /** The newest `limit` readings at least, if the files still have them, oldest first. */
  *recent(limit: number): Generator<Reading> {
    const from = this.#writer.meta.lastSeq - limit;
    for (const { path, lastSeq } of this.#closed.values()) {
      if (lastSeq <= from) continue;
      const database = this.#options.openReadOnly(path);
      try {
        yield* readReadings(database, from);
      } finally {
        database.close();
      }
    }
    if (!this.#ended) yield* readReadings(this.#writer.database, from);
  }

  /**
   * The databases of all batches, newest first. Look into one at once: it is closed when the next one
   * is asked for, and the open one may be closed at any later time.
   */
  *newestFirst(): Generator<{ readonly batch: number; readonly database: Database }> {
    if (!this.#ended) yield { batch: this.#writer.meta.batch, database: this.#writer.database };
    for (const { batch, path } of [...this.#closed.values()].reverse()) {
      if (!this.#closed.has(batch)) continue;
      const database = this.#options.openReadOnly(path);
      try {
        yield { batch, database };
      } finally {
        database.close();
      }
    }
  }

  /** Closes the open batch's file without closing the batch; the store cannot be used any more. */
  stop(): void {
    this.#writer.database.close();
  }

  /** The configuration has changed: begins a batch that says so. */
  #takeNewRules(): void {
    if (this.#writer.meta.count > 0) {
      this.closeCurrent();
      return;
    }
    const { database, meta } = this.#writer;
    database.close();
    removeOpen(this.#options.folder, meta.batch);
    this.#begin();
  }

  #begin(): void {
    this.#writer = beginNext(this.#options, this.#closed);
    this.#ended = false;
    this.#ageFromMs = this.#writer.meta.openedMs;
  }
}

function openPath(folder: string, batch: number): string {
  return join(folder, `${batch}.open.sqlite`);
}

function closedPath(folder: string, batch: number): string {
  return join(folder, `${batch}.sqlite`);
}

function removeOpen(folder: string, batch: number): void {
  for (const suffix of ['', '-wal', '-shm', '-journal']) {
    rmSync(openPath(folder, batch) + suffix, { force: true });
  }
}

/** What the folder holds after a crash: closed batches, and the open one if there is one. */
function recoverFolder(options: BatchStoreOptions): {
  closed: Map<number, ClosedBatch>;
  open: BatchWriter | null;
} {
  const { folder } = options;
  const openNumbers = new Set<number>();
  const closedNumbers: number[] = [];
  for (const name of readdirSync(folder)) {
    const [, digits, isOpen, suffix] = FILE_NAME.exec(name) ?? [];
    if (digits === undefined) continue;
    if (isOpen !== undefined) openNumbers.add(Number(digits));
    else if (suffix === undefined) closedNumbers.push(Number(digits));
  }
  const closed = new Map<number, ClosedBatch>();
  for (const number of closedNumbers.sort((a, b) => a - b)) {
    closed.set(number, readClosed(options, number));
  }
  let open: BatchWriter | null = null;
  for (const number of [...openNumbers].sort((a, b) => a - b)) {
    // The rename was the last step of closing: journals under the old name are left-overs.
    if (closed.has(number)) removeOpen(folder, number);
    else if (open !== null)
      throw new BatchError('bad-folder', `${folder}: two open batches`, number);
    else open = recoverOpen(options, number, closed);
  }
  return { closed, open };
}

function readClosed(options: BatchStoreOptions, batch: number): ClosedBatch {
  const path = closedPath(options.folder, batch);
  const database = options.openReadOnly(path);
  try {
    const meta = readMeta(database);
    if (meta === null || meta.closedMs === null || meta.batch !== batch) {
      throw new BatchError('bad-batch', `${path} is not closed batch ${batch}`, batch);
    }
    const { closedMs } = meta;
    return { ...meta, closedMs, path, bytes: statSync(path).size, rules: rulesIn(database) };
  } finally {
    database.close();
  }
}

/** The open batch; null where it was never begun, or where it had been closed but not renamed. */
function recoverOpen(
  options: BatchStoreOptions,
  batch: number,
  closed: Map<number, ClosedBatch>,
): BatchWriter | null {
  const path = openPath(options.folder, batch);
  const database = options.openDatabase(path);
  const meta = readMeta(database);
  if (meta === null) {
    database.close();
    removeOpen(options.folder, batch);
    return null;
  }
  if (meta.closedMs !== null) {
    const finished = finishBatch(options, database);
    closed.set(batch, finished);
    return null;
  }
  const previous = [...closed.values()].at(-1);
  if (meta.batch !== batch || !follows(meta, previous)) {
    database.close();
    throw new BatchError('bad-batch', `${path} does not follow the newest closed batch`, batch);
  }
  return new BatchWriter(database, meta, options.rules);
}

/** Whether a batch goes on where the newest closed one ended; those in between may be dropped. */
function follows(meta: BatchMeta, previous: ClosedBatch | undefined): boolean {
  if (previous === undefined) return true;
  if (previous.batch === meta.batch - 1) return previous.lastSeq === meta.firstSeq - 1;
  return previous.batch < meta.batch && previous.lastSeq < meta.firstSeq;
}

/** Meta of an empty batch after the newest closed one. */
function nextMeta(options: BatchStoreOptions, closed: ReadonlyMap<number, ClosedBatch>): BatchMeta {
  const previous = [...closed.values()].at(-1);
  const firstSeq = (previous?.lastSeq ?? 0) + 1;
  const chainStart = previous?.chainEnd ?? CHAIN_START;
  return {
    source: options.source,
    gateway: options.gateway,
    batch: (previous?.batch ?? 0) + 1,
    bootId: options.bootId,
    openedMs: options.nowMs(),
    closedMs: null,
    chainStart,
    chainEnd: chainStart,
    firstSeq,
    lastSeq: firstSeq - 1,
    count: 0,
  };
}

/** Begins the batch after the newest closed one. */
function beginNext(
  options: BatchStoreOptions,
  closed: ReadonlyMap<number, ClosedBatch>,
): BatchWriter {
  const meta = nextMeta(options, closed);
  const database = options.openDatabase(openPath(options.folder, meta.batch));
  try {
    beginBatch(database, meta, options.rules);
  } catch (error) {
    database.close();
    throw error;
  }
  syncFolder(options.folder);
  return new BatchWriter(database, meta, options.rules);
}

/**
 * Closes a batch for good. Each step may be cut off: without `closedMs` it is open still; with it,
 * this runs again at the next start.
 */
function finishBatch(options: BatchStoreOptions, database: Database): ClosedBatch {
  const { folder } = options;
  leaveWal(database);
  const meta = readMeta(database);
  if (meta === null) throw new BatchError('bad-batch', `${database.name} has no meta`);
  const closedMs = meta.closedMs ?? Math.max(options.nowMs(), meta.openedMs);
  if (meta.closedMs === null) markClosed(database, meta, closedMs);
  const rules = rulesIn(database);
  database.close();
  const path = closedPath(folder, meta.batch);
  renameSync(openPath(folder, meta.batch), path);
  syncFolder(folder);
  return { ...meta, closedMs, path, bytes: statSync(path).size, rules };
}

/** Moves the WAL into the file and leaves WAL mode, so that the file is complete by itself. */
function leaveWal(database: Database): void {
  try {
    database.pragma('journal_mode = DELETE');
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
    if (!code.startsWith('SQLITE_BUSY') && code !== 'SQLITE_LOCKED') throw cause;
    throw new BatchError('busy', `${database.name} is being read`, null, { cause });
  }
}

/** Makes renames and new names durable. */
function syncFolder(folder: string): void {
  const descriptor = openSync(folder, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
