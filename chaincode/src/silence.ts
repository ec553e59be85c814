/**
 * Holders that were silent past their time: an approved request expired, and their release is missing.
 *
 * Nobody has to be believed: request, votes and releases are on the ledger, so the contract itself
 * looks, in the transaction that closes the request. Late is late only where there was time: between
 * approval and expiry `releaseTimeMsMin`, and since then as much as clocks may differ. A vote's time is
 * its voter's word, and who has it endorsed may hand it to ordering long after: that the approval was
 * on the ledger shows in the first release alone, which is endorsed only after it. Nothing is due
 * of files whose shards the holder never confirmed, or had given up in good time before the request.
 */
import { toBase64, utf8 } from '@blocktorrent/protocol/bytes.ts';
import type { Fault, MspId, Release, Vote } from '@blocktorrent/protocol/ledger-api.ts';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import type { Context } from 'fabric-contract-api';
import type { StoredRequest } from './audit-state.ts';
import { CLOCK_AHEAD_MS_MAX } from './record-rules.ts';
import { owesShardOf, requireRecord } from './record-state.ts';
import { canonicalJson, getJson, nowMs } from './state.ts';
import { KEY } from './state-keys.ts';

/** The missing releases of a request that nothing has closed, with which nobody may help any more. */
export async function silentHolders(
  ctx: Context,
  request: StoredRequest,
  members: ReadonlySet<MspId>,
): Promise<Fault[]> {
  const { requestId, expiresAtMs } = request;
  if (nowMs(ctx) < expiresAtMs + CLOCK_AHEAD_MS_MAX) return [];
  const approvals = await approvalsOf(ctx, request);
  const approvedAtMs = approvals[request.approvals - 1]?.atMs ?? Number.POSITIVE_INFINITY;
  const releases = await releasesOf(ctx, request);
  const [witness] = releases;
  if (witness === undefined) return [];
  // By our clocks the release was endorsed no later than this, and the approval was there before.
  const knownAtMs = Math.max(approvedAtMs, witness.atMs + CLOCK_AHEAD_MS_MAX);
  if (expiresAtMs - knownAtMs < LIMITS.releaseTimeMsMin) return [];
  const released = new Set(releases.map(({ mspId }) => mspId));
  const silent = new Set(request.holders.filter((one) => members.has(one) && !released.has(one)));
  const faults: Fault[] = [];
  for (const fileId of request.fileIds) {
    if (silent.size === 0) break;
    const { dealing } = await requireRecord(ctx, fileId);
    for (const mspId of dealing.holders.filter((holder) => silent.has(holder))) {
      if (!(await owesShardOf(ctx, fileId, mspId, request.requestedAtMs))) continue;
      silent.delete(mspId);
      const detail = `nothing released for request ${requestId}, approved at ${approvedAtMs}, by ${expiresAtMs}`;
      const evidence = toBase64(
        utf8(
          canonicalJson({
            requestId,
            approvals,
            approvedAtMs,
            witness,
            expiresAtMs,
            holder: mspId,
          }),
        ),
      );
      faults.push({ kind: 'no-release', mspId, fileId, detail, evidence });
    }
  }
  return faults;
}

/** Whether a holder's release for a request is on the ledger. */
export async function hasReleased(
  ctx: Context,
  requestId: string,
  holder: MspId,
): Promise<boolean> {
  return (await getJson(ctx, KEY.release(requestId, holder))) !== null;
}

/** Who has released for a request, the first one first. */
async function releasesOf(
  ctx: Context,
  { requestId, holders }: StoredRequest,
): Promise<{ readonly mspId: MspId; readonly atMs: number }[]> {
  const releases: { mspId: MspId; atMs: number }[] = [];
  for (const mspId of holders) {
    const release = await getJson<Release>(ctx, KEY.release(requestId, mspId));
    if (release !== null) releases.push({ mspId, atMs: release.atMs });
  }
  return releases.sort((a, b) => a.atMs - b.atMs);
}

/** The votes for a request, the oldest first. */
async function approvalsOf(
  ctx: Context,
  { requestId, voters }: StoredRequest,
): Promise<{ readonly mspId: MspId; readonly atMs: number }[]> {
  const approvals: { mspId: MspId; atMs: number }[] = [];
  for (const voter of voters) {
    const vote = await getJson<Vote>(ctx, KEY.vote(requestId, voter));
    if (vote?.approve === true) approvals.push({ mspId: voter, atMs: vote.atMs });
  }
  return approvals.sort((a, b) => a.atMs - b.atMs);
}
