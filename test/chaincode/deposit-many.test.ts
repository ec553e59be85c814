/** `keys:DepositMany`: many keys in one transaction, each a deposit of its own. */
import { identityFromRandom, recipientOf } from '@blocktorrent/protocol/age.ts';
import { concatBytes, fromBase64, toHex } from '@blocktorrent/protocol/bytes.ts';
import {
  dealShards,
  depositIdOf,
  rebuildIdentity,
  verifyDealing,
  verifyShard,
} from '@blocktorrent/protocol/dealing.ts';
import {
  bundleName,
  type DepositInput,
  shardCollection,
} from '@blocktorrent/protocol/ledger-api.ts';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import shim from 'fabric-shim';
import { describe, expect, it } from 'vitest';
import { AUDITOR, agentOf, orgName, TrialConsortium } from '../support/consortium.ts';

const NAME = 'keys/keys:DepositMany';

/** A consortium and `count` files to deposit, 2 of 3. */
function trial(count: number) {
  const { fabric, random } = new TrialConsortium(6);
  const identities = Array.from({ length: count }, () => identityFromRandom(random.bytes(32)));
  const entropy = random.bytes(32);
  const deposits = identities.map(
    (identity, i): DepositInput => ({
      fileId: toHex(random.bytes(32)),
      recipient: recipientOf(identity),
      scheme: i % 2 === 0 ? 'feldman-25519' : 'shamir-gf256',
      k: 2,
      n: 3,
      holders: [2, 3, 4, 5, 6].map((at) => orgName(2 + ((at + i) % 5))).slice(0, 3),
    }),
  );
  const submit = (
    change: readonly DepositInput[] = deposits,
    keys: readonly Uint8Array[] = identities,
    caller = agentOf(1),
  ) =>
    fabric.submit(
      caller,
      NAME,
      { deposits: change },
      { transient: { identity: concatBytes(...keys), entropy } },
    );
  return { fabric, identities, entropy, deposits, submit };
}
const at = <T>(all: readonly T[], index: number): T => {
  const one = all[index];
  if (one === undefined) throw new Error(`nothing at ${index}`);
  return one;
};

describe('a deposit of many keys', () => {
  it('deals each as a deposit of its own, to holders only, under ids of this transaction', async () => {
    const { fabric, identities, entropy, deposits, submit } = trial(4);
    const { result: dealings, txId, simulation } = await submit();
    expect(dealings.map((one) => one.depositTx)).toEqual(
      deposits.map(({ fileId }) => depositIdOf(txId, fileId)),
    );
    // A dealing for each; for each of the five holders one private value, and where it is.
    expect(simulation.writes.size).toBe(4 + 5 + 5);
    for (const [i, dealing] of dealings.entries()) {
      verifyDealing(dealing);
      const { depositTx } = dealing;
      const input = at(deposits, i);
      const identity = at(identities, i);
      expect(dealing).toMatchObject(input);
      const again = dealShards({ identity, entropy, txId: depositTx, input });
      expect(again.dealing).toEqual(dealing);
      const shards = [];
      for (const [j, holder] of dealing.holders.entries()) {
        const get = { depositTx, index: j + 1 };
        const agent = { mspId: holder, role: 'agent' };
        const found = await fabric.evaluate(agent, 'keys/keys:GetShard', get);
        shards.push(verifyShard(fromBase64(found?.shard ?? ''), j + 1, dealing));
        const policy = fabric.policy(`${shardCollection(holder)}:${bundleName(txId)}`);
        const parsed = new shim.KeyEndorsementPolicy(policy ?? new Uint8Array());
        expect(parsed.listOrgs()).toEqual([holder]);
      }
      expect(rebuildIdentity(shards.slice(1), dealing)).toEqual(identity);
      const read = await fabric.evaluate(AUDITOR, 'keys/keys:GetDealing', { depositTx });
      expect(read).toEqual(dealing);
    }
  });

  it('can be dealt again one by one', async () => {
    const { fabric, identities, entropy, deposits, submit } = trial(3);
    const { result, txId } = await submit();
    const dealing = at(result, 1);
    const { depositTx, fileId } = dealing;
    const holder = at(dealing.holders, 2);
    fabric.losePrivate(shardCollection(holder), bundleName(txId));
    const lost = { depositTx, index: 3 };
    const caller = { mspId: holder, role: 'agent' };
    expect(await fabric.evaluate(caller, 'keys/keys:GetShard', lost)).toBeNull();
    const again = dealShards({
      ...{ identity: at(identities, 1), entropy, txId: depositTx, input: at(deposits, 1) },
    });
    const argument = { fileId, depositTx, index: 3, holder };
    const transient = { shards: at(again.shards, 2) };
    await fabric.submit(agentOf(1), 'keys/keys:Reissue', argument, { transient });
    const found = await fabric.evaluate({ mspId: holder, role: 'agent' }, 'keys/keys:GetShard', {
      depositTx,
      index: 3,
    });
    verifyShard(fromBase64(found?.shard ?? ''), 3, dealing);
  });

  it('is read by a holder at once, and by nobody else', async () => {
    const { fabric, submit } = trial(3);
    const { result, txId } = await submit();
    const holder = at(at(result, 0).holders, 0);
    const refs = result.flatMap(({ depositTx, holders }) => {
      const index = holders.indexOf(holder) + 1;
      return index === 0 ? [] : [{ depositTx, index }];
    });
    const unknown = { depositTx: txId, index: 1 };
    const shards = [...refs, unknown];
    const caller = { mspId: holder, role: 'agent' };
    const found = await fabric.evaluate(caller, 'keys/keys:GetShards', { shards });
    expect(found.at(-1)).toBeNull();
    for (const [i, { depositTx, index }] of refs.entries()) {
      const dealing = result.find((one) => one.depositTx === depositTx);
      if (dealing === undefined) throw new Error(`no dealing ${depositTx}`);
      verifyShard(fromBase64(found[i] ?? ''), index, dealing);
    }
    const stranger = await fabric.evaluate(agentOf(1), 'keys/keys:GetShards', { shards });
    expect(stranger).toEqual(shards.map(() => null));
    const auditor = fabric.evaluate(AUDITOR, 'keys/keys:GetShards', { shards });
    await expect(auditor).rejects.toThrow(/^NOT_ALLOWED: /);
  });

  it('takes 300 shards, and not one more', async () => {
    expect(LIMITS.shardsPerDepositMax).toBe(300);
    const { deposits, identities, submit } = trial(101);
    await expect(submit()).rejects.toThrow(/^TOO_LARGE: .*at most 300 shards, got 303/);
    const most = await submit(deposits.slice(0, 100), identities.slice(0, 100));
    expect(most.result).toHaveLength(100);
    await expect(submit([], [])).rejects.toThrow(/^BAD_ARGUMENT: /);
  });

  it('is all or nothing', async () => {
    const { fabric, deposits, identities, submit } = trial(3);
    const lie = deposits.map((one, i) => (i === 2 ? at(deposits, 0) : one));
    await expect(submit(lie)).rejects.toThrow(/^BAD_ARGUMENT: .*no file twice/);
    const swapped = identities.toReversed();
    await expect(submit(deposits, swapped)).rejects.toThrow(/^BAD_KEY: /);
    await expect(submit(deposits, identities.slice(1))).rejects.toThrow(
      'BAD_ARGUMENT: transient.identity: expected 96..96 bytes, got 64 bytes',
    );
    await expect(submit(deposits, identities, AUDITOR)).rejects.toThrow(/^NOT_ALLOWED: /);
    expect(fabric.keys('keys')).toEqual([]);
  });

  it('does not show keys, entropy or shares in the response', async () => {
    const { identities, entropy, submit } = trial(3);
    const { simulation } = await submit();
    for (const secret of [...identities, entropy]) {
      expect(`${simulation.payload}`).not.toContain(toHex(secret));
      expect(`${simulation.payload}`).not.toContain(Buffer.from(secret).toString('base64'));
    }
  });
});
