/**
 * One batch file: begin it, append readings, close it.
 *
 * Enters: readings in order. Leaves: rows, and the chain's head, in the same transaction. Always
 * holds: what `append` has returned from is on the disk, and what `write` has, once `sync` resolves;
 * a file has either no tables or its meta.
 */
import { statSync } from 'node:fs';
import {
  addReadingsSql,
  BATCH_META,
  BATCH_SCHEMA,
  BATCH_SQL,
  BATCH_VERSION,
  type BatchMetaKey,
  type BatchValues,
  type NamedBatchRow,
  type NamedSampleRow,
  putBatchRow,
  ROW_VALUES,
  type RowShape,
  readingsOf,
  rowShapeOf,
  sampleRowOf,
} from '@blocktorrent/protocol/batch.ts';
import { fromHex, toHex } from '@blocktorrent/protocol/bytes.ts';
import {
  CHAIN_HASH_BYTES,
  type Reading,
  requireReading,
  type Sample,
} from '@blocktorrent/protocol/reading.ts';
import { readingBytes } from '@blocktorrent/protocol/reading-bytes.ts';
import { matchesFilter } from '@blocktorrent/protocol/topic-filter.ts';
import type { Database, Statement } from 'better-sqlite3';
import { nodeSha256 } from '../crypto/node-hasher.ts';
import { BatchError } from './batch-error.ts';
import type { BatchRule } from './batch-rule.ts';
import { WalSync } from './wal-sync.ts';

/** What a batch says of itself. */
export interface BatchMeta {
  /** MSP id. */
  readonly source: string;
  /** Peer name. */
  readonly gateway: string;
  /** From 1. */
  readonly batch: number;
  readonly bootId: string;
  readonly openedMs: number;
  /** Null in an open batch. */
  readonly closedMs: number | null;
  /** Chain hashes before the first and after the last reading, 32 bytes each. */
  readonly chainStart: Uint8Array;
  readonly chainEnd: Uint8Array;
  readonly firstSeq: number;
  /** `firstSeq` - 1 while the batch is empty. */
  readonly lastSeq: number;
  readonly count: number;
}

/** The meta of a batch file, or null where not even its tables are there. Throws BatchError. */
export function readMeta(database: Database): BatchMeta | null {
  if (database.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'meta'").get() === undefined) {
    return null;
  }
  const version = Number(database.pragma('user_version', { simple: true }));
  if (version !== BATCH_VERSION) {
    const hint =
      version > BATCH_VERSION ? '; a newer release has written it: install that one' : '';
    throw new BatchError(
      'bad-batch',
      `${database.name} has version ${version}; this release knows ${BATCH_VERSION}${hint}`,
    );
  }
  const get = database.prepare(BATCH_SQL.getMeta);
  const find = (key: BatchMetaKey): string | null =>
    (get.get({ key }) as { value: string } | undefined)?.value ?? null;
  const text = (key: BatchMetaKey): string => {
    const value = find(key);
    if (value === null) throw new BatchError('bad-batch', `${database.name}: no meta ${key}`);
    return value;
  };
  const whole = (key: BatchMetaKey): number => {
    const value = Number(text(key));
    if (Number.isSafeInteger(value)) return value;
    throw new BatchError('bad-batch', `${database.name}: meta ${key} is '${text(key)}'`);
  };
  const chainStart = fromHex(text(BATCH_META.chainStart), CHAIN_HASH_BYTES);
  const firstSeq = whole(BATCH_META.firstSeq);
  const head = database.prepare(BATCH_SQL.lastChain).get() as
    | { seq: number; hash: Uint8Array }
    | undefined;
  const lastSeq = head?.seq ?? firstSeq - 1;
  return {
    source: text(BATCH_META.source),
    gateway: text(BATCH_META.gateway),
    batch: whole(BATCH_META.batch),
    bootId: text(BATCH_META.bootId),
    openedMs: whole(BATCH_META.openedMs),
    closedMs: find(BATCH_META.closedMs) === null ? null : whole(BATCH_META.closedMs),
    chainStart,
    chainEnd: head === undefined ? chainStart : new Uint8Array(head.hash),
    firstSeq,
    lastSeq,
    count: lastSeq - firstSeq + 1,
  };
}

/** Makes tables, rules and meta in an empty file, all or nothing. */
export function beginBatch(database: Database, meta: BatchMeta, rules: readonly BatchRule[]): void {
  database.transaction(() => {
    database.exec(BATCH_SCHEMA);
    const addRule = database.prepare(BATCH_SQL.addRule);
    const addField = database.prepare(BATCH_SQL.addField);
    for (const { name, decoder, fields } of rules) {
      addRule.run({ name, decoder });
      for (const field of fields) addField.run({ rule: name, ...field });
    }
    putMeta(database, {
      source: meta.source,
      gateway: meta.gateway,
      batch: meta.batch,
      bootId: meta.bootId,
      openedMs: meta.openedMs,
      firstSeq: meta.firstSeq,
      chainStart: toHex(meta.chainStart),
    });
  })();
}

/** Completes the meta of a batch; the last thing that is ever written to it, in one transaction. */
export function markClosed(database: Database, meta: BatchMeta, closedMs: number): void {
  database.transaction(() => {
    putMeta(database, {
      closedMs,
      lastSeq: meta.lastSeq,
      count: meta.count,
      chainEnd: toHex(meta.chainEnd),
    });
  })();
}

function putMeta(
  database: Database,
  entries: Partial<Record<BatchMetaKey, string | number>>,
): void {
  const put = database.prepare(BATCH_SQL.putMeta);
  for (const [key, value] of Object.entries(entries)) put.run({ key, value: String(value) });
}

/** Whether the file was begun with these very rules; if not, a new batch is due. */
export function hasRules(database: Database, rules: readonly BatchRule[]): boolean {
  const columns = database.pragma('table_info(field)') as { name: string }[];
  // Files of releases up to 0.1.0 have none.
  if (!columns.some(({ name }) => name === 'unit_path')) return false;
  const stored = database
    .prepare(
      `SELECT r.name AS rule, r.decoder, f.name, f.path, f.unit, f.unit_path FROM rule r
       LEFT JOIN field f ON f.rule = r.id ORDER BY r.id, f.name`,
    )
    .raw()
    .all();
  const wanted = rules.flatMap(({ name, decoder, fields }) => {
    if (fields.length === 0) return [[name, decoder, null, null, null, null]];
    const sorted = [...fields].sort((a, b) => (a.name < b.name ? -1 : 1));
    return sorted.map((field) => [
      name,
      decoder,
      field.name,
      field.path,
      field.unit,
      field.unitPath,
    ]);
  });
  return JSON.stringify(stored) === JSON.stringify(wanted);
}

/** Rules of the topics in a batch, by their names; null for topics without one. */
export function rulesIn(database: Database): (string | null)[] {
  const sql = 'SELECT DISTINCT r.name FROM topic t LEFT JOIN rule r ON r.id = t.rule';
  return database.prepare(sql).pluck().all() as (string | null)[];
}

/** What `PRAGMA wal_checkpoint` says: frames in the log, and how many of them are in the file. */
interface Checkpoint {
  readonly busy: number;
  readonly log: number;
  readonly checkpointed: number;
}

/** Readings of one INSERT: calling SQLite costs about as much as the row that it stores. */
const ROWS_AT_ONCE = 16;

/** A statement for some rows, and its parameters: making them anew costs as much as filling them. */
interface Rows {
  readonly statement: Statement;
  readonly values: BatchValues;
  readonly shape: RowShape;
}

function rowsOf(database: Database, rows: number, shape: RowShape): Rows {
  const values: BatchValues = Array(rows * ROW_VALUES[shape]).fill(null);
  return { statement: database.prepare(addReadingsSql(rows, shape)), values, shape };
}

/** The writer of the open batch: keeps the chain's head and the names' numbers in memory. */
export class BatchWriter {
  readonly database: Database;
  readonly #rules: readonly BatchRule[];
  readonly #statements: Record<
    | 'addTopic'
    | 'addSensor'
    | 'addBoot'
    | 'addMetric'
    | 'addSample'
    | 'putChain'
    | 'dropChainBefore',
    Statement
  >;
  readonly #pageCount: Statement;
  readonly #pageBytes: number;
  readonly #topics = new Map<string, number>();
  readonly #sensors = new Map<string, number>();
  readonly #boots = new Map<string, number>();
  readonly #plainRows: Rows;
  readonly #wholeRows: Rows;
  readonly #oneRow: Rows;
  /** By name and unit. */
  readonly #metrics = new Map<string, number>();
  #meta: BatchMeta;
  /** Since the first `write`. */
  #wal: WalSync | null = null;

  /** `database` has been begun with these rules, and `meta` is what `readMeta` gives. */
  constructor(database: Database, meta: BatchMeta, rules: readonly BatchRule[]) {
    this.database = database;
    this.#meta = meta;
    this.#rules = rules;
    this.#pageCount = database.prepare('PRAGMA page_count').pluck();
    this.#pageBytes = Number(database.pragma('page_size', { simple: true }));
    this.#plainRows = rowsOf(database, ROWS_AT_ONCE, 'plain');
    this.#wholeRows = rowsOf(database, ROWS_AT_ONCE, 'whole');
    this.#oneRow = rowsOf(database, 1, 'whole');
    this.#statements = {
      addTopic: database.prepare(BATCH_SQL.addTopic),
      addSensor: database.prepare(BATCH_SQL.addSensor),
      addBoot: database.prepare(BATCH_SQL.addBoot),
      addMetric: database.prepare(BATCH_SQL.addMetric),
      addSample: database.prepare(BATCH_SQL.addSample),
      putChain: database.prepare(BATCH_SQL.putChain),
      dropChainBefore: database.prepare(BATCH_SQL.dropChainBefore),
    };
  }

  get meta(): BatchMeta {
    return this.#meta;
  }

  /** Size of the database in bytes, what is only in the WAL included. */
  get bytes(): number {
    return Number(this.#pageCount.get()) * this.#pageBytes;
  }

  /** By how much the file will still grow when all of the WAL has come into it, in bytes. */
  get owedBytes(): number {
    const there = statSync(this.database.name, { throwIfNoEntry: false })?.size ?? 0;
    return Math.max(0, this.bytes - there);
  }

  /**
   * Appends readings, in order and without a hole, in one synced transaction: all or none of them.
   * Throws BatchError `out-of-order`, ProtocolError, or SqliteError (disk full, …).
   */
  append(readings: readonly Reading[]): void {
    for (const reading of readings) requireReading(reading);
    this.#commit(readings);
    this.#wal?.syncNow();
  }

  /**
   * As `append`, for readings that `requireReading` has taken; but they survive a power cut only when
   * `sync` has resolved, or `syncNow` returned.
   */
  write(readings: readonly Reading[]): void {
    if (this.#wal === null) {
      this.#wal = new WalSync(this.database.name);
      this.database.pragma('synchronous = NORMAL');
    }
    this.#commit(readings);
  }

  /** Rejects with the system's error: then `checkpoint` decides. */
  async sync(): Promise<void> {
    await this.#wal?.sync();
  }

  /** The same, holding everything else up. Throws the system's error. */
  syncNow(): void {
    this.#wal?.syncNow();
  }

  /**
   * Copies all of the log into the file, and syncs that: after a sync that failed the kernel may take
   * for written what is not. Throws SqliteError, or BatchError `busy` while another process reads.
   */
  checkpoint(): void {
    const [result] = this.database.pragma('wal_checkpoint(PASSIVE)') as Checkpoint[];
    if (result?.busy === 0 && result.log === result.checkpointed) return;
    throw new BatchError('busy', `${this.database.name} is being read`, this.#meta.batch);
  }

  /** The database is closed, or somebody else's, from here on. */
  end(): void {
    this.#wal?.close();
  }

  #commit(readings: readonly Reading[]): void {
    if (readings.length === 0) return;
    let { lastSeq } = this.#meta;
    const chainEnd = new Uint8Array(this.#meta.chainEnd);
    try {
      this.database.transaction(() => {
        for (const reading of readings) {
          lastSeq += 1;
          if (reading.seq !== lastSeq) {
            const text = `expected reading ${lastSeq}, found ${reading.seq}`;
            throw new BatchError('out-of-order', text, this.#meta.batch);
          }
          nodeSha256(readingBytes(chainEnd, reading), chainEnd);
        }
        this.#insert(readings);
        this.#statements.putChain.run({ seq: lastSeq, hash: chainEnd });
        this.#statements.dropChainBefore.run({ seq: lastSeq });
      })();
    } catch (error) {
      // Names that the transaction added are gone from the file.
      for (const names of [this.#topics, this.#sensors, this.#boots, this.#metrics]) names.clear();
      throw error;
    }
    this.#meta = { ...this.#meta, chainEnd, lastSeq, count: lastSeq - this.#meta.firstSeq + 1 };
  }

  #insert(readings: readonly Reading[]): void {
    const together = readings.length - (readings.length % ROWS_AT_ONCE);
    for (let at = 0; at < together; at += ROWS_AT_ONCE) this.#insertRows(readings, at);
    for (let at = together; at < readings.length; at += 1) this.#run(this.#oneRow, readings, at);
    for (const reading of readings) if (reading.samples.length > 0) this.#insertSamples(reading);
  }

  #insertRows(readings: readonly Reading[], from: number): void {
    for (let at = from; at < from + ROWS_AT_ONCE; at += 1) {
      if (rowShapeOf(readings[at] as Reading) === 'plain') continue;
      this.#run(this.#wholeRows, readings, from);
      return;
    }
    this.#run(this.#plainRows, readings, from);
  }

  #run({ statement, values, shape }: Rows, readings: readonly Reading[], from: number): void {
    for (let at = 0, row = from; at < values.length; at += ROW_VALUES[shape], row += 1) {
      const reading = readings[row] as Reading;
      const ids = {
        topic: this.#topicId(reading.topic),
        sensor: this.#sensorId(reading.sensor),
        boot: idOf(this.#boots, reading.bootId, this.#statements.addBoot),
      };
      putBatchRow(values, at, reading, ids, shape);
    }
    statement.run(values);
  }

  #insertSamples(reading: Reading): void {
    for (const [place, sample] of reading.samples.entries()) {
      const ids = { metric: this.#metricId(sample), sensor: this.#sensorId(sample.sensor) };
      this.#statements.addSample.run(sampleRowOf(reading, place, sample, ids));
    }
  }

  #sensorId(name: string | null): number | null {
    return name === null ? null : idOf(this.#sensors, name, this.#statements.addSensor);
  }

  #metricId({ name, unit }: Sample): number {
    const key = `${name}\0${unit}`;
    const known = this.#metrics.get(key);
    if (known !== undefined) return known;
    const { id } = this.#statements.addMetric.get({ name, unit }) as { id: number };
    this.#metrics.set(key, id);
    return id;
  }

  #topicId(name: string): number {
    const known = this.#topics.get(name);
    if (known !== undefined) return known;
    const rule = this.#rules.find(({ filter }) => matchesFilter(filter, name))?.name ?? null;
    const { id } = this.#statements.addTopic.get({ name, rule }) as { id: number };
    this.#topics.set(name, id);
    return id;
  }
}

function idOf(known: Map<string, number>, name: string, add: Statement): number {
  let id = known.get(name);
  if (id === undefined) {
    ({ id } = add.get({ name }) as { id: number });
    known.set(name, id);
  }
  return id;
}

/**
 * The newest readings that repeat no other, `limit` at most: how many there are, and the seq before the
 * oldest of them. Throws SqliteError where the file is broken.
 */
export function newestOriginals(
  database: Database,
  limit: number,
): { readonly count: number; readonly afterSeq: number } {
  const sql = `SELECT count(*) AS count, coalesce(min(seq), 1) - 1 AS afterSeq FROM
    (SELECT seq FROM reading WHERE duplicate_of IS NULL ORDER BY seq DESC LIMIT ?)`;
  return database.prepare(sql).get(limit) as { count: number; afterSeq: number };
}

/** Readings of a batch after `afterSeq`, in order of seq. */
export function* readReadings(database: Database, afterSeq: number): Generator<Reading> {
  const rows = database.prepare(BATCH_SQL.readingsAfter).iterate({ seq: afterSeq, limit: -1 });
  const samples = database.prepare(BATCH_SQL.samplesAfter).iterate({ seq: afterSeq });
  yield* readingsOf(rows as Iterable<NamedBatchRow>, samples as Iterable<NamedSampleRow>);
}
