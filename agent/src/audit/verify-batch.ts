/**
 * Verifying one batch file by itself (P §3.2.4, step 4): the chain is computed again from its rows.
 *
 * Enters: a SQLite file that somebody else made, so nothing in it is trusted: it is opened read-only,
 * what is read must be plain tables, and SQLite's own check comes first. Leaves: what the batch says
 * of itself, proven by the chain. It shares no code with the stage that writes batches.
 */
import {
  BATCH_META,
  BATCH_SQL,
  BATCH_VERSION,
  type BatchMetaKey,
  type NamedBatchRow,
  type NamedSampleRow,
  readingsOf,
} from '@blocktorrent/protocol/batch.ts';
import { equalBytes, fromHex, toHex } from '@blocktorrent/protocol/bytes.ts';
import type { Anchor } from '@blocktorrent/protocol/ledger-api.ts';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import { CHAIN_HASH_BYTES, chainHash } from '@blocktorrent/protocol/reading.ts';
import SqliteDatabase, { type Database } from 'better-sqlite3';
import { nodeSha256 } from '../crypto/node-hasher.ts';

/** The file is no sound batch: the message says which check failed. */
export class BadBatchError extends Error {
  override readonly name = 'BadBatchError';
  readonly code = 'bad-chain';
}

/** A batch whose chain holds. */
export interface VerifiedBatch {
  readonly source: string;
  readonly gateway: string;
  readonly batch: number;
  readonly firstSeq: number;
  readonly lastSeq: number;
  /** All readings, dead letters and duplicates included. */
  readonly readings: number;
  readonly duplicates: number;
  readonly deadLetters: number;
  /** Chain hashes before the first and after the last reading, 32 bytes each. */
  readonly chainStart: Uint8Array;
  readonly chainEnd: Uint8Array;
  /** Anchors that the chain was held against, and led to. */
  readonly anchors: number;
}

/** What an anchor says: the chain hash after so many readings of the gateway. */
export type AnchoredHead = Pick<Anchor, 'count' | 'head'>;

const TABLES = ['meta', 'topic', 'sensor', 'boot', 'reading', 'metric', 'sample'];

/**
 * Checks the closed batch in `path`: by itself, and against those of the anchors that fall into it.
 * Throws BadBatchError, whatever is wrong with the file.
 */
export function verifyBatch(path: string, anchors: readonly AnchoredHead[] = []): VerifiedBatch {
  return withBatch(path, (database) => verifyChain(database, anchors));
}

/** Which readings the batch in `path` says it has, before anything of it is verified. */
export function claimedRange(path: string): {
  readonly firstSeq: number;
  readonly lastSeq: number;
} {
  return withBatch(path, (database) => {
    const { whole } = metaOf(database);
    return { firstSeq: whole(BATCH_META.firstSeq), lastSeq: whole(BATCH_META.lastSeq) };
  });
}

function withBatch<T>(path: string, work: (database: Database) => T): T {
  let database: Database | null = null;
  try {
    database = new SqliteDatabase(path, { readonly: true, fileMustExist: true });
    database.pragma('trusted_schema = OFF');
    requireSound(database);
    return work(database);
  } catch (error) {
    if (error instanceof BadBatchError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new BadBatchError(`batch: ${reason}`, { cause: error });
  } finally {
    database?.close();
  }
}

function requireSound(database: Database): void {
  const version = database.pragma('user_version', { simple: true });
  if (version !== BATCH_VERSION) {
    throw new BadBatchError(`batch: expected version ${BATCH_VERSION}, found ${String(version)}`);
  }
  const isTable = database.prepare(
    "SELECT 1 FROM sqlite_schema WHERE name = ? AND type = 'table' AND sql NOT LIKE '%VIRTUAL%'",
  );
  for (const table of TABLES) {
    if (isTable.get(table) === undefined) throw new BadBatchError(`batch: no table ${table}`);
  }
  for (const table of TABLES) requireBounded(database, table);
  const problem = database.pragma('integrity_check(1)', { simple: true });
  if (problem !== 'ok') throw new BadBatchError(`batch: SQLite finds: ${String(problem)}`);
}

/** Values that are stored, none computed, and none longer than a payload may be: few bytes can be a GiB. */
function requireBounded(database: Database, table: string): void {
  const columns = database.pragma(`table_xinfo(${table})`) as { name: string; hidden: number }[];
  const computed = columns.find(({ hidden }) => hidden !== 0);
  if (computed !== undefined) {
    throw new BadBatchError(`batch: column ${computed.name} of ${table} is computed`);
  }
  const tooLong = columns
    .map(({ name }) => `octet_length("${name.replaceAll('"', '""')}") > ${LIMITS.payloadBytesMax}`)
    .join(' OR ');
  const found = database.prepare(`SELECT 1 FROM ${table} WHERE ${tooLong} LIMIT 1`).get();
  if (found !== undefined) {
    throw new BadBatchError(
      `batch: a value of ${table} is longer than ${LIMITS.payloadBytesMax} bytes`,
    );
  }
}

function metaOf(database: Database) {
  const get = database.prepare(BATCH_SQL.getMeta);
  const text = (key: BatchMetaKey): string => {
    const row = get.get({ key }) as { value: string } | undefined;
    if (row === undefined) throw new BadBatchError(`batch: no meta ${key}`);
    return row.value;
  };
  const whole = (key: BatchMetaKey): number => {
    const value = Number(text(key));
    if (!Number.isSafeInteger(value)) throw new BadBatchError(`batch: ${key} is '${text(key)}'`);
    return value;
  };
  return { text, whole };
}

function verifyChain(database: Database, anchors: readonly AnchoredHead[]): VerifiedBatch {
  const { text, whole } = metaOf(database);
  const heads = new Map(anchors.map(({ count, head }) => [count, head]));
  let anchored = 0;
  const hold = (seq: number, chain: Uint8Array): void => {
    const head = heads.get(seq);
    if (head === undefined) return;
    if (toHex(chain) !== head) {
      const found = `${toHex(chain)}, the ledger has ${head}`;
      throw new BadBatchError(`batch: not what was anchored: after reading ${seq} it is ${found}`);
    }
    anchored += 1;
  };
  const chainStart = fromHex(text(BATCH_META.chainStart), CHAIN_HASH_BYTES);
  const chainEnd = fromHex(text(BATCH_META.chainEnd), CHAIN_HASH_BYTES);
  const firstSeq = whole(BATCH_META.firstSeq);
  const lastSeq = whole(BATCH_META.lastSeq);
  let seq = firstSeq - 1;
  let chain = chainStart;
  hold(seq, chain);
  let duplicates = 0;
  let deadLetters = 0;
  const rows = database.prepare(BATCH_SQL.readingsAfter).iterate({ seq: -1, limit: -1 });
  const samples = database.prepare(BATCH_SQL.samplesAfter).iterate({ seq: -1 });
  for (const reading of readingsOf(
    rows as Iterable<NamedBatchRow>,
    samples as Iterable<NamedSampleRow>,
  )) {
    seq += 1;
    if (reading.seq !== seq) {
      throw new BadBatchError(`batch: expected reading ${seq}, found ${reading.seq}`);
    }
    chain = chainHash(chain, reading, nodeSha256);
    hold(seq, chain);
    if (reading.duplicateOf !== null) duplicates += 1;
    if (reading.refusal !== null) deadLetters += 1;
  }
  const readings = seq - firstSeq + 1;
  if (seq !== lastSeq || readings !== whole(BATCH_META.count)) {
    throw new BadBatchError(`batch: the last reading is ${seq}, its meta says ${lastSeq}`);
  }
  if (!equalBytes(chain, chainEnd)) {
    const found = toHex(chain);
    throw new BadBatchError(`batch: the chain ends at ${found}, its meta says ${toHex(chainEnd)}`);
  }
  const names = { source: text(BATCH_META.source), gateway: text(BATCH_META.gateway) };
  const batch = whole(BATCH_META.batch);
  return {
    ...names,
    batch,
    firstSeq,
    lastSeq,
    readings,
    duplicates,
    deadLetters,
    chainStart,
    chainEnd,
    anchors: anchored,
  };
}
