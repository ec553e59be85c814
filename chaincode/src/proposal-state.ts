/**
 * Proposals in the world state, and what became of one.
 *
 * Proposal, each member's vote and the enactment have keys of their own, so that votes of one block
 * do not get into each other's way. Whether it is accepted follows from the votes of those that are
 * members when it is read: more than half of them, without the one concerned.
 */
import type {
  Enactment,
  Hex,
  MspId,
  Proposal,
  ProposalInput,
  ProposalState,
  ProposalVote,
} from '@blocktorrent/protocol/ledger-api.ts';
import type { Context } from 'fabric-contract-api';
import { type Constitution, loadConstitution, loadEpochs } from './consortium-state.ts';
import { concernedBy, type House, replacedBy } from './decisions.ts';
import { Refusal } from './refusal.ts';
import { getJson, nowMs } from './state.ts';
import { KEY } from './state-keys.ts';

/** A proposal as it is stored: what never changes about it. */
export interface StoredProposal extends ProposalInput {
  readonly proposalId: string;
  readonly proposer: MspId;
  readonly proposedAtMs: number;
  /** What it would replace, as `replacedBy` names it. */
  readonly replaces: Hex | null;
}

/** What decisions are about, as it is now. */
export async function loadHouse(ctx: Context): Promise<House> {
  return { constitution: await loadConstitution(ctx), epochs: await loadEpochs(ctx) };
}

/** The proposal; a Refusal NOT_FOUND where there is none. */
export async function requireProposal(ctx: Context, proposalId: string): Promise<StoredProposal> {
  const proposal = await getJson<StoredProposal>(ctx, KEY.proposal(proposalId));
  if (proposal === null) throw new Refusal('NOT_FOUND', `there is no proposal ${proposalId}`);
  return proposal;
}

/** Members that may vote on it: all but the one concerned. */
export function votersOn(proposal: StoredProposal, { members }: Constitution): MspId[] {
  const concerned = concernedBy(proposal.action);
  return members.map(({ mspId }) => mspId).filter((mspId) => mspId !== concerned);
}

/** Throws a Refusal NOT_OPEN where the proposal was enacted or has expired. */
export async function requireUndecided(ctx: Context, proposal: StoredProposal): Promise<void> {
  const { proposalId, expiresAtMs } = proposal;
  if ((await getJson<Enactment>(ctx, KEY.enactment(proposalId))) !== null) {
    throw new Refusal('NOT_OPEN', `proposal ${proposalId} has been enacted`);
  }
  const atMs = nowMs(ctx);
  if (atMs >= expiresAtMs) {
    throw new Refusal(
      'NOT_OPEN',
      `proposal ${proposalId} expired at ${expiresAtMs}, it is ${atMs}`,
    );
  }
}

/** The proposal with its votes and its state. */
export async function readProposal(
  ctx: Context,
  { replaces, ...proposal }: StoredProposal,
  house: House,
): Promise<Proposal> {
  const { proposalId, action, expiresAtMs } = proposal;
  const voters = votersOn({ replaces, ...proposal }, house.constitution);
  const votes: ProposalVote[] = [];
  for (const voter of voters) {
    const vote = await getJson<ProposalVote>(ctx, KEY.proposalVote(proposalId, voter));
    if (vote !== null) votes.push(vote);
  }
  const enacted = await getJson<Enactment>(ctx, KEY.enactment(proposalId));
  const needed = Math.floor(voters.length / 2) + 1;
  const state = stateOf({
    enacted,
    isOutdated: replacedBy(action, house) !== replaces,
    isExpired: nowMs(ctx) >= expiresAtMs,
    approvals: votes.filter((vote) => vote.approve).length,
    denials: votes.filter((vote) => !vote.approve).length,
    voterCount: voters.length,
    needed,
  });
  return { ...proposal, voters, needed, votes, state, enacted };
}

/** Enacted beats all; what is outdated or expired cannot be accepted any more. */
function stateOf(facts: {
  readonly enacted: Enactment | null;
  readonly isOutdated: boolean;
  readonly isExpired: boolean;
  readonly approvals: number;
  readonly denials: number;
  readonly voterCount: number;
  readonly needed: number;
}): ProposalState {
  if (facts.enacted !== null) return 'enacted';
  if (facts.isExpired) return 'expired';
  if (facts.isOutdated) return 'outdated';
  if (facts.approvals >= facts.needed) return 'accepted';
  return facts.voterCount - facts.denials < facts.needed ? 'refused' : 'open';
}
