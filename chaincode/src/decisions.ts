/**
 * What each decision of the members changes.
 *
 * In: an action and what it would change. Out: the constitution and weights after it, or a Refusal.
 * Nothing is written here but by `enact`; `decide` is run when an action is proposed and again when
 * it takes effect, because members and policy may have changed in between.
 */
import { createHash } from 'node:crypto';
import type {
  Epoch,
  Hex,
  LedgerEvents,
  MemberInput,
  MspId,
  Penalty,
  Policy,
  ProposalAction,
} from '@blocktorrent/protocol/ledger-api.ts';
import type { Context } from 'fabric-contract-api';
import { type Constitution, type Epochs, openEpoch, type Weights } from './consortium-state.ts';
import { requireConstitution, requireWeights } from './constitution-rules.ts';
import { requireFault } from './fault-state.ts';
import { Refusal } from './refusal.ts';
import { canonicalJson, nowMs, putJson } from './state.ts';
import { KEY } from './state-keys.ts';

/** What decisions are about. */
export interface House {
  readonly constitution: Constitution;
  readonly epochs: Epochs;
}

/** A house after a decision; `opensEpoch` where its ranges or its policy are others. */
interface Decided {
  readonly constitution: Constitution;
  readonly weights: Weights;
  readonly opensEpoch: boolean;
}

type What = LedgerEvents['consortium-changed']['what'];

const WHAT: { readonly [K in ProposalAction['kind']]: What } = {
  join: 'member',
  member: 'member',
  remove: 'member',
  policy: 'policy',
  weights: 'epoch',
  auditors: 'auditors',
  penalty: 'penalty',
};

/** The member that a decision is about and that has no vote on it; null for none. */
export function concernedBy(action: ProposalAction): MspId | null {
  return action.kind === 'remove' || action.kind === 'penalty' ? action.mspId : null;
}

/**
 * Hash of what the action would replace, null where it replaces nothing: an accepted proposal must
 * not undo, weeks later, what was decided after it.
 */
export function replacedBy(action: ProposalAction, { constitution, epochs }: House): Hex | null {
  const { members, auditors, policy } = constitution;
  switch (action.kind) {
    case 'policy':
      return hashOf(policy);
    case 'weights':
      return hashOf(epochs.weights);
    case 'auditors':
      return hashOf(auditors);
    case 'member':
      return hashOf(members.find(({ mspId }) => mspId === action.member.mspId) ?? null);
    default:
      return null;
  }
}

/** The house as the action would leave it; a Refusal where it may not be done. */
export async function decide(ctx: Context, action: ProposalAction, house: House): Promise<Decided> {
  const { constitution, epochs } = house;
  const { weights } = epochs;
  switch (action.kind) {
    case 'join': {
      const { mspId, weight } = action.member;
      if (isMember(constitution, mspId)) {
        throw new Refusal('ALREADY_EXISTS', `${mspId} is a member already`);
      }
      const members = [...constitution.members, action.member];
      const joined = { ...weights, [mspId]: weight };
      return decided({ ...constitution, members }, joined, true);
    }
    case 'member': {
      const { mspId, weight } = action.member;
      requireIsMember(constitution, mspId);
      const members = constitution.members.map((one) =>
        one.mspId === mspId ? action.member : one,
      );
      const changed = { ...weights, [mspId]: weight };
      return decided({ ...constitution, members }, changed, weights[mspId] !== weight);
    }
    case 'remove':
      requireIsMember(constitution, action.mspId);
      return without(house, action.mspId);
    case 'policy':
      return decided({ ...constitution, policy: action.policy }, weights, true);
    case 'weights':
      return reweighted(house, action.weights);
    case 'auditors':
      return decided({ ...constitution, auditors: action.auditors }, weights, false);
    case 'penalty':
      requireIsMember(constitution, action.mspId);
      await requireGrounds(ctx, action.mspId, action.faultIds);
      return { constitution, weights, opensEpoch: false };
  }
}

/** The house without one member: its range, its vote and its quota are gone. */
export function without({ constitution, epochs }: House, mspId: MspId): Decided {
  const members = constitution.members.filter((one) => one.mspId !== mspId);
  const { [mspId]: _range, ...weights } = epochs.weights;
  const policy = withoutQuota(constitution.policy, mspId);
  return decided({ ...constitution, members, policy }, weights, true);
}

/** The house with other weights, which its members' entries then say too. */
export function reweighted({ constitution }: House, weights: Weights): Decided {
  const members = constitution.members.map(
    (one): MemberInput => ({ ...one, weight: weights[one.mspId] ?? one.weight }),
  );
  return decided({ ...constitution, members }, weights, true);
}

/** Writes what was decided; returns the epoch that is current then. */
export async function putDecided(ctx: Context, house: House, after: Decided): Promise<Epoch> {
  const { constitution, epochs } = house;
  if (canonicalJson(after.constitution) !== canonicalJson(constitution)) {
    await putJson(ctx, KEY.constitution, after.constitution);
  }
  if (!after.opensEpoch) return epochs.current;
  return openEpoch(ctx, after.weights, { epochs, policy: constitution.policy });
}

/** Carries an accepted action out; says what the event shall name. */
export async function enact(
  ctx: Context,
  proposalId: string,
  action: ProposalAction,
  house: House,
): Promise<What> {
  await putDecided(ctx, house, await decide(ctx, action, house));
  if (action.kind === 'penalty') {
    const { kind: _, ...rest } = action;
    const penalty: Penalty = { ...rest, proposalId, atMs: nowMs(ctx) };
    await putJson(ctx, KEY.penalty(action.mspId, penalty.atMs, proposalId), penalty);
  }
  return WHAT[action.kind];
}

function decided(constitution: Constitution, weights: Weights, opensEpoch: boolean): Decided {
  requireConstitution(constitution);
  requireWeights(weights, constitution);
  return { constitution, weights, opensEpoch };
}

/** No penalty without evidence that a third party can check, or a second audit (P §3.2.4). */
async function requireGrounds(
  ctx: Context,
  mspId: MspId,
  faultIds: readonly string[],
): Promise<void> {
  const audits = new Set<string>();
  let hasEvidence = false;
  for (const faultId of faultIds) {
    const fault = await requireFault(ctx, faultId);
    if (fault.mspId !== mspId) {
      throw new Refusal('BAD_ARGUMENT', `fault ${faultId} is of ${fault.mspId}, not of ${mspId}`);
    }
    hasEvidence ||= fault.evidenceHash !== null;
    if (fault.requestId !== null) audits.add(fault.requestId);
  }
  if (!hasEvidence && audits.size < 2) {
    throw new Refusal(
      'NOT_ALLOWED',
      'a penalty needs a fault with evidence, or faults found by two audits',
    );
  }
}

function withoutQuota(policy: Policy, mspId: MspId): Policy {
  const { quotas, ...rest } = policy;
  if (quotas === undefined) return policy;
  const { [mspId]: _own, ...others } = quotas;
  return Object.keys(others).length === 0 ? rest : { ...rest, quotas: others };
}

function isMember({ members }: Constitution, mspId: MspId): boolean {
  return members.some((member) => member.mspId === mspId);
}

function requireIsMember(constitution: Constitution, mspId: MspId): void {
  if (!isMember(constitution, mspId)) {
    throw new Refusal('NOT_FOUND', `${mspId} is not a member of the consortium`);
  }
}

function hashOf(value: unknown): Hex {
  return createHash('sha256').update(canonicalJson(value)).digest('hex');
}
