/**
 * How many organisations hold each chunk that we hold, by their receipts on the ledger ("servers of
 * happiness", as Tahoe-LAFS has it).
 *
 * Enters: ledger events, our own chunks. Leaves: for each kept file how many of its chunks have how
 * many holders. Always holds: only receipts that verify count, and only of members of today's epoch.
 */
import { hasBit, indicesOf } from '@blocktorrent/protocol/bitfield.ts';
import type { FileRecord, Hex, MspId, SignedReceipt } from '@blocktorrent/protocol/ledger-api.ts';
import { decodeManifest, manifestChunkCount } from '@blocktorrent/protocol/manifest.ts';
import { ownerCountOf } from '@blocktorrent/protocol/placement.ts';
import { type Receipt, verifyReceipt } from '@blocktorrent/protocol/receipt.ts';
import type { Database } from 'better-sqlite3';
import type { LedgerEvent } from '../ledger/ledger.ts';
import type { Membership } from '../overlay/types.ts';
import { Lane } from './lane.ts';
import type { UpkeepParts } from './upkeep-types.ts';

/** Records looked up in one turn, and the pause after it. */
const LOOKUPS_AT_ONCE = 16;
const PAUSE_MS = 200;
const IDLE_MS = 30_000;
/** Between two counts, at least so many times as long as the one took: nothing else happens meanwhile. */
const REST = 50;

export interface CopiesStatus {
  /** Organisations that should hold each chunk. */
  readonly wanted: number;
  /** Chunks that we hold, by how many organisations hold them (we among them). */
  readonly chunksByHolders: Readonly<Record<number, number>>;
  /** Fewest holders that any of them has; null without chunks. */
  readonly fewest: number | null;
  /** Those of recorded files that nobody else is known to have. Before that, nobody can be known. */
  readonly alone: number;
}

interface HoldersRow {
  readonly holders: number;
  readonly chunks: number;
  /** Of those with one holder: whose file is recorded. */
  readonly alone: number;
}

export class Copies {
  readonly #parts: UpkeepParts;
  readonly #db: Database;
  readonly #lane: Lane;
  #rows: readonly HoldersRow[] = [];
  #countAgainMs = Number.NEGATIVE_INFINITY;

  constructor(parts: UpkeepParts, db: Database) {
    this.#parts = parts;
    this.#db = db;
    this.#lane = new Lane('counting copies', () => this.#round(), parts.log);
  }

  start(): void {
    this.#db.exec(`INSERT OR IGNORE INTO lookup
      SELECT fileId FROM file WHERE fileId NOT IN (SELECT fileId FROM spread)`);
    this.#lane.start();
  }
  async stop(): Promise<void> {
    await this.#lane.stop();
  }

  /** What a ledger event says of files that are kept here is looked up soon. */
  note(event: LedgerEvent): void {
    if (event.name === 'recorded') for (const file of event.payload.files) this.#look(file.fileId);
    else if (event.name === 'receipts' || event.name === 'replaced')
      this.#look(event.payload.fileId);
    else return;
    this.#lane.wake();
  }

  /** Counts a file's holders again, from what is known of them. */
  recount(fileId: Hex): void {
    const { catalog, membership, self } = this.#parts;
    const file = catalog.get(fileId);
    if (file === null) return;
    const members = new Set(
      membership.epochOf(membership.epoch())?.ranges.map(({ mspId }) => mspId),
    );
    const rows = this.#db.prepare('SELECT mspId, chunks FROM copy WHERE fileId = ?').all(fileId);
    const others = (rows as { mspId: MspId; chunks: Uint8Array }[]).filter(
      ({ mspId }) => mspId !== self && members.has(mspId),
    );
    const counts = new Map<number, number>();
    for (const index of indicesOf(file.have, chunkCountOf(file.signed.manifest))) {
      const holders = 1 + others.filter(({ chunks }) => hasBit(chunks, index)).length;
      counts.set(holders, (counts.get(holders) ?? 0) + 1);
    }
    this.#db.transaction(() => {
      this.#db.prepare('DELETE FROM spread WHERE fileId = ?').run(fileId);
      const insert = this.#db.prepare('INSERT INTO spread VALUES (?, ?, ?)');
      for (const [holders, chunks] of counts) insert.run(fileId, holders, chunks);
    })();
  }

  /** Counted anew where the last count is not too new for what it cost. */
  status(): CopiesStatus {
    const { membership, monotonicMs } = this.#parts;
    const startMs = monotonicMs();
    if (startMs >= this.#countAgainMs) {
      this.#rows = this.#count();
      const endMs = monotonicMs();
      this.#countAgainMs = endMs + REST * (endMs - startMs);
    }
    const rows = this.#rows;
    const epoch = membership.epochOf(membership.epoch());
    const wanted = epoch === null ? 0 : ownerCountOf(epoch, membership.policy().replicas);
    return {
      wanted,
      chunksByHolders: Object.fromEntries(rows.map(({ holders, chunks }) => [holders, chunks])),
      fewest: rows.length === 0 ? null : Math.min(...rows.map(({ holders }) => holders)),
      alone: rows.reduce((sum, { alone }) => sum + alone, 0),
    };
  }

  /** Of all files: with hundreds of thousands this takes tenths of a second. */
  #count(): readonly HoldersRow[] {
    return this.#db
      .prepare(
        `SELECT holders, sum(chunks) AS chunks, sum(CASE WHEN holders = 1
           AND EXISTS (SELECT 1 FROM copy WHERE copy.fileId = spread.fileId)
           THEN chunks ELSE 0 END) AS alone FROM spread GROUP BY holders`,
      )
      .all() as HoldersRow[];
  }

  /** Looks a file up that has become whole here. */
  completed(fileId: Hex): void {
    this.recount(fileId);
    this.#look(fileId);
    this.#lane.wake();
  }

  #look(fileId: Hex): void {
    this.#db
      .prepare('INSERT OR IGNORE INTO lookup SELECT fileId FROM file WHERE fileId = ?')
      .run(fileId);
  }

  async #round(): Promise<number> {
    const rows = this.#db.prepare('SELECT fileId FROM lookup LIMIT ?').all(LOOKUPS_AT_ONCE);
    for (const { fileId } of rows as { fileId: Hex }[]) {
      // First: an event that comes while we look makes the file due again.
      this.#db.prepare('DELETE FROM lookup WHERE fileId = ?').run(fileId);
      const record = await this.#recordOf(fileId);
      for (const receipt of receiptsOn(record, this.#parts.membership)) {
        this.#db
          .prepare('INSERT OR REPLACE INTO copy VALUES (?, ?, ?)')
          .run(fileId, receipt.owner, receipt.chunks);
      }
      this.recount(fileId);
    }
    return rows.length === 0 ? IDLE_MS : PAUSE_MS;
  }

  async #recordOf(fileId: Hex): Promise<FileRecord | null> {
    try {
      return await this.#parts.ledger.evaluate('ledger/records:GetRecord', { fileId });
    } catch (error) {
      this.#look(fileId);
      throw error;
    }
  }
}

/**
 * The receipts of a record that verify today, one for each organisation: all that it has signed for
 * taken together. Of a record that is void or missing: none.
 */
export function receiptsOn(record: FileRecord | null, membership: Membership): Receipt[] {
  if (record === null || record.void !== null) return [];
  const all = [...record.receipts, ...record.replacements.flatMap(({ receipts }) => receipts)];
  const byOwner = new Map<MspId, Receipt>();
  for (const signed of all) {
    const receipt = verified(signed, membership, record.recordedAtMs);
    if (receipt === null || receipt.fileId !== record.fileId) continue;
    const before = byOwner.get(receipt.owner);
    const chunks = receipt.chunks.map((bits, at) => bits | (before?.chunks[at] ?? 0));
    byOwner.set(receipt.owner, { ...receipt, chunks });
  }
  return [...byOwner.values()];
}

function verified(
  signed: SignedReceipt,
  membership: Membership,
  takenAtMs: number,
): Receipt | null {
  try {
    return verifyReceipt(signed, membership.keysOf(signed.mspId, signed.peer, takenAtMs));
  } catch (error) {
    // A receipt that does not verify is no promise.
    if (error instanceof Error && 'code' in error) return null;
    throw error;
  }
}

function chunkCountOf(manifest: Uint8Array): number {
  return manifestChunkCount(decodeManifest(manifest));
}
