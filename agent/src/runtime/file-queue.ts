/**
 * The queue of files on their way to the ledger, in SQLite (`state.sqlite`).
 *
 * Enters: a closed batch or a file given to `put`. Leaves: a file that is available, or void.
 * Always holds: each stage's result is committed before the next stage begins, ids grow in the order
 * of the gateway's chain, and the key of a file is erased once the file is available, or given up while
 * its batch is still there.
 */
import { existsSync } from 'node:fs';
import type { Dealing, KeyScheme, SignedReceipt } from '@blocktorrent/protocol/ledger-api.ts';
import type { Database, Statement } from 'better-sqlite3';

/** Where a file stands; the order of this list is the order of the pipeline (P §3.2.3). */
export const STAGES = [
  'queued',
  'sealed',
  'named',
  'distributed',
  'deposited',
  'recorded',
  'available',
  'void',
] as const;
export type Stage = (typeof STAGES)[number];

/** A file's state; what a stage has not produced yet is null. */
export interface QueuedFile {
  readonly id: number;
  readonly stage: Stage;
  readonly kind: 'batch' | 'file';
  /** Absolute path of the plaintext. */
  readonly inputPath: string;
  /** Number of the batch, for `kind: 'batch'`. */
  readonly batch: number | null;
  /** Further age recipients that may open the file without a vote. */
  readonly recipients: readonly string[];
  /**
   * The file's age identity, 32 bytes; erased when the file is available. At stage `queued`: that of
   * the sealed copy that is left of the batch (`giveUp`).
   */
  readonly identity: Uint8Array | null;
  readonly recipient: string | null;
  readonly ciphertextBytes: number | null;
  readonly ciphertextSha256: Uint8Array | null;
  /** Bencoded infodict (BEP 3). */
  readonly info: Uint8Array | null;
  /** Three digests of every chunk, 144 bytes each. */
  readonly digests: Uint8Array | null;
  readonly seq: number | null;
  readonly previous: string | null;
  readonly fileId: string | null;
  readonly epoch: number | null;
  /** When the manifest was signed, ms since 1970. */
  readonly timeMs: number | null;
  readonly manifest: Uint8Array | null;
  readonly receipts: readonly SignedReceipt[];
  /** Receipts that came after the record was made ready, and are not on the ledger yet. */
  readonly lateReceipts: readonly SignedReceipt[];
  /** The last deposit of this file's key that was about to be sent, and what it asked for. */
  readonly deposit: {
    /** The dealing's `depositTx`. */
    readonly txId: string;
    readonly entropy: string;
    readonly scheme: KeyScheme;
    readonly k: number;
    readonly n: number;
  } | null;
  readonly dealing: Dealing | null;
  /** Encrypted master table, kept until its record is committed (P §3.2.3, step 3a). */
  readonly masterTable: Uint8Array | null;
  /** Bytes that this agent's sockets sent to distribute the file. */
  readonly uplinkBytes: number;
  /** Last failure, in words; null when the last try went well. */
  readonly error: string | null;
  readonly createdMs: number;
  readonly updatedMs: number;
}
export type FilePatch = Partial<Omit<QueuedFile, 'id' | 'createdMs' | 'updatedMs'>>;

/** Forward-only migrations of `state.sqlite`, by user_version. */
export const FILE_QUEUE_MIGRATIONS: readonly string[] = [
  `CREATE TABLE file (
     id INTEGER PRIMARY KEY AUTOINCREMENT,
     stage TEXT NOT NULL, kind TEXT NOT NULL, inputPath TEXT NOT NULL, batch INTEGER UNIQUE,
     recipients TEXT NOT NULL DEFAULT '[]', identity BLOB, recipient TEXT,
     ciphertextBytes INTEGER, ciphertextSha256 BLOB, info BLOB, digests BLOB,
     seq INTEGER UNIQUE, previous TEXT, fileId TEXT UNIQUE, epoch INTEGER, timeMs INTEGER,
     manifest BLOB, receipts TEXT NOT NULL DEFAULT '[]',
     lateReceipts TEXT NOT NULL DEFAULT '[]',
     deposit TEXT, dealing TEXT, masterTable BLOB, uplinkBytes INTEGER NOT NULL DEFAULT 0,
     error TEXT, createdMs INTEGER NOT NULL, updatedMs INTEGER NOT NULL);
   CREATE INDEX file_by_stage ON file (stage, id);`,
];

/** Where a stage is asked for by `+stage`, SQLite does not go by it: nearly all files are available. */
const UNDER_WAY = "stage NOT IN ('available', 'void')";

/** Of files behind these in the chain the manifest goes when they are done: `export-torrent` has no other use. */
const MANIFESTS_KEPT = 1_000;
const DROP_OLD_MANIFESTS = `UPDATE file SET manifest = NULL WHERE manifest IS NOT NULL
  AND +stage IN ('available', 'void') AND seq <= (SELECT max(seq) FROM file) - ${MANIFESTS_KEPT}`;

/**
 * Last of all migrations so far: what a gateway that is years old looks at every few seconds must not
 * take the longer the more files there were, and rows that are done are small.
 */
export const FILE_QUEUE_AGES_MIGRATION = `
  UPDATE file SET receipts = '[]', dealing = NULL WHERE stage = 'available';
  CREATE INDEX file_with_manifest ON file (seq) WHERE manifest IS NOT NULL;
  ${DROP_OLD_MANIFESTS};
  CREATE INDEX file_with_error ON file (id, stage) WHERE error IS NOT NULL;
  CREATE INDEX file_under_way ON file (createdMs, stage) WHERE ${UNDER_WAY};
  CREATE INDEX file_in_order ON file (id, stage) WHERE ${UNDER_WAY};
  CREATE INDEX file_by_uplink ON file (ciphertextBytes, uplinkBytes) WHERE uplinkBytes > 0;`;

const JSON_COLUMNS = new Set(['recipients', 'receipts', 'lateReceipts', 'deposit', 'dealing']);

/** How the reason of a file begins that the ledger refused for good. */
export const REFUSED = 'the ledger refuses it for good: ';
/** How the reason of a file begins that a person gave up. */
export const BY_HAND = 'given up by hand: ';
/** How the reason of a file begins that was given up because it cannot be read. */
export const UNREADABLE = 'it cannot be read: ';
/** What is refused, or cannot be read, is tried so often in all: then it never helps. */
export const REFUSALS_MAX = 3;

/** Whether the sealed copy of a file is all that is left of a batch: its own file was dropped. */
export function isOnlyCopy({
  batch,
  identity,
  inputPath,
}: Pick<QueuedFile, 'batch' | 'identity' | 'inputPath'>): boolean {
  return batch !== null && identity !== null && !existsSync(inputPath);
}

export class FileQueue {
  /** Ids of the files that a stage works on at this moment; not stored. */
  readonly inHand = new Set<number>();
  readonly #db: Database;
  /** Prepared at their first use: a gateway that comes back asks for thousands of files. */
  readonly #statements = new Map<string, Statement>();
  readonly #nowMs: () => number;
  /** A secret was erased, or may have been; it is in the journal still. */
  #isErased = true;

  constructor(db: Database, nowMs: () => number) {
    this.#db = db;
    this.#nowMs = nowMs;
    db.pragma('secure_delete = ON');
  }

  /**
   * Adds a file at stage `queued`. A batch that is already there is returned as it is, unless that
   * try was given up: then it is queued anew, and the void row keeps its place in the chain. A batch
   * that was given up for good (`staysGivenUp`) stays so.
   */
  add(file: Pick<QueuedFile, 'kind' | 'inputPath' | 'batch' | 'recipients'>): QueuedFile {
    if (file.batch !== null) {
      const known = this.#one('SELECT * FROM file WHERE batch = ?', file.batch);
      if (known !== null && known.stage !== 'void') return known;
      if (known !== null && this.staysGivenUp(known)) return known;
      if (known !== null) this.update(known.id, { batch: null });
    }
    const now = this.#nowMs();
    const { lastInsertRowid } = this.#prepared(
      `INSERT INTO file (stage, kind, inputPath, batch, recipients, createdMs, updatedMs)
         VALUES ('queued', ?, ?, ?, ?, ?, ?)`,
    ).run(file.kind, file.inputPath, file.batch, JSON.stringify(file.recipients), now, now);
    return this.get(Number(lastInsertRowid));
  }

  /** Writes the given fields in one transaction. */
  update(id: number, patch: FilePatch): QueuedFile {
    const names = Object.keys(patch);
    this.#isErased ||= 'identity' in patch || 'deposit' in patch;
    const values = Object.entries(patch).map(([name, value]) => toColumn(name, value));
    const assignments = [...names.map((name) => `${name} = ?`), 'updatedMs = ?'].join(', ');
    this.#prepared(`UPDATE file SET ${assignments} WHERE id = ?`).run(...values, this.#nowMs(), id);
    if (patch.stage === 'available') this.#prepared(DROP_OLD_MANIFESTS).run();
    return this.get(id);
  }

  /**
   * Makes a file void, for good; its key is erased. But a batch that was sealed already, and whose own
   * file is not there any more, is queued anew with the key, so that it is sealed anew from the sealed
   * copy (`givenUpBefore`): unless `add` would leave it alone, too.
   */
  giveUp(id: number, reason: string): QueuedFile {
    const file = this.get(id);
    const { stage, batch, inputPath, recipients, identity, ciphertextBytes } = file;
    const giveUp = this.#db.transaction(() => {
      this.update(id, { stage: 'void', error: reason, identity: null, deposit: null });
      // What cannot even be sealed anew is given up for good.
      if (stage === 'queued' || !isOnlyCopy(file)) return;
      const anew = this.add({ kind: 'batch', inputPath, batch, recipients });
      if (anew.stage === 'queued') this.update(anew.id, { identity, ciphertextBytes });
    });
    giveUp();
    return this.get(id);
  }

  /**
   * Takes erased secrets out of the journal, too, which keeps what was written for long. Throws
   * SqliteError of a disk that takes nothing: then the next call does it.
   */
  purgeErased(): void {
    if (!this.#isErased) return;
    this.#db.pragma('wal_checkpoint(TRUNCATE)');
    this.#isErased = false;
  }

  /** The last try of the same batch that was given up, or null: its sealed copy may be the only one. */
  givenUpBefore({ id, inputPath }: Pick<QueuedFile, 'id' | 'inputPath'>): QueuedFile | null {
    const sql = `SELECT * FROM file WHERE stage = 'void' AND inputPath = ? AND id < ? AND kind = 'batch'
                 ORDER BY id DESC LIMIT 1`;
    return this.#one(sql, inputPath, id);
  }

  /** Whether a given-up file's sealed copy is what its batch will be sealed anew from. */
  isToSealAgain(id: number): boolean {
    const { inputPath } = this.get(id);
    const sql =
      "SELECT * FROM file WHERE stage = 'queued' AND identity IS NOT NULL AND inputPath = ?";
    const anew = this.#one(sql, inputPath);
    return anew !== null && this.givenUpBefore(anew)?.id === id;
  }

  /** Sum of the sealed copies that batches will be sealed anew from, in bytes. */
  bytesToSealAgain(): number {
    const sql = `SELECT coalesce(sum(ciphertextBytes), 0) AS bytes FROM file
                 WHERE stage = 'queued' AND identity IS NOT NULL`;
    return (this.#prepared(sql).get() as { bytes: number }).bytes;
  }

  /** Whether a given-up file is not to be tried again by itself: by hand, or `REFUSALS_MAX` times. */
  staysGivenUp({ inputPath, error }: Pick<QueuedFile, 'inputPath' | 'error'>): boolean {
    if (error?.startsWith(BY_HAND) === true) return true;
    const sql = `SELECT count(*) AS n FROM file WHERE inputPath = ? AND stage = 'void'
                 AND (error LIKE ? OR error LIKE ?)`;
    const row = this.#prepared(sql).get(inputPath, `${REFUSED}%`, `${UNREADABLE}%`);
    return (row as { n: number }).n >= REFUSALS_MAX;
  }

  /** Files that came before `beforeMs` (ms since 1970) and are neither available nor void. */
  overdue(beforeMs: number): { readonly count: number; readonly oldestMs: number | null } {
    return this.#prepared(
      `SELECT count(*) AS count, min(createdMs) AS oldestMs FROM file
         WHERE ${UNDER_WAY} AND createdMs < ?`,
    ).get(beforeMs) as { count: number; oldestMs: number | null };
  }

  /** @throws Error when there is no such file. */
  get(id: number): QueuedFile {
    const file = this.#one('SELECT * FROM file WHERE id = ?', id);
    if (file === null) throw new Error(`no file with queue id ${id}`);
    return file;
  }

  has(id: number): boolean {
    return this.#one('SELECT * FROM file WHERE id = ?', id) !== null;
  }

  /** Where a batch stands; null where it was never queued. */
  batchStage(batch: number): Stage | null {
    return this.#batchRow(batch)?.stage ?? null;
  }

  /** Whether a stage works on this batch at this moment. */
  isBatchInHand(batch: number): boolean {
    const row = this.#batchRow(batch);
    return row !== undefined && this.inHand.has(row.id);
  }

  #batchRow(batch: number): { readonly id: number; readonly stage: Stage } | undefined {
    return this.#prepared('SELECT id, stage FROM file WHERE batch = ?').get(batch) as
      | { id: number; stage: Stage }
      | undefined;
  }

  /** Files at one stage, oldest first. */
  at(stage: Stage, limit: number): QueuedFile[] {
    return this.#all('SELECT * FROM file WHERE stage = ? ORDER BY id LIMIT ?', stage, limit);
  }

  /**
   * The oldest unbroken run of files at `stage`: nothing older is still before it. For the stages
   * that keep the order of the gateway's chain.
   */
  oldestRun(stage: Stage, limit: number): QueuedFile[] {
    const upTo = STAGES.slice(0, STAGES.indexOf(stage) + 1);
    const marks = upTo.map(() => '?').join(', ');
    const waiting = this.#all(
      `SELECT * FROM file WHERE ${UNDER_WAY} AND +stage IN (${marks}) ORDER BY id LIMIT ?`,
      ...upTo,
      limit,
    );
    const end = waiting.findIndex((file) => file.stage !== stage);
    return end === -1 ? waiting : waiting.slice(0, end);
  }

  /** The last file of this gateway's chain that has a place in it, or null. */
  chainHead(): { seq: number; fileId: string } | null {
    const row = this.#prepared(
      'SELECT seq, fileId FROM file WHERE seq IS NOT NULL ORDER BY seq DESC LIMIT 1',
    ).get() as { seq: number; fileId: string } | undefined;
    return row ?? null;
  }

  /** Files with `fromSeq` <= seq < `beforeSeq`, in the chain's order. */
  bySeq(fromSeq: number, beforeSeq: number): QueuedFile[] {
    return this.#all(
      'SELECT * FROM file WHERE seq >= ? AND seq < ? ORDER BY seq',
      fromSeq,
      beforeSeq,
    );
  }

  /** Canonical bytes of a named file's manifest; null where it has none, or not any more. */
  manifestOf(fileId: string): Uint8Array | null {
    return this.#one('SELECT * FROM file WHERE fileId = ?', fileId)?.manifest ?? null;
  }

  /**
   * Files with a failure, `limit` of each kind: those that are still tried, the oldest first, since
   * others wait for them; then those given up whose batch did not go on as another file, the newest
   * first.
   */
  problems(
    limit: number,
  ): { readonly id: number; readonly stage: Stage; readonly error: string }[] {
    const sql = (where: string, order: string) =>
      this.#prepared(
        `SELECT id, stage, error FROM file WHERE error IS NOT NULL AND ${where} ORDER BY id ${order} LIMIT ?`,
      );
    const tried = sql(`+${UNDER_WAY}`, 'ASC').all(limit);
    const lost = sql("stage = 'void' AND (kind = 'file' OR batch IS NOT NULL)", 'DESC').all(limit);
    return [...tried, ...lost] as { id: number; stage: Stage; error: string }[];
  }

  /** Newest first. */
  list(limit: number): QueuedFile[] {
    return this.#all('SELECT * FROM file ORDER BY id DESC LIMIT ?', limit);
  }

  /** How many files stand at each stage. */
  counts(): Record<Stage, number> {
    const counts = Object.fromEntries(STAGES.map((stage) => [stage, 0])) as Record<Stage, number>;
    const rows = this.#prepared('SELECT stage, count(*) AS n FROM file GROUP BY stage').all();
    for (const row of rows as { stage: Stage; n: number }[]) counts[row.stage] = row.n;
    return counts;
  }

  countAt(stage: Stage): number {
    const row = this.#prepared('SELECT count(*) AS n FROM file WHERE stage = ?').get(stage);
    return (row as { n: number }).n;
  }

  /** Sums over all files: ciphertext distributed, and what the sockets sent for it, bytes. */
  uplink(): { ciphertextBytes: number; sentBytes: number; uplinkRatio: number | null } {
    const sums = this.#prepared(
      `SELECT coalesce(sum(ciphertextBytes), 0) AS ciphertextBytes,
                coalesce(sum(uplinkBytes), 0) AS sentBytes
         FROM file WHERE uplinkBytes > 0`,
    ).get() as { ciphertextBytes: number; sentBytes: number };
    const { ciphertextBytes, sentBytes } = sums;
    return { ...sums, uplinkRatio: ciphertextBytes === 0 ? null : sentBytes / ciphertextBytes };
  }

  #prepared(sql: string): Statement {
    const known = this.#statements.get(sql);
    if (known !== undefined) return known;
    const statement = this.#db.prepare(sql);
    this.#statements.set(sql, statement);
    return statement;
  }

  #one(sql: string, ...parameters: unknown[]): QueuedFile | null {
    const row = this.#prepared(sql).get(...parameters);
    return row === undefined ? null : fromRow(row as Record<string, unknown>);
  }

  #all(sql: string, ...parameters: unknown[]): QueuedFile[] {
    return this.#prepared(sql)
      .all(...parameters)
      .map((row) => fromRow(row as Record<string, unknown>));
  }
}

function toColumn(name: string, value: unknown): unknown {
  if (value === null || value === undefined) return null;
  return JSON_COLUMNS.has(name) ? JSON.stringify(value) : value;
}

function fromRow(row: Record<string, unknown>): QueuedFile {
  const entries = Object.entries(row).map(([name, value]) => [
    name,
    JSON_COLUMNS.has(name) && typeof value === 'string' ? JSON.parse(value) : value,
  ]);
  return Object.fromEntries(entries) as QueuedFile;
}
