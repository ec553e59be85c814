/**
 * Which policies a read-write set must satisfy: a written key's own policy if it has one, else the
 * chaincode's. A transaction that writes nothing falls under the chaincode's policy too.
 * The same rules serve the endorsement plan and the check at commit.
 */
import type { ChaincodeDefinition } from './config.ts';
import { keyLevelPolicy, outOfPolicy, type Policy, VALIDATION_PARAMETER } from './policy.ts';
import type { Metadata, ReadWriteSet } from './rwset.ts';
import type { View } from './views.ts';

interface WrittenKey {
  /** Unique within the channel. */
  readonly id: string;
  readonly policyChanges: boolean;
  readonly metadata: (view: View) => Metadata | undefined;
}

/** Policies that apply, by the metadata committed in `view`; each is asked for once. */
export function requiredPolicies(
  set: ReadWriteSet,
  chaincode: ChaincodeDefinition,
  view: View,
): Policy[] {
  const keyLevel = new Map<string, Policy>();
  const keys = writtenKeys(set);
  let ownPolicies = 0;
  for (const key of keys) {
    const bytes = key.metadata(view)?.[VALIDATION_PARAMETER];
    if (bytes !== undefined && bytes.length > 0) {
      ownPolicies += 1;
      keyLevel.set(Buffer.from(bytes).toString('base64'), keyLevelPolicy(bytes));
    }
  }
  const byChaincode = ownPolicies === 0 || ownPolicies < keys.length;
  const policies = [...keyLevel.values()];
  return byChaincode ? [outOfPolicy(chaincode.endorsementPolicy), ...policies] : policies;
}

/** Ids of every key that is written in any way. */
export function writtenKeyIds(set: ReadWriteSet): string[] {
  return writtenKeys(set).map((key) => key.id);
}

/** Ids of keys whose policy may change: later transactions of the same block must not use them. */
export function policyChangeIds(set: ReadWriteSet): string[] {
  return writtenKeys(set)
    .filter((key) => key.policyChanges)
    .map((key) => key.id);
}

function writtenKeys(set: ReadWriteSet): WrittenKey[] {
  const ns = set.namespace;
  const publicKey = (key: string, policyChanges: boolean): WrittenKey => ({
    id: JSON.stringify([ns, key]),
    policyChanges,
    metadata: (view) => view.state(ns, key)?.metadata,
  });
  const hashedKey = (
    collection: string,
    keyHash: Uint8Array,
    policyChanges: boolean,
  ): WrittenKey => ({
    id: JSON.stringify([ns, collection, Buffer.from(keyHash).toString('hex')]),
    policyChanges,
    metadata: (view) => view.hashed(ns, collection, keyHash)?.metadata,
  });
  return [
    ...set.writes.map(({ key }) => publicKey(key, false)),
    ...set.metadataWrites.map(({ key }) => publicKey(key, true)),
    ...set.collections.flatMap(({ collection, writes, metadataWrites }) => [
      ...writes.map(({ keyHash }) => hashedKey(collection, keyHash, false)),
      ...metadataWrites.map(({ keyHash }) => hashedKey(collection, keyHash, true)),
    ]),
  ];
}
