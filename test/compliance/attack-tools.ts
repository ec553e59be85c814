/**
 * What the attack suites share: who attacks whom, the attacks on a shard, and how their effect is
 * seen. Every attack is endorsed by the attacker's peer alone and really ordered.
 */
import { identityFromRandom, recipientOf } from '@blocktorrent/protocol/age.ts';
import { fromBase64, toHex } from '@blocktorrent/protocol/bytes.ts';
import { verifyShard } from '@blocktorrent/protocol/dealing.ts';
import {
  type Dealing,
  type DepositInput,
  shardCollection,
  shardName,
} from '@blocktorrent/protocol/ledger-api.ts';
import { expect, vi } from 'vitest';
import { ATTACK, type Attack } from '../support/attacker-chaincode.ts';
import { type ConsortiumOn, orgName, type TrialFile } from '../support/consortium.ts';
import type { FabricClient } from '../support/fabric-client.ts';
import type { NetworkLedger } from './network-ledger.ts';

/** The organisation whose chaincode the network must have changed (`attackerCommand`). */
export const ATTACKER = orgName(4);
/** The organisation whose shards are attacked. */
export const VICTIM = orgName(2);

/** Transaction validation codes (peer.TxValidationCode). */
export const VALID = 0;
export const ENDORSEMENT_POLICY_FAILURE = 10;

/** A shard is at its holder's peer this soon after the commit (design: FABRIC). */
const ARRIVAL_MS = 15_000;

/** What can be done to a private value, in words and as an attack. */
export const ON_SHARDS: readonly (readonly [string, Attack['do']])[] = [
  ['overwrite', 'putPrivate'],
  ['delete', 'deletePrivate'],
  ['purge', 'purgePrivate'],
  ['take over the policy of', 'setPrivatePolicy'],
];

/** Endorses an attack by the attacker's peer alone, orders it, gives the validation code. */
export async function attackCode(
  attacker: FabricClient,
  chaincode: 'ledger' | 'keys',
  attack: Attack,
): Promise<number> {
  const commit = await attacker[chaincode].submitAsync(ATTACK, {
    arguments: [JSON.stringify(attack)],
    endorsingOrganizations: [ATTACKER],
  });
  return (await commit.getStatus()).code;
}

/** Where a holder's shard of a deposit of one file is stored. */
export function shardPlace(dealing: Dealing, holder: string): { collection: string; key: string } {
  const index = dealing.holders.indexOf(holder) + 1;
  return { collection: shardCollection(holder), key: shardName(dealing.depositTx, index) };
}

/** A holder's shard as its agent reads it, as soon as it has arrived. */
export async function heldShard(
  ledger: NetworkLedger,
  { depositTx, holders }: Dealing,
  holder: string,
): Promise<Uint8Array> {
  const index = holders.indexOf(holder) + 1;
  return vi.waitFor(async () => {
    const found = await ledger.of(holder).evaluate('keys/keys:GetShard', { depositTx, index });
    expect(found).not.toBeNull();
    return fromBase64(found?.shard ?? '');
  }, ARRIVAL_MS);
}

/** Expects that the victim's shard is there and right. */
export async function expectIntact(ledger: NetworkLedger, dealing: Dealing): Promise<void> {
  const index = dealing.holders.indexOf(VICTIM) + 1;
  const bytes = await heldShard(ledger, dealing, VICTIM);
  expect(verifyShard(bytes, index, dealing).index).toBe(index);
}

/** A deposit of the file's key for a file of its own, as the client hands it over. */
export function depositOf(
  { identity, dealing }: TrialFile,
  house: ConsortiumOn<NetworkLedger>,
): { argument: string; transientData: { identity: Uint8Array; entropy: Uint8Array } } {
  const { scheme, k, n, recipient, holders } = dealing;
  const input = { fileId: toHex(house.random.bytes(32)), recipient, scheme, k, n, holders };
  const transientData = { identity, entropy: house.random.bytes(32) };
  return { argument: JSON.stringify(input), transientData };
}

/** A fresh key, and its deposit for a file of its own with these holders, 2 of all. */
export function freshDeposit(
  house: ConsortiumOn<NetworkLedger>,
  holders: readonly string[],
): { identity: Uint8Array; input: DepositInput } {
  const identity = identityFromRandom(house.random.bytes(32));
  const fileId = toHex(house.random.bytes(32));
  const { scheme } = house.policy;
  const recipient = recipientOf(identity);
  return { identity, input: { fileId, recipient, scheme, k: 2, n: holders.length, holders } };
}
