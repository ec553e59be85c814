/**
 * A folder whose files are put on the ledger, each once (P §3.1, "any form").
 *
 * Enters: files, as others write them. Leaves: files in the queue of the pipeline, as `put` leaves
 * them. Always holds: a file is taken when it is complete (unchanged for `stableMs`; with 0 it has to
 * come by a rename), its place in the queue and the note that it was taken are one transaction, and
 * the original is touched only when it is available on the ledger and still what was taken. A file
 * that has changed since is another file, and taken again. At most `FILES_MAX` files are looked at.
 */
import {
  closeSync,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { join } from 'node:path';
import type { Database } from 'better-sqlite3';
import type { FileQueue, Stage } from '../runtime/file-queue.ts';
import type { Log } from '../runtime/log.ts';
import type { SourceState } from './table-source.ts';

export interface WatchedFolderOptions {
  /** Absolute. */
  readonly path: string;
  readonly stableMs: number;
  readonly everyMs: number;
  readonly recipients: readonly string[];
  readonly after: 'keep' | 'move' | 'delete';
  /** Absolute; where `after` moves them. */
  readonly moveTo?: string;
  /** That of the queue, with `WATCHED_FOLDER_MIGRATION`. */
  readonly database: Database;
  readonly queue: FileQueue;
  readonly monotonicMs: () => number;
  readonly log: Log;
  /** Told when files were put into the queue. */
  readonly onTaken: (files: number) => void;
}

/** Files taken from folders: what they were, and where they are in the queue. */
export const WATCHED_FOLDER_MIGRATION = `CREATE TABLE watched_file (
  folder TEXT NOT NULL, name TEXT NOT NULL, version TEXT NOT NULL, queueId INTEGER NOT NULL,
  PRIMARY KEY (folder, name)) STRICT, WITHOUT ROWID`;

const FILES_MAX = 100_000;
/** Files taken at one look: the queue's own work comes in between. */
const TAKEN_MAX = 200;
/** Between two looks, at least so many times as long as the one took. */
const REST = 20;
/** Names that say of themselves that they are not complete. */
const UNFINISHED = /^\.|\.(tmp|part|partial|crdownload|swp)$|~$/i;

interface Taken {
  readonly name: string;
  readonly version: string;
  /** Where the queue has got to with it. */
  readonly stage: Stage;
  /** Of its last failure there. */
  readonly error: string | null;
}

/** See the header. */
export class WatchedFolder {
  readonly #options: WatchedFolderOptions;
  /** Version of each file that is not complete yet, and since when it has been that. */
  readonly #seen = new Map<string, { version: string; sinceMs: number }>();
  #reason: string | null = null;
  #timer: NodeJS.Timeout | null = null;

  constructor(options: WatchedFolderOptions) {
    this.#options = options;
  }

  get state(): SourceState {
    return { kind: 'folder', name: this.#options.path, reason: this.#reason };
  }

  start(): void {
    const startedMs = performance.now();
    this.#look();
    // Nothing else happens meanwhile: a folder of very many files is looked at less often.
    const waitMs = Math.max(this.#options.everyMs, REST * (performance.now() - startedMs));
    this.#timer = setTimeout(() => this.start(), waitMs);
  }

  stop(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  #look(): void {
    const { path, log } = this.#options;
    let reason: string | null;
    let message = 'not every file is taken';
    try {
      reason = this.#scan();
    } catch (error) {
      reason = reasonOf(error);
      message = 'no files are taken';
    }
    if (reason === null && this.#reason !== null)
      log.info('files are taken again', { folder: path });
    if (reason !== null && this.#reason !== reason) log.warn(message, { folder: path, reason });
    this.#reason = reason;
  }

  /** Returns why a file was left out, if one was: the others are none the worse for it. */
  #scan(): string | null {
    const { path, onTaken } = this.#options;
    const names = readdirSync(path).filter((name) => !UNFINISHED.test(name));
    if (names.length > FILES_MAX) throw new Error(`more than ${FILES_MAX} files in ${path}`);
    const known = this.#known();
    let taken = 0;
    let reason: string | null = null;
    for (const name of names.sort()) {
      const before = known.get(name);
      known.delete(name);
      try {
        if (this.#see(name, before, taken < TAKEN_MAX)) taken += 1;
      } catch (error) {
        reason ??= reasonOf(error);
      }
    }
    // A folder that is not mounted is empty, and comes again: what is gone stays known for long.
    if (names.length + known.size > FILES_MAX) {
      for (const { name } of known.values()) this.#forget(name);
    }
    for (const name of this.#seen.keys())
      if (!existsSync(join(path, name))) this.#seen.delete(name);
    if (taken > 0) onTaken(taken);
    return reason;
  }

  /** Whether the file was taken. Throws where nothing can be done with it. */
  #see(name: string, before: Taken | undefined, mayTake: boolean): boolean {
    const version = versionOf(join(this.#options.path, name));
    if (version === null) return false;
    if (before?.version === version) {
      this.#settle(before);
      return false;
    }
    if (!mayTake || !this.#isComplete(name, version)) return false;
    this.#take(name, version);
    return true;
  }

  #isComplete(name: string, version: string): boolean {
    const { stableMs, monotonicMs } = this.#options;
    if (stableMs === 0) return true;
    const nowMs = monotonicMs();
    const seen = this.#seen.get(name);
    if (seen?.version === version) return nowMs - seen.sinceMs >= stableMs;
    this.#seen.set(name, { version, sinceMs: nowMs });
    return false;
  }

  #take(name: string, version: string): void {
    const { path, database, queue, recipients, log } = this.#options;
    const inputPath = join(path, name);
    // Else it would be given up, and taken again, without an end.
    requireReadable(inputPath);
    database.transaction(() => {
      const { id } = queue.add({ kind: 'file', inputPath, batch: null, recipients });
      database
        .prepare('INSERT OR REPLACE INTO watched_file VALUES (?, ?, ?, ?)')
        .run(path, name, version, id);
    })();
    this.#seen.delete(name);
    log.info('file taken', { file: inputPath });
  }

  /** A file that was taken and is still there: what becomes of it depends on where it has got to. */
  #settle({ name, stage, error }: Taken): void {
    const { path, after, moveTo, queue, log } = this.#options;
    // It was given up, and is put again, unless that is no use: until it is another file.
    const isVoid = stage === 'void';
    if (isVoid && !queue.staysGivenUp({ inputPath: join(path, name), error })) this.#forget(name);
    if (stage !== 'available' || after === 'keep') return;
    const file = join(path, name);
    if (after === 'delete') rmSync(file);
    else if (moveTo !== undefined) moveInto(moveTo, file, name);
    this.#forget(name);
    log.info('file is available on the ledger', { file, after });
  }

  #known(): Map<string, Taken> {
    const { database, path } = this.#options;
    const rows = database
      .prepare(
        `SELECT name, version, stage, error FROM watched_file JOIN file ON file.id = queueId
         WHERE folder = ?`,
      )
      .all(path) as Taken[];
    return new Map(rows.map((row) => [row.name, row]));
  }

  #forget(name: string): void {
    const { database, path } = this.#options;
    database.prepare('DELETE FROM watched_file WHERE folder = ? AND name = ?').run(path, name);
  }
}

/**
 * What tells a file from a later one of the same name; null where it is no file, or gone. Throws where
 * its name is no UTF-8: it is not to be found by what Node.js makes of that.
 */
function versionOf(path: string): string | null {
  const stats = lstatSync(path, { bigint: true, throwIfNoEntry: false });
  if (stats === undefined && path.includes('\ufffd')) {
    throw new Error(`${path}: the file's name is not UTF-8, rename it`);
  }
  if (stats === undefined || !stats.isFile()) return null;
  return `${stats.ino} ${stats.size} ${stats.mtimeNs}`;
}

/** Throws where not even the first byte can be had. */
function requireReadable(path: string): void {
  const file = openSync(path, 'r');
  try {
    readSync(file, new Uint8Array(1));
  } finally {
    closeSync(file);
  }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Moves a file, also to another file system; a name that is taken gets a number. */
function moveInto(folder: string, file: string, name: string): void {
  mkdirSync(folder, { recursive: true });
  let target = join(folder, name);
  for (let n = 1; existsSync(target); n += 1) target = join(folder, `${name}.${n}`);
  try {
    renameSync(file, target);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EXDEV') throw error;
    copyFileSync(file, target);
    rmSync(file);
  }
}
