/**
 * The duties of an organisation towards the others: confirm the shards it holds, vote on audits,
 * release its shards to an approved one (P §3.2.4 step 1; PROTOCOL §2.8, §3.2, §3.3).
 *
 * Enters: ledger events. Leaves: transactions. Always holds: a duty is judged on what the ledger
 * says now, never on the event alone, so repeating one is harmless.
 */
import { encrypt } from '@blocktorrent/protocol/age.ts';
import { fromBase64, toBase64, utf8 } from '@blocktorrent/protocol/bytes.ts';
import { verifyShard } from '@blocktorrent/protocol/dealing.ts';
import { ProtocolError } from '@blocktorrent/protocol/errors.ts';
import type { AuditRequest, FileRecord, Hex, MspId } from '@blocktorrent/protocol/ledger-api.ts';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import type { Ledger, LedgerEvent } from '../ledger/ledger.ts';
import type { Log } from '../runtime/log.ts';
import type { DutyList } from './duty-list.ts';

export interface DutiesOptions {
  readonly ledger: Ledger;
  readonly log: Log;
  readonly mspId: MspId;
  /** `approve` votes yes to every request by policy; `manual` leaves it to a person. */
  readonly vote: 'approve' | 'manual';
  readonly random: (bytes: number) => Uint8Array;
  readonly nowMs: () => number;
  /** What is still to be done, over restarts. */
  readonly list: DutyList;
  readonly onCount?: (what: 'confirmed' | 'voted' | 'released', count: number) => void;
}

/** So many files that could not be looked at end a round: the ledger may be away. */
const FAILURES_MAX = 8;
/** A shard that is not here is looked for again after so long, then after twice that, up to the longest. */
const LOOK_AGAIN_MS = [1_000, 30_000] as const;

export class Duties {
  readonly #options: DutiesOptions;
  /** File whose shard is not here, or not the right one: when to look again (`performance.now()`). */
  readonly #missing = new Map<Hex, { readonly atMs: number; readonly pauseMs: number }>();

  constructor(options: DutiesOptions) {
    this.#options = options;
  }

  /** Notes durably what an event asks of us; `perform` does it. */
  note(event: LedgerEvent): void {
    const { list, mspId } = this.#options;
    if (event.name === 'recorded') {
      for (const { fileId, holders } of event.payload.files) {
        if (holders.includes(mspId)) list.add('confirm', fileId);
      }
    } else if (event.name === 'audit-requested' || event.name === 'audit-voted') {
      list.add('request', event.payload.requestId);
    } else if (event.name === 'audit-closed') {
      list.done('request', event.payload.requestId);
    }
  }

  /** True while something is left that another try might finish. */
  get pending(): boolean {
    return this.#options.list.anyDue;
  }

  /** Does everything that can be done now; what fails is logged and stays for the next call. */
  async perform(signal: AbortSignal): Promise<void> {
    await this.#guard('confirming shards', () => this.#confirm(signal));
    for (const requestId of this.#options.list.due('request')) {
      if (signal.aborted) return;
      const served = () => this.#serve(requestId);
      const ok = await this.#guard('serving an audit request', served, { requestId });
      if (!ok) this.#options.list.add('request', requestId);
    }
  }

  async #guard(
    what: string,
    duty: () => Promise<void>,
    fields: Record<string, unknown> = {},
  ): Promise<boolean> {
    try {
      await duty();
      return true;
    } catch (error) {
      this.#options.log.warn(`${what} failed, will be tried again`, {
        ...fields,
        code: (error as { code?: unknown }).code,
        error: error instanceof Error ? error.message : String(error),
      });
      return false;
    }
  }

  async #confirm(signal: AbortSignal): Promise<void> {
    const { ledger, log, list } = this.#options;
    const good: Hex[] = [];
    let failed = 0;
    for (const fileId of list.due('confirm')) {
      if (signal.aborted || good.length === LIMITS.filesPerConfirmMax) break;
      if ((this.#missing.get(fileId)?.atMs ?? 0) > performance.now()) continue;
      // Each by itself: what is wrong with one file must not keep us from the others.
      const checked = await this.#guard(
        'checking a shard',
        async () => {
          if (await this.#isToConfirm(fileId)) good.push(fileId);
        },
        { fileId },
      );
      if (checked) continue;
      // To the end of the line: others have their turn before it.
      list.rest('confirm', fileId);
      list.add('confirm', fileId);
      if (++failed >= FAILURES_MAX) break;
    }
    if (good.length === 0) return;
    await ledger.submit('ledger/audits:Confirm', { fileIds: good });
    for (const fileId of good) this.#settled(fileId);
    this.#options.onCount?.('confirmed', good.length);
    log.info('shards checked and confirmed', { count: good.length });
  }

  /** Whether a file waits for our word that its shard is here and right. */
  async #isToConfirm(fileId: Hex): Promise<boolean> {
    const { mspId, log } = this.#options;
    const record = await this.#record(fileId);
    const withdrawn = record.withdrawals?.some((one) => one.mspId === mspId) ?? false;
    if (withdrawn || record.confirmedBy.includes(mspId)) {
      this.#settled(fileId);
      return false;
    }
    const shard = await this.#storedShard(record);
    this.#lookAgainLater(fileId);
    if (shard === null) {
      log.warn('our shard is not in our collection yet; it will be dealt again', { fileId });
      return false;
    }
    const good = await this.#isGood(record, shard);
    if (good) this.#missing.delete(fileId);
    return good;
  }

  #lookAgainLater(fileId: Hex): void {
    const [firstMs, mostMs] = LOOK_AGAIN_MS;
    const before = this.#missing.get(fileId);
    const pauseMs = before === undefined ? firstMs : Math.min(2 * before.pauseMs, mostMs);
    this.#missing.set(fileId, { atMs: performance.now() + pauseMs, pauseMs });
  }

  #settled(fileId: Hex): void {
    this.#missing.delete(fileId);
    this.#options.list.done('confirm', fileId);
  }

  async #serve(requestId: string): Promise<void> {
    const { ledger, mspId, nowMs, list } = this.#options;
    // First: an event that comes while we look makes the request due again.
    list.rest('request', requestId);
    const request = await ledger.evaluate('ledger/audits:GetRequest', { requestId });
    if (request === null) throw behind(`request ${requestId}`);
    const alive = request.state === 'open' || request.state === 'approved';
    if (!alive || request.expiresAtMs <= nowMs()) return list.done('request', requestId);
    if (request.state === 'approved') {
      const released = request.releases.some((release) => release.mspId === mspId);
      if (!released) await this.#release(request);
      return list.done('request', requestId);
    }
    const voted = request.votes.some((vote) => vote.mspId === mspId);
    if (!voted && this.#options.vote === 'approve') await this.#vote(request);
  }

  async #vote(request: AuditRequest): Promise<void> {
    const { ledger, mspId, log } = this.#options;
    const { requestId } = request;
    if (mspId === request.auditor) return;
    for (const record of await this.#records(request)) {
      if (record.source !== mspId) continue;
      log.info('not voting: the request is about our own files', { requestId });
      return;
    }
    const reason = 'approved by policy (consortium.vote: approve)';
    await ledger.submit('ledger/audits:Vote', { requestId, approve: true, reason });
    this.#options.onCount?.('voted', 1);
    log.info('voted for an audit request', { requestId });
  }

  async #release(request: AuditRequest): Promise<void> {
    const { ledger, mspId, random, log } = this.#options;
    const recipient = request.recipients[mspId];
    const shards: Record<Hex, string> = {};
    for (const record of await this.#records(request)) {
      if (!record.dealing.holders.includes(mspId)) continue;
      const shard = await this.#shardOf(record);
      if (shard !== null) shards[record.fileId] = toBase64(shard);
    }
    const count = Object.keys(shards).length;
    if (count === 0) return;
    if (recipient === undefined) {
      throw new Error(`request ${request.requestId} names no recipient for ${mspId}`);
    }
    const sealed = encrypt(utf8(JSON.stringify(shards)), [recipient], random);
    const { requestId } = request;
    await ledger.submit('ledger/audits:Release', { requestId, shards: toBase64(sealed) });
    this.#options.onCount?.('released', count);
    log.info('shards released to the auditor', { requestId: request.requestId, count });
  }

  async #records(request: AuditRequest): Promise<FileRecord[]> {
    const records: FileRecord[] = [];
    for (const fileId of request.fileIds) records.push(await this.#record(fileId));
    return records;
  }

  /** The record that an event told of. @throws Error at a peer that has not got so far yet */
  async #record(fileId: Hex): Promise<FileRecord> {
    const record = await this.#options.ledger.evaluate('ledger/records:GetRecord', { fileId });
    // Anybody may void any id in a chain of its own, and is seen only where there is no record yet.
    if (record === null || record.void !== null) throw behind(`the record of file ${fileId}`);
    return record;
  }

  /**
   * Our checked shard of a file, or null while no good one has reached our collection.
   * @throws Error where it once was there: our peer is behind
   */
  async #shardOf(record: FileRecord): Promise<Uint8Array | null> {
    const shard = await this.#storedShard(record);
    if (shard === null && record.confirmedBy.includes(this.#options.mspId)) {
      throw behind(`our shard of file ${record.fileId}`);
    }
    return shard !== null && (await this.#isGood(record, shard)) ? shard : null;
  }

  async #storedShard({ dealing }: FileRecord): Promise<Uint8Array | null> {
    const { ledger, mspId } = this.#options;
    const index = dealing.holders.indexOf(mspId) + 1;
    const { depositTx, shardHashes } = dealing;
    const hash = shardHashes[index - 1];
    const argument = { depositTx, index, ...(hash === undefined ? {} : { hash }) };
    const found = await ledger.evaluate('keys/keys:GetShard', argument);
    return found === null ? null : fromBase64(found.shard);
  }

  /**
   * Whether a shard passes every check. One that is what the record pins and yet does not fit the
   * dealing is the source's doing: the ledger gets our complaint, with the shard as evidence.
   */
  async #isGood({ fileId, dealing }: FileRecord, shard: Uint8Array): Promise<boolean> {
    const { log, mspId } = this.#options;
    try {
      verifyShard(shard, dealing.holders.indexOf(mspId) + 1, dealing);
      return true;
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      const { code } = error;
      log.error('our shard is wrong', { fileId, code, reason: error.message });
      if (code === 'bad-digest') return false;
    }
    await this.#guard('complaining of a shard', () => this.#complain(fileId, shard), { fileId });
    return false;
  }

  /** Once a file, whichever of our agents says it: the ledger has our complaint, or it is made. */
  async #complain(fileId: Hex, shard: Uint8Array): Promise<void> {
    const { ledger } = this.#options;
    try {
      await ledger.submit('ledger/audits:Complain', { fileId, shard: toBase64(shard) });
    } catch (error) {
      const text = error instanceof Error ? error.message : '';
      if (!text.startsWith('ALREADY_EXISTS: ')) throw error;
    }
    this.#settled(fileId);
  }
}

/** The ledger has it, the peer that we asked does not yet: a peer that was down catches up. */
function behind(what: string): Error {
  return new Error(`${what} is not known to the peer that was asked; it may be catching up`);
}
