/**
 * Settling: a recorded file is ours to keep until its key is safe with its holders (PROTOCOL §2.8).
 *
 * Enters: a recorded file. Leaves: an available one, its key erased. Always holds: a holder that has
 * not confirmed in time gets the same shard again under a new name; the key is never split again.
 */
import { rm } from 'node:fs/promises';
import type { Dealing, FileRecord } from '@blocktorrent/protocol/ledger-api.ts';
import { TRANSIENT } from '@blocktorrent/protocol/ledger-api.ts';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { FilePatch, QueuedFile } from '../runtime/file-queue.ts';
import type { Log } from '../runtime/log.ts';
import { redealShard } from './deposit.ts';

export interface SettleOptions {
  readonly ledger: Ledger;
  readonly log: Log;
  readonly nowMs: () => number;
  /** Path of a file's ciphertext in the spool. */
  readonly ciphertextPathOf: (id: number) => string;
  /** A holder that has not confirmed for this long is dealt its shard again. */
  readonly reissueAfterMs: number;
}

/** Remembers when each holder was last dealt its shard again; lost at a restart, harmlessly. */
export type ReissueTimes = Map<string, number>;

/** Looks whether the file is available; deals late holders their shards again until it is. */
export async function settleFile(
  file: QueuedFile,
  options: SettleOptions,
  reissued: ReissueTimes,
): Promise<FilePatch | 'wait'> {
  const { ledger } = options;
  if (file.fileId === null || file.dealing === null)
    throw new Error(`file ${file.id} has no record`);
  const record = await ledger.evaluate('ledger/records:GetRecord', { fileId: file.fileId });
  if (record === null) throw new Error(`${file.fileId} is not on the ledger any more`);
  if (record.available) {
    await rm(options.ciphertextPathOf(file.id), { force: true });
    return { identity: null, deposit: null };
  }
  await reissueLate(file, file.dealing, record, options, reissued);
  return 'wait';
}

async function reissueLate(
  file: QueuedFile,
  dealing: Dealing,
  record: FileRecord,
  options: SettleOptions,
  reissued: ReissueTimes,
): Promise<void> {
  for (const [position, holder] of dealing.holders.slice(0, LIMITS.shardsMax).entries()) {
    if (record.confirmedBy.includes(holder)) continue;
    const key = `${dealing.fileId}/${holder}`;
    const lastMs = reissued.get(key) ?? Math.max(record.recordedAtMs, file.updatedMs);
    if (options.nowMs() - lastMs < options.reissueAfterMs) continue;
    reissued.set(key, options.nowMs());
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
}
