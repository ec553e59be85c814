/**
 * What the others still want from us, durable in `state.sqlite`: a crash between an event and its duty
 * loses nothing. Knows nothing of what the duties are.
 */
import type { Database } from 'better-sqlite3';

export type DutyKind = 'confirm' | 'request';

/** Forward-only migrations, by user_version (after the file queue's). */
export const DUTY_LIST_MIGRATION = `CREATE TABLE duty (
  kind TEXT NOT NULL, id TEXT NOT NULL, PRIMARY KEY (kind, id)) WITHOUT ROWID;`;

export class DutyList {
  readonly #db: Database;
  /** Those worth looking at now: new ones, failed ones, and all at start. */
  readonly #due: Readonly<Record<DutyKind, Set<string>>>;

  constructor(db: Database) {
    this.#db = db;
    this.#due = {
      confirm: new Set(this.#load('confirm')),
      request: new Set(this.#load('request')),
    };
  }

  add(kind: DutyKind, id: string): void {
    this.#db.prepare('INSERT OR IGNORE INTO duty (kind, id) VALUES (?, ?)').run(kind, id);
    this.#due[kind].add(id);
  }

  /** Nothing more will be wanted. */
  done(kind: DutyKind, id: string): void {
    this.#db.prepare('DELETE FROM duty WHERE kind = ? AND id = ?').run(kind, id);
    this.#due[kind].delete(id);
  }

  /** Nothing to do until something happens on the ledger. */
  rest(kind: DutyKind, id: string): void {
    this.#due[kind].delete(id);
  }

  due(kind: DutyKind): string[] {
    return [...this.#due[kind]];
  }

  get anyDue(): boolean {
    return this.#due.confirm.size > 0 || this.#due.request.size > 0;
  }

  #load(kind: DutyKind): string[] {
    const rows = this.#db.prepare('SELECT id FROM duty WHERE kind = ?').all(kind);
    return (rows as { id: string }[]).map((row) => row.id);
  }
}
