/**
 * Endorsement policies as questions about a set of organisations: "is this satisfied if exactly
 * these organisations' peers have signed?" Two sources: a chaincode's definition (`outOf` of a
 * list) and key-level policies (Fabric's SignaturePolicyEnvelope in VALIDATION_PARAMETER).
 */
import { common, msp } from '@hyperledger/fabric-protos';

/** A chaincode's policy: so many of these organisations. */
export interface OutOfPolicy {
  readonly outOf: number;
  readonly mspIds: readonly string[];
}

/** Monotone: more endorsers never make it false. */
export type Policy = (endorsers: ReadonlySet<string>) => boolean;

/** Name of the state metadata entry that holds a key-level policy. */
export const VALIDATION_PARAMETER = 'VALIDATION_PARAMETER';

/** The policy of a chaincode's definition. */
export function outOfPolicy({ outOf, mspIds }: OutOfPolicy): Policy {
  const members = new Set(mspIds);
  return (endorsers) => {
    let count = 0;
    for (const mspId of endorsers) {
      count += members.has(mspId) ? 1 : 0;
    }
    return count >= outOf;
  };
}

/**
 * A key-level policy from its stored bytes. Bytes that are no policy are satisfied by nobody, as
 * in Fabric. One endorser counts for one principal only.
 */
export function keyLevelPolicy(bytes: Uint8Array): Policy {
  let envelope: common.SignaturePolicyEnvelope;
  try {
    envelope = common.SignaturePolicyEnvelope.deserializeBinary(bytes);
  } catch {
    return () => false;
  }
  const rule = envelope.getRule();
  if (rule === undefined) {
    return () => false;
  }
  const principals = envelope.getIdentitiesList().map(peerOrganisationOf);
  return (endorsers) => satisfies(rule, principals, [...endorsers], new Set());
}

/**
 * The smallest part of `candidates` (in order of preference) that satisfies every policy; null if
 * not even all of them do.
 */
export function smallestPlan(
  candidates: readonly string[],
  policies: readonly Policy[],
): string[] | null {
  const satisfied = (plan: readonly string[]) => {
    const endorsers = new Set(plan);
    return policies.every((policy) => policy(endorsers));
  };
  if (!satisfied(candidates)) {
    return null;
  }
  let plan = [...candidates];
  for (const candidate of [...candidates].reverse()) {
    const without = plan.filter((mspId) => mspId !== candidate);
    plan = satisfied(without) ? without : plan;
  }
  return plan;
}

/** Organisation whose peer can play this principal; null if no peer can. */
function peerOrganisationOf(principal: msp.MSPPrincipal): string | null {
  if (principal.getPrincipalClassification() !== msp.MSPPrincipal.Classification.ROLE) {
    return null;
  }
  const role = msp.MSPRole.deserializeBinary(principal.getPrincipal_asU8());
  const { MEMBER, PEER } = msp.MSPRole.MSPRoleType;
  return role.getRole() === MEMBER || role.getRole() === PEER ? role.getMspIdentifier() : null;
}

/** Fabric's cauthdsl: depth first, each endorser used once; `used` changes only on success. */
function satisfies(
  rule: common.SignaturePolicy,
  principals: readonly (string | null)[],
  endorsers: readonly string[],
  used: Set<string>,
): boolean {
  if (rule.getTypeCase() === common.SignaturePolicy.TypeCase.SIGNED_BY) {
    const wanted = principals[rule.getSignedBy()];
    if (wanted === undefined || wanted === null) {
      return false;
    }
    const found = endorsers.includes(wanted) && !used.has(wanted);
    if (found) {
      used.add(wanted);
    }
    return found;
  }
  const group = rule.getNOutOf();
  if (group === undefined) {
    return false;
  }
  const tried = new Set(used);
  let count = 0;
  for (const part of group.getRulesList()) {
    count += satisfies(part, principals, endorsers, tried) ? 1 : 0;
  }
  if (count < group.getN()) {
    return false;
  }
  for (const mspId of tried) {
    used.add(mspId);
  }
  return true;
}
