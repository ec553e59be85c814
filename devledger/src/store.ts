/**
 * The ledger on disk: blocks, world state, private data. One writer; every block is one database
 * transaction, so a crash leaves a whole number of blocks. A crash of the process loses nothing; a
 * crash of the machine may lose the last blocks (synchronous = NORMAL): it is a ledger for trials.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import type { CollectionConfig } from './config.ts';
import {
  decodePrivateWrites,
  type ReadWriteSet,
  sameVersion,
  sha256,
  type Version,
} from './rwset.ts';
import { SCHEMA } from './schema.ts';
import { hashKey, metadataColumn, View, ViewPool } from './views.ts';

/** Blocks after which private data of transactions that never came is dropped. */
const TRANSIENT_BLOCKS_MAX = 1000;

/** A transaction as it is kept in its block. */
export interface StoredTransaction {
  readonly txId: string;
  /** Fabric's TxValidationCode. */
  readonly code: number;
  readonly chaincode: string;
  /** ChaincodeEvent bytes. */
  readonly event: Uint8Array | null;
  readonly envelope: Uint8Array;
}

/** Private data on its way from endorsement to commit. */
export interface TransientWrites {
  readonly txId: string;
  readonly ns: string;
  readonly collection: string;
  /** Organisations whose peers hold it. */
  readonly mspIds: readonly string[];
  readonly writes: Uint8Array;
}

/** Event bytes of one valid transaction. */
export interface StoredEvent {
  readonly block: number;
  readonly txId: string;
  readonly event: Uint8Array;
}

export class Store {
  readonly views: ViewPool;
  /** The writer's own view: sees the block that is being committed. */
  readonly view: View;
  readonly #database: Database.Database;
  readonly #statements = new Map<string, Database.Statement<unknown[], Record<string, unknown>>>();

  constructor(dataDir: string) {
    mkdirSync(dataDir, { recursive: true });
    const file = join(dataDir, 'ledger.db');
    this.#database = new Database(file);
    this.#database.pragma('journal_mode = WAL');
    this.#database.pragma('synchronous = NORMAL');
    this.#database.pragma('secure_delete = ON');
    this.#database.exec(SCHEMA);
    this.view = new View(this.#database);
    this.views = new ViewPool(file);
  }

  close(): void {
    this.views.close();
    this.#database.close();
  }

  /** Runs `action` as one database transaction. */
  atomically<T>(action: () => T): T {
    return this.#database.transaction(action)();
  }

  /** Number of blocks; the next block has this number. */
  height(): number {
    return number(this.#get('SELECT coalesce(max(number) + 1, 0) AS height FROM block')?.height);
  }

  lastBlockHash(): Uint8Array {
    const row = this.#get(
      'SELECT previous_hash, data_hash FROM block ORDER BY number DESC LIMIT 1',
    );
    return row === undefined
      ? new Uint8Array(32)
      : sha256(blob(row.previous_hash), blob(row.data_hash));
  }

  /** Outcome of a committed transaction; null if there is none of this id. */
  transaction(txId: string): { code: number; block: number } | null {
    const row = this.#get('SELECT code, block FROM tx WHERE tx_id = ? AND code <> 9', txId);
    return row === undefined ? null : { code: number(row.code), block: number(row.block) };
  }

  /** Events of one chaincode's valid transactions in block `from` and later, in order. */
  events(chaincode: string, from: number, limit: number): StoredEvent[] {
    return this.#all(
      `SELECT block, tx_id, event FROM tx WHERE chaincode = ? AND block IN (
         SELECT DISTINCT block FROM tx
         WHERE chaincode = ? AND block >= ? AND event IS NOT NULL AND code = 0
         ORDER BY block LIMIT ?)
       AND event IS NOT NULL AND code = 0 ORDER BY block, position`,
      chaincode,
      chaincode,
      from,
      limit,
    ).map((row) => ({
      block: number(row.block),
      txId: String(row.tx_id),
      event: blob(row.event),
    }));
  }

  /** Appends block `height()`; call inside `atomically`. */
  appendBlock(transactions: readonly StoredTransaction[], timeMs: number): void {
    const block = this.height();
    const dataHash = sha256(...transactions.map((tx) => tx.envelope));
    this.#run(
      'INSERT INTO block VALUES(?, ?, ?, ?)',
      block,
      this.lastBlockHash(),
      dataHash,
      timeMs,
    );
    transactions.forEach((tx, position) => {
      this.#run(
        'INSERT INTO tx VALUES(?, ?, ?, ?, ?, ?, ?)',
        ...[block, position, tx.txId, tx.code, tx.chaincode, tx.event, tx.envelope],
      );
    });
    this.#run('DELETE FROM transient WHERE at_block < ?', block - TRANSIENT_BLOCKS_MAX);
  }

  /** Applies a valid transaction's public and hashed writes. */
  apply(set: ReadWriteSet, at: NonNullable<Version>): void {
    const { namespace: ns } = set;
    for (const { key, value } of set.writes) {
      this.#writeState(ns, Buffer.from(key), value, at);
    }
    for (const { key, metadata } of set.metadataWrites) {
      this.#run(
        'UPDATE state SET metadata = ?, block = ?, tx = ? WHERE ns = ? AND key = ?',
        ...[metadataColumn(metadata), at.block, at.tx, ns, Buffer.from(key)],
      );
    }
    for (const { collection, writes, metadataWrites } of set.collections) {
      for (const { keyHash, valueHash } of writes) {
        this.#writeHashed(ns, collection, keyHash, valueHash, at);
      }
      for (const { keyHash, metadata } of metadataWrites) {
        const where = [ns, collection, keyHash];
        const before = this.view.hashed(ns, collection, keyHash)?.version ?? null;
        this.#run(
          `UPDATE hashed SET metadata = ?, block = ?, tx = ?
           WHERE ns = ? AND collection = ? AND key_hash = ?`,
          ...[metadataColumn(metadata), at.block, at.tx, ...where],
        );
        // Those who have the value under the old version have it under the new one.
        this.#run(
          `UPDATE private SET block = ?, tx = ?
           WHERE ns = ? AND collection = ? AND key_hash = ? AND block = ? AND tx = ?`,
          ...[at.block, at.tx, ...where, before?.block ?? -1, before?.tx ?? -1],
        );
      }
    }
  }

  /** Keeps private data until its transaction commits; adds holders to what is there already. */
  keepTransient(item: TransientWrites): void {
    this.#run(
      `INSERT INTO transient VALUES(?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET msps = (
         SELECT json_group_array(value) FROM (
           SELECT value FROM json_each(msps) UNION SELECT value FROM json_each(excluded.msps)))`,
      ...[item.txId, item.ns, item.collection, sha256(item.writes), this.height()],
      ...[JSON.stringify(item.mspIds), item.writes],
    );
  }

  /** Private data of a transaction with exactly this hash; null if no peer ever kept it. */
  transient(
    txId: string,
    ns: string,
    collection: string,
    hash: Uint8Array,
  ): { mspIds: string[]; writes: Uint8Array } | null {
    const row = this.#get(
      `SELECT msps, writes FROM transient
       WHERE tx_id = ? AND ns = ? AND collection = ? AND hash = ?`,
      ...[txId, ns, collection, hash],
    );
    return row === undefined
      ? null
      : { mspIds: JSON.parse(String(row.msps)), writes: blob(row.writes) };
  }

  dropTransient(txId: string): void {
    this.#run('DELETE FROM transient WHERE tx_id = ?', txId);
  }

  /** Writes a collection's private values for one organisation, as of this transaction. */
  applyPrivate(
    mspId: string,
    ns: string,
    collection: string,
    writes: Uint8Array,
    at: NonNullable<Version>,
  ): void {
    for (const { key, value } of decodePrivateWrites(writes)) {
      const keyHash = hashKey(key);
      const current = this.view.hashed(ns, collection, keyHash);
      if (value !== null && current !== null && sameVersion(current.version, at)) {
        this.#run(
          'INSERT OR REPLACE INTO private VALUES(?, ?, ?, ?, ?, ?, ?)',
          ...[mspId, ns, collection, keyHash, at.block, at.tx, value],
        );
      }
    }
  }

  /**
   * Gives a peer that was down what other members of the collection hold; what no member has
   * stays missing (as in Fabric, whose reconciliation asks members only).
   */
  reconcile(mspId: string, ns: string, collection: CollectionConfig): void {
    for (const member of collection.memberOrgs.filter((other) => other !== mspId)) {
      this.#run(
        `INSERT OR REPLACE INTO private
         SELECT ?, p.ns, p.collection, p.key_hash, p.block, p.tx, p.value FROM private p
         JOIN hashed h USING (ns, collection, key_hash, block, tx)
         WHERE p.msp = ? AND p.ns = ? AND p.collection = ?`,
        ...[mspId, member, ns, collection.name],
      );
    }
  }

  /** Forgets private values, and their hashes, that have outlived the collection's blockToLive. */
  expire(ns: string, collection: CollectionConfig, block: number): void {
    if (collection.blockToLive > 0) {
      const before = block - collection.blockToLive;
      for (const table of ['private', 'hashed']) {
        this.#run(
          `DELETE FROM ${table} WHERE ns = ? AND collection = ? AND block < ?`,
          ...[ns, collection.name, before],
        );
      }
    }
  }

  #writeState(ns: string, key: Buffer, value: Uint8Array | null, at: NonNullable<Version>): void {
    if (value === null) {
      this.#run('DELETE FROM state WHERE ns = ? AND key = ?', ns, key);
      return;
    }
    this.#run(
      `INSERT INTO state(ns, key, block, tx, metadata, value) VALUES(?, ?, ?, ?, NULL, ?)
       ON CONFLICT DO UPDATE SET value = excluded.value, block = excluded.block, tx = excluded.tx`,
      ...[ns, key, at.block, at.tx, value],
    );
  }

  #writeHashed(
    ns: string,
    collection: string,
    keyHash: Uint8Array,
    valueHash: Uint8Array | null,
    at: NonNullable<Version>,
  ): void {
    if (valueHash === null) {
      for (const table of ['private', 'hashed']) {
        this.#run(
          `DELETE FROM ${table} WHERE ns = ? AND collection = ? AND key_hash = ?`,
          ...[ns, collection, keyHash],
        );
      }
      return;
    }
    this.#run(
      `INSERT INTO hashed VALUES(?, ?, ?, ?, ?, ?, NULL) ON CONFLICT DO UPDATE SET
       value_hash = excluded.value_hash, block = excluded.block, tx = excluded.tx`,
      ...[ns, collection, keyHash, valueHash, at.block, at.tx],
    );
  }

  #statement(sql: string): Database.Statement<unknown[], Record<string, unknown>> {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = this.#database.prepare<unknown[], Record<string, unknown>>(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }

  #run(sql: string, ...parameters: unknown[]): void {
    this.#statement(sql).run(...parameters);
  }

  #get(sql: string, ...parameters: unknown[]): Record<string, unknown> | undefined {
    return this.#statement(sql).get(...parameters);
  }

  #all(sql: string, ...parameters: unknown[]): Record<string, unknown>[] {
    return this.#statement(sql).all(...parameters);
  }
}

function number(column: unknown): number {
  if (typeof column !== 'number') {
    throw new TypeError(`database: expected a number, got ${typeof column}`);
  }
  return column;
}

function blob(column: unknown): Uint8Array {
  if (!(column instanceof Uint8Array)) {
    throw new TypeError(`database: expected a blob, got ${typeof column}`);
  }
  return column;
}
