/**
 * SQLite files, opened in the one way that this agent trusts: WAL, and every commit synced.
 *
 * Enters: a path. Leaves: a better-sqlite3 database. Always holds: when a transaction of a database
 * from `openDatabase` has returned, it survives kill -9 and a power cut (`synchronous=FULL`); the open
 * batch alone is synced by its writer (`batch/wal-sync.ts`).
 */
import SqliteDatabase, { type Database } from 'better-sqlite3';
import { ControlError } from './control-error.ts';
import type { Log } from './log.ts';
import type { Quarantine } from './quarantine.ts';

export type { Database, Statement } from 'better-sqlite3';

/** How long a statement waits for another connection's lock. */
const BUSY_TIMEOUT_MS = 5000;
/** The same where somebody else has the file alone, who gives it back at its end only. */
const ALONE_TIMEOUT_MS = 1000;
/** What SQLite says of a file that is broken, not of a disk that is full or away. */
const DAMAGE_CODES = /^SQLITE_(CORRUPT|NOTADB|IOERR_READ|IOERR_SHORT_READ)/;

/**
 * Opens or creates the file; with `alone` nobody else can open it until it is closed or the process
 * is gone. Throws SqliteError when it is no database, cannot be written, or somebody else has it.
 */
export function openDatabase(path: string, { alone = false } = {}): Database {
  let database: Database | null = null;
  try {
    const timeout = alone ? ALONE_TIMEOUT_MS : BUSY_TIMEOUT_MS;
    database = new SqliteDatabase(path, { timeout });
    if (alone) database.pragma('locking_mode = EXCLUSIVE');
    const mode = database.pragma('journal_mode = WAL', { simple: true });
    if (mode !== 'wal' && path !== ':memory:') {
      throw new Error(`${path}: expected journal mode wal, found ${String(mode)}`);
    }
    database.pragma('synchronous = FULL');
    database.pragma('foreign_keys = ON');
    return database;
  } catch (error) {
    database?.close();
    // SQLite does not say which file.
    if (error instanceof Error && !error.message.includes(path)) {
      error.message = `${path}: ${error.message}`;
    }
    throw error;
  }
}

/**
 * Opens an existing file for reading only; another's lock stops the process for `busyTimeoutMs` at
 * most. Throws SqliteError when it is missing or no database.
 */
export function openReadOnly(path: string, busyTimeoutMs = BUSY_TIMEOUT_MS): Database {
  return new SqliteDatabase(path, {
    readonly: true,
    fileMustExist: true,
    timeout: busyTimeoutMs,
  });
}

/** Whether an error says that a database file is broken. */
function isDamage(error: unknown): error is Error {
  return error instanceof Error && 'code' in error && DAMAGE_CODES.test(String(error.code));
}

/**
 * Opens a file that the agent can do without, checks it, and lets `prepare` migrate it. A damaged one
 * goes to the quarantine, and an empty one takes its place. The file is this agent's alone: of two
 * with one dataDir, also of two that start at the same moment, the second gets `ControlError`
 * 'already-running'. Throws SqliteError of a disk that cannot be used, and whatever `prepare` throws
 * of a sound file.
 */
export function openSound(
  path: string,
  prepare: (database: Database) => void,
  { quarantine, log }: { readonly quarantine: Pick<Quarantine, 'take'>; readonly log: Log },
): Database {
  try {
    return openChecked(path, prepare);
  } catch (error) {
    if (isBusy(error)) {
      const message = `another process has ${path}: is an agent running with that dataDir?`;
      throw new ControlError('already-running', message, { cause: error });
    }
    if (!isDamage(error)) throw error;
    quarantine.take(path, { reason: error.message, salvaged: null });
    log.error('a damaged database was put into quarantine; an empty one takes its place', {
      path,
      error,
    });
    return openChecked(path, prepare);
  }
}

function isBusy(error: unknown): boolean {
  return error instanceof Error && 'code' in error && String(error.code).startsWith('SQLITE_BUSY');
}

function openChecked(path: string, prepare: (database: Database) => void): Database {
  const database = openDatabase(path, { alone: true });
  try {
    const problem = database.pragma('quick_check(1)', { simple: true });
    if (problem !== 'ok') {
      throw new SqliteDatabase.SqliteError(`${path}: ${String(problem)}`, 'SQLITE_CORRUPT');
    }
    prepare(database);
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}
