/**
 * SQLite files, opened in the one way that this agent trusts: WAL, and every commit synced.
 *
 * Enters: a path. Leaves: a better-sqlite3 database. Always holds: when a transaction of a database
 * from `openDatabase` has returned, it survives kill -9 and a power cut (`synchronous=FULL`).
 */
import SqliteDatabase, { type Database } from 'better-sqlite3';

export type { Database, Statement } from 'better-sqlite3';

/** How long a statement waits for another connection's lock. */
const BUSY_TIMEOUT_MS = 5000;

/** Opens or creates the file. Throws SqliteError when it is no database or cannot be written. */
export function openDatabase(path: string): Database {
  const database = new SqliteDatabase(path, { timeout: BUSY_TIMEOUT_MS });
  try {
    const mode = database.pragma('journal_mode = WAL', { simple: true });
    if (mode !== 'wal' && path !== ':memory:') {
      throw new Error(`${path}: expected journal mode wal, found ${String(mode)}`);
    }
    database.pragma('synchronous = FULL');
    database.pragma('foreign_keys = ON');
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

/** Opens an existing file for reading only. Throws SqliteError when it is missing or no database. */
export function openReadOnly(path: string): Database {
  return new SqliteDatabase(path, {
    readonly: true,
    fileMustExist: true,
    timeout: BUSY_TIMEOUT_MS,
  });
}
