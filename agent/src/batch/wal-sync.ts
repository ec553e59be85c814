/**
 * Brings a database's write-ahead log to the disk beside the event loop.
 *
 * SQLite with `synchronous=FULL` syncs the log inside COMMIT, which on an SD card stops everything for
 * tens of milliseconds. With NORMAL, COMMIT only writes the log, and the same sync is done here, by a
 * thread of libuv's. Enters: the database's path. Always holds: what was committed before `sync` or
 * `syncNow` was called is on the disk when the one resolves, or the other returns.
 */
import { closeSync, fdatasync, fdatasyncSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { syncFolder } from './sync-folder.ts';

/** One for each open database; its log must be there before the first sync. */
export class WalSync {
  readonly #path: string;
  #descriptor: number | null = null;
  #running = 0;
  #closed = false;

  constructor(databasePath: string) {
    this.#path = `${databasePath}-wal`;
  }

  /** Rejects with the system's error. */
  sync(): Promise<void> {
    return new Promise((resolve, reject) => {
      const descriptor = this.#opened();
      this.#running += 1;
      fdatasync(descriptor, (error) => {
        this.#running -= 1;
        this.#release();
        if (error === null) resolve();
        else reject(error);
      });
    });
  }

  /** Throws the system's error. */
  syncNow(): void {
    fdatasyncSync(this.#opened());
  }

  /** Lets go of the log, when a sync that is under way has ended. */
  close(): void {
    this.#closed = true;
    this.#release();
  }

  #opened(): number {
    if (this.#descriptor === null) {
      this.#descriptor = openSync(this.#path, 'r');
      // The name of a log that was made anew.
      syncFolder(dirname(this.#path));
    }
    return this.#descriptor;
  }

  #release(): void {
    if (!this.#closed || this.#running > 0 || this.#descriptor === null) return;
    closeSync(this.#descriptor);
    this.#descriptor = null;
  }
}
