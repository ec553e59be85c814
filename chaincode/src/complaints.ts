/**
 * A holder's complaint (design: PROTOCOL §3.5): it shows the shard that it was dealt, in clear.
 *
 * Everybody can check it: the bytes have the hash that the record pins, and are not the shard that
 * they should be. So neither a holder that swaps its shard nor a source that deals a wrong one gets
 * away with it. Under `shamir-gf256`, which commits to nothing, only a malformed shard shows.
 */
import { fromBase64 } from '@blocktorrent/protocol/bytes.ts';
import { verifyShard } from '@blocktorrent/protocol/dealing.ts';
import { ProtocolError } from '@blocktorrent/protocol/errors.ts';
import type { ComplaintInput, Dealing, MspId } from '@blocktorrent/protocol/ledger-api.ts';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import type { Context } from 'fabric-contract-api';
import { putFault } from './fault-state.ts';
import { requireRecord } from './record-state.ts';
import { Refusal } from './refusal.ts';
import { getJson, nowMs, putJson } from './state.ts';
import { KEY } from './state-keys.ts';

/** Checks the complaint of `holder` and puts the fault on the ledger; returns the fault's id. */
export async function complain(
  ctx: Context,
  { fileId, shard }: ComplaintInput,
  holder: MspId,
): Promise<string> {
  const { dealing, source } = await requireRecord(ctx, fileId);
  const index = dealing.holders.indexOf(holder) + 1;
  if (index === 0) throw new Refusal('NOT_HOLDER', `${holder} holds no shard of ${fileId}`);
  const key = KEY.complaint(fileId, holder);
  if ((await getJson(ctx, key)) !== null) {
    throw new Refusal('ALREADY_EXISTS', `${holder} has complained about ${fileId} already`);
  }
  const found = flawOf(fromBase64(shard), index, dealing);
  const detail = `shard ${index}, dealt to ${holder}: ${found}`.slice(0, LIMITS.reasonCharsMax);
  const fault = { kind: 'bad-dealing', mspId: source, fileId, detail, evidence: shard } as const;
  const faultId = await putFault(ctx, fault, { reporter: holder });
  await putJson(ctx, key, { faultId, atMs: nowMs(ctx) });
  return faultId;
}

/** What is wrong with a shard of the pinned hash; refuses one with another hash, and a good one. */
function flawOf(bytes: Uint8Array, index: number, dealing: Dealing): string {
  try {
    verifyShard(bytes, index, dealing);
  } catch (error) {
    if (!(error instanceof ProtocolError) || error.code === 'bad-digest') throw error;
    return error.message;
  }
  throw new Refusal('NO_FAULT', `shard ${index} of ${dealing.fileId} is as it should be`);
}
