/**
 * Settling: a recorded file is ours to keep until its key is safe with its holders (PROTOCOL §2.8).
 *
 * Enters: a recorded file. Leaves: an available one, its key erased. Always holds: a holder that has
 * not confirmed in time gets the same shard again under a new name; the key is never split again.
 */
import { rm } from 'node:fs/promises';
import type {
  Dealing,
  FileRecord,
  Hex,
  MspId,
  SignedReceipt,
} from '@blocktorrent/protocol/ledger-api.ts';
import { TRANSIENT } from '@blocktorrent/protocol/ledger-api.ts';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { FilePatch, FileQueue, QueuedFile } from '../runtime/file-queue.ts';
import type { Log } from '../runtime/log.ts';
import type { Waits } from '../runtime/stage-runner.ts';
import { redealShard } from './deposit.ts';
import type { Refusals } from './refused.ts';

export interface SettleOptions {
  readonly ledger: Ledger;
  readonly queue: FileQueue;
  readonly refusals: Refusals;
  readonly log: Log;
  readonly nowMs: () => number;
  readonly monotonicMs: () => number;
  /** Path of a file's ciphertext in the spool. */
  readonly ciphertextPathOf: (id: number) => string;
  /** A holder that has not confirmed for this long is dealt its shard again. */
  readonly reissueAfterMs: number;
}

/**
 * When each holder was last dealt its shard again, or first seen not to have confirmed, by the
 * monotonic clock; of the files that are not available yet. Lost at a restart, harmlessly.
 */
export type ReissueTimes = Map<Hex, Map<MspId, Waiting>>;
interface Waiting {
  readonly sinceMs: number;
  readonly again: boolean;
}

/** Looks whether the file is available; deals late holders their shards again until it is. */
export async function settleFile(
  file: QueuedFile,
  options: SettleOptions,
  reissued: ReissueTimes,
): Promise<FilePatch | 'wait' | Waits> {
  const { ledger } = options;
  if (file.fileId === null || file.dealing === null)
    throw new Error(`file ${file.id} has no record`);
  const record = await ledger.evaluate('ledger/records:GetRecord', { fileId: file.fileId });
  // A stranger's void is shown by a peer that is behind.
  if (record === null || record.void !== null) {
    throw new Error(`the record of ${file.fileId} is not known to the peer that was asked`);
  }
  await appendLate(file.id, options);
  if (record.available) {
    reissued.delete(file.fileId);
    await rm(options.ciphertextPathOf(file.id), { force: true });
    if (options.queue.get(file.id).lateReceipts.length > 0) return 'wait';
    // The ledger has what it was recorded with.
    return { identity: null, deposit: null, receipts: [], dealing: null };
  }
  const late = await reissueLate(file, file.dealing, record, options, reissued);
  return late.length === 0
    ? 'wait'
    : { waitsFor: `no confirmation of a shard by ${late.join(', ')}` };
}

/** Keeps a late owner's receipt; settling appends it to the record, or we do where that is over. */
export function keepLate(
  parts: Pick<SettleOptions, 'ledger' | 'queue' | 'log' | 'refusals'>,
  id: number,
  late: SignedReceipt,
): void {
  const { queue, log } = parts;
  const { stage, lateReceipts } = queue.get(id);
  queue.update(id, { lateReceipts: [...lateReceipts, late] });
  if (stage !== 'available') return;
  appendLate(id, parts).catch((error: unknown) =>
    log.warn('a late receipt could not be appended to the record', { id, error }),
  );
}

/**
 * Appends the late owners' receipts that wait for it to the record. What the contract goes on to refuse
 * (it has that owner's already) is dropped: a receipt too few holds up nothing for long.
 */
export async function appendLate(
  id: number,
  { ledger, queue, log, refusals }: Pick<SettleOptions, 'ledger' | 'queue' | 'log' | 'refusals'>,
): Promise<void> {
  const { fileId, lateReceipts: receipts } = queue.get(id);
  if (fileId === null || receipts.length === 0) return;
  const from = receipts.map((receipt) => receipt.mspId);
  try {
    const elsewhere = refusals.has(id);
    await ledger.submit('ledger/records:AppendReceipts', { fileId, receipts }, { elsewhere });
    refusals.forget(id);
    log.info('late receipts were appended to the record', { fileId, from });
  } catch (error) {
    // A peer that is behind may not know the record yet, or the owner's key.
    const isRefused = (error as { code?: unknown }).code === 'rejected';
    if (!isRefused || !refusals.isLastWord(id, error)) throw error;
    log.warn('late receipts were refused by the ledger', { fileId, from, error });
  }
  const sent = new Set(receipts.map((receipt) => receipt.signature));
  const { lateReceipts } = queue.get(id);
  queue.update(id, { lateReceipts: lateReceipts.filter((one) => !sent.has(one.signature)) });
}

/** Returns the holders that are late. */
async function reissueLate(
  file: QueuedFile,
  dealing: Dealing,
  record: FileRecord,
  options: SettleOptions,
  reissued: ReissueTimes,
): Promise<MspId[]> {
  const times = reissued.get(dealing.fileId) ?? new Map<MspId, Waiting>();
  reissued.set(dealing.fileId, times);
  const late: MspId[] = [];
  for (const [position, holder] of dealing.holders.slice(0, LIMITS.shardsMax).entries()) {
    if (record.confirmedBy.includes(holder)) continue;
    // It will not confirm any more.
    if (record.withdrawals?.some(({ mspId }) => mspId === holder)) continue;
    const nowMs = options.monotonicMs();
    const since = times.get(holder) ?? { sinceMs: nowMs, again: false };
    times.set(holder, since);
    // The record may be old when we first look; a clock that was set back must not make it young.
    const ageMs = options.nowMs() - Math.max(record.recordedAtMs, file.updatedMs);
    const waitedMs = Math.max(nowMs - since.sinceMs, since.again ? 0 : ageMs);
    if (since.again || waitedMs >= options.reissueAfterMs) late.push(holder);
    if (waitedMs < options.reissueAfterMs) continue;
    times.set(holder, { sinceMs: nowMs, again: true });
    const index = position + 1;
    await options.ledger.submit(
      'keys/keys:Reissue',
      { fileId: dealing.fileId, depositTx: dealing.depositTx, index, holder },
      { transient: { [TRANSIENT.shards]: redealShard(file, dealing, index) } },
    );
    options.log.warn('a holder has not confirmed its shard: the same shard was dealt again', {
      fileId: dealing.fileId,
      holder,
    });
  }
  return late;
}
