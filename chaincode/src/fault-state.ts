/**
 * Reported faults in the world state: a list for each organisation, newest first, and each fault
 * with its evidence under a key of its own, so that lists stay small.
 */
import { createHash } from 'node:crypto';
import type { Fault, FaultReport, MspId } from '@blocktorrent/protocol/ledger-api.ts';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import type { Context } from 'fabric-contract-api';
import { Refusal } from './refusal.ts';
import { getJson, nowMs, putJson, scan } from './state.ts';
import { KEY, olderThan } from './state-keys.ts';

/** A fault as it is stored: the report, and the evidence where there is any. */
export type StoredFault = FaultReport & Pick<Fault, 'evidence'>;

/**
 * Puts a fault on the ledger in this transaction; `index` tells those of one transaction apart
 * (0..999). Returns its id.
 */
export async function putFault(
  ctx: Context,
  { evidence, ...fault }: Fault,
  from: { readonly reporter: MspId; readonly requestId?: string; readonly index?: number },
): Promise<string> {
  const { reporter, requestId = null, index = 0 } = from;
  const atMs = nowMs(ctx);
  const txId = ctx.stub.getTxID();
  const faultId = `${txId}.${index}`;
  const evidenceHash =
    evidence === undefined
      ? null
      : createHash('sha256').update(Buffer.from(evidence, 'base64')).digest('hex');
  const report: FaultReport = { ...fault, faultId, reporter, atMs, txId, evidenceHash, requestId };
  const stored: StoredFault = evidence === undefined ? report : { ...report, evidence };
  await putJson(ctx, KEY.fault(fault.mspId, atMs, faultId), report);
  await putJson(ctx, KEY.faultReport(faultId), stored);
  return faultId;
}

/** A reported fault with its evidence; a Refusal NOT_FOUND where there is none. */
export async function requireFault(ctx: Context, faultId: string): Promise<StoredFault> {
  const fault = await getJson<StoredFault>(ctx, KEY.faultReport(faultId));
  if (fault === null) throw new Refusal('NOT_FOUND', `there is no fault ${faultId}`);
  return fault;
}

/** Faults of one organisation reported before `beforeMs` (null: all), newest first. */
export async function faultsOf(
  ctx: Context,
  mspId: MspId,
  beforeMs: number | null,
): Promise<FaultReport[]> {
  const range = beforeMs === null ? {} : { from: olderThan(beforeMs) };
  const faults: FaultReport[] = [];
  for await (const { value } of scan<FaultReport>(ctx, KEY.faultsOf(mspId), range)) {
    faults.push(value);
    if (faults.length >= LIMITS.listLimitMax) break;
  }
  return faults;
}
