/**
 * Repair: chunks find new owners when an organisation has gone, from ciphertext alone, without the
 * source and without a coordinator (docs/PROTOCOL.md, "Repair").
 *
 * Enters: a new epoch, files that others hand over. Leaves: handed-over manifests, pulled chunks (by
 * `FileKeeper`), receipts on the ledger. Always holds: what has to be done is on disk before it
 * begins; doing it twice, or two survivors doing it, is harmless.
 */

import { encrypt } from '@blocktorrent/protocol/age.ts';
import { bitfieldOf } from '@blocktorrent/protocol/bitfield.ts';
import { equalBytes, fromBase64, toBase64 } from '@blocktorrent/protocol/bytes.ts';
import type { FileRecord, Hex, MspId } from '@blocktorrent/protocol/ledger-api.ts';
import { decodeManifest, fileIdOf, manifestChunkCount } from '@blocktorrent/protocol/manifest.ts';
import type { KeepMessage, OwnerMessage } from '@blocktorrent/protocol/owner-messages.ts';
import { decodeReceipt, NONCE_BYTES, signReceipt } from '@blocktorrent/protocol/receipt.ts';
import { encodeReplacementDetail } from '@blocktorrent/protocol/replacement-detail.ts';
import type { KeptFile } from './catalog.ts';
import { Lane } from './lane.ts';
import { epochsFrom, ownersUnder, Refusal } from './offer.ts';
import { PullQueue } from './pull-queue.ts';
import type { DueReplacement, Handover } from './upkeep-list.ts';
import type { UpkeepParts } from './upkeep-types.ts';

/** Files worked out in one turn: other work goes on in between. */
const WORK_OUT_AT_ONCE = 16;
/** Handovers and recordings under way at once. */
const AT_ONCE = 8;
/** A lane without work looks again after this long, woken or not. */
const IDLE_MS = 30_000;

export class Repairer {
  readonly #parts: UpkeepParts;
  readonly #pulls: PullQueue;
  readonly #lanes: readonly Lane[];
  #endMembership: () => void = () => undefined;

  constructor(parts: UpkeepParts) {
    this.#parts = parts;
    this.#pulls = new PullQueue(parts);
    this.#lanes = [
      new Lane('working out', () => this.#workOutAll(), parts.log),
      new Lane('handing over', () => this.#handOverAll(), parts.log),
      new Lane('pulling', () => this.#pulls.round(), parts.log),
      new Lane('recording', () => this.#recordAll(), parts.log),
    ];
    parts.links.listen((from, message, reply) => this.#onMessage(from, message, reply));
  }

  start(): void {
    this.#endMembership = this.#parts.membership.onChange(() => this.wake());
    for (const lane of this.#lanes) lane.start();
  }

  async stop(): Promise<void> {
    this.#endMembership();
    await Promise.all(this.#lanes.map((lane) => lane.stop()));
  }

  wake(): void {
    for (const lane of this.#lanes) lane.wake();
  }

  /** A chunk of the file has come. */
  progressed(fileId: Hex): void {
    this.#pulls.progressed(fileId);
  }

  get lastError(): string | null {
    return this.#lanes.map((lane) => lane.lastError).find((error) => error !== null) ?? null;
  }

  /** Takes a file that is ours by the ledger or by another owner's word, and sees to its part. */
  async take(keep: KeepMessage): Promise<KeptFile> {
    const { store, catalog, list } = this.#parts;
    const { manifest, signature, mspId, peer } = keep;
    const fileId = fileIdOf(manifest);
    const vouched = list.isWanted(fileId);
    const kept = await store.keep({ manifest, signature, mspId, peer }, vouched);
    if (kept.workedOut < this.#parts.membership.epoch()) this.#workOut(kept);
    list.endWanted(fileId);
    this.wake();
    return catalog.get(fileId) ?? kept;
  }

  async #workOutAll(): Promise<number> {
    const { catalog, membership } = this.#parts;
    const files = catalog.behind(membership.epoch(), WORK_OUT_AT_ONCE);
    for (const file of files) this.#workOut(file);
    if (files.length === 0) return IDLE_MS;
    for (const lane of this.#lanes.slice(1)) lane.wake();
    return 1;
  }

  /** What changes for one file with the epoch in force: for us, and for whom we have to tell. */
  #workOut(file: KeptFile): void {
    const { membership, store, list, monotonicMs, timing, self, log } = this.#parts;
    const manifest = decodeManifest(file.signed.manifest);
    const epochs = epochsFrom(manifest.epoch, membership, file.workedOut);
    const before = ownersUnder(manifest, epochs, membership.policy().replicas);
    list.together(() => {
      const { owners, owned, chunkCount } = store.replan(file);
      const gained = owned.filter((index) => !before[index]?.includes(self));
      if (gained.length > 0) list.addReplacement(file.fileId, bitfieldOf(gained, chunkCount));
      const added = new Set(
        owners.flatMap((now, index) => now.filter((mspId) => !before[index]?.includes(mspId))),
      );
      const survivors = [...new Set(owners.flat())].filter((mspId) =>
        before.some((names) => names.includes(mspId)),
      );
      added.delete(self);
      for (const mspId of survivors.includes(self) ? added : []) {
        const rank = rankOf(self, survivors, file.fileId);
        list.addHandover(file.fileId, mspId, monotonicMs() + rank * timing.rankMs);
      }
      if (added.size + gained.length > 0)
        log.info('chunks of a file find new owners', {
          fileId: file.fileId,
          epoch: membership.epoch(),
          gained: gained.length,
          newOwners: [...added],
        });
    });
    this.#parts.onWorkedOut(file.fileId);
  }

  async #handOverAll(): Promise<number> {
    const { list, monotonicMs, timing } = this.#parts;
    const due = list.dueHandovers(monotonicMs(), AT_ONCE);
    await Promise.all(due.map((one) => this.#handOver(one)));
    return due.length === AT_ONCE ? 0 : timing.tickMs;
  }

  /** Tells a new owner of its file; done once it has written it down. */
  async #handOver(handover: Handover): Promise<void> {
    const { catalog, list, links, membership, monotonicMs, timing, log } = this.#parts;
    const { fileId, mspId, tries } = handover;
    const file = catalog.get(fileId);
    const isMember = membership
      .epochOf(membership.epoch())
      ?.ranges.some((range) => range.mspId === mspId);
    if (file === null || isMember !== true) return list.endHandover(handover);
    try {
      const answer = await links.ask(
        mspId,
        { t: 'keep', ...file.signed },
        (message) => (message.t === 'held' || message.t === 'decline') && message.fileId === fileId,
        timing.askMs,
      );
      if (answer.t === 'held') return list.endHandover(handover);
      if (answer.t === 'decline') log.info('a new owner declines', { mspId, ...answer });
    } catch (error) {
      log.debug('a new owner cannot be told', { fileId, mspId, error });
    }
    list.retryHandover(handover, monotonicMs() + pauseMs(timing, tries));
  }

  async #recordAll(): Promise<number> {
    const { list, monotonicMs, timing } = this.#parts;
    const due = list.dueReplacements(monotonicMs(), AT_ONCE);
    await Promise.all(due.map((one) => this.#record(one)));
    return due.length === AT_ONCE ? 0 : timing.tickMs;
  }

  /** Puts on the ledger that we keep chunks which were others' when the file was placed. */
  async #record(due: DueReplacement): Promise<void> {
    const { catalog, list, ledger, membership, monotonicMs, timing, self, log } = this.#parts;
    const { fileId, moved } = due;
    const file = catalog.get(fileId);
    if (file === null) return list.dropReplacement(fileId);
    try {
      const record = await ledger.evaluate('ledger/records:GetRecord', { fileId });
      // Anybody may void any id in a chain of its own: only the source gives its file up.
      if (record?.source === file.source && record.void !== null) {
        return list.dropReplacement(fileId);
      }
      if (record === null || record.void !== null) {
        return list.retryReplacement(due, monotonicMs() + pauseMs(timing, due.tries));
      }
      const epoch = membership.epoch();
      // An earlier attempt may have got there although its answer was lost.
      if (isRecorded(record, self, epoch, file.have)) return list.endReplacement(due);
      const receipts = [this.#receipt(file, epoch)];
      const detail = this.#detail(file, epoch, moved);
      await ledger.submit('ledger/records:RecordReplacement', { fileId, epoch, receipts, detail });
      list.endReplacement(due);
      log.info('recorded that chunks are kept here now', { fileId, epoch, owner: self });
    } catch (error) {
      log.warn('a re-placement could not be recorded, will be tried again', { fileId, error });
      list.retryReplacement(due, monotonicMs() + pauseMs(timing, due.tries));
    }
  }

  #receipt({ signed, fileId, source, have }: KeptFile, epoch: number) {
    const { membership, self, peer, random, nowMs, overlaySeed } = this.#parts;
    const chunkCount = manifestChunkCount(decodeManifest(signed.manifest));
    return signReceipt(
      {
        version: 1,
        channel: membership.channel,
        fileId,
        source,
        owner: self,
        peer,
        epoch,
        chunkCount,
        chunks: have,
        nonce: random(NONCE_BYTES),
        timeMs: nowMs(),
      },
      overlaySeed,
    );
  }

  /** Which chunks came here, for those who may read the file. */
  #detail({ signed, fileId }: KeptFile, epoch: number, moved: Uint8Array): string {
    const { self, random } = this.#parts;
    const manifest = decodeManifest(signed.manifest);
    const chunkCount = manifestChunkCount(manifest);
    const detail = encodeReplacementDetail({
      version: 1,
      fileId,
      epoch,
      owner: self,
      chunkCount,
      chunks: moved,
    });
    return toBase64(encrypt(detail, [manifest.recipient], random));
  }

  #onMessage(from: MspId, message: OwnerMessage, reply: (message: OwnerMessage) => void): void {
    const { catalog, log } = this.#parts;
    if (message.t === 'want') {
      const { fileId } = message;
      const file = catalog.get(fileId);
      const reason = 'no such file is kept here';
      if (file !== null) reply({ t: 'keep', ...file.signed });
      else reply({ t: 'decline', fileId, code: 'unknown-file', reason });
    }
    if (message.t !== 'keep') return;
    const fileId = fileIdOf(message.manifest);
    this.take(message).then(
      ({ have }) => reply({ t: 'held', fileId, have }),
      (error: unknown) => {
        const refusal = error instanceof Refusal ? error : null;
        log.warn('declined a file from another owner', { from, fileId, error });
        const code = refusal?.code ?? 'internal';
        const reason = (refusal?.message ?? 'it cannot be taken now').slice(0, 900);
        reply({ t: 'decline', fileId, code, reason });
      },
    );
  }
}

/** Pause before another try, doubled each time. */
export function pauseMs(timing: UpkeepParts['timing'], tries: number): number {
  return Math.min(timing.retryMsMax, timing.retryMs * 2 ** Math.min(tries, 20));
}

/** Whose turn it is to tell a new owner: the same order for everybody, another for each file. */
function rankOf(self: MspId, survivors: readonly MspId[], fileId: Hex): number {
  const sorted = [...survivors].sort();
  const first = Number.parseInt(fileId.slice(0, 8), 16) % sorted.length;
  return (sorted.indexOf(self) - first + sorted.length) % sorted.length;
}

/** Whether a record has a re-placement at `owner` under this epoch, with all that it has now. */
function isRecorded(
  { replacements }: FileRecord,
  owner: MspId,
  epoch: number,
  have: Uint8Array,
): boolean {
  return replacements.some(
    (one) =>
      one.by === owner &&
      one.epoch === epoch &&
      one.receipts.some(({ receipt }) =>
        equalBytes(decodeReceipt(fromBase64(receipt)).chunks, have),
      ),
  );
}
