/**
 * What the admin node knows about the files it keeps (`store.sqlite`): manifests, which chunks are
 * durable, its receipts, and evidence of others' bad chunks.
 *
 * Always holds: `have` only names chunks that were synced before; a receipt is written down before
 * it is sent, so that a repeated offer gets the same one.
 */
import { decodeInfo } from '@blocktorrent/protocol/chunking.ts';
import type { Hex, MspId, SignedReceipt } from '@blocktorrent/protocol/ledger-api.ts';
import { decodeManifest, type SignedManifest } from '@blocktorrent/protocol/manifest.ts';
import type { Database } from 'better-sqlite3';
import type { Usage } from './quota.ts';
import type { Evidence, StoreStatus } from './types.ts';
import { UPKEEP_MIGRATION } from './upkeep-list.ts';

/** Forward-only migrations of `store.sqlite`, by user_version. */
export const STORE_MIGRATIONS: readonly string[] = [
  `CREATE TABLE file (
     fileId TEXT PRIMARY KEY, infoHash TEXT NOT NULL, source TEXT NOT NULL, epoch INTEGER NOT NULL,
     manifest BLOB NOT NULL, signature BLOB NOT NULL, mspId TEXT NOT NULL, peer TEXT NOT NULL,
     owned BLOB NOT NULL, have BLOB NOT NULL, ownedCount INTEGER NOT NULL,
     haveCount INTEGER NOT NULL, haveBytes INTEGER NOT NULL, offeredMs INTEGER NOT NULL
   ) WITHOUT ROWID;
   CREATE INDEX file_by_info_hash ON file (infoHash);
   CREATE INDEX file_incomplete ON file (offeredMs) WHERE haveCount < ownedCount;
   CREATE TABLE receipt (
     fileId TEXT PRIMARY KEY REFERENCES file (fileId) ON DELETE CASCADE,
     receipt TEXT NOT NULL, signature TEXT NOT NULL, mspId TEXT NOT NULL, peer TEXT NOT NULL,
     chunks BLOB NOT NULL, timeMs INTEGER NOT NULL
   ) WITHOUT ROWID;
   CREATE TABLE evidence (
     id INTEGER PRIMARY KEY, fileId TEXT NOT NULL, mspId TEXT NOT NULL, kind TEXT NOT NULL,
     detail TEXT NOT NULL, manifest BLOB, atMs INTEGER NOT NULL);`,
  // missing: owned chunks that are not here; workedOut: epoch that the owners were last compared for.
  `ALTER TABLE file ADD COLUMN missing INTEGER NOT NULL DEFAULT 0;
   ALTER TABLE file ADD COLUMN workedOut INTEGER NOT NULL DEFAULT 0;
   UPDATE file SET missing = ownedCount - haveCount, workedOut = epoch;
   DROP INDEX file_incomplete;
   CREATE INDEX file_incomplete ON file (offeredMs) WHERE missing > 0;
   CREATE INDEX file_worked_out ON file (workedOut);`,
  UPKEEP_MIGRATION,
  'CREATE INDEX file_by_source ON file (source, missing, haveBytes);',
  // Sums that are looked at every few seconds, and at each offer, however many files there are.
  `CREATE TABLE total (
     source TEXT PRIMARY KEY, files INTEGER NOT NULL, complete INTEGER NOT NULL,
     chunks INTEGER NOT NULL, bytes INTEGER NOT NULL
   ) WITHOUT ROWID;
   INSERT INTO total SELECT source, count(*), sum(missing = 0), sum(haveCount), sum(haveBytes)
     FROM file GROUP BY source;
   CREATE TRIGGER file_added AFTER INSERT ON file BEGIN
     INSERT OR IGNORE INTO total VALUES (new.source, 0, 0, 0, 0);
     UPDATE total SET files = files + 1, complete = complete + (new.missing = 0),
       chunks = chunks + new.haveCount, bytes = bytes + new.haveBytes WHERE source = new.source;
   END;
   CREATE TRIGGER file_changed AFTER UPDATE OF missing, haveCount, haveBytes ON file BEGIN
     UPDATE total SET complete = complete + (new.missing = 0) - (old.missing = 0),
       chunks = chunks + new.haveCount - old.haveCount,
       bytes = bytes + new.haveBytes - old.haveBytes WHERE source = new.source;
   END;
   CREATE TRIGGER file_removed AFTER DELETE ON file BEGIN
     UPDATE total SET files = files - 1, complete = complete - (old.missing = 0),
       chunks = chunks - old.haveCount, bytes = bytes - old.haveBytes WHERE source = old.source;
   END;
   DROP INDEX file_by_source;
   CREATE INDEX file_by_source ON file (source) WHERE missing > 0;
   DROP INDEX file_incomplete;
   CREATE INDEX file_incomplete ON file (offeredMs, missing) WHERE missing > 0;`,
];

/** The newest pieces of evidence are kept, this many. */
const EVIDENCE_MAX = 10_000;

/** One kept file. Bitfields are BEP 3's, over all chunks of the file. */
export interface KeptFile {
  readonly fileId: Hex;
  readonly infoHash: Hex;
  readonly source: MspId;
  readonly epoch: number;
  readonly signed: SignedManifest;
  /** Chunks that placement gives to us. */
  readonly owned: Uint8Array;
  readonly ownedCount: number;
  /** Chunks that are verified and durable here; perhaps some that are no longer ours. */
  readonly have: Uint8Array;
  readonly haveCount: number;
  /** Owned chunks that are not among them. */
  readonly missing: number;
  /** Epoch for which our part was last worked out. */
  readonly workedOut: number;
  readonly offeredMs: number;
}

type FileRow = Omit<KeptFile, 'signed'> & SignedManifest & { haveBytes: number };

export class Catalog {
  readonly #db: Database;

  /** @param db migrated with `STORE_MIGRATIONS`. */
  constructor(db: Database) {
    this.#db = db;
  }

  /** Notes a file; one that is known stays as it is. */
  add(file: KeptFile): void {
    const { signed, ...rest } = file;
    this.#db
      .prepare(
        `INSERT INTO file VALUES (@fileId, @infoHash, @source, @epoch, @manifest, @signature, @mspId,
           @peer, @owned, @have, @ownedCount, @haveCount, 0, @offeredMs, @missing, @workedOut)
         ON CONFLICT (fileId) DO NOTHING`,
      )
      .run({ ...rest, ...signed });
  }

  get(fileId: Hex): KeptFile | null {
    const row = this.#db.prepare('SELECT * FROM file WHERE fileId = ?').get(fileId);
    return row === undefined ? null : fromRow(row as FileRow);
  }

  byInfoHash(infoHash: Hex): KeptFile[] {
    const rows = this.#db
      .prepare('SELECT * FROM file WHERE infoHash = ? ORDER BY offeredMs LIMIT 16')
      .all(infoHash);
    return (rows as FileRow[]).map(fromRow);
  }

  /** Files of which chunks are missing, newest first. */
  incomplete(limit: number): KeptFile[] {
    const rows = this.#db
      .prepare('SELECT * FROM file WHERE missing > 0 ORDER BY offeredMs DESC LIMIT ?')
      .all(limit);
    return (rows as FileRow[]).map(fromRow);
  }

  /** Notes what is durable now; `haveBytes` is its size. What is missing follows from what is ours. */
  setHave(fileId: Hex, now: { have: Uint8Array; haveCount: number; haveBytes: number }): void {
    const owned = this.get(fileId)?.owned ?? new Uint8Array();
    const missing = countBits(owned.map((bits, at) => bits & ~(now.have[at] ?? 0)));
    this.#db
      .prepare(
        `UPDATE file SET have = @have, haveCount = @haveCount, haveBytes = @haveBytes,
           missing = @missing WHERE fileId = @fileId`,
      )
      .run({ ...now, missing, fileId });
  }

  /** Notes what is ours under epoch `workedOut`. */
  setOwned(
    fileId: Hex,
    now: { owned: Uint8Array; ownedCount: number; missing: number; workedOut: number },
  ): void {
    this.#db
      .prepare(
        `UPDATE file SET owned = @owned, ownedCount = @ownedCount, missing = @missing,
           workedOut = @workedOut WHERE fileId = @fileId`,
      )
      .run({ ...now, fileId });
  }

  /** Files whose part was last worked out for an earlier epoch. */
  behind(epoch: number, limit: number): KeptFile[] {
    const rows = this.#db
      .prepare('SELECT * FROM file WHERE workedOut < ? ORDER BY workedOut, fileId LIMIT ?')
      .all(epoch, limit);
    return (rows as FileRow[]).map(fromRow);
  }

  /** The files after `fileId` in order of their names ('' for the first), at most `limit`. */
  after(fileId: Hex, limit: number): KeptFile[] {
    const rows = this.#db
      .prepare('SELECT * FROM file WHERE fileId > ? ORDER BY fileId LIMIT ?')
      .all(fileId, limit);
    return (rows as FileRow[]).map(fromRow);
  }

  /** Our last receipt for the file and the chunks it covers, or null. */
  receipt(fileId: Hex): { signed: SignedReceipt; chunks: Uint8Array } | null {
    const row = this.#db.prepare('SELECT * FROM receipt WHERE fileId = ?').get(fileId);
    if (row === undefined) return null;
    const { receipt, signature, mspId, peer, chunks } = row as SignedReceipt & {
      chunks: Uint8Array;
    };
    return { signed: { receipt, signature, mspId, peer }, chunks: new Uint8Array(chunks) };
  }

  setReceipt(fileId: Hex, signed: SignedReceipt, chunks: Uint8Array, timeMs: number): void {
    const { receipt, signature, mspId, peer } = signed;
    this.#db
      .prepare('INSERT OR REPLACE INTO receipt VALUES (?, ?, ?, ?, ?, ?, ?)')
      .run(fileId, receipt, signature, mspId, peer, chunks, timeMs);
  }

  addEvidence(evidence: Evidence, manifest: Uint8Array | null): void {
    const { fileId, mspId, kind, detail, atMs } = evidence;
    const { lastInsertRowid } = this.#db
      .prepare(
        'INSERT INTO evidence (fileId, mspId, kind, detail, manifest, atMs) VALUES (?, ?, ?, ?, ?, ?)',
      )
      .run(fileId, mspId, kind, detail, manifest, atMs);
    this.#db
      .prepare('DELETE FROM evidence WHERE id <= ?')
      .run(Number(lastInsertRowid) - EVIDENCE_MAX);
  }

  /** Newest first. */
  evidence(limit: number): Evidence[] {
    return this.#db
      .prepare('SELECT fileId, mspId, kind, detail, atMs FROM evidence ORDER BY id DESC LIMIT ?')
      .all(limit) as Evidence[];
  }

  /** What an organisation has here, chunks that are still to come included. */
  usageOf(source: MspId): Usage {
    const kept = this.#db
      .prepare('SELECT coalesce(sum(bytes), 0) AS bytes FROM total WHERE source = ?')
      .get(source) as { bytes: number };
    const unfinished = this.#db
      .prepare('SELECT manifest, missing FROM file WHERE source = ? AND missing > 0')
      .all(source) as { manifest: Uint8Array; missing: number }[];
    const toComeBytes = unfinished.reduce((sum, { manifest, missing }) => {
      const { info } = decodeManifest(new Uint8Array(manifest));
      return sum + missing * decodeInfo(info).pieceLength;
    }, 0);
    return { bytes: kept.bytes + toComeBytes, unfinished: unfinished.length };
  }

  status(): StoreStatus {
    return this.#db
      .prepare(
        `SELECT coalesce(sum(files), 0) AS files, coalesce(sum(complete), 0) AS complete,
                coalesce(sum(chunks), 0) AS chunks, coalesce(sum(bytes), 0) AS bytes FROM total`,
      )
      .get() as StoreStatus;
  }
}

function countBits(bits: Uint8Array): number {
  return bits.reduce((sum, byte) => {
    let count = 0;
    for (let left = byte; left > 0; left >>= 1) count += left & 1;
    return sum + count;
  }, 0);
}

function fromRow(row: FileRow): KeptFile {
  const { manifest, signature, mspId, peer, haveBytes: _, ...file } = row;
  return {
    ...file,
    owned: new Uint8Array(file.owned),
    have: new Uint8Array(file.have),
    signed: {
      manifest: new Uint8Array(manifest),
      signature: new Uint8Array(signature),
      mspId,
      peer,
    },
  };
}
