/**
 * Rows of a table of somebody else's SQLite database as readings, each once (P §3.1, "any form").
 *
 * Enters: the table, and the cursor of the last row that is in a batch. Leaves: a message for each
 * later row, in the cursor's order; its payload is the row as canonical JSON (RFC 8785), and the
 * cursor is kept with the reading, as sample `$cursor`, so that both are durable in one transaction.
 * Always holds: the database is opened read-only, and closed again after each look, so that nobody
 * waits for us; no row is passed over, also where nothing can be committed or the disk is full: it
 * waits in its table. The column must be unique and grow; that it is unique is checked.
 */
import { statSync } from 'node:fs';
import type { Database } from 'better-sqlite3';
import type { Log } from '../runtime/log.ts';
import type { Delivery, MessageSink } from './ingest.ts';

/** Where a table has been read to: a whole number, or text. */
export type Cursor = number | string;

export interface TableSourceOptions {
  readonly file: string;
  readonly table: string;
  /** Column that is unique and grows, or `rowid`. */
  readonly cursor: string;
  /** All columns if not given. */
  readonly columns?: readonly string[];
  readonly topic: string;
  readonly everyMs: number;
  /** Rows of one look at the database. */
  readonly rowsMax: number;
  readonly openReadOnly: (path: string, busyTimeoutMs: number) => Database;
  readonly sink: MessageSink;
  /** Cursor of the last row that is in a batch, synced or not; null for none. */
  readonly newest: () => Cursor | null;
  /** Keeps the cursor, besides the batches. */
  readonly remember: (cursor: Cursor) => void;
  /** Whether readings of this topic are taken now. */
  readonly admits: () => boolean;
  readonly log: Log;
  readonly onTaken?: (rows: number) => void;
}

/** For status. */
export interface SourceState {
  readonly kind: 'table' | 'folder';
  /** `FILE:TABLE`, or the folder. */
  readonly name: string;
  /** Why nothing is taken from it now; null where all is well. */
  readonly reason: string | null;
}

/** Name of the sample that says which row a reading is. */
export const CURSOR_SAMPLE = '$cursor';
/** Payload bytes of one look, and one row more: rows may hold pictures. */
const PAGE_BYTES_MAX = 8 * 1024 * 1024;
/** Another's lock is waited for so long, and nothing else happens meanwhile; then at the next look. */
const LOCK_WAIT_MS = 20;
const ROW_IDS: readonly string[] = ['rowid', '_rowid_', 'oid'];
/** Where the cursor stands in a row beside the row's own columns. */
const CURSOR_ALIAS = 'blocktorrent cursor';

interface Row {
  readonly cursor: Cursor;
  readonly payload: Uint8Array;
}

/** See the header. */
export class TableSource {
  readonly #options: TableSourceOptions;
  #cursor: Cursor | null = null;
  /** Only the batches know where it stands: at the start, and when rows may be there unacknowledged. */
  #isUnsure = true;
  #reason: string | null = null;
  #timer: NodeJS.Timeout | null = null;
  #stopped = true;

  constructor(options: TableSourceOptions) {
    this.#options = options;
  }

  get state(): SourceState {
    const { file, table } = this.#options;
    return { kind: 'table', name: `${file}:${table}`, reason: this.#reason };
  }

  start(): void {
    this.#stopped = false;
    this.#again(0);
  }

  stop(): void {
    this.#stopped = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  #again(waitMs: number): void {
    if (!this.#stopped) this.#timer = setTimeout(() => this.#look(), waitMs);
  }

  /** Takes what is new, one page; the next one follows at once where this one is full. */
  #look(): void {
    const { everyMs, log } = this.#options;
    try {
      const isFull = this.#page();
      if (this.#reason !== null) log.info('rows are taken again', { source: this.state.name });
      this.#reason = null;
      this.#again(isFull ? 0 : everyMs);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (this.#reason !== reason)
        log.warn('no rows are taken', { source: this.state.name, reason });
      this.#reason = reason;
      this.#again(everyMs);
    }
  }

  /** Whether there may be more rows. Throws when there is a reason why these are in no batch. */
  #page(): boolean {
    const { topic, sink, admits, newest, remember, onTaken } = this.#options;
    if (!admits()) throw new Error('the disk is full, and new readings are not taken: rows wait');
    if (this.#isUnsure) this.#cursor = newest();
    this.#isUnsure = false;
    const { rows, isFull } = this.#rows();
    const page = new Page();
    for (const [index, { cursor, payload }] of rows.entries()) {
      // A later row must never be in a batch without the earlier ones.
      if (page.failure !== null || !admits()) break;
      const sample = { sensor: null, name: CURSOR_SAMPLE, unit: '', timeMs: null, value: cursor };
      const message = { topic, payload, qos: 1, dup: false, retain: false } as const;
      sink.take({ ...message, messageId: index + 1, properties: [sample] }, page);
    }
    sink.flush();
    const last = rows[page.acknowledged - 1];
    if (last !== undefined) {
      this.#cursor = last.cursor;
      remember(last.cursor);
      onTaken?.(page.acknowledged);
    }
    if (page.failure !== null) {
      this.#isUnsure = true;
      throw new Error(page.failure);
    }
    return isFull;
  }

  #rows(): { readonly rows: readonly Row[]; readonly isFull: boolean } {
    const { file, table, cursor, columns, rowsMax, openReadOnly } = this.#options;
    // A pipe would be waited for without an end.
    if (!statSync(file).isFile()) throw new Error(`${file} is no file`);
    const database = openReadOnly(file, LOCK_WAIT_MS);
    try {
      requireUnique(database, table, cursor);
      const wanted = columns === undefined ? '*' : columns.map(quoted).join(', ');
      const column = quoted(cursor);
      const statement = database.prepare(
        `SELECT ${column} AS ${quoted(CURSOR_ALIAS)}, ${wanted} FROM ${quoted(table)}
         WHERE ${this.#cursor === null ? `${column} IS NOT NULL` : `${column} > @after`}
         ORDER BY ${column} LIMIT @limit`,
      );
      const parameters = {
        limit: rowsMax,
        ...(this.#cursor === null ? {} : { after: this.#cursor }),
      };
      const rows: Row[] = [];
      let bytes = 0;
      const found = statement.safeIntegers().iterate(parameters);
      for (const { [CURSOR_ALIAS]: value, ...row } of found as Iterable<Record<string, unknown>>) {
        const payload = Buffer.from(canonicalRow(row));
        rows.push({ cursor: cursorOf(value, cursor), payload });
        bytes += payload.length;
        if (bytes >= PAGE_BYTES_MAX) return { rows, isFull: true };
      }
      if (rows.length === 0) requireAhead(database, table, column, this.#cursor);
      return { rows, isFull: rows.length === rowsMax };
    } finally {
      database.close();
    }
  }
}

/** The rows of one look, as the stage acknowledges them: in their order. */
class Page implements Delivery {
  acknowledged = 0;
  failure: string | null = null;

  acknowledge(messageIds: readonly number[]): number {
    this.acknowledged += messageIds.length;
    return messageIds.length;
  }

  abandon(reason: string): void {
    this.failure = reason;
  }
}

function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

function cursorOf(value: unknown, column: string): Cursor {
  if (typeof value === 'string') return value;
  if (typeof value === 'bigint' && Number.isSafeInteger(Number(value))) return Number(value);
  throw new Error(`column ${column}: expected whole numbers up to 2^53, or text, in every row`);
}

/** Throws where all rows are behind the last that was taken: numbers that begin again are not seen. */
function requireAhead(database: Database, table: string, column: string, last: Cursor | null) {
  if (last === null) return;
  const newest = database
    .prepare(`SELECT max(${column}) FROM ${quoted(table)}`)
    .pluck()
    .get();
  const isBehind = database.prepare('SELECT @newest < @last').pluck();
  if (newest === null || isBehind.get({ newest, last }) !== 1) return;
  throw new Error(
    `rows of ${table} up to ${column} ${last} have been taken, and the newest is ${String(newest)}: was the table ` +
      'replaced, or does the column count anew? Such rows are not seen until it is greater',
  );
}

/** Throws where two rows could have the same cursor: one of them could be passed over. */
function requireUnique(database: Database, table: string, column: string): void {
  const kind = database.prepare('SELECT type FROM sqlite_schema WHERE name = ?').pluck().get(table);
  if (kind !== 'table') throw new Error(`${database.name} has no table ${table}`);
  const columns = database.pragma(`table_info(${quoted(table)})`) as { name: string; pk: number }[];
  const same = ({ name }: { name: string | null }) => name?.toLowerCase() === column.toLowerCase();
  if (!columns.some(same)) {
    if (ROW_IDS.includes(column.toLowerCase())) return;
    throw new Error(`table ${table} has no column ${column}`);
  }
  const key = columns.filter(({ pk }) => pk > 0);
  if (key.length === 1 && key.every(same)) return;
  const indexes = database.pragma(`index_list(${quoted(table)})`) as {
    name: string;
    unique: number;
    partial: number;
  }[];
  const unique = indexes.some(({ name, unique: isUnique, partial }) => {
    if (isUnique === 0 || partial === 1) return false;
    const parts = database.pragma(`index_info(${quoted(name)})`) as { name: string | null }[];
    return parts.length === 1 && parts.every(same);
  });
  if (!unique) throw new Error(`column ${column} of ${table} is not unique: give one that is`);
}

/**
 * A row as canonical JSON (RFC 8785): names sorted by UTF-16, numbers as ECMAScript writes them.
 * What JSON has no word for is text: whole numbers beyond 2^53 and infinities in decimal, blobs as
 * base64.
 */
export function canonicalRow(row: Readonly<Record<string, unknown>>): string {
  const names = Object.keys(row).sort((a, b) => (a < b ? -1 : 1));
  return `{${names.map((name) => `${JSON.stringify(name)}:${canonicalValue(row[name])}`).join(',')}}`;
}

function canonicalValue(value: unknown): string {
  if (value === null) return 'null';
  if (typeof value === 'bigint') {
    return Number.isSafeInteger(Number(value)) ? String(value) : JSON.stringify(String(value));
  }
  if (typeof value === 'number') {
    return Number.isFinite(value) ? JSON.stringify(value) : JSON.stringify(String(value));
  }
  if (value instanceof Uint8Array) return JSON.stringify(Buffer.from(value).toString('base64'));
  return JSON.stringify(String(value).toWellFormed());
}
