/**
 * The files of a batch folder: their names, and the steps in which one begins and is closed.
 *
 * `<n>.open.sqlite` (one, WAL) is the open batch, `<n>.sqlite` a closed one. Always holds: each step
 * may be cut off at any point, and `recover-folder.ts` goes on from there.
 */
import { existsSync, renameSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { CHAIN_START } from '@blocktorrent/protocol/reading.ts';
import type { Database } from 'better-sqlite3';
import { BatchError } from './batch-error.ts';
import {
  type BatchMeta,
  BatchWriter,
  beginBatch,
  markClosed,
  readMeta,
  rulesIn,
} from './batch-file.ts';
import type { BatchStoreOptions, ClosedBatch } from './batch-store.ts';
import { syncFolder } from './sync-folder.ts';

export function openPath(folder: string, batch: number): string {
  return join(folder, `${batch}.open.sqlite`);
}

export function closedPath(folder: string, batch: number): string {
  return join(folder, `${batch}.sqlite`);
}

export function removeOpen(folder: string, batch: number): void {
  for (const suffix of ['', '-wal', '-shm', '-journal']) {
    rmSync(openPath(folder, batch) + suffix, { force: true });
  }
}

export function readClosed(options: BatchStoreOptions, batch: number): ClosedBatch {
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

/** Meta of an empty batch after the newest closed one, and after number `after`. */
export function nextMeta(
  options: BatchStoreOptions,
  closed: ReadonlyMap<number, ClosedBatch>,
  after = 0,
): BatchMeta {
  const previous = [...closed.values()].at(-1);
  const firstSeq = (previous?.lastSeq ?? 0) + 1;
  const chainStart = previous?.chainEnd ?? CHAIN_START;
  return {
    source: options.source,
    gateway: options.gateway,
    batch: Math.max(previous?.batch ?? 0, after) + 1,
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
export function beginNext(
  options: BatchStoreOptions,
  closed: ReadonlyMap<number, ClosedBatch>,
  after = 0,
): BatchWriter {
  const meta = nextMeta(options, closed, after);
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
export function finishBatch(options: BatchStoreOptions, database: Database): ClosedBatch {
  const ended = endBatch(options, database);
  nameBatch(options.folder, ended.batch);
  return ended;
}

/** The first half: it is complete and on the disk, under the name of an open one, and closed. */
export function endBatch(options: BatchStoreOptions, database: Database): ClosedBatch {
  const { folder } = options;
  // The writer has synced by itself (`wal-sync.ts`); here SQLite does, the end of its journal included.
  const before = database.pragma('synchronous', { simple: true });
  database.pragma('synchronous = EXTRA');
  try {
    leaveWal(database);
  } catch (error) {
    // Somebody reads it: it goes on as an open one.
    database.pragma(`synchronous = ${String(before)}`);
    throw error;
  }
  const meta = readMeta(database);
  if (meta === null) throw new BatchError('bad-batch', `${database.name} has no meta`);
  const closedMs = meta.closedMs ?? Math.max(options.nowMs(), meta.openedMs);
  const rules = rulesIn(database);
  if (meta.closedMs === null) markClosed(database, meta, closedMs);
  database.close();
  const bytes = statSync(openPath(folder, meta.batch)).size;
  return { ...meta, closedMs, path: closedPath(folder, meta.batch), bytes, rules };
}

/** The second half, which can be done again where the disk did not take it. */
export function nameBatch(folder: string, batch: number): void {
  const open = openPath(folder, batch);
  if (existsSync(open)) renameSync(open, closedPath(folder, batch));
  syncFolder(folder);
}

/** Moves the WAL into the file and leaves WAL mode, so that the file is complete by itself. */
export function leaveWal(database: Database): void {
  try {
    database.pragma('journal_mode = DELETE');
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
    if (!code.startsWith('SQLITE_BUSY') && code !== 'SQLITE_LOCKED') throw cause;
    throw new BatchError('busy', `${database.name} is being read`, null, { cause });
  }
}
