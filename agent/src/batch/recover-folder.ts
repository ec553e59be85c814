/**
 * What a batch folder holds after a crash, a power cut, or damage to the disk.
 *
 * Enters: the folder as it is. Leaves: closed batches, the open one if there is one, and what was
 * wrong. Always holds: a rotation that was cut off is finished; what never became a batch is gone;
 * a damaged file never keeps the gateway from its work: its good readings begin a new batch, with
 * new numbers and their own times, behind them stands a reading on `$blocktorrent/damaged` that says
 * so, and only when that batch is durable the file goes to the quarantine.
 */
import { readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { BATCH_META, BATCH_SQL } from '@blocktorrent/protocol/batch.ts';
import { equalBytes } from '@blocktorrent/protocol/bytes.ts';
import { ProtocolError } from '@blocktorrent/protocol/errors.ts';
import { chainHash, type Reading } from '@blocktorrent/protocol/reading.ts';
import type { Database } from 'better-sqlite3';
import { nodeSha256 } from '../crypto/node-hasher.ts';
import { BatchError } from './batch-error.ts';
import { type BatchMeta, BatchWriter, beginBatch, readMeta, readReadings } from './batch-file.ts';
import {
  closedPath,
  finishBatch,
  leaveWal,
  nextMeta,
  openPath,
  readClosed,
  removeOpen,
} from './batch-folder.ts';
import type { BatchStoreOptions, ClosedBatch } from './batch-store.ts';
import { salvageReadings } from './salvage.ts';
import { syncFolder } from './sync-folder.ts';

/** Topic of the records of what was damaged; no MQTT subscription of ours can mean it. */
export const DAMAGED_TOPIC = '$blocktorrent/damaged';

/** A damaged file, and what became of it. */
export interface Damage {
  readonly batch: number;
  readonly reason: string;
  /** Readings saved; null where it is still in its place, and tried again at the next start. */
  readonly salvaged: number | null;
}

export interface Recovered {
  readonly closed: Map<number, ClosedBatch>;
  readonly open: BatchWriter | null;
  readonly damages: readonly Damage[];
}

interface Damaged {
  readonly batch: number;
  readonly path: string;
  readonly reason: string;
  /** Its readings are in another file, or safe without it. */
  readonly spare: boolean;
}

const FILE_NAME = /^([1-9]\d{0,14})(\.open)?\.sqlite(-wal|-shm|-journal)?$/;
/** Is made while readings are saved, and means nothing before it is renamed. */
const SALVAGE_NAME = 'salvage.sqlite';
const GROUP_READINGS = 500;
const PAGE_BYTES = 4096;
/** Closed batches that are read at the start: those that were written last, if they are not sealed. */
const CHECKED_MAX = 2;
/** What SQLite says of a file that is broken, not of a disk that is full or away. */
const DAMAGE_CODE =
  /^SQLITE_(CORRUPT|NOTADB|ERROR|MISMATCH|IOERR_READ|IOERR_SHORT_READ|CONSTRAINT)/;

/** See the header. Throws BatchError `busy` and SqliteError of a disk that cannot be used. */
export function recoverFolder(options: BatchStoreOptions): Recovered {
  const { folder } = options;
  for (const suffix of ['', '-wal', '-shm', '-journal']) {
    rmSync(join(folder, SALVAGE_NAME + suffix), { force: true });
  }
  const { closedNumbers, openNumbers } = namesIn(folder);
  const closed = new Map<number, ClosedBatch>();
  const damaged: Damaged[] = [];
  const checked = closedNumbers.slice(-CHECKED_MAX);
  for (const [done, batch] of closedNumbers.entries()) {
    options.opening?.(done, closedNumbers.length);
    const path = closedPath(folder, batch);
    const spare = options.isSafe?.(batch) ?? false;
    const found = orDamage(
      () => readWhole(options, batch, checked.includes(batch) && !spare),
      (reason) => {
        damaged.push({ batch, path, reason, spare });
      },
    );
    if (found !== null) closed.set(batch, found);
  }
  let open: BatchWriter | null = null;
  for (const batch of openNumbers) {
    // The rename was the last step of closing: journals under the old name are left-overs.
    if (closed.has(batch)) {
      removeOpen(folder, batch);
      continue;
    }
    endOpen(options, open, closed);
    const path = openPath(folder, batch);
    open = orDamage(
      () => recoverOpen(options, batch, closed),
      (reason) => {
        const copyOf = closedNumbers.includes(batch) || isCopy(options, path, batch, openNumbers);
        damaged.push({ batch, path, reason, spare: copyOf });
      },
    );
  }
  const saved = damaged.length === 0 ? [] : savedIn(options, closed, open);
  const known = damaged.map((one) => ({ ...one, spare: one.spare || saved.includes(one.batch) }));
  return { closed, ...salvageAll(options, closed, open, known) };
}

function readWhole(options: BatchStoreOptions, batch: number, check: boolean): ClosedBatch {
  const found = readClosed(options, batch);
  if (!check) return found;
  const database = options.openReadOnly(found.path);
  try {
    requireWhole(database, found);
  } finally {
    database.close();
  }
  return found;
}

function namesIn(folder: string): { closedNumbers: number[]; openNumbers: number[] } {
  const open = new Set<number>();
  const closed = new Set<number>();
  for (const name of readdirSync(folder)) {
    const [, digits, isOpen, suffix] = FILE_NAME.exec(name) ?? [];
    if (digits === undefined) continue;
    if (isOpen !== undefined) open.add(Number(digits));
    else if (suffix === undefined) closed.add(Number(digits));
  }
  const sorted = (numbers: Set<number>) => [...numbers].sort((a, b) => a - b);
  return { closedNumbers: sorted(closed), openNumbers: sorted(open) };
}

/** The result, or null and a word to `onDamage` where the file is broken. */
function orDamage<T>(work: () => T, onDamage: (reason: string) => void): T | null {
  try {
    return work();
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    const isDamage =
      code === 'bad-batch' || error instanceof ProtocolError || DAMAGE_CODE.test(code);
    if (!isDamage || !(error instanceof Error)) throw error;
    onDamage(error.message);
    return null;
  }
}

/** There is a newer open batch: this one is closed. */
function endOpen(
  options: BatchStoreOptions,
  open: BatchWriter | null,
  closed: Map<number, ClosedBatch>,
): void {
  if (open === null) return;
  const { batch, count } = open.meta;
  if (count > 0) closed.set(batch, finishBatch(options, open.database));
  else {
    open.database.close();
    removeOpen(options.folder, batch);
  }
}

/** The open batch; null where it was never begun, or where it had been closed but not renamed. */
function recoverOpen(
  options: BatchStoreOptions,
  batch: number,
  closed: Map<number, ClosedBatch>,
): BatchWriter | null {
  const path = openPath(options.folder, batch);
  keepJournal(path);
  const database = options.openDatabase(path);
  try {
    const meta = readMeta(database);
    if (meta === null) {
      database.close();
      removeOpen(options.folder, batch);
      return null;
    }
    const previous = [...closed.values()].at(-1);
    if (meta.batch !== batch || !follows(meta, previous)) {
      throw new BatchError('bad-batch', `${path} does not follow the newest closed batch`, batch);
    }
    requireWhole(database, meta);
    if (meta.closedMs !== null) {
      closed.set(batch, finishBatch(options, database));
      return null;
    }
    return new BatchWriter(database, meta, options.rules);
  } catch (error) {
    database.close();
    throw error;
  }
}

/** SQLite deletes the journal of a file without a byte; beside a page it reads what is in there. */
function keepJournal(path: string): void {
  const bytesOf = (file: string) => statSync(file, { throwIfNoEntry: false })?.size ?? 0;
  if (bytesOf(path) === 0 && bytesOf(`${path}-wal`) > 0) {
    writeFileSync(path, new Uint8Array(PAGE_BYTES));
  }
}

/** Throws BatchError `bad-batch` where a page or a reading is not what it was. */
function requireWhole(database: Database, meta: BatchMeta): void {
  const problem = database.pragma('quick_check(1)', { simple: true });
  if (problem !== 'ok') throw new BatchError('bad-batch', `${database.name}: ${String(problem)}`);
  let chain = meta.chainStart;
  let seq = meta.firstSeq - 1;
  for (const reading of readReadings(database, 0)) {
    seq += 1;
    if (reading.seq !== seq) {
      throw new BatchError('bad-batch', `${database.name}: reading ${seq} is missing`, meta.batch);
    }
    chain = chainHash(chain, reading, nodeSha256);
  }
  if (seq === meta.lastSeq && equalBytes(chain, meta.chainEnd)) return;
  const text = `${database.name}: the chain of hashes does not lead to its head`;
  throw new BatchError('bad-batch', text, meta.batch);
}

/** Whether a batch goes on where the newest closed one ended; those in between may be dropped. */
function follows(meta: BatchMeta, previous: ClosedBatch | undefined): boolean {
  if (previous === undefined) return true;
  if (previous.batch === meta.batch - 1) return previous.lastSeq === meta.firstSeq - 1;
  return previous.batch < meta.batch && previous.lastSeq < meta.firstSeq;
}

/** Whether this is another open batch once more, under a wrong name. */
function isCopy(
  options: BatchStoreOptions,
  path: string,
  batch: number,
  openNumbers: readonly number[],
): boolean {
  try {
    const database = options.openReadOnly(path);
    try {
      const says = Number(metaValue(database, BATCH_META.batch));
      return says !== batch && openNumbers.includes(says);
    } finally {
      database.close();
    }
  } catch {
    return false;
  }
}

function metaValue(database: Database, key: string): string | undefined {
  return (database.prepare(BATCH_SQL.getMeta).get({ key }) as { value: string } | undefined)?.value;
}

/** Numbers of the damaged batches whose readings this one holds. */
function salvagedIn(database: Database): number[] {
  return (metaValue(database, BATCH_META.salvaged) ?? '').split(',').filter(Boolean).map(Number);
}

/** The same of all batches that are there. */
function savedIn(
  options: BatchStoreOptions,
  closed: ReadonlyMap<number, ClosedBatch>,
  open: BatchWriter | null,
): number[] {
  const saved = open === null ? [] : salvagedIn(open.database);
  for (const { path } of closed.values()) {
    const database = options.openReadOnly(path);
    saved.push(...salvagedIn(database));
    database.close();
  }
  return saved;
}

/** Puts a file away; whether the disk could. What is left is found again at the next start. */
function putAway(options: BatchStoreOptions, { path, batch, reason }: Damaged, salvaged: number) {
  try {
    options.quarantine.take(path, { reason, salvaged });
    options.log.error('a damaged batch was put into quarantine', { batch, reason, salvaged });
    return true;
  } catch (error) {
    if (!(error instanceof Error) || !('code' in error)) throw error;
    options.log.error('a damaged batch cannot be put into quarantine yet', { batch, error });
    return false;
  }
}

/** Whether only this file knew the numbers that readings have got: new ones must not have them. */
function endsChain(
  { path, batch }: Pick<Damaged, 'path' | 'batch'>,
  closed: ReadonlyMap<number, ClosedBatch>,
  open: BatchWriter | null,
): boolean {
  const newest = Math.max(0, ...closed.keys());
  return open === null && batch > newest && !path.endsWith('.open.sqlite');
}

function salvageAll(
  options: BatchStoreOptions,
  closed: Map<number, ClosedBatch>,
  open: BatchWriter | null,
  damaged: readonly Damaged[],
): { open: BatchWriter | null; damages: Damage[] } {
  const wanted = damaged.filter((one) => !one.spare || endsChain(one, closed, open));
  const counts = new Map<number, number>();
  let writer = open;
  let failed = false;
  if (wanted.length > 0) {
    try {
      endOpen(options, open, closed);
      writer = null;
      writer = salvage(options, closed, wanted, counts);
    } catch (error) {
      failed = true;
      const batches = wanted.map(({ batch }) => batch);
      options.log.error('readings of damaged batches cannot be saved yet', { batches, error });
    }
  }
  const damages = damaged.map((one): Damage => {
    const { batch, reason, spare } = one;
    if (failed && (!spare || wanted.includes(one))) return { batch, reason, salvaged: null };
    const salvaged = counts.get(batch) ?? 0;
    return { batch, reason, salvaged: putAway(options, one, salvaged) ? salvaged : null };
  });
  if (damages.length > 0) syncFolder(options.folder);
  return { open: writer, damages };
}

/** A new open batch with all that can be read of the damaged ones; `counts` is filled. */
function salvage(
  options: BatchStoreOptions,
  closed: Map<number, ClosedBatch>,
  damaged: readonly Damaged[],
  counts: Map<number, number>,
): BatchWriter {
  const { folder } = options;
  const temporary = join(folder, SALVAGE_NAME);
  const database = options.openDatabase(temporary);
  let meta: BatchMeta;
  try {
    const next = nextMeta(options, closed);
    const number = Math.max(next.batch, ...damaged.map(({ batch }) => batch)) + 1;
    const firstSeq = next.firstSeq + seqsUsed(options, damaged, next);
    // Not the number after the newest: this one does not go on at its last reading.
    meta = { ...next, batch: number, firstSeq, lastSeq: firstSeq - 1 };
    beginBatch(database, meta, options.rules);
    const text = damaged.map(({ batch }) => batch).join(',');
    database.prepare(BATCH_SQL.putMeta).run({ key: BATCH_META.salvaged, value: text });
    const writer = new BatchWriter(database, meta, options.rules);
    for (const one of damaged) counts.set(one.batch, saveOne(options, one, writer));
    leaveWal(database);
  } finally {
    database.close();
  }
  const path = openPath(folder, meta.batch);
  renameSync(temporary, path);
  syncFolder(folder);
  const again = options.openDatabase(path);
  return new BatchWriter(again, readMeta(again) ?? meta, options.rules);
}

/** Numbers from `firstSeq` on that lost readings may have had: an anchor may name them. */
function seqsUsed(
  options: BatchStoreOptions,
  damaged: readonly Damaged[],
  { firstSeq, batch: next }: BatchMeta,
): number {
  const isNewest = damaged.some(
    ({ path, batch }) => path.endsWith('.open.sqlite') || batch >= next,
  );
  if (!isNewest) return 0;
  let last = firstSeq - 1;
  for (const one of damaged) {
    for (const { seq } of readingsIn(options, one)) last = Math.max(last, seq);
  }
  return last - firstSeq + 1 + options.maxReadings + GROUP_READINGS;
}

/** Appends what can be read of one file, and the record of it; returns how many readings. */
function saveOne(options: BatchStoreOptions, damaged: Damaged, writer: BatchWriter): number {
  /** Numbers that readings had, and have now: for those that repeat others. */
  const renamed = new Map<number, number>();
  let group: Reading[] = [];
  let nextSeq = writer.meta.lastSeq + 1;
  const flush = () => {
    writer.append(group);
    group = [];
  };
  // What is safe elsewhere is not kept twice.
  for (const reading of damaged.spare ? [] : readingsIn(options, damaged)) {
    const { duplicateOf } = reading;
    const seq = nextSeq++;
    renamed.set(reading.seq, seq);
    const original = duplicateOf === null ? null : (renamed.get(duplicateOf) ?? duplicateOf);
    group.push({ ...reading, seq, duplicateOf: original });
    if (group.length >= GROUP_READINGS) flush();
  }
  const saved = renamed.size;
  const record = { what: 'damaged', batch: damaged.batch, reason: damaged.reason, salvaged: saved };
  const payload = Buffer.from(JSON.stringify(record));
  group.push({ ...options.blank(), seq: nextSeq, topic: DAMAGED_TOPIC, payload });
  flush();
  return saved;
}

function* readingsIn(options: BatchStoreOptions, { path }: Damaged): Generator<Reading> {
  let database: Database;
  try {
    database = options.openReadOnly(path);
  } catch {
    // Not even a database: it goes to the quarantine as it is.
    return;
  }
  try {
    yield* salvageReadings(database);
  } finally {
    database.close();
  }
}
