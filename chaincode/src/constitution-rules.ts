/**
 * What must hold of members, auditors, policy and weights, whoever decides about them.
 *
 * Each throws a Refusal BAD_ARGUMENT that names the number that does not fit.
 */

import { chunkBoundsOf } from '@blocktorrent/protocol/chunking.ts';
import { DEALT_SCHEMES } from '@blocktorrent/protocol/dealing.ts';
import type { Policy } from '@blocktorrent/protocol/ledger-api.ts';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import type { Constitution, Weights } from './consortium-state.ts';
import { Refusal } from './refusal.ts';

/** Every organisation once, and a policy that these members can follow. */
export function requireConstitution({ members, auditors, policy }: Constitution): void {
  const all = [...members, ...auditors].map((one) => one.mspId);
  if (new Set(all).size !== all.length) {
    throw new Refusal('BAD_ARGUMENT', 'expected every organisation once, as member or auditor');
  }
  if (members.length < 2 || members.length > LIMITS.membersMax) {
    throw new Refusal(
      'BAD_ARGUMENT',
      `members: expected 2..${LIMITS.membersMax}, got ${members.length}`,
    );
  }
  requirePolicy(policy, members.length);
  const strangers = Object.keys(policy.quotas ?? {}).filter(
    (mspId) => !members.some((member) => member.mspId === mspId),
  );
  if (strangers.length > 0) {
    throw new Refusal('BAD_ARGUMENT', `policy.quotas: ${strangers.join(', ')} is not a member`);
  }
}

/** Members only, and enough of them to hold a key's shards. */
export function requireWeights(weights: Weights, { members, policy }: Constitution): void {
  const mspIds = Object.keys(weights);
  const stranger = mspIds.find((mspId) => !members.some((member) => member.mspId === mspId));
  if (stranger !== undefined) {
    throw new Refusal('NOT_ALLOWED', `${stranger} is not a member of the consortium`);
  }
  if (mspIds.length < policy.k) {
    throw new Refusal(
      'BAD_ARGUMENT',
      `expected at least k = ${policy.k} organisations, got ${mspIds.length}`,
    );
  }
}

function requirePolicy(policy: Policy, memberCount: number): void {
  const { bytesMin, bytesMax } = chunkBoundsOf(policy);
  const bounds: readonly (readonly [string, number, number])[] = [
    ['k', policy.k, policy.n],
    ['n', policy.n, memberCount],
    ['receiptsMin', policy.receiptsMin, policy.replicas],
    ['approvals', policy.approvals, memberCount - 1],
    ['chunkBytesMin', bytesMin, bytesMax],
  ];
  for (const [name, value, max] of bounds) {
    if (value > max) {
      throw new Refusal('BAD_ARGUMENT', `policy.${name}: expected at most ${max}, got ${value}`);
    }
  }
  for (const bytes of [bytesMin, bytesMax]) {
    if (bytes % LIMITS.blockBytes !== 0) {
      throw new Refusal(
        'BAD_ARGUMENT',
        `policy.chunkBytes: expected multiples of ${LIMITS.blockBytes}, got ${bytes}`,
      );
    }
  }
  if (!DEALT_SCHEMES.includes(policy.scheme)) {
    throw new Refusal(
      'BAD_ARGUMENT',
      `policy.scheme: expected ${DEALT_SCHEMES.join(', ')}, got ${policy.scheme}`,
    );
  }
}
