/**
 * Key-level endorsement policies: who must endorse a change of one key, in place of the
 * chaincode's policy. The shim's helper makes all-of-n policies, which is all that is needed here.
 */
import { type MspId, shardCollection } from '@blocktorrent/protocol/ledger-api.ts';
import type { Context } from 'fabric-contract-api';
import shim from 'fabric-shim';
import { putJson } from './state.ts';

/** Serialized policy: a peer of each of `mspIds` must endorse. */
function peersOfAll(mspIds: readonly MspId[]): Uint8Array {
  const policy = new shim.KeyEndorsementPolicy();
  policy.addOrgs('PEER', ...mspIds);
  return policy.getPolicy();
}

/** Stores shards where only their holder reads them and only its peers may change them. */
export async function putShards(
  ctx: Context,
  holder: MspId,
  name: string,
  bytes: Uint8Array,
): Promise<void> {
  const collection = shardCollection(holder);
  await ctx.stub.putPrivateData(collection, name, bytes);
  await ctx.stub.setPrivateDataValidationParameter(collection, name, peersOfAll([holder]));
}

/** Writes a public document that only the peers of `guard` may change later. */
export async function putGuarded(
  ctx: Context,
  key: string,
  value: unknown,
  guard: MspId,
): Promise<void> {
  await putJson(ctx, key, value);
  await ctx.stub.setStateValidationParameter(key, peersOfAll([guard]));
}
