/**
 * Contract `audits`: holders confirm shards; auditors ask, members vote, holders release.
 *
 * Request, votes and releases are on one trail before anybody can read an honest holder's shard
 * (design: PROTOCOL §3). Each organisation votes and releases once.
 */
import type {
  AuditOutcome,
  AuditRequest,
  DrawnFiles,
  Hex,
  Inspection,
  MspId,
  Release,
  Vote,
} from '@blocktorrent/protocol/ledger-api.ts';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import type { Context } from 'fabric-contract-api';
import { ARGUMENTS } from './arguments.ts';
import {
  loadOutcome,
  readRequest,
  requireApproved,
  requireRequest,
  requireRunning,
  type StoredRequest,
} from './audit-state.ts';
import { requireAuditor, requireMember, requireParty } from './caller.ts';
import { reportChallenge } from './challenge-faults.ts';
import { parseArgument } from './checks.ts';
import { complain } from './complaints.ts';
import { BlockTorrentContract, type TransactionsOf } from './contract.ts';
import { emitEvent } from './events.ts';
import { putFault } from './fault-state.ts';
import { drawInspection, drawnFiles, requireDrawn, requireInspection } from './inspections.ts';
import {
  loadHolding,
  owesShardOf,
  putConfirmation,
  putWithdrawal,
  requireRecord,
} from './record-state.ts';
import { Refusal } from './refusal.ts';
import { hasReleased, silentHolders } from './silence.ts';
import { getJson, nowMs, putJson, scan } from './state.ts';
import { KEY } from './state-keys.ts';

export class AuditsContract
  extends BlockTorrentContract
  implements TransactionsOf<'ledger/audits'>
{
  constructor() {
    super('audits');
  }

  /**
   * A holder says that it has its shards of these files; what it said before is left alone.
   * Who: an agent of a member that holds a shard of each. When: any time after the record, before
   * it withdraws.
   * Effects: one confirmation for each file, under a key of the holder's. Event: `confirmed` with
   * the files that were new; none where there is none.
   * Errors: BAD_ARGUMENT, NOT_FOUNDED, NOT_ALLOWED, NOT_FOUND, NOT_HOLDER.
   */
  async Confirm(ctx: Context, argument: string): Promise<null> {
    const { fileIds } = parseArgument(argument, ARGUMENTS['ledger/audits:Confirm']);
    const { mspId } = await requireMember(ctx);
    const confirmed: Hex[] = [];
    for (const fileId of fileIds) {
      await requireHeld(ctx, fileId, mspId);
      const before = await loadHolding(ctx, fileId, mspId);
      if (before?.withdrawn !== undefined) {
        throw new Refusal('NOT_HOLDER', `${mspId} has withdrawn from ${fileId}, for good`);
      }
      if (before !== null) continue;
      await putConfirmation(ctx, fileId, mspId);
      confirmed.push(fileId);
    }
    if (confirmed.length > 0) emitEvent(ctx, 'confirmed', { fileIds: confirmed, mspId });
    return null;
  }

  /**
   * A holder gives its shards of these files up, for good, as it does before it purges them. It is
   * counted no more among those who have confirmed; a request that was made later than
   * `withdrawalDelayMs` after this expects nothing of it, an earlier one does.
   * Who: an agent or admin of a member that holds a shard of each. When: any time after the record.
   * Effects: who, when and why beside its confirmation; what it said before is left alone.
   * Event: `withdrawn` with the files that were new; none where there is none.
   * Errors: BAD_ARGUMENT, NOT_FOUNDED, NOT_ALLOWED, NOT_FOUND, NOT_HOLDER.
   */
  async Withdraw(ctx: Context, argument: string): Promise<null> {
    const { fileIds, reason } = parseArgument(argument, ARGUMENTS['ledger/audits:Withdraw']);
    const { mspId } = await requireMember(ctx, 'agent', 'admin');
    // Endorsed before a request and ordered after it, the withdrawal would be antedated.
    await getJson(ctx, KEY.lastRequest);
    const withdrawn: Hex[] = [];
    for (const fileId of fileIds) {
      await requireHeld(ctx, fileId, mspId);
      const before = await loadHolding(ctx, fileId, mspId);
      if (before?.withdrawn !== undefined) continue;
      await putWithdrawal(ctx, fileId, before, { mspId, reason });
      withdrawn.push(fileId);
    }
    if (withdrawn.length === 0) return null;
    await putJson(ctx, KEY.lastWithdrawal(mspId), { txId: ctx.stub.getTxID() });
    emitEvent(ctx, 'withdrawn', { fileIds: withdrawn, mspId });
    return null;
  }

  /**
   * A holder proves that it was dealt a wrong shard, by showing it; a right one must never be shown:
   * it is refused, but by then the endorsing peers have read it.
   * Who: an agent of a member that holds a shard of the file. When: once a file and holder.
   * Effects: a fault `bad-dealing` of the source, with the shard as evidence.
   * Event: `consortium-changed` fault.
   * Errors: BAD_ARGUMENT, TOO_LARGE, NOT_FOUNDED, NOT_ALLOWED, NOT_FOUND, NOT_HOLDER,
   * ALREADY_EXISTS, BAD_DIGEST (it is not the shard that was dealt), NO_FAULT.
   */
  async Complain(ctx: Context, argument: string): Promise<{ faultId: string }> {
    const input = parseArgument(argument, ARGUMENTS['ledger/audits:Complain']);
    const { mspId } = await requireMember(ctx);
    const faultId = await complain(ctx, input, mspId);
    emitEvent(ctx, 'consortium-changed', { what: 'fault' });
    return { faultId };
  }

  /**
   * A challenger proves that an owner answered wrong, or admitted a loss. Where the answer is wrong,
   * manifest and chunk are in the transient map; neither is written.
   * Who: an agent of the member that had asked. When: once an answer.
   * Effects: a fault `challenge-failed` of the answerer, with answer and receipt as evidence.
   * Event: `consortium-changed` fault.
   * Errors: BAD_ARGUMENT, TOO_LARGE, NOT_FOUNDED, NOT_ALLOWED, NOT_FOUND, ALREADY_EXISTS,
   * WRONG_RECEIPT, BAD_DIGEST (another manifest or chunk), NO_FAULT (it is right), and the
   * protocol's codes for answers and receipts (BAD_SIGNATURE and the like).
   */
  async ReportChallenge(ctx: Context, argument: string): Promise<{ faultId: string }> {
    const input = parseArgument(argument, ARGUMENTS['ledger/audits:ReportChallenge']);
    const { mspId } = await requireMember(ctx);
    const faultId = await reportChallenge(ctx, input, mspId);
    emitEvent(ctx, 'consortium-changed', { what: 'fault' });
    return { faultId };
  }

  /**
   * An auditor asks for files; the list, its voters and holders are frozen here. With `inspection`,
   * every file must be one that this inspection drew.
   * Who: an auditor. When: any time, if enough organisations may vote. Holders that have left the
   * consortium are not waited for.
   * Effects: the request, open until `expiresAtMs`. Event: `audit-requested`.
   * Errors: BAD_ARGUMENT, NOT_FOUNDED, NOT_ALLOWED, NOT_FOUND, NOT_DRAWN, NOT_APPROVABLE.
   */
  async Request(ctx: Context, argument: string): Promise<{ requestId: string }> {
    const input = parseArgument(argument, ARGUMENTS['ledger/audits:Request']);
    const { mspId: auditor, constitution } = await requireAuditor(ctx);
    const { policy } = constitution;
    const members = constitution.members.map((member) => member.mspId);
    const requestedAtMs = nowMs(ctx);
    const lifeMs = input.expiresAtMs - requestedAtMs;
    if (lifeMs <= 0 || lifeMs > policy.auditExpiryMsMax) {
      throw new Refusal(
        'BAD_ARGUMENT',
        `expiresAtMs: expected 1..${policy.auditExpiryMsMax} ms from now, got ${lifeMs}`,
      );
    }
    const inspection =
      input.inspection === undefined ? null : await requireInspection(ctx, input.inspection);
    const { sources, holders: all } = await partiesOf(ctx, input.fileIds, inspection);
    const holders = all.filter((holder) => members.includes(holder));
    requireRecipients(input.recipients, [...members, ...all], holders);
    const voters = members.filter((member) => member !== auditor && !sources.has(member));
    if (voters.length < policy.approvals) {
      throw new Refusal(
        'NOT_APPROVABLE',
        `${policy.approvals} approvals are needed, but only ${voters.length} organisations may ` +
          'vote: ask for fewer sources at a time',
      );
    }
    // Endorsed before a withdrawal and ordered after it, the request would be antedated.
    for (const holder of holders) await getJson(ctx, KEY.lastWithdrawal(holder));
    const requestId = ctx.stub.getTxID();
    await putJson(ctx, KEY.lastRequest, { requestId });
    const { approvals } = policy;
    const request: StoredRequest = {
      ...input,
      requestId,
      auditor,
      requestedAtMs,
      voters,
      holders,
      approvals,
    };
    await putJson(ctx, KEY.request(requestId), request);
    await putJson(ctx, KEY.requestTime(requestedAtMs, requestId), { requestId });
    emitEvent(ctx, 'audit-requested', { requestId });
    return { requestId };
  }

  /**
   * Draws recorded files of a time range for an inspection, at the policy's rate: `isDrawn` decides
   * about each file by this transaction's id, so nobody has to list them here. An auditor asks for
   * drawn files by an ordinary `Request`, which is voted on as any other. Who draws could look for
   * an id that spares its own files: so everybody may draw.
   * Who: an agent of a member, or an auditor. When: any time, if the policy has a rate; the range
   * is in the past. Effects: the draw. Event: `inspection-drawn`.
   * Errors: BAD_ARGUMENT, NOT_FOUNDED, NOT_ALLOWED.
   */
  async DrawInspection(ctx: Context, argument: string): Promise<{ inspectionId: string }> {
    const input = parseArgument(argument, ARGUMENTS['ledger/audits:DrawInspection']);
    const { mspId: drawnBy, constitution } = await requireParty(ctx);
    return { inspectionId: await drawInspection(ctx, input, drawnBy, constitution.policy) };
  }

  /**
   * The files of one source that an inspection drew, in pages, or null where there is none.
   * Who: anybody on the channel. Effects: none. Errors: BAD_ARGUMENT.
   */
  async GetInspection(ctx: Context, argument: string): Promise<DrawnFiles | null> {
    const input = parseArgument(argument, ARGUMENTS['ledger/audits:GetInspection']);
    return drawnFiles(ctx, input);
  }

  /**
   * A member's one vote.
   * Who: an agent of a member; not of the auditor's organisation, nor of a source of the files.
   * When: until the request is closed or expires. Effects: the vote, under a key of the voter's.
   * Event: `audit-voted`.
   * Errors: BAD_ARGUMENT, NOT_FOUNDED, NOT_ALLOWED, NOT_FOUND, NOT_OPEN, ALREADY_EXISTS.
   */
  async Vote(ctx: Context, argument: string): Promise<null> {
    const input = parseArgument(argument, ARGUMENTS['ledger/audits:Vote']);
    const { mspId } = await requireMember(ctx);
    const request = await requireRequest(ctx, input.requestId);
    if (!request.voters.includes(mspId)) {
      throw new Refusal('NOT_ALLOWED', `${mspId} may not vote on ${input.requestId}`);
    }
    await requireRunning(ctx, request);
    const key = KEY.vote(input.requestId, mspId);
    if ((await getJson(ctx, key)) !== null) {
      throw new Refusal('ALREADY_EXISTS', `${mspId} has voted on ${input.requestId} already`);
    }
    await putJson(ctx, key, { ...input, mspId, atMs: nowMs(ctx) } satisfies Vote);
    const { requestId, approve } = input;
    emitEvent(ctx, 'audit-voted', { requestId, mspId, approve });
    return null;
  }

  /**
   * A holder's shards for the whole request, encrypted to its recipient.
   * Who: an agent of a member that holds a shard of one of the files. When: once, after approval,
   * before the request is closed or expires. Effects: the release. Event: `audit-released`.
   * Errors: BAD_ARGUMENT, TOO_LARGE, NOT_FOUNDED, NOT_ALLOWED, NOT_FOUND, NOT_HOLDER, NOT_OPEN,
   * NOT_APPROVED, ALREADY_EXISTS.
   */
  async Release(ctx: Context, argument: string): Promise<null> {
    const input = parseArgument(argument, ARGUMENTS['ledger/audits:Release']);
    const { mspId } = await requireMember(ctx);
    const request = await requireRequest(ctx, input.requestId);
    if (!request.holders.includes(mspId)) {
      throw new Refusal('NOT_HOLDER', `${mspId} holds no shard for ${input.requestId}`);
    }
    await requireRunning(ctx, request);
    await requireApproved(ctx, request);
    const key = KEY.release(input.requestId, mspId);
    if ((await getJson(ctx, key)) !== null) {
      throw new Refusal('ALREADY_EXISTS', `${mspId} has released for ${input.requestId} already`);
    }
    await putJson(ctx, key, { ...input, mspId, atMs: nowMs(ctx) } satisfies Release);
    emitEvent(ctx, 'audit-released', { requestId: input.requestId, mspId });
    return null;
  }

  /**
   * The auditor ends its request; success and faults count only where it had been approved. Once it
   * has expired, holders that released nothing are found here (`silence.ts`); the auditor cannot
   * say so of them, before or after.
   * Who: an auditor of the organisation that asked. When: once; also after it has expired.
   * Effects: the outcome, and each of its faults in the list of the one that failed.
   * Event: `audit-closed`.
   * Errors: BAD_ARGUMENT, NOT_FOUNDED, NOT_ALLOWED, NOT_FOUND, NOT_OPEN, NOT_APPROVED.
   */
  async Close(ctx: Context, argument: string): Promise<null> {
    const { requestId, outcome } = parseArgument(argument, ARGUMENTS['ledger/audits:Close']);
    const { mspId, constitution } = await requireAuditor(ctx);
    const request = await requireRequest(ctx, requestId);
    if (request.auditor !== mspId) {
      throw new Refusal('NOT_ALLOWED', `${requestId} was requested by ${request.auditor}`);
    }
    if ((await loadOutcome(ctx, requestId)) !== null) {
      throw new Refusal('NOT_OPEN', `audit request ${requestId} is closed already`);
    }
    if (outcome.ok || outcome.faults.length > 0) await requireApproved(ctx, request);
    const stranger = outcome.faults.find((fault) => !request.fileIds.includes(fault.fileId));
    if (stranger !== undefined) {
      throw new Refusal('BAD_ARGUMENT', `${stranger.fileId} is no file of request ${requestId}`);
    }
    for (const { kind, mspId: holder, fileId } of outcome.faults) {
      if (kind === 'no-release') await requireDue(ctx, request, fileId, holder);
    }
    const members = new Set(constitution.members.map((member) => member.mspId));
    const all = [...outcome.faults, ...(await silentHolders(ctx, request, members))];
    for (const [index, fault] of all.entries()) {
      await putFault(ctx, fault, { reporter: mspId, requestId, index });
    }
    const faults = all.map(({ evidence: _kept, ...fault }) => fault);
    await putJson(ctx, KEY.outcome(requestId), { ...outcome, faults } satisfies AuditOutcome);
    emitEvent(ctx, 'audit-closed', { requestId, ok: outcome.ok });
    return null;
  }

  /**
   * A request with votes, releases and state, or null.
   * Who: anybody on the channel. Effects: none. Errors: BAD_ARGUMENT.
   */
  async GetRequest(ctx: Context, argument: string): Promise<AuditRequest | null> {
    const { requestId } = parseArgument(argument, ARGUMENTS['ledger/audits:GetRequest']);
    const stored = await getJson<StoredRequest>(ctx, KEY.request(requestId));
    return stored === null ? null : readRequest(ctx, stored, true);
  }

  /**
   * Requests in one state, newest first: at most `listLimitMax` of the latest `scanMax`; releases
   * without their shards.
   * Who: anybody on the channel. Effects: none. Errors: BAD_ARGUMENT.
   */
  async ListRequests(ctx: Context, argument: string): Promise<readonly AuditRequest[]> {
    const { state } = parseArgument(argument, ARGUMENTS['ledger/audits:ListRequests']);
    const requests: AuditRequest[] = [];
    let seen = 0;
    for await (const { value } of scan<{ requestId: string }>(ctx, KEY.requestTimes)) {
      const request = await readRequest(ctx, await requireRequest(ctx, value.requestId), false);
      if (state === 'any' || request.state === state) requests.push(request);
      if (requests.length >= LIMITS.listLimitMax || ++seen >= LIMITS.scanMax) break;
    }
    return requests;
  }
}

/** Throws unless the file is recorded and `mspId` was dealt one of its shards. */
async function requireHeld(ctx: Context, fileId: Hex, mspId: MspId): Promise<void> {
  const { dealing } = await requireRecord(ctx, fileId);
  if (dealing.holders.includes(mspId)) return;
  throw new Refusal('NOT_HOLDER', `${mspId} holds no shard of ${fileId}`);
}

/** Throws unless an auditor may say that a holder's release is without its shard of a file. */
async function requireDue(
  ctx: Context,
  { requestId, requestedAtMs }: StoredRequest,
  fileId: Hex,
  holder: MspId,
): Promise<void> {
  if (!(await hasReleased(ctx, requestId, holder))) {
    throw new Refusal(
      'BAD_ARGUMENT',
      `${holder} released nothing: that is found here, after the request has expired`,
    );
  }
  if (!(await owesShardOf(ctx, fileId, holder, requestedAtMs))) {
    throw new Refusal(
      'BAD_ARGUMENT',
      `${holder} had withdrawn from ${fileId} before the request, or never confirmed its shard`,
    );
  }
}

/** The sources of recorded files, each drawn by `inspection` if given, and holders of their shards. */
async function partiesOf(
  ctx: Context,
  fileIds: readonly Hex[],
  inspection: Inspection | null,
): Promise<{ sources: Set<MspId>; holders: MspId[] }> {
  const sources = new Set<MspId>();
  const holders = new Set<MspId>();
  for (const fileId of fileIds) {
    const record = await requireRecord(ctx, fileId);
    if (inspection !== null) requireDrawn(record, inspection);
    const { source, dealing } = record;
    sources.add(source);
    for (const holder of dealing.holders) holders.add(holder);
  }
  return { sources, holders: [...holders].sort() };
}

/** One recipient for each holder, all different, none for strangers to consortium and files. */
function requireRecipients(
  recipients: Readonly<Record<MspId, string>>,
  known: readonly MspId[],
  holders: readonly MspId[],
): void {
  const stranger = Object.keys(recipients).find((mspId) => !known.includes(mspId));
  if (stranger !== undefined) {
    throw new Refusal('BAD_ARGUMENT', `recipients: ${stranger} is not a member`);
  }
  const missing = holders.find((holder) => !Object.hasOwn(recipients, holder));
  if (missing !== undefined) {
    throw new Refusal('BAD_ARGUMENT', `recipients: holder ${missing} has none`);
  }
  const all = Object.values(recipients);
  if (new Set(all).size !== all.length) {
    throw new Refusal('BAD_ARGUMENT', 'recipients: expected a fresh one for each holder');
  }
}
