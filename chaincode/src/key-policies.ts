/**
 * Key-level endorsement policies: who must endorse a change of one key, in place of the
 * chaincode's policy. The shim's helper makes all-of-n policies, which is all that is needed here.
 */
import type { MspId } from '@blocktorrent/protocol/ledger-api.ts';
import shim from 'fabric-shim';

/** Serialized policy: a peer of each of `mspIds` must endorse. */
export function peersOfAll(mspIds: readonly MspId[]): Uint8Array {
  const policy = new shim.KeyEndorsementPolicy();
  policy.addOrgs('PEER', ...mspIds);
  return policy.getPolicy();
}
