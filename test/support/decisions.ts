/** Proposing, voting and enacting on the in-memory Fabric, for tests of decisions. */
import type { Proposal, ProposalAction } from '@blocktorrent/protocol/ledger-api.ts';
import { AUDITOR, agentOf, type TrialConsortium } from './consortium.ts';

/** Proposes as organisation `by`; returns the proposal's id. */
export async function propose(
  { fabric }: TrialConsortium,
  action: ProposalAction,
  by = 1,
  lifeMs = 3_600_000,
): Promise<string> {
  const { result } = await fabric.submit(agentOf(by), 'ledger/consortium:Propose', {
    action,
    reason: 'because',
    expiresAtMs: fabric.timeMs + lifeMs,
  });
  return result.proposalId;
}

/** One organisation's vote. */
export async function voteOn(
  { fabric }: TrialConsortium,
  proposalId: string,
  by: number,
  approve = true,
): Promise<void> {
  const vote = { proposalId, approve, reason: '' };
  await fabric.submit(agentOf(by), 'ledger/consortium:VoteOn', vote);
}

export async function enact(
  { fabric }: TrialConsortium,
  proposalId: string,
  by = 1,
): Promise<void> {
  await fabric.submit(agentOf(by), 'ledger/consortium:Enact', { proposalId });
}

/** Proposes, votes as each of `voters`, and enacts. */
export async function decide(
  consortium: TrialConsortium,
  action: ProposalAction,
  voters: readonly number[],
): Promise<string> {
  const [first = 1] = voters;
  const proposalId = await propose(consortium, action, first);
  for (const voter of voters) await voteOn(consortium, proposalId, voter);
  await enact(consortium, proposalId, first);
  return proposalId;
}

/** The proposal as the auditor reads it. */
export async function readProposal(
  { fabric }: TrialConsortium,
  proposalId: string,
): Promise<Proposal> {
  const found = await fabric.evaluate(AUDITOR, 'ledger/consortium:GetProposal', { proposalId });
  if (found === null) throw new Error(`no proposal ${proposalId}`);
  return found;
}
