/**
 * A holder gives shards up (P §3.2.2, away from the paper): it withdraws, in public; when that
 * excuses it and nobody who asked before waits for them, it purges them.
 *
 * Enters: file ids. Leaves: transactions. Always holds: nothing is purged that the holder may still
 * be at fault for; what has been purged before is passed over, so that repeating it is harmless.
 */
import type {
  AuditRequest,
  FileRecord,
  Hex,
  MspId,
  PurgeInput,
} from '@blocktorrent/protocol/ledger-api.ts';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import { effectiveAtMs } from '@blocktorrent/protocol/withdrawal.ts';
import type { Ledger } from '../ledger/ledger.ts';

/** Why nothing was purged. */
export type GiveUpErrorCode =
  | 'unknown-file'
  | 'no-holder'
  | 'not-withdrawn'
  | 'too-early'
  | 'asked-for';

export class GiveUpError extends Error {
  override readonly name = 'GiveUpError';
  readonly code: GiveUpErrorCode;

  constructor(code: GiveUpErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

type Holder = Pick<Ledger, 'evaluate' | 'submit' | 'mspId'>;

/** Says on the ledger that this organisation gives its shards of these files up. @throws LedgerError */
export async function withdrawShards(
  ledger: Holder,
  { fileIds, reason }: { readonly fileIds: readonly Hex[]; readonly reason: string },
): Promise<readonly string[]> {
  const txIds: string[] = [];
  for (const part of inParts(fileIds, LIMITS.filesPerConfirmMax)) {
    const { txId } = await ledger.submit('ledger/audits:Withdraw', { fileIds: part, reason });
    txIds.push(txId);
  }
  return txIds;
}

/**
 * Purges this organisation's shards of files that it has withdrawn from; gives back how many were
 * still there. @throws GiveUpError before anything is purged; LedgerError
 */
export async function purgeShards(
  ledger: Holder,
  fileIds: readonly Hex[],
  nowMs: number,
): Promise<number> {
  const records = await Promise.all(fileIds.map((fileId) => recordOf(ledger, fileId)));
  const waiting = [
    ...(await ledger.evaluate('ledger/audits:ListRequests', { state: 'open' })),
    ...(await ledger.evaluate('ledger/audits:ListRequests', { state: 'approved' })),
  ];
  for (const record of records) requireDone(record, ledger.mspId, waiting, nowMs);
  const shards = records.map(({ fileId, dealing }) => {
    const index = dealing.holders.indexOf(ledger.mspId) + 1;
    return { fileId, depositTx: dealing.depositTx, index };
  });
  let purged = 0;
  for (const part of inParts(shards, LIMITS.shardsPerPurgeMax)) purged += await purge(ledger, part);
  return purged;
}

/** How many of `shards` were there. */
async function purge(ledger: Holder, shards: PurgeInput['shards']): Promise<number> {
  try {
    return (await ledger.submit('keys/keys:Purge', { shards })).result.length;
  } catch (error) {
    const refused = error instanceof Error && /^NOT_FOUND: \S+ holds none/.test(error.message);
    if (refused) return 0;
    throw error;
  }
}

async function recordOf(ledger: Holder, fileId: Hex): Promise<FileRecord> {
  const record = await ledger.evaluate('ledger/records:GetRecord', { fileId });
  if (record === null) throw new GiveUpError('unknown-file', `file ${fileId} is not recorded`);
  if (record.dealing.holders.includes(ledger.mspId)) return record;
  throw new GiveUpError('no-holder', `${ledger.mspId} was dealt no shard of file ${fileId}`);
}

function requireDone(
  { fileId, withdrawals }: FileRecord,
  mspId: MspId,
  waiting: readonly AuditRequest[],
  nowMs: number,
): void {
  const own = withdrawals?.find((one) => one.mspId === mspId);
  if (own === undefined) {
    throw new GiveUpError('not-withdrawn', `${mspId} has not withdrawn from file ${fileId}`);
  }
  const doneAtMs = effectiveAtMs(own);
  if (nowMs < doneAtMs) {
    const at = new Date(doneAtMs).toISOString();
    const why = `a request for file ${fileId} that comes before ${at} still expects our shard`;
    throw new GiveUpError('too-early', why);
  }
  const asks = waiting.find(
    (request) => request.requestedAtMs < doneAtMs && request.fileIds.includes(fileId),
  );
  if (asks === undefined || asks.releases.some((release) => release.mspId === mspId)) return;
  const why = `request ${asks.requestId}, ${asks.state}, still expects our shard of file ${fileId}`;
  throw new GiveUpError('asked-for', why);
}

function inParts<T>(all: readonly T[], countMax: number): T[][] {
  const parts = Math.ceil(all.length / countMax);
  return Array.from({ length: parts }, (_, i) => all.slice(i * countMax, (i + 1) * countMax));
}
