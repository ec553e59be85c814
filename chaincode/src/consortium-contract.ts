/**
 * Contract `consortium`: members, auditors, policy, epochs, peers, decisions by vote and faults.
 *
 * Founded once, by an organisation that is among the members; the endorsement of a majority is
 * what makes that everybody's word (design: PROTOCOL §6). Afterwards a member alone changes only
 * what is its own: its peers, its share of the ranges, its leaving. Everything else is proposed,
 * voted on, and takes effect by `Enact`, in a transaction of its own: no vote gets into the way of
 * another one. A decision changes what the contracts go by; the channel's configuration, the
 * endorsement policy and the collections are for the administrators (docs).
 */
import {
  type Consortium,
  type Enactment,
  type Epoch,
  type Fault,
  type FaultReport,
  type Peer,
  type PeerKey,
  type Penalty,
  type Proposal,
  type ProposalVote,
  ROLE_ATTRIBUTE,
} from '@blocktorrent/protocol/ledger-api.ts';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import type { Context } from 'fabric-contract-api';
import { ARGUMENTS } from './arguments.ts';
import {
  requireAuditor,
  requireMember,
  requireParty,
  requireRole,
  requireSpeaksFor,
} from './caller.ts';
import { parseArgument } from './checks.ts';
import {
  type Constitution,
  loadConstitution,
  loadEpochs,
  openEpoch,
  requireEpoch,
} from './consortium-state.ts';
import { requireConstitution } from './constitution-rules.ts';
import { BlockTorrentContract, type TransactionsOf } from './contract.ts';
import {
  concernedBy,
  decide,
  enact,
  putDecided,
  replacedBy,
  reweighted,
  without,
} from './decisions.ts';
import { emitEvent } from './events.ts';
import { faultsOf, putFault } from './fault-state.ts';
import {
  loadHouse,
  readProposal,
  requireProposal,
  requireUndecided,
  type StoredProposal,
  votersOn,
} from './proposal-state.ts';
import { Refusal } from './refusal.ts';
import { addRevoked, loadRevoked } from './revoked-state.ts';
import { canonicalJson, getJson, nowMs, putJson, scan, scanGroups, scanValues } from './state.ts';
import { KEY } from './state-keys.ts';

export class ConsortiumContract
  extends BlockTorrentContract
  implements TransactionsOf<'ledger/consortium'>
{
  constructor() {
    super('consortium');
  }

  /**
   * Writes members, auditors and policy, and opens epoch 1 with the members' weights. The others
   * look at it before they register a peer, which is how they go along.
   * Who: an agent or admin of one of the members given. When: once.
   * Event: `consortium-changed` founded.
   * Errors: BAD_ARGUMENT, NOT_ALLOWED, ALREADY_EXISTS.
   */
  async Found(ctx: Context, argument: string): Promise<null> {
    const input = parseArgument(argument, ARGUMENTS['ledger/consortium:Found']);
    const caller = requireRole(ctx, 'agent', 'admin');
    requireConstitution(input);
    if (!input.members.some((member) => member.mspId === caller)) {
      throw new Refusal('NOT_ALLOWED', `${caller} is not among the members to be founded`);
    }
    if ((await getJson(ctx, KEY.constitution)) !== null) {
      throw new Refusal('ALREADY_EXISTS', 'the consortium has been founded already');
    }
    await putJson(ctx, KEY.constitution, input satisfies Constitution);
    const weights = input.members.map(({ mspId, weight }) => [mspId, weight] as const);
    await openEpoch(ctx, Object.fromEntries(weights), null);
    emitEvent(ctx, 'consortium-changed', { what: 'founded' });
    return null;
  }

  /**
   * Registers or changes a peer of the caller's own organisation; saying the same is harmless.
   * Who: an agent or admin of a member; a gateway for peers that only `ingest`. When: any time.
   * Effects: the peer's key, roles and address. A new key joins its history: what it signed under
   * an older one counts as before, until `RevokeKey`.
   * Event: `consortium-changed` peer; none where nothing changes.
   * Errors: BAD_ARGUMENT, TOO_LARGE (too many keys), NOT_FOUNDED, NOT_ALLOWED (a revoked key; a gateway for a
   * peer that stores; an identity of another peer).
   */
  async RegisterPeer(ctx: Context, argument: string): Promise<null> {
    const input = parseArgument(argument, ARGUMENTS['ledger/consortium:RegisterPeer']);
    const { mspId } = await requireMember(ctx, 'agent', 'admin', 'gateway');
    requireSpeaksFor(ctx, input.name);
    const key = KEY.peer(mspId, input.name);
    const before = await getJson<Peer>(ctx, key);
    const roles = [...input.roles].sort();
    if (ctx.clientIdentity.assertAttributeValue(ROLE_ATTRIBUTE, 'gateway')) {
      if ([...roles, ...(before?.roles ?? [])].includes('store')) {
        throw new Refusal('NOT_ALLOWED', 'a gateway may not register a peer that stores');
      }
    }
    const peer: Peer = { mspId, ...input, roles, keys: withKey(ctx, before, input.overlayKey) };
    if (canonicalJson(before) === canonicalJson(peer)) return null;
    await putJson(ctx, key, peer);
    emitEvent(ctx, 'consortium-changed', { what: 'peer' });
    return null;
  }

  /**
   * Takes back overlay certificates of the caller's own organisation, for good: nobody takes or
   * keeps a connection with them any more.
   * Who: an agent or admin of a member, or an auditor. When: any time.
   * Effects: the organisation's list of serial numbers, in one key of its own.
   * Event: `consortium-changed` revoked; none where all were on the list already.
   * Errors: BAD_ARGUMENT, NOT_FOUNDED, NOT_ALLOWED, TOO_LARGE.
   */
  async RevokeCertificates(ctx: Context, argument: string): Promise<null> {
    const { serials } = parseArgument(argument, ARGUMENTS['ledger/consortium:RevokeCertificates']);
    const isAuditor = ctx.clientIdentity.assertAttributeValue(ROLE_ATTRIBUTE, 'auditor');
    const { mspId } = isAuditor
      ? await requireAuditor(ctx)
      : await requireMember(ctx, 'agent', 'admin');
    if (await addRevoked(ctx, mspId, serials)) {
      emitEvent(ctx, 'consortium-changed', { what: 'revoked' });
    }
    return null;
  }

  /**
   * Revokes an earlier key of a peer of the caller's own: nothing signed by it is taken from now on,
   * by anybody. What the ledger took before stays as good as it was. Saying it again is harmless.
   * Who: an agent or admin of a member. When: once the peer has registered another key.
   * Effects: the key's `revokedAtMs`. Event: `consortium-changed` peer; none where nothing changes.
   * Errors: BAD_ARGUMENT, NOT_FOUNDED, NOT_ALLOWED (the peer's present key), NOT_FOUND.
   */
  async RevokeKey(ctx: Context, argument: string): Promise<null> {
    const input = parseArgument(argument, ARGUMENTS['ledger/consortium:RevokeKey']);
    const { mspId } = await requireMember(ctx, 'agent', 'admin');
    const key = KEY.peer(mspId, input.peer);
    const peer = await getJson<Peer>(ctx, key);
    const found = peer?.keys.find(({ overlayKey }) => overlayKey === input.overlayKey);
    if (peer === null || found === undefined) {
      throw new Refusal(
        'NOT_FOUND',
        `${mspId}/${input.peer} never had the key ${input.overlayKey}`,
      );
    }
    if (found.overlayKey === peer.overlayKey) {
      throw new Refusal(
        'NOT_ALLOWED',
        `${mspId}/${peer.name} signs with it: register another first`,
      );
    }
    if (found.revokedAtMs !== null) return null;
    const revokedAtMs = nowMs(ctx);
    const keys = peer.keys.map((one) => (one === found ? { ...one, revokedAtMs } : one));
    await putJson(ctx, key, { ...peer, keys } satisfies Peer);
    emitEvent(ctx, 'consortium-changed', { what: 'peer' });
    return null;
  }

  /**
   * Opens the epoch after the current one with another share for the caller's own organisation, or
   * none. Other shares are changed by vote (`weights`).
   * Who: an agent or admin of a member. When: once an hour (`LIMITS.ownEpochPauseMs`) each.
   * Effects: the epoch; the member's weight. Event: `consortium-changed` epoch.
   * Errors: BAD_ARGUMENT, NOT_FOUNDED, NOT_ALLOWED, WRONG_EPOCH.
   */
  async OpenEpoch(ctx: Context, argument: string): Promise<Epoch> {
    const input = parseArgument(argument, ARGUMENTS['ledger/consortium:OpenEpoch']);
    const { mspId } = await requireMember(ctx, 'agent', 'admin');
    const house = await loadHouse(ctx);
    const { current, weights } = house.epochs;
    if (input.epoch !== current.epoch + 1) {
      throw new Refusal('WRONG_EPOCH', `expected epoch ${current.epoch + 1}, got ${input.epoch}`);
    }
    const after = reweighted(house, input.weights);
    const { [mspId]: _before, ...others } = weights;
    const { [mspId]: _after, ...othersAfter } = input.weights;
    if (canonicalJson(others) !== canonicalJson(othersAfter)) {
      throw new Refusal('NOT_ALLOWED', `${mspId} alone may change its own weight only: propose it`);
    }
    await requirePause(ctx, mspId);
    const epoch = await putDecided(ctx, house, after);
    emitEvent(ctx, 'consortium-changed', { what: 'epoch' });
    return epoch;
  }

  /**
   * Ends the caller's membership and opens an epoch without it.
   * Who: an agent or admin of a member. When: any time, if the others can follow the policy.
   * Effects: members, ranges, its quota. Its peers, votes, records and receipts stay readable.
   * Event: `consortium-changed` member. Errors: BAD_ARGUMENT, NOT_FOUNDED, NOT_ALLOWED.
   */
  async Leave(ctx: Context, argument: string): Promise<null> {
    parseArgument(argument, ARGUMENTS['ledger/consortium:Leave']);
    const { mspId } = await requireMember(ctx, 'agent', 'admin');
    const house = await loadHouse(ctx);
    await putDecided(ctx, house, without(house, mspId));
    emitEvent(ctx, 'consortium-changed', { what: 'member' });
    return null;
  }

  /**
   * Puts a decision before the members. It is no vote: the proposer votes like the others.
   * Who: an agent or admin of a member. When: if the decision could take effect now.
   * Effects: the proposal, open until `expiresAtMs`. Event: `proposed`.
   * Errors: BAD_ARGUMENT, NOT_FOUNDED, NOT_ALLOWED, NOT_FOUND, ALREADY_EXISTS.
   */
  async Propose(ctx: Context, argument: string): Promise<{ proposalId: string }> {
    const input = parseArgument(argument, ARGUMENTS['ledger/consortium:Propose']);
    const { mspId: proposer } = await requireMember(ctx, 'agent', 'admin');
    const proposedAtMs = nowMs(ctx);
    const lifeMs = input.expiresAtMs - proposedAtMs;
    if (lifeMs <= 0 || lifeMs > LIMITS.proposalLifeMsMax) {
      throw new Refusal(
        'BAD_ARGUMENT',
        `expiresAtMs: expected 1..${LIMITS.proposalLifeMsMax} ms from now, got ${lifeMs}`,
      );
    }
    const house = await loadHouse(ctx);
    await decide(ctx, input.action, house);
    const proposalId = ctx.stub.getTxID();
    const replaces = replacedBy(input.action, house);
    const proposal: StoredProposal = { ...input, proposalId, proposer, proposedAtMs, replaces };
    await putJson(ctx, KEY.proposal(proposalId), proposal);
    await putJson(ctx, KEY.proposalTime(proposedAtMs, proposalId), { proposalId });
    emitEvent(ctx, 'proposed', { proposalId });
    return { proposalId };
  }

  /**
   * The caller's organisation votes, once, on a proposal.
   * Who: an agent or admin of a member that the proposal is not about. When: until it is enacted
   * or expires. Effects: the vote, under a key of the voter's. Event: `proposal-voted`.
   * Errors: BAD_ARGUMENT, NOT_FOUNDED, NOT_ALLOWED, NOT_FOUND, NOT_OPEN, ALREADY_EXISTS.
   */
  async VoteOn(ctx: Context, argument: string): Promise<null> {
    const input = parseArgument(argument, ARGUMENTS['ledger/consortium:VoteOn']);
    const { mspId, constitution } = await requireMember(ctx, 'agent', 'admin');
    const proposal = await requireProposal(ctx, input.proposalId);
    const { proposalId, approve } = input;
    if (!votersOn(proposal, constitution).includes(mspId)) {
      throw new Refusal('NOT_ALLOWED', `${mspId} may not vote on ${proposalId}: it is about it`);
    }
    await requireUndecided(ctx, proposal);
    const key = KEY.proposalVote(proposalId, mspId);
    if ((await getJson(ctx, key)) !== null) {
      throw new Refusal('ALREADY_EXISTS', `${mspId} has voted on ${proposalId} already`);
    }
    await putJson(ctx, key, { ...input, mspId, atMs: nowMs(ctx) } satisfies ProposalVote);
    emitEvent(ctx, 'proposal-voted', { proposalId, mspId, approve });
    return null;
  }

  /**
   * Carries out a proposal that more than half of the present members, without the one that it is
   * about, have voted for.
   * Who: an agent or admin of a member, but not the one concerned. When: once, before it expires,
   * if nothing it would replace has been replaced since. Effects: those of the action.
   * Event: `consortium-changed` with what changed.
   * Errors: BAD_ARGUMENT, NOT_FOUNDED, NOT_ALLOWED, NOT_FOUND, NOT_OPEN, NOT_APPROVED,
   * ALREADY_EXISTS.
   */
  async Enact(ctx: Context, argument: string): Promise<null> {
    const { proposalId } = parseArgument(argument, ARGUMENTS['ledger/consortium:Enact']);
    const { mspId: by } = await requireMember(ctx, 'agent', 'admin');
    const stored = await requireProposal(ctx, proposalId);
    await requireUndecided(ctx, stored);
    if (concernedBy(stored.action) === by) {
      throw new Refusal('NOT_ALLOWED', `${proposalId} is about ${by}: another member enacts it`);
    }
    const house = await loadHouse(ctx);
    const { state, votes, needed } = await readProposal(ctx, stored, house);
    if (state === 'outdated') {
      throw new Refusal('NOT_OPEN', `what ${proposalId} would replace has been replaced since`);
    }
    if (state !== 'accepted') {
      const approvals = votes.filter((vote) => vote.approve).length;
      throw new Refusal('NOT_APPROVED', `${proposalId} has ${approvals} of ${needed} votes`);
    }
    const what = await enact(ctx, proposalId, stored.action, house);
    const enactment: Enactment = { by, atMs: nowMs(ctx), txId: ctx.stub.getTxID() };
    await putJson(ctx, KEY.enactment(proposalId), enactment);
    emitEvent(ctx, 'consortium-changed', { what });
    return null;
  }

  /**
   * Puts a fault of a member on the ledger. It is the reporter's word: what can be checked is the
   * evidence.
   * Who: an agent of a member, or an auditor. When: any time. Effects: the fault and its evidence.
   * Event: `consortium-changed` fault. Errors: BAD_ARGUMENT, NOT_FOUNDED, NOT_ALLOWED, NOT_FOUND.
   */
  async ReportFault(ctx: Context, argument: string): Promise<null> {
    const fault = parseArgument(argument, ARGUMENTS['ledger/consortium:ReportFault']);
    const { mspId: reporter, constitution } = await requireParty(ctx);
    if (!constitution.members.some((member) => member.mspId === fault.mspId)) {
      throw new Refusal('NOT_FOUND', `${fault.mspId} is not a member of the consortium`);
    }
    await putFault(ctx, fault, { reporter });
    emitEvent(ctx, 'consortium-changed', { what: 'fault' });
    return null;
  }

  /**
   * Everything that a peer needs to know of the consortium; peers in order of MSP id and name.
   * Who: anybody on the channel. Effects: none. Errors: BAD_ARGUMENT, NOT_FOUNDED.
   */
  async GetConsortium(ctx: Context, argument: string): Promise<Consortium> {
    parseArgument(argument, ARGUMENTS['ledger/consortium:GetConsortium']);
    const { members, auditors, policy } = await loadConstitution(ctx);
    const { current, previous } = await loadEpochs(ctx);
    const ever = await scanGroups<Peer>(ctx, KEY.peers, LIMITS.peersPerMemberMax, LIMITS.scanMax);
    const isMembers = ({ mspId }: Peer) => members.some((member) => member.mspId === mspId);
    return {
      channel: ctx.stub.getChannelID(),
      members,
      auditors,
      policy,
      epochs: previous === null ? [current] : [current, previous],
      peers: ever.filter(isMembers),
      formerPeers: ever.filter((peer) => !isMembers(peer)),
      ...(await loadRevoked(
        ctx,
        [...members, ...auditors].map(({ mspId }) => mspId),
      )),
    };
  }

  /**
   * Any epoch there ever was.
   * Who: anybody on the channel. Effects: none. Errors: BAD_ARGUMENT, NOT_FOUND.
   */
  async GetEpoch(ctx: Context, argument: string): Promise<Epoch> {
    const { epoch } = parseArgument(argument, ARGUMENTS['ledger/consortium:GetEpoch']);
    return requireEpoch(ctx, epoch);
  }

  /**
   * A proposal with the votes that count and its state, or null.
   * Who: anybody on the channel. Effects: none. Errors: BAD_ARGUMENT, NOT_FOUNDED.
   */
  async GetProposal(ctx: Context, argument: string): Promise<Proposal | null> {
    const { proposalId } = parseArgument(argument, ARGUMENTS['ledger/consortium:GetProposal']);
    const stored = await getJson<StoredProposal>(ctx, KEY.proposal(proposalId));
    return stored === null ? null : readProposal(ctx, stored, await loadHouse(ctx));
  }

  /**
   * Proposals in one state, newest first: at most `listLimitMax` of the latest `scanMax`.
   * Who: anybody on the channel. Effects: none. Errors: BAD_ARGUMENT, NOT_FOUNDED.
   */
  async ListProposals(ctx: Context, argument: string): Promise<readonly Proposal[]> {
    const { state } = parseArgument(argument, ARGUMENTS['ledger/consortium:ListProposals']);
    const house = await loadHouse(ctx);
    const proposals: Proposal[] = [];
    let seen = 0;
    for await (const { value } of scan<{ proposalId: string }>(ctx, KEY.proposalTimes)) {
      const stored = await requireProposal(ctx, value.proposalId);
      const proposal = await readProposal(ctx, stored, house);
      if (state === 'any' || proposal.state === state) proposals.push(proposal);
      if (proposals.length >= LIMITS.listLimitMax || ++seen >= LIMITS.scanMax) break;
    }
    return proposals;
  }

  /**
   * One reported fault with its evidence, or null.
   * Who: anybody on the channel. Effects: none. Errors: BAD_ARGUMENT.
   */
  async GetFault(ctx: Context, argument: string): Promise<(FaultReport & Fault) | null> {
    const { faultId } = parseArgument(argument, ARGUMENTS['ledger/consortium:GetFault']);
    return getJson<FaultReport & Fault>(ctx, KEY.faultReport(faultId));
  }

  /**
   * The faults reported of one organisation, newest first, at most `listLimitMax`.
   * Who: anybody on the channel. Effects: none. Errors: BAD_ARGUMENT.
   */
  async ListFaults(ctx: Context, argument: string): Promise<readonly FaultReport[]> {
    const input = parseArgument(argument, ARGUMENTS['ledger/consortium:ListFaults']);
    return faultsOf(ctx, input.mspId, input.beforeMs ?? null);
  }

  /**
   * The penalties decided about one organisation, newest first, at most `listLimitMax`.
   * Who: anybody on the channel. Effects: none. Errors: BAD_ARGUMENT.
   */
  async ListPenalties(ctx: Context, argument: string): Promise<readonly Penalty[]> {
    const { mspId } = parseArgument(argument, ARGUMENTS['ledger/consortium:ListPenalties']);
    return scanValues<Penalty>(ctx, KEY.penaltiesOf(mspId), LIMITS.listLimitMax);
  }
}

/** A lone member must not push files out of the two epochs that count by opening one after another. */
async function requirePause(ctx: Context, mspId: string): Promise<void> {
  const atMs = nowMs(ctx);
  const last = await getJson<{ atMs: number }>(ctx, KEY.ownEpoch(mspId));
  if (last !== null && atMs - last.atMs < LIMITS.ownEpochPauseMs) {
    throw new Refusal(
      'NOT_ALLOWED',
      `${mspId} opened an epoch alone at ${last.atMs}: again after ${LIMITS.ownEpochPauseMs} ms`,
    );
  }
  await putJson(ctx, KEY.ownEpoch(mspId), { atMs });
}

/** A peer's keys with one more, unless it had that one before; a revoked one never comes back. */
function withKey(ctx: Context, before: Peer | null, overlayKey: string): readonly PeerKey[] {
  const keys = before?.keys ?? [];
  const known = keys.find((one) => one.overlayKey === overlayKey);
  if (known !== undefined) {
    if (known.revokedAtMs === null) return keys;
    throw new Refusal('NOT_ALLOWED', `the key ${overlayKey} was revoked: make another`);
  }
  if (keys.length >= LIMITS.keysPerPeerMax) {
    throw new Refusal(
      'TOO_LARGE',
      `${before?.name} has had ${keys.length} keys: register it under another name`,
    );
  }
  const added = { overlayKey, fromMs: nowMs(ctx), txId: ctx.stub.getTxID(), revokedAtMs: null };
  return [...keys, added];
}
