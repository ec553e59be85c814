/**
 * Depositing the key (P §3.2.2, P §3.2.3 step 5): the chaincode `keys` splits it, each holder gets
 * its shard in its private collection, and the public dealing comes back.
 *
 * Always holds: a key is split once. The deposit's id and the entropy are durable before the
 * deposit is sent, so after a crash the same deposit is looked up before another is tried, and the
 * same shards can be dealt again for a holder whose peer was away. One whose fate is not known yet is
 * followed by none with other holders, k or n: should both be ordered, k - 1 holders still learn
 * nothing, and the record pins one of them.
 */
import { fromBase64, fromHex, toHex } from '@blocktorrent/protocol/bytes.ts';
import { dealShards } from '@blocktorrent/protocol/dealing.ts';
import type { Dealing, DepositInput, Epoch, Policy } from '@blocktorrent/protocol/ledger-api.ts';
import { holdersOf } from '@blocktorrent/protocol/placement.ts';
import { decodeReceipt } from '@blocktorrent/protocol/receipt.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { FilePatch, FileQueue, QueuedFile } from '../runtime/file-queue.ts';
import type { Log } from '../runtime/log.ts';
import type { GivenUp } from '../runtime/stage-runner.ts';
import type { DepositGroup, KeyToDeposit } from './deposit-group.ts';
import type { Refusals } from './refused.ts';

export interface DepositOptions {
  readonly ledger: Ledger;
  readonly deposits: DepositGroup;
  readonly queue: FileQueue;
  readonly source: string;
  readonly policy: () => Policy;
  readonly requireEpoch: (epoch: number) => Epoch;
  readonly random: (bytes: number) => Uint8Array;
  readonly refusals: Refusals;
  readonly log: Log;
}

/** Deposits one file's key and returns its dealing. */
export async function depositKey(
  file: QueuedFile,
  options: DepositOptions,
): Promise<FilePatch | GivenUp> {
  const { ledger, queue } = options;
  if (file.dealing !== null) return {};
  const earlier = file.deposit?.txId ?? null;
  if (earlier !== null) {
    const dealing = await ledger.evaluate('keys/keys:GetDealing', { depositTx: earlier });
    if (dealing !== null) return { dealing };
  }
  const input = depositInput(file, options);
  const { scheme, k, n } = input;
  const key: KeyToDeposit = {
    input,
    identity: identityOf(file),
    elsewhere: options.refusals.has(file.id),
    onDepositId: (txId, entropy) => {
      queue.update(file.id, { deposit: { txId, entropy: toHex(entropy), scheme, k, n } });
      options.log.debug('deposit: about to be sent', { id: file.id, batch: file.batch, txId });
    },
  };
  try {
    const dealing = await options.deposits.deposit(key);
    options.refusals.forget(file.id);
    return { dealing };
  } catch (error) {
    return options.refusals.judge(file.id, error);
  }
}

/** The stored bytes of shard `index` (from 1), dealt again exactly as the chaincode dealt them. */
export function redealShard(file: QueuedFile, dealing: Dealing, index: number): Uint8Array {
  if (file.deposit === null) throw new Error(`file ${file.id} has no deposit to deal again`);
  const { shards } = dealShards({
    identity: identityOf(file),
    entropy: fromHex(file.deposit.entropy, 32),
    txId: dealing.depositTx,
    input: dealing,
  });
  const shard = shards[index - 1];
  if (shard === undefined) throw new Error(`shard ${index} of ${shards.length} does not exist`);
  return shard;
}

/** By today's policy, or as an earlier deposit of this file asked, whose fate is not known. */
function depositInput(file: QueuedFile, options: DepositOptions): DepositInput {
  const { fileId, recipient, epoch } = file;
  if (fileId === null || recipient === null || epoch === null) {
    throw new Error(`file ${file.id} has no name yet`);
  }
  const { scheme, k, n } = file.deposit ?? options.policy();
  const nonces = file.receipts.map((signed) => decodeReceipt(fromBase64(signed.receipt)).nonce);
  const holders = holdersOf(fileId, nonces, options.requireEpoch(epoch), options.source, n);
  return { fileId, recipient, scheme, k, n: holders.length, holders };
}

function identityOf(file: QueuedFile): Uint8Array {
  if (file.identity === null) throw new Error(`file ${file.id} has no identity any more`);
  return file.identity;
}
