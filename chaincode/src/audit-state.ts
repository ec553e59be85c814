/**
 * Audit requests in the world state, and what state one is in.
 *
 * Request, votes, releases and outcome have keys of their own; the state follows from them and
 * the time, and is computed when read. Who may vote and who holds shards was frozen with the list
 * of files when the request was made.
 */
import type {
  AuditOutcome,
  AuditRequest,
  AuditRequestInput,
  MspId,
  Release,
  Vote,
} from '@blocktorrent/protocol/ledger-api.ts';
import type { Context } from 'fabric-contract-api';
import { Refusal } from './refusal.ts';
import { getJson, nowMs } from './state.ts';
import { KEY } from './state-keys.ts';

/** A request as it is stored: what never changes about it. */
export interface StoredRequest extends AuditRequestInput {
  readonly requestId: string;
  readonly auditor: MspId;
  readonly requestedAtMs: number;
  /** Members that may vote: neither the auditor's organisation nor a source of its files. */
  readonly voters: readonly MspId[];
  /** Organisations that hold shards of its files. */
  readonly holders: readonly MspId[];
  /** Votes that approve it. */
  readonly approvals: number;
}

/** The request; a Refusal NOT_FOUND where there is none. */
export async function requireRequest(ctx: Context, requestId: string): Promise<StoredRequest> {
  const request = await getJson<StoredRequest>(ctx, KEY.request(requestId));
  if (request === null) throw new Refusal('NOT_FOUND', `there is no audit request ${requestId}`);
  return request;
}

/** Throws a Refusal NOT_OPEN where the request is closed or has expired. */
export async function requireRunning(ctx: Context, request: StoredRequest): Promise<void> {
  if ((await loadOutcome(ctx, request.requestId)) !== null) {
    throw new Refusal('NOT_OPEN', `audit request ${request.requestId} is closed`);
  }
  const atMs = nowMs(ctx);
  if (atMs >= request.expiresAtMs) {
    throw new Refusal(
      'NOT_OPEN',
      `audit request ${request.requestId} expired at ${request.expiresAtMs}, it is ${atMs}`,
    );
  }
}

/** Throws a Refusal NOT_APPROVED before enough votes; reads no more of them than it needs. */
export async function requireApproved(ctx: Context, request: StoredRequest): Promise<void> {
  let approvals = 0;
  for (const voter of request.voters) {
    const vote = await getJson<Vote>(ctx, KEY.vote(request.requestId, voter));
    if (vote?.approve === true && ++approvals >= request.approvals) return;
  }
  throw new Refusal(
    'NOT_APPROVED',
    `audit request ${request.requestId} has ${approvals} of ${request.approvals} approvals`,
  );
}

/** The outcome of a closed request, or null. */
export async function loadOutcome(ctx: Context, requestId: string): Promise<AuditOutcome | null> {
  return getJson<AuditOutcome>(ctx, KEY.outcome(requestId));
}

/** The request as it is read back. Without `shards`, releases say only who and when. */
export async function readRequest(
  ctx: Context,
  stored: StoredRequest,
  withShards: boolean,
): Promise<AuditRequest> {
  const { voters, holders, approvals, ...request } = stored;
  const votes: Vote[] = [];
  for (const voter of voters) {
    const vote = await getJson<Vote>(ctx, KEY.vote(request.requestId, voter));
    if (vote !== null) votes.push(vote);
  }
  const releases: Release[] = [];
  for (const holder of holders) {
    const release = await getJson<Release>(ctx, KEY.release(request.requestId, holder));
    if (release !== null) releases.push(withShards ? release : { ...release, shards: '' });
  }
  const outcome = await loadOutcome(ctx, request.requestId);
  const state = stateOf(stored, votes, outcome, nowMs(ctx));
  return { ...request, votes, releases, state, outcome };
}

/** Closed beats expired, expired beats approved and denied; denied once it cannot be approved. */
function stateOf(
  request: StoredRequest,
  votes: readonly Vote[],
  outcome: AuditOutcome | null,
  atMs: number,
): AuditRequest['state'] {
  if (outcome !== null) return 'closed';
  if (atMs >= request.expiresAtMs) return 'expired';
  const approvals = votes.filter((vote) => vote.approve).length;
  if (approvals >= request.approvals) return 'approved';
  const denials = votes.length - approvals;
  return request.voters.length - denials < request.approvals ? 'denied' : 'open';
}
