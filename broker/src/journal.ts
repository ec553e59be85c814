/**
 * What survives the broker's process: sessions, their subscriptions and queues, retained messages.
 *
 * Enters: changes, in the order in which they happen. Leaves: a promise that is kept when they are
 * on the disk (SQLite, WAL, synchronous=FULL), and at the next start what was there. Always holds:
 * changes are committed in their order, all of one group or none; a group is what has gathered while
 * the event loop was busy, at most `GROUP_MAX` changes, so that a sync serves many messages. What is
 * removed before it was ever written is never written. The last `RESERVE_BYTES` of the disk are for what
 * ends: without them no client could come to empty its queue.
 */
import { statfsSync } from 'node:fs';
import { dirname } from 'node:path';
import SqliteDatabase, { type Database, type Statement } from 'better-sqlite3';

/** One message in one session's queue. */
export interface QueuedRow {
  readonly id: number;
  readonly session: string;
  readonly topic: string;
  readonly payload: Uint8Array;
  /** It may have been sent before, so that it carries DUP when it is sent. */
  readonly sent: boolean;
}

/** What was there at the start. */
export interface JournalContent {
  readonly subscriptions: readonly { session: string; topic: string; qos: number }[];
  readonly retained: readonly { topic: string; payload: Uint8Array; qos: number }[];
  readonly nextId: number;
  /** Seconds of running time since each was last connected, and whose it is; null: anybody's. */
  readonly sessions: readonly { session: string; seconds: number; user: string | null }[];
  queued(): Iterable<QueuedRow>;
}

type Change = readonly [statement: keyof typeof SQL, parameters: Readonly<Record<string, unknown>>];

const GROUP_MAX = 5_000;
/** Log and checkpoints of SQLite need some room also to remove things. */
const RESERVE_BYTES = 16 * 1024 * 1024;
/** Removals alone wait for the next message, so long at most. */
const REMOVALS_WAIT_MS = 200;
const VERSION = 2;
const SCHEMA = `
CREATE TABLE session (name TEXT PRIMARY KEY, connected INTEGER NOT NULL, away_seconds INTEGER NOT NULL,
  user TEXT) STRICT, WITHOUT ROWID;
CREATE TABLE subscription (session TEXT NOT NULL, topic TEXT NOT NULL, qos INTEGER NOT NULL,
  PRIMARY KEY (session, topic)) STRICT, WITHOUT ROWID;
CREATE TABLE queued (id INTEGER PRIMARY KEY, session TEXT NOT NULL, topic TEXT NOT NULL,
  payload BLOB NOT NULL, sent INTEGER NOT NULL) STRICT;
CREATE INDEX queued_by_session ON queued (session);
CREATE TABLE retained (topic TEXT PRIMARY KEY, payload BLOB NOT NULL, qos INTEGER NOT NULL)
  STRICT, WITHOUT ROWID;
PRAGMA user_version = ${VERSION};`;
/** Version 1 knew no users. */
const FROM_1 = `ALTER TABLE session ADD COLUMN user TEXT; PRAGMA user_version = ${VERSION};`;

const SQL = {
  connect: `INSERT INTO session VALUES (@session, @connected, 0, NULL)
    ON CONFLICT DO UPDATE SET connected = @connected, away_seconds = 0`,
  own: `INSERT INTO session VALUES (@session, 1, 0, @user) ON CONFLICT DO UPDATE SET user = @user`,
  away: 'UPDATE session SET away_seconds = away_seconds + @seconds WHERE connected = 0',
  subscribe: `INSERT INTO subscription VALUES (@session, @topic, @qos)
    ON CONFLICT DO UPDATE SET qos = @qos`,
  unsubscribe: 'DELETE FROM subscription WHERE session = @session AND topic = @topic',
  put: 'INSERT INTO queued VALUES (@id, @session, @topic, @payload, 0)',
  sent: 'UPDATE queued SET sent = 1 WHERE id = @id',
  remove: 'DELETE FROM queued WHERE id = @id',
  forgetSession: 'DELETE FROM session WHERE name = @session',
  forgetSubscriptions: 'DELETE FROM subscription WHERE session = @session',
  forgetQueue: 'DELETE FROM queued WHERE session = @session',
  retain: `INSERT INTO retained VALUES (@topic, @payload, @qos)
    ON CONFLICT DO UPDATE SET payload = @payload, qos = @qos`,
  unretain: 'DELETE FROM retained WHERE topic = @topic',
} as const;

/** Changes that nobody waits for: a failed commit must not lose them. */
const AGAIN: readonly (keyof typeof SQL)[] = ['remove', 'sent', 'connect', 'away'];

/** The file could not be opened, or is not the broker's. */
export class JournalError extends Error {
  override readonly name = 'JournalError';
  readonly code = 'bad-store';
}

/** Opened at the start, closed at the end; one for a broker. */
export class Journal {
  readonly content: JournalContent;
  readonly #database: Database;
  readonly #freeBytes: () => number;
  readonly #statements: Readonly<Record<keyof typeof SQL, Statement>>;
  readonly #write: (changes: Iterable<Change>) => void;
  /** Changes in order; a message that is removed before it was written leaves a hole. */
  #pending: (Change | null)[] = [];
  /** Place in `#pending` of each message that is to be written. */
  readonly #places = new Map<number, number>();
  #group: PromiseWithResolvers<void> | null = null;
  #timer: NodeJS.Timeout | null = null;
  /** The disk has no room for what is new; looked at once a group. */
  #full = false;
  #closed = false;

  /**
   * `freeBytes` of the disk. @throws JournalError when the file is no journal of this version, or cannot
   * be written.
   */
  constructor(path: string, freeBytes = () => freeBytesBeside(path)) {
    this.#database = openJournal(path);
    this.#freeBytes = freeBytes;
    const names = Object.keys(SQL) as (keyof typeof SQL)[];
    this.#statements = Object.fromEntries(
      names.map((name) => [name, this.#database.prepare(SQL[name])]),
    ) as Record<keyof typeof SQL, Statement>;
    this.#write = this.#database.transaction((changes: Iterable<Change>) => {
      for (const [statement, parameters] of changes) this.#statements[statement].run(parameters);
    });
    // Whoever was connected when the broker was killed may have got any of its messages.
    this.#database.exec(`UPDATE queued SET sent = 1
      WHERE session IN (SELECT name FROM session WHERE connected = 1);
      UPDATE session SET connected = 0;`);
    this.content = contentOf(this.#database);
  }

  /** A message for a session. Resolves when it is on the disk; rejects where that is full. */
  put(id: number, session: string, topic: string, payload: Uint8Array): Promise<void> {
    if (this.#isFull()) return Promise.reject(fullError());
    this.#places.set(id, this.#pending.length);
    return this.#soon('put', { id, session, topic, payload });
  }

  /** A message has been acknowledged, or dropped. Durable some time later. */
  remove(id: number): void {
    const place = this.#places.get(id);
    if (place === undefined) this.#later('remove', { id });
    else {
      this.#pending[place] = null;
      this.#places.delete(id);
    }
  }

  /** A client comes: from here on its messages may have been sent. */
  connect(session: string): Promise<void> {
    return this.#soon('connect', { session, connected: 1 });
  }

  /** A client that has begun to come is here. Durable some time later. */
  connected(session: string): void {
    this.#later('connect', { session, connected: 1 });
  }

  /** A client has gone; these of its messages have been sent to it. */
  disconnect(session: string, sent: Iterable<number>): void {
    for (const id of sent) this.#later('sent', { id });
    this.#later('connect', { session, connected: 0 });
  }

  async subscribe(session: string, subs: readonly { topic: string; qos: number }[]): Promise<void> {
    await Promise.all(
      subs.map(({ topic, qos }) => this.#soon('subscribe', { session, topic, qos })),
    );
  }

  /** Whose session it is from here on. */
  own(session: string, user: string | null): Promise<void> {
    return this.#soon('own', { session, user });
  }

  async unsubscribe(session: string, topics: readonly string[]): Promise<void> {
    await Promise.all(topics.map((topic) => this.#soon('unsubscribe', { session, topic })));
  }

  /** A session has ended, with all that it had. */
  forget(session: string): Promise<void> {
    this.#later('forgetSubscriptions', { session });
    this.#later('forgetQueue', { session });
    return this.#soon('forgetSession', { session });
  }

  /** An empty payload ends what is retained [MQTT-3.3.1-10]. */
  retain(topic: string, payload: Uint8Array, qos: number): Promise<void> {
    if (payload.length === 0) return this.#soon('unretain', { topic });
    if (this.#isFull()) return Promise.reject(fullError());
    return this.#soon('retain', { topic, payload, qos });
  }

  /** So much running time has passed for those who are away. */
  passed(seconds: number): void {
    this.#later('away', { seconds });
  }

  /** Writes what there is, and closes. */
  close(): void {
    if (this.#closed) return;
    this.#commit();
    this.#closed = true;
    this.#database.close();
  }

  /** Also pages of the file that are free can be used; it does not shrink. */
  #isFull(): boolean {
    if (this.#group !== null) return this.#full;
    const pragma = (name: string) => Number(this.#database.pragma(name, { simple: true }));
    const free = this.#freeBytes();
    this.#full =
      free < RESERVE_BYTES && free + pragma('freelist_count') * pragma('page_size') < RESERVE_BYTES;
    return this.#full;
  }

  #soon(...change: Change): Promise<void> {
    if (this.#closed) return Promise.reject(new JournalError('the store is closed'));
    this.#pending.push(change);
    if (this.#group === null) {
      this.#group = Promise.withResolvers();
      // A failure reaches whoever awaits; nobody may.
      this.#group.promise.catch(() => undefined);
      setImmediate(() => this.#commit());
    }
    const { promise } = this.#group;
    if (this.#pending.length >= GROUP_MAX) this.#commit();
    return promise;
  }

  #later(...change: Change): void {
    if (this.#closed) return;
    this.#pending.push(change);
    this.#timer ??= setTimeout(() => this.#commit(), REMOVALS_WAIT_MS);
  }

  #commit(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const changes = this.#pending.filter((change) => change !== null);
    const group = this.#group;
    this.#pending = [];
    this.#places.clear();
    this.#group = null;
    try {
      if (changes.length > 0 && !this.#closed) this.#write(changes);
      group?.resolve();
    } catch (cause) {
      // Publishers are not acknowledged and come again; what is about old messages is tried again.
      this.#pending = changes.filter(([name]) => AGAIN.includes(name)).slice(-GROUP_MAX);
      group?.reject(new JournalError('the store cannot be written', { cause }));
    }
  }
}

function fullError(): JournalError {
  return new JournalError(`the disk has less than ${RESERVE_BYTES} bytes left`);
}

function freeBytesBeside(path: string): number {
  const { bavail, bsize } = statfsSync(dirname(path));
  return bavail * bsize;
}

/** Of SQLite: this is no database of ours, or not any more. */
const NOT_OURS: readonly unknown[] = ['SQLITE_NOTADB', 'SQLITE_CORRUPT'];

function openJournal(path: string): Database {
  let database: Database | null = null;
  try {
    database = new SqliteDatabase(path, { timeout: 500 });
    const version = database.pragma('user_version', { simple: true });
    if (![0, 1, VERSION].includes(Number(version))) throw new Error(`version ${String(version)}`);
    // One broker, one store: a second one is refused here.
    database.pragma('locking_mode = EXCLUSIVE');
    database.pragma('journal_mode = WAL');
    database.pragma('synchronous = FULL');
    if (version !== VERSION) database.exec(`BEGIN; ${version === 0 ? SCHEMA : FROM_1} COMMIT;`);
    return database;
  } catch (cause) {
    database?.close();
    if ((cause as { code?: unknown }).code === 'SQLITE_BUSY') {
      throw new JournalError(`${path}: another process has it, such as another broker`, { cause });
    }
    const reason = cause instanceof Error ? cause.message : String(cause);
    const { code } = cause as { code?: unknown };
    if (code !== undefined && !NOT_OURS.includes(code)) {
      throw new JournalError(`${path}: cannot be opened: ${reason}; is the disk full?`, { cause });
    }
    const what = `${path}: expected the broker's own store, version ${VERSION}, found ${reason}`;
    throw new JournalError(`${what}. Move it away to begin without sessions`, { cause });
  }
}

function contentOf(database: Database): JournalContent {
  const all = (sql: string) => database.prepare(sql).all();
  const { nextId } = database
    .prepare('SELECT coalesce(max(id), 0) + 1 AS nextId FROM queued')
    .get() as { nextId: number };
  return {
    subscriptions: all(
      'SELECT session, topic, qos FROM subscription',
    ) as JournalContent['subscriptions'],
    retained: all('SELECT topic, payload, qos FROM retained') as JournalContent['retained'],
    sessions: all(
      'SELECT name AS session, away_seconds AS seconds, user FROM session',
    ) as JournalContent['sessions'],
    nextId,
    *queued() {
      const rows = database.prepare('SELECT * FROM queued ORDER BY id').iterate();
      for (const row of rows as Iterable<Omit<QueuedRow, 'sent'> & { sent: number }>) {
        yield { ...row, sent: row.sent === 1 };
      }
    },
  };
}
