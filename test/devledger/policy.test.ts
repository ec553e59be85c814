/** Endorsement policies as questions about sets of organisations, and the plans made from them. */
import { common, msp } from '@hyperledger/fabric-protos';
import { describe, expect, it } from 'vitest';
import { keyLevelPolicy, outOfPolicy, smallestPlan } from '../../devledger/src/policy.ts';

const set = (...mspIds: string[]) => new Set(mspIds);

/** SignaturePolicyEnvelope: `n` of these principals. */
function envelope(
  n: number,
  principals: readonly { mspId: string; role: keyof typeof msp.MSPRole.MSPRoleType }[],
): Uint8Array {
  const rules = principals.map((_, index) => {
    const rule = new common.SignaturePolicy();
    rule.setSignedBy(index);
    return rule;
  });
  const group = new common.SignaturePolicy.NOutOf();
  group.setN(n);
  group.setRulesList(rules);
  const root = new common.SignaturePolicy();
  root.setNOutOf(group);
  const policy = new common.SignaturePolicyEnvelope();
  policy.setRule(root);
  policy.setIdentitiesList(
    principals.map(({ mspId, role }) => {
      const principal = new msp.MSPPrincipal();
      const named = new msp.MSPRole();
      named.setMspIdentifier(mspId);
      named.setRole(msp.MSPRole.MSPRoleType[role]);
      principal.setPrincipalClassification(msp.MSPPrincipal.Classification.ROLE);
      principal.setPrincipal(named.serializeBinary());
      return principal;
    }),
  );
  return policy.serializeBinary();
}

const peers = (...mspIds: string[]) => mspIds.map((mspId) => ({ mspId, role: 'PEER' as const }));

describe('a chaincode’s policy', () => {
  it('counts only organisations that it names', () => {
    const policy = outOfPolicy({ outOf: 2, mspIds: ['A', 'B', 'C'] });
    expect(policy(set('A', 'X', 'Y'))).toBe(false);
    expect(policy(set('A', 'C'))).toBe(true);
  });
});

describe('a key-level policy', () => {
  it('is satisfied by any m of its n organisations', () => {
    const policy = keyLevelPolicy(envelope(2, peers('A', 'B', 'C')));
    expect(policy(set('A'))).toBe(false);
    expect(policy(set('B', 'C'))).toBe(true);
  });

  it('counts an endorser for one principal only', () => {
    const policy = keyLevelPolicy(
      envelope(2, [
        { mspId: 'A', role: 'PEER' },
        { mspId: 'A', role: 'MEMBER' },
      ]),
    );
    expect(policy(set('A'))).toBe(false);
  });

  it('is not satisfied by a peer where an administrator is asked for', () => {
    expect(keyLevelPolicy(envelope(1, [{ mspId: 'A', role: 'ADMIN' }]))(set('A'))).toBe(false);
  });

  it('that cannot be read is satisfied by nobody', () => {
    expect(keyLevelPolicy(Buffer.from('no policy'))(set('A', 'B'))).toBe(false);
  });
});

describe('a plan', () => {
  const majority = outOfPolicy({ outOf: 2, mspIds: ['A', 'B', 'C'] });

  it('is as small as the policies allow and prefers the first candidates', () => {
    expect(smallestPlan(['A', 'B', 'C'], [majority])).toEqual(['A', 'B']);
    const guarded = keyLevelPolicy(envelope(1, peers('C')));
    expect(smallestPlan(['A', 'B', 'C'], [majority, guarded])).toEqual(['A', 'C']);
  });

  it('does not exist where too few candidates are left', () => {
    expect(smallestPlan(['A'], [majority])).toBeNull();
  });
});
