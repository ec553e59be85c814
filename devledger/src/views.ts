/**
 * Reading the ledger: a `View` is one database connection. The writer's own view sees its open
 * transaction; the views of a `ViewPool` each hold one snapshot, so that a simulation sees the
 * ledger at one block, however long it takes.
 */
import Database from 'better-sqlite3';
import { type Metadata, sha256, type Version } from './rwset.ts';

export interface StateValue {
  readonly value: Uint8Array;
  readonly metadata: Metadata;
  readonly version: NonNullable<Version>;
}
export interface StateRow extends StateValue {
  readonly key: string;
}
export interface HashedValue {
  readonly valueHash: Uint8Array;
  readonly metadata: Metadata;
  readonly version: NonNullable<Version>;
}

interface PositionColumns {
  readonly block: number;
  readonly tx: number;
}
interface StateColumns extends PositionColumns {
  readonly key: Buffer;
  readonly value: Buffer;
  readonly metadata: string | null;
}
interface HashedColumns extends PositionColumns {
  readonly value_hash: Buffer;
  readonly metadata: string | null;
}
interface PrivateColumns extends PositionColumns {
  readonly value: Buffer;
}

/** Greater than every key that is valid UTF-8: stands for "no end". */
const KEY_END = Buffer.from([0xff]);

/** SHA-256 of a private key: how its collection appears to everybody. */
export function hashKey(key: string): Uint8Array {
  return sha256(Buffer.from(key));
}

/** Metadata as a column: JSON of name -> base64; null if there is none. */
export function metadataColumn(metadata: Metadata): string | null {
  const entries = Object.entries(metadata);
  if (entries.length === 0) {
    return null;
  }
  const encoded = entries.map(([name, value]) => [name, Buffer.from(value).toString('base64')]);
  return JSON.stringify(Object.fromEntries(encoded));
}

/** One connection's reads. Keys are compared as UTF-8 bytes. */
export class View {
  readonly #state;
  readonly #range;
  readonly #hashed;
  readonly #private;

  constructor(database: Database.Database) {
    this.#state = database.prepare<[string, Buffer], StateColumns>(
      'SELECT key, value, metadata, block, tx FROM state WHERE ns = ? AND key = ?',
    );
    this.#range = database.prepare<[string, Buffer, Buffer, number], StateColumns>(
      `SELECT key, value, metadata, block, tx FROM state
       WHERE ns = ? AND key >= ? AND key < ? ORDER BY key LIMIT ?`,
    );
    this.#hashed = database.prepare<[string, string, Uint8Array], HashedColumns>(
      `SELECT value_hash, metadata, block, tx FROM hashed
       WHERE ns = ? AND collection = ? AND key_hash = ?`,
    );
    this.#private = database.prepare<[string, string, string, Uint8Array], PrivateColumns>(
      `SELECT value, block, tx FROM private
       WHERE msp = ? AND ns = ? AND collection = ? AND key_hash = ?`,
    );
  }

  state(ns: string, key: string): StateValue | null {
    const row = this.#state.get(ns, Buffer.from(key));
    return row === undefined ? null : stateValue(row);
  }

  /** Rows with start <= key < end in order, at most `limit`; `end` '' = no end. */
  range(ns: string, start: string, end: string, limit: number): StateRow[] {
    const last = end === '' ? KEY_END : Buffer.from(end);
    return this.#range
      .all(ns, Buffer.from(start), last, limit)
      .map((row) => ({ key: row.key.toString(), ...stateValue(row) }));
  }

  hashed(ns: string, collection: string, keyHash: Uint8Array): HashedValue | null {
    const row = this.#hashed.get(ns, collection, keyHash);
    return row === undefined
      ? null
      : {
          valueHash: row.value_hash,
          metadata: metadataOf(row.metadata),
          version: { block: row.block, tx: row.tx },
        };
  }

  /** A private value as this organisation's peer has it. */
  privateValue(
    mspId: string,
    ns: string,
    collection: string,
    keyHash: Uint8Array,
  ): { value: Uint8Array; version: NonNullable<Version> } | null {
    const row = this.#private.get(mspId, ns, collection, keyHash);
    return row === undefined
      ? null
      : { value: row.value, version: { block: row.block, tx: row.tx } };
  }
}

/** A view of the ledger at one block; `release` it when the simulation is over. */
export interface Snapshot {
  readonly view: View;
  release(): void;
}

/** Read-only connections for simulations that run at the same time; idle ones are used again. */
export class ViewPool {
  readonly #file: string;
  readonly #idle: { database: Database.Database; view: View }[] = [];
  readonly #all = new Set<Database.Database>();

  constructor(file: string) {
    this.#file = file;
  }

  /** Takes a snapshot of the last committed block. */
  snapshot(): Snapshot {
    const connection = this.#idle.pop() ?? this.#open();
    const { database, view } = connection;
    database.exec('BEGIN');
    // A deferred transaction has no snapshot before its first read.
    database.prepare('SELECT 1 FROM block LIMIT 1').get();
    let released = false;
    return {
      view,
      release: () => {
        if (!released && database.open) {
          released = true;
          database.exec('COMMIT');
          this.#idle.push(connection);
        }
      },
    };
  }

  close(): void {
    for (const database of this.#all) {
      database.close();
    }
    this.#idle.length = 0;
  }

  #open(): { database: Database.Database; view: View } {
    const database = new Database(this.#file, { readonly: true });
    database.pragma('cache_size = -512');
    this.#all.add(database);
    return { database, view: new View(database) };
  }
}

function stateValue(row: StateColumns): StateValue {
  return {
    value: row.value,
    metadata: metadataOf(row.metadata),
    version: { block: row.block, tx: row.tx },
  };
}

function metadataOf(column: string | null): Metadata {
  if (column === null) {
    return {};
  }
  const encoded: Record<string, string> = JSON.parse(column);
  const entries = Object.entries(encoded);
  return Object.fromEntries(entries.map(([name, value]) => [name, Buffer.from(value, 'base64')]));
}
