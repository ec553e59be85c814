/**
 * What challenges have shown of other owners, and how it gets onto the ledger.
 *
 * Enters: wrong answers, admitted losses, silence. Leaves: `ReportChallenge` with the answerer's own
 * signature as evidence; for silence `ReportFault` `unreachable`, whose evidence is marked as nothing
 * but our word. Always holds: a right answer ends every doubt; each fault is reported once.
 */

import { fromHex, toBase64 } from '@blocktorrent/protocol/bytes.ts';
import { encodeCanonical } from '@blocktorrent/protocol/cbor.ts';
import {
  CHALLENGE_TRANSIENT,
  type ChallengeFaultInput,
  type Hex,
  type MspId,
} from '@blocktorrent/protocol/ledger-api.ts';
import { sign, signingInput } from '@blocktorrent/protocol/signing.ts';
import type { Database } from 'better-sqlite3';
import { Lane } from './lane.ts';
import { ownChunk } from './own-chunk.ts';
import type { UpkeepParts } from './upkeep-types.ts';

/** So many challenges in a row without a right answer before silence counts. */
const ASKED_MIN = 3;
/** Pause after a report that failed. */
const RETRY_MS = 30_000;

/** A fault that waits for the ledger. */
interface Pending {
  readonly mspId: MspId;
  readonly input: ChallengeFaultInput;
  /** Chunk that was asked for; null where the answer admits the loss: nothing has to be shown. */
  readonly chunk: number | null;
}
interface DoubtRow {
  readonly mspId: MspId;
  readonly fileId: Hex;
  readonly sinceMs: number;
  readonly asked: number;
  readonly admitted: string | null;
}

export class ChallengeFaults {
  readonly #parts: UpkeepParts;
  readonly #db: Database;
  readonly #silenceMs: () => number;
  readonly #lane: Lane;

  /** @param silenceMs after this long without a right answer it is a fault, as configured now. */
  constructor(parts: UpkeepParts, db: Database, silenceMs: () => number) {
    this.#parts = parts;
    this.#db = db;
    this.#silenceMs = silenceMs;
    this.#lane = new Lane('reporting faults', () => this.#round(), parts.log);
  }

  start(): void {
    this.#lane.start();
  }
  async stop(): Promise<void> {
    await this.#lane.stop();
  }

  /** A wrong answer: on the ledger as soon as it can be reached. */
  addWrong(mspId: MspId, input: ChallengeFaultInput, chunk: number): void {
    this.#add({ mspId, input, chunk });
    this.#lane.wake();
  }

  /** No right answer came: silence, or a loss that was admitted (`admitted`, to be reported). */
  doubt(mspId: MspId, fileId: Hex, admitted: ChallengeFaultInput | null): void {
    this.#db
      .prepare(
        `INSERT INTO doubt VALUES (@mspId, @fileId, @nowMs, 1, 0, @admitted)
         ON CONFLICT (mspId) DO UPDATE SET asked = asked + 1, fileId = @fileId,
           admitted = coalesce(@admitted, admitted)`,
      )
      .run({
        mspId,
        fileId,
        nowMs: this.#parts.nowMs(),
        admitted: admitted === null ? null : JSON.stringify(admitted),
      });
    this.#lane.wake();
  }

  /** It has answered rightly. */
  clear(mspId: MspId): void {
    this.#db.prepare('DELETE FROM doubt WHERE mspId = ?').run(mspId);
  }

  status(): { readonly doubted: Record<MspId, number>; readonly unreported: number } {
    const rows = this.#db.prepare('SELECT mspId, sinceMs FROM doubt').all() as DoubtRow[];
    const pending = this.#db.prepare('SELECT count(*) AS count FROM fault').get();
    return {
      doubted: Object.fromEntries(rows.map(({ mspId, sinceMs }) => [mspId, sinceMs])),
      unreported: (pending as { count: number }).count,
    };
  }

  #add(pending: Pending): void {
    this.#db.prepare('INSERT INTO fault (fault) VALUES (?)').run(JSON.stringify(pending));
  }

  async #round(): Promise<number> {
    const { log, nowMs, timing } = this.#parts;
    const rows = this.#db.prepare('SELECT id, fault FROM fault ORDER BY id').all();
    for (const { id, fault } of rows as { id: number; fault: string }[]) {
      const pending = JSON.parse(fault) as Pending;
      try {
        if (!(await this.#report(pending))) continue;
      } catch (error) {
        if (!isRefused(error)) throw error;
        log.warn('the ledger refuses a fault', { mspId: pending.mspId, error });
      }
      this.#db.prepare('DELETE FROM fault WHERE id = ?').run(id);
    }
    const overdue = this.#db
      .prepare('SELECT * FROM doubt WHERE reported = 0 AND asked >= ? AND sinceMs <= ?')
      .all(ASKED_MIN, nowMs() - this.#silenceMs());
    for (const doubt of overdue as DoubtRow[]) {
      if (doubt.admitted === null) await this.#reportSilence(doubt);
      else {
        const input = JSON.parse(doubt.admitted) as ChallengeFaultInput;
        this.#add({ mspId: doubt.mspId, input, chunk: null });
        this.#lane.wake();
      }
      this.#db.prepare('UPDATE doubt SET reported = 1 WHERE mspId = ?').run(doubt.mspId);
    }
    return Math.max(timing.tickMs, Math.min(RETRY_MS, this.#silenceMs() / 4));
  }

  /** False where our own chunk has to be mended first: what is behind it does not wait for that. */
  async #report({ mspId, input, chunk }: Pending): Promise<boolean> {
    const { ledger, catalog, log } = this.#parts;
    const { fileId } = input;
    if (chunk === null) await ledger.submit('ledger/audits:ReportChallenge', input);
    else {
      const file = catalog.get(fileId);
      if (file === null) {
        log.warn('a fault is not reported: its file is not kept any more', { mspId, fileId });
        return true;
      }
      const own = await ownChunk(this.#parts, file, chunk);
      if (own === null) return false;
      const transient = {
        [CHALLENGE_TRANSIENT.manifest]: file.signed.manifest,
        [CHALLENGE_TRANSIENT.chunk]: own,
      };
      await ledger.submit('ledger/audits:ReportChallenge', input, { transient });
    }
    log.warn('reported a failed challenge to the ledger', { mspId, fileId });
    return true;
  }

  /**
   * Nobody but us knows that we asked: the evidence says so. The ledger takes any number of reports,
   * so it is asked first whether an earlier attempt, whose answer was lost, has got there.
   */
  async #reportSilence({ mspId, fileId, sinceMs, asked }: DoubtRow): Promise<void> {
    const { ledger, membership, self, peer, nowMs, overlaySeed, log } = this.#parts;
    const since = new Date(sinceMs).toISOString();
    const known = await ledger.evaluate('ledger/consortium:ListFaults', { mspId });
    if (
      known.some(
        (fault) =>
          fault.kind === 'unreachable' &&
          fault.reporter === self &&
          fault.fileId === fileId &&
          fault.detail.includes(since),
      )
    ) {
      return;
    }
    const untilMs = nowMs();
    const statement = encodeCanonical({
      version: 1,
      kind: 'silence',
      channel: membership.channel,
      challenger: self,
      peer,
      answerer: mspId,
      fileId: fromHex(fileId, 32),
      asked,
      sinceMs,
      untilMs,
    });
    const input = signingInput('blocktorrent/fault/v1', membership.channel, statement);
    const evidence = encodeCanonical({ statement, signature: sign(overlaySeed, input) });
    const detail =
      `no right answer to ${asked} challenges since ${since}; ` +
      `the evidence is the word of ${self} alone`;
    await ledger.submit('ledger/consortium:ReportFault', {
      kind: 'unreachable',
      mspId,
      fileId,
      detail,
      evidence: toBase64(evidence),
    });
    log.warn('reported silence to the ledger', { mspId, asked, sinceMs });
  }
}

/** The contract said no: saying it again changes nothing. */
function isRefused(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'rejected';
}
