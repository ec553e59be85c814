/**
 * What upkeep has still to do, and has seen, in `store.sqlite`: files to hand over, re-placements to
 * record, files that are missing as a whole, who holds which copies, counters.
 *
 * Always holds: a row is written before what it asks for begins and goes when that is done, so a
 * restart loses nothing and repeats little. `dueMs` is of a clock that never goes back and means
 * nothing after a restart: then all rows are due.
 */
import type { Hex, MspId } from '@blocktorrent/protocol/ledger-api.ts';
import type { Database } from 'better-sqlite3';

/** Migration of `store.sqlite`, after the catalog's own. */
export const UPKEEP_MIGRATION = `
  CREATE TABLE handover (
    fileId TEXT NOT NULL, mspId TEXT NOT NULL, dueMs INTEGER NOT NULL, tries INTEGER NOT NULL,
    PRIMARY KEY (fileId, mspId)) WITHOUT ROWID;
  CREATE INDEX handover_due ON handover (dueMs);
  CREATE TABLE replacement (
    fileId TEXT PRIMARY KEY, moved BLOB NOT NULL, recorded INTEGER NOT NULL,
    dueMs INTEGER NOT NULL, tries INTEGER NOT NULL) WITHOUT ROWID;
  CREATE INDEX replacement_due ON replacement (dueMs) WHERE recorded = 0;
  CREATE TABLE wanted (
    fileId TEXT PRIMARY KEY, askFrom TEXT NOT NULL, dueMs INTEGER NOT NULL,
    tries INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE lookup (fileId TEXT PRIMARY KEY) WITHOUT ROWID;
  CREATE TABLE copy (
    fileId TEXT NOT NULL, mspId TEXT NOT NULL, chunks BLOB NOT NULL,
    PRIMARY KEY (fileId, mspId)) WITHOUT ROWID;
  CREATE TABLE spread (
    fileId TEXT NOT NULL, holders INTEGER NOT NULL, chunks INTEGER NOT NULL,
    PRIMARY KEY (fileId, holders)) WITHOUT ROWID;
  CREATE TABLE doubt (
    mspId TEXT PRIMARY KEY, fileId TEXT NOT NULL, sinceMs INTEGER NOT NULL, asked INTEGER NOT NULL,
    reported INTEGER NOT NULL, admitted TEXT) WITHOUT ROWID;
  CREATE TABLE fault (id INTEGER PRIMARY KEY, fault TEXT NOT NULL);
  CREATE TABLE lostChunk (
    fileId TEXT NOT NULL, chunk INTEGER NOT NULL, PRIMARY KEY (fileId, chunk)) WITHOUT ROWID;
  CREATE TABLE note (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;`;

export interface Due {
  readonly fileId: Hex;
  readonly tries: number;
}
export interface Handover extends Due {
  readonly mspId: MspId;
}
export interface Wanted extends Due {
  /** Organisations that have signed for the file. */
  readonly askFrom: readonly MspId[];
}
export interface DueReplacement extends Due {
  /** Chunks that were not ours when the file was placed: BEP 3 bitfield. */
  readonly moved: Uint8Array;
}

export class UpkeepList {
  readonly #db: Database;

  /** @param db migrated with `UPKEEP_MIGRATION`. */
  constructor(db: Database) {
    this.#db = db;
    for (const table of ['handover', 'replacement', 'wanted']) {
      db.prepare(`UPDATE ${table} SET dueMs = 0 WHERE dueMs <> 0`).run();
    }
  }

  /** Runs `work` as one transaction. */
  together<R>(work: () => R): R {
    return this.#db.transaction(work)();
  }

  addHandover(fileId: Hex, mspId: MspId, dueMs: number): void {
    this.#db
      .prepare('INSERT OR REPLACE INTO handover VALUES (?, ?, ?, 0)')
      .run(fileId, mspId, dueMs);
  }
  dueHandovers(nowMs: number, limit: number): Handover[] {
    return this.#db
      .prepare('SELECT * FROM handover WHERE dueMs <= ? ORDER BY dueMs LIMIT ?')
      .all(nowMs, limit) as Handover[];
  }
  retryHandover({ fileId, mspId, tries }: Handover, dueMs: number): void {
    this.#db
      .prepare('UPDATE handover SET dueMs = ?, tries = ? WHERE fileId = ? AND mspId = ?')
      .run(dueMs, tries + 1, fileId, mspId);
  }
  endHandover({ fileId, mspId }: Pick<Handover, 'fileId' | 'mspId'>): void {
    this.#db.prepare('DELETE FROM handover WHERE fileId = ? AND mspId = ?').run(fileId, mspId);
  }

  /** Adds to what has moved here of a file; it has to be recorded (again). */
  addReplacement(fileId: Hex, moved: Uint8Array): void {
    const row = this.#db.prepare('SELECT moved FROM replacement WHERE fileId = ?').get(fileId) as
      | { moved: Uint8Array }
      | undefined;
    const all = moved.map((bits, at) => bits | (row?.moved[at] ?? 0));
    this.#db.prepare('INSERT OR REPLACE INTO replacement VALUES (?, ?, 0, 0, 0)').run(fileId, all);
  }
  /** Of files that are complete here. */
  dueReplacements(nowMs: number, limit: number): DueReplacement[] {
    const rows = this.#db
      .prepare(
        `SELECT fileId, moved, replacement.tries AS tries FROM replacement JOIN file USING (fileId)
         WHERE recorded = 0 AND missing = 0 AND dueMs <= ? ORDER BY dueMs LIMIT ?`,
      )
      .all(nowMs, limit) as DueReplacement[];
    return rows.map((row) => ({ ...row, moved: new Uint8Array(row.moved) }));
  }
  retryReplacement({ fileId, tries }: Due, dueMs: number): void {
    this.#db
      .prepare('UPDATE replacement SET dueMs = ?, tries = ? WHERE fileId = ?')
      .run(dueMs, tries + 1, fileId);
  }
  /** Done, unless more has come here while it was being recorded. */
  endReplacement({ fileId, moved }: DueReplacement): void {
    this.#db
      .prepare('UPDATE replacement SET recorded = 1 WHERE fileId = ? AND moved = ?')
      .run(fileId, moved);
  }
  dropReplacement(fileId: Hex): void {
    this.#db.prepare('DELETE FROM replacement WHERE fileId = ?').run(fileId);
  }

  addWanted(fileId: Hex, askFrom: readonly MspId[]): void {
    this.#db
      .prepare('INSERT OR IGNORE INTO wanted VALUES (?, ?, 0, 0)')
      .run(fileId, JSON.stringify(askFrom));
  }
  isWanted(fileId: Hex): boolean {
    return this.#db.prepare('SELECT 1 FROM wanted WHERE fileId = ?').get(fileId) !== undefined;
  }
  dueWanted(nowMs: number, limit: number): Wanted[] {
    const rows = this.#db
      .prepare('SELECT * FROM wanted WHERE dueMs <= ? ORDER BY dueMs LIMIT ?')
      .all(nowMs, limit) as (Due & { askFrom: string })[];
    return rows.map((row) => ({ ...row, askFrom: JSON.parse(row.askFrom) as MspId[] }));
  }
  retryWanted({ fileId, tries }: Due, dueMs: number): void {
    this.#db
      .prepare('UPDATE wanted SET dueMs = ?, tries = ? WHERE fileId = ?')
      .run(dueMs, tries + 1, fileId);
  }
  endWanted(fileId: Hex): void {
    this.#db.prepare('DELETE FROM wanted WHERE fileId = ?').run(fileId);
  }

  /** Notes a chunk that was found rotten or gone. */
  addLost(fileId: Hex, index: number): void {
    this.#db.prepare('INSERT OR IGNORE INTO lostChunk VALUES (?, ?)').run(fileId, index);
  }
  /** The chunk is here again. */
  endLost(fileId: Hex, index: number): void {
    this.#db.prepare('DELETE FROM lostChunk WHERE fileId = ? AND chunk = ?').run(fileId, index);
  }
  lostCount(): number {
    const row = this.#db.prepare('SELECT count(*) AS count FROM lostChunk').get();
    return (row as { count: number }).count;
  }

  /** Rows that are still open, by table; and files that wait for their part to be worked out. */
  counts(epoch: number): {
    readonly workingOut: number;
    readonly handovers: number;
    readonly unfinished: number;
    readonly unrecorded: number;
    readonly wanted: number;
  } {
    return this.#db
      .prepare(
        `SELECT (SELECT count(*) FROM file WHERE workedOut < ?) AS workingOut,
                (SELECT count(*) FROM handover) AS handovers,
                (SELECT count(*) FROM file WHERE missing > 0) AS unfinished,
                (SELECT count(*) FROM replacement WHERE recorded = 0) AS unrecorded,
                (SELECT count(*) FROM wanted) AS wanted`,
      )
      .get(epoch) as ReturnType<UpkeepList['counts']>;
  }

  note(name: string): string | null {
    const row = this.#db.prepare('SELECT value FROM note WHERE name = ?').get(name);
    return row === undefined ? null : (row as { value: string }).value;
  }
  setNote(name: string, value: string): void {
    this.#db.prepare('INSERT OR REPLACE INTO note VALUES (?, ?)').run(name, value);
  }
  /** A count that lives over restarts; 0 before its first. */
  count(name: string): number {
    return Number(this.note(name) ?? 0);
  }
  addCount(name: string, more: number): void {
    this.setNote(name, String(this.count(name) + more));
  }
}
