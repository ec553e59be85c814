/**
 * The gateway's private database (P §3.2.3, step 1): one open batch, and closed ones behind it.
 *
 * Enters: readings in order. Leaves: closed batch files, for sealing. Always holds: what `append`
 * returned from, or `write` before a `sync`, survives any crash; seq and chain go on over batches; a
 * file named `<n>.sqlite` is
 * complete, never changes, and has no journal beside it. Files: `<n>.open.sqlite` (one, WAL), then
 * `<n>.sqlite`. A batch without readings is never closed.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { type Reading, requireReading } from '@blocktorrent/protocol/reading.ts';
import type { Database } from 'better-sqlite3';
import type { Log } from '../runtime/log.ts';
import type { Quarantine } from '../runtime/quarantine.ts';
import { BatchError } from './batch-error.ts';
import {
  type BatchMeta,
  type BatchWriter,
  hasRules,
  newestOriginals,
  readReadings,
} from './batch-file.ts';
import { beginNext, endBatch, nameBatch, nextMeta, removeOpen } from './batch-folder.ts';
import type { BatchRule } from './batch-rule.ts';
import { type Damage, recoverFolder } from './recover-folder.ts';
import { salvageReadings } from './salvage.ts';
import { syncFolder } from './sync-folder.ts';

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
  /** Takes damaged files. */
  readonly quarantine: Pick<Quarantine, 'take'>;
  /** A reading of the gateway's own; for the records of damage. */
  readonly blank: () => Omit<Reading, 'seq' | 'topic' | 'payload'>;
  /** Whether the readings of this closed batch are safe without its file. */
  readonly isSafe?: (batch: number) => boolean;
  /** Closed batches that were opened, of how many, before each one: there may be thousands. */
  readonly opening?: (done: number, of: number) => void;
  readonly log: Log;
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

/** How often each of the newest readings may have come again before the oldest are not looked at. */
const REPETITIONS_MAX = 8;
/** Closed batches that stay, whatever became of them: repetitions of their readings may come. */
const KEPT_FOR_DUPLICATES = 2;

/** Open with `BatchStore.open`, which recovers from a crash at any point. */
export class BatchStore {
  readonly #options: BatchStoreOptions;
  /** Closed batches by number, in order. */
  readonly #closed: Map<number, ClosedBatch>;
  /** Null where the next batch is not begun: the last one is closed, or the disk is full, … */
  #writer: BatchWriter | null;
  /** Closed, and the disk has not taken its name yet: until then nothing follows it. */
  #ended: ClosedBatch | null = null;
  #ageFromMs: number;
  /** The newest meta that survives a power cut; null where that is the current one. */
  #synced: BatchMeta | null = null;
  /** A sync has failed, and nobody knows what of the log is on the disk. */
  #doubtful = false;
  /** Number of a damaged batch that is still in its place: the next one is after it. */
  readonly #after: number;
  /** What was wrong with the folder when it was opened. */
  readonly damages: readonly Damage[];

  private constructor(
    options: BatchStoreOptions,
    closed: Map<number, ClosedBatch>,
    writer: BatchWriter | null,
    damages: readonly Damage[],
  ) {
    this.#options = options;
    this.#closed = closed;
    this.#writer = writer;
    this.#ageFromMs = writer?.meta.openedMs ?? 0;
    const left = damages.filter(({ salvaged }) => salvaged === null);
    this.#after = Math.max(0, ...left.map(({ batch }) => batch));
    this.damages = damages;
  }

  /**
   * Opens the folder: finishes a rotation that was cut off, drops what never became a batch, puts
   * what is damaged into the quarantine, and goes on with the open one. A batch is begun with its
   * first reading, so that a full disk does not matter yet. Throws SqliteError of a disk that cannot
   * be read.
   */
  static open(options: BatchStoreOptions): BatchStore {
    mkdirSync(options.folder, { recursive: true, mode: 0o700 });
    const { closed, open, damages } = recoverFolder(options);
    const store = new BatchStore(options, closed, open, damages);
    if (open !== null && !hasRules(open.database, options.rules)) store.#takeNewRules(open);
    return store;
  }

  /** Seq that the next reading must have. */
  get nextSeq(): number {
    return this.current.lastSeq + 1;
  }

  /** Meta of the open batch, or of the one to come; its `chainEnd` is the chain's head. */
  get current(): BatchMeta {
    return this.#writer?.meta ?? nextMeta(this.#options, this.#closed, this.#after);
  }

  /** As `current`, without what a power cut may still take away. */
  get durable(): BatchMeta {
    return this.#synced ?? this.current;
  }

  /** Size of the open batch, in bytes. */
  get currentBytes(): number {
    return this.#ended?.bytes ?? this.#writer?.bytes ?? 0;
  }

  /** What the open batch will still take of the disk when its WAL has come into it, in bytes. */
  get owedBytes(): number {
    return this.#ended === null ? (this.#writer?.owedBytes ?? 0) : 0;
  }

  /**
   * Appends readings in one synced transaction, all or none. Throws BatchError `out-of-order`,
   * ProtocolError on a reading that is none, SqliteError (disk full, …): then nothing has changed.
   */
  append(readings: readonly Reading[]): void {
    for (const reading of readings) requireReading(reading);
    this.write(readings);
    this.syncNow();
  }

  /**
   * As `append`, for readings that `requireReading` has taken; but they survive a power cut only when
   * `sync` has resolved, or `syncNow` returned.
   */
  write(readings: readonly Reading[]): void {
    if (this.#ended !== null) {
      const { batch } = this.#ended;
      throw new BatchError(
        'busy',
        `the disk has not taken the name of closed batch ${batch}`,
        batch,
      );
    }
    const writer = this.#writer ?? this.#begin();
    const before = writer.meta;
    this.#clearDoubt();
    writer.write(readings);
    this.#synced ??= before;
    if (before.count === 0) this.#ageFromMs = this.#options.nowMs();
  }

  /**
   * Resolves when all that was written before survives a power cut, without holding up the event
   * loop. Rejects with the system's error: what was written is there, and stays doubtful until a later
   * call has brought it to the disk in another way.
   */
  async sync(): Promise<void> {
    const writer = this.#writer;
    // A batch that was closed is on the disk.
    this.#clearDoubt();
    if (writer === null || this.#synced === null) return;
    const { meta } = writer;
    try {
      await writer.sync();
    } catch (error) {
      if (writer !== this.#writer) return;
      this.#doubtful = true;
      throw error;
    }
    if (writer !== this.#writer) return;
    // The kernel tells of a page that it could not write once: another sync may have been told.
    if (this.#doubtful) this.#clearDoubt();
    else this.#settle(meta);
  }

  /** As `sync`, at once. Throws the system's error. */
  syncNow(): void {
    this.#clearDoubt();
    if (this.#writer === null || this.#synced === null) return;
    try {
      this.#writer.syncNow();
    } catch (error) {
      this.#doubtful = true;
      throw error;
    }
    this.#settle(this.#writer.meta);
  }

  /** Why the open batch should be closed now, or null; an empty one never. */
  due(nowMs: number): RotationReason | null {
    if (this.#ended !== null) return 'age';
    if (this.#writer === null || this.#writer.meta.count === 0) return null;
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
    if (this.#writer === null || this.#writer.meta.count === 0) return null;
    const closed = this.#ended ?? endBatch(this.#options, this.#writer.database);
    if (this.#ended === null) this.#writer.end();
    this.#ended = closed;
    this.#settle(null);
    nameBatch(this.#options.folder, closed.batch);
    this.#ended = null;
    this.#writer = null;
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
    if (this.#writer === null && [...this.#closed.keys()].at(-1) === batch) {
      throw new BatchError('still-needed', `the next batch follows batch ${batch}`, batch);
    }
    this.#unlink(closed);
  }

  #unlink({ path, batch }: ClosedBatch): void {
    rmSync(path, { force: true });
    syncFolder(this.#options.folder);
    this.#closed.delete(batch);
  }

  /**
   * The newest `limit` readings that repeat no other, if the files still have them, and what came since,
   * oldest first. A broker may send again what first came before any number of repetitions, so these do
   * not count, up to `REPETITIONS_MAX` for each. What cannot be read of a closed batch is left out.
   */
  *recent(limit: number): Generator<Reading> {
    const open = this.#writer;
    const inOpen = open === null ? null : newestOriginals(open.database, limit);
    let left = limit - (inOpen?.count ?? 0);
    let rowsLeft = limit * (1 + REPETITIONS_MAX) - (open?.meta.count ?? 0);
    const wanted: { path: string; from: number }[] = [];
    for (const closed of [...this.#closed.values()].reverse()) {
      if (left <= 0 || rowsLeft <= 0) break;
      const { count, afterSeq } = this.#newestOf(closed, left);
      // All of one that is used up: repetitions tell of readings before it.
      wanted.unshift({ path: closed.path, from: count < left ? 0 : afterSeq });
      left -= count;
      rowsLeft -= closed.count;
    }
    for (const { path, from } of wanted) {
      const database = this.#options.openReadOnly(path);
      try {
        yield* salvageReadings(database, from);
      } finally {
        database.close();
      }
    }
    if (open === null || inOpen === null) return;
    yield* readReadings(open.database, inOpen.count < limit ? 0 : inOpen.afterSeq);
  }

  #newestOf({ path, lastSeq, count }: ClosedBatch, limit: number) {
    const database = this.#options.openReadOnly(path);
    try {
      return newestOriginals(database, limit);
    } catch (error) {
      if (!(error instanceof Error) || !('code' in error)) throw error;
      // It is broken: what can be read of it is found row by row.
      return { count, afterSeq: lastSeq - limit };
    } finally {
      database.close();
    }
  }

  /**
   * The databases of all batches, newest first. Look into one at once: it is closed when the next one
   * is asked for, and the open one may be closed at any later time.
   */
  *newestFirst(): Generator<{ readonly batch: number; readonly database: Database }> {
    const writer = this.#ended === null ? this.#writer : null;
    if (writer !== null) yield { batch: writer.meta.batch, database: writer.database };
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
    this.#writer?.end();
    this.#writer?.database.close();
  }

  /** After a sync that failed only a checkpoint tells. Throws as that does. */
  #clearDoubt(): void {
    if (!this.#doubtful) return;
    this.#writer?.checkpoint();
    this.#settle(null);
  }

  /** Up to `meta`, or to the current one, everything is on the disk. */
  #settle(meta: BatchMeta | null): void {
    this.#doubtful = false;
    if (meta === null || meta === this.#writer?.meta) this.#synced = null;
    // A sync that began earlier may end later.
    else if (this.#synced !== null && meta.lastSeq > this.#synced.lastSeq) this.#synced = meta;
  }

  /** The configuration has changed: begins a batch that says so. */
  #takeNewRules({ database, meta }: BatchWriter): void {
    if (meta.count > 0) {
      this.closeCurrent();
      return;
    }
    database.close();
    removeOpen(this.#options.folder, meta.batch);
    this.#writer = null;
  }

  #begin(): BatchWriter {
    this.#writer = beginNext(this.#options, this.#closed, this.#after);
    this.#ageFromMs = this.#writer.meta.openedMs;
    return this.#writer;
  }
}
