/**
 * Attacks around purging: taking shards away from others by it or in its wake, bringing purged ones
 * back, and gaining by one's own purge. Part of `describeKeyAttacks`.
 */
import { toBase64, toHex } from '@blocktorrent/protocol/bytes.ts';
import {
  bundleName,
  type Dealing,
  restName,
  shardCollection,
} from '@blocktorrent/protocol/ledger-api.ts';
import { expect, it } from 'vitest';
import { agentOf, orgName } from '../support/consortium.ts';
import {
  ATTACKER,
  attackCode,
  ENDORSEMENT_POLICY_FAILURE,
  expectIntact,
  heldShard,
  ON_SHARDS,
  shardPlace,
  VALID,
  VICTIM,
} from './attack-tools.ts';
import { type AttackScene, bundledDeposit, endorsedDeposit } from './key-attacks.ts';

const refusal = (text: RegExp) => ({ message: expect.stringMatching(text) });

/** A holder's shard, as `keys:Purge` names it. */
const refOf = ({ fileId, depositTx, holders }: Dealing, holder: string) => ({
  ...{ fileId, depositTx, index: holders.indexOf(holder) + 1 },
});

/** Registers the attacks; `scene` is called when they run. */
export function describePurge(scene: () => AttackScene): void {
  const purge = (dealing: Dealing, holder: string, by = holder) =>
    scene().ledger.submit({ mspId: by, role: 'agent' }, 'keys/keys:Purge', {
      shards: [refOf(dealing, holder)],
    });
  const readNow = async ({ depositTx, holders }: Dealing, holder: string) => {
    const index = holders.indexOf(holder) + 1;
    const found = await scene()
      .ledger.of(holder)
      .evaluate('keys/keys:GetShard', {
        ...{ depositTx, index },
      });
    return found?.shard ?? null;
  };

  it('cannot purge another’s shard by the contract, alone or in a bundle', async () => {
    const { ledger, house } = scene();
    const { dealing } = await house.file();
    const { dealings } = await bundledDeposit(scene());
    for (const one of [dealing, ...dealings]) {
      await expect(purge(one, VICTIM, ATTACKER)).rejects.toMatchObject(refusal(/^NOT_FOUND: Org4/));
      await expectIntact(ledger, one);
    }
  });

  it('cannot make a holder purge another’s shard by pointing at it', async () => {
    const { ledger, house, attacker } = scene();
    const { dealing } = await house.file();
    const { dealings, txId: bundle } = await bundledDeposit(scene());
    const [bundled] = dealings;
    if (bundled === undefined) throw new Error('none was dealt');
    const fileId = toHex(house.random.bytes(32));
    // The name is the other's deposit's; or the entry says that the shard is in the other's bundle.
    await expect(purge({ ...dealing, fileId }, VICTIM)).rejects.toMatchObject(
      refusal(/^NOT_FOUND/),
    );
    const depositTx = toHex(house.random.bytes(32));
    const trap = { ...bundled, fileId, depositTx };
    const value = JSON.stringify({ depositor: ATTACKER, dealing: trap, bundle });
    const write = { do: 'put', key: `dealing/${depositTx}`, value } as const;
    expect(await attackCode(attacker, 'keys', write)).toBe(VALID);
    await expect(purge(trap, VICTIM)).rejects.toMatchObject(refusal(/^NOT_FOUND: /));
    for (const one of [dealing, ...dealings]) await expectIntact(ledger, one);
  });

  it('cannot touch what a purge leaves of a bundle, nor where it is', async () => {
    const { ledger, attacker } = scene();
    const { dealings, txId: bundle } = await bundledDeposit(scene());
    const [gone, kept] = dealings;
    if (gone === undefined || kept === undefined) throw new Error('two were dealt');
    for (const one of dealings) await expectIntact(ledger, one);
    const { txId } = await purge(gone, VICTIM);
    const collection = shardCollection(VICTIM);
    for (const [, what] of ON_SHARDS) {
      const attack = { do: what, collection, key: restName(txId, bundle) };
      const code = await attackCode(attacker, 'keys', {
        ...{ ...attack, value: 'forged', mspIds: [ATTACKER] },
      });
      expect(code).toBe(ENDORSEMENT_POLICY_FAILURE);
    }
    for (const what of ['put', 'delete', 'setPolicy'] as const) {
      const attack = { do: what, key: `bundle/${bundle}/${VICTIM}`, value: '{}' };
      const code = await attackCode(attacker, 'keys', { ...attack, mspIds: [ATTACKER] });
      expect(code).toBe(ENDORSEMENT_POLICY_FAILURE);
    }
    // The old name is anybody's now: what stands there is looked at, and found to be no shard.
    const old = { do: 'putPrivate', collection, key: bundleName(bundle), value: 'forged' } as const;
    expect(await attackCode(attacker, 'keys', old)).toBe(VALID);
    await expectIntact(ledger, kept);
    expect(await readNow(gone, VICTIM)).toBeNull();
  });

  it('cannot bring a purged shard back by sending its deposit once more', async () => {
    const { ledger } = scene();
    using deposit = await endorsedDeposit(scene());
    expect(await deposit.order()).toBe(VALID);
    await expectIntact(ledger, deposit.dealing);
    await purge(deposit.dealing, VICTIM);
    // Refused at once, or ordered and left without effect.
    await deposit.order().catch((error: unknown) => expect(error).toBeInstanceOf(Error));
    expect(await readNow(deposit.dealing, VICTIM)).toBeNull();
  });

  it('gains nothing by purging its own shard and claiming that it never had a good one', async () => {
    const { ledger, house } = scene();
    await house.register(orgName(1), 'gateway-3', ['ingest']);
    const { record, dealing } = await house.recorded(orgName(1), 'gateway-3');
    const { fileId } = record;
    const right = await heldShard(ledger, dealing, ATTACKER);
    await purge(dealing, ATTACKER);
    const complain = (shard: Uint8Array) =>
      ledger.submit(agentOf(4), 'ledger/audits:Complain', { fileId, shard: toBase64(shard) });
    await expect(complain(house.random.bytes(100))).rejects.toMatchObject(refusal(/^BAD_DIGEST: /));
    await expect(complain(right)).rejects.toMatchObject(refusal(/^NO_FAULT: /));
    // It has confirmed, and has not withdrawn: what it does not release will be its fault.
    const found = await ledger.evaluate(agentOf(2), 'ledger/records:GetRecord', { fileId });
    expect([found?.confirmedBy.includes(ATTACKER), found?.withdrawals]).toEqual([true, undefined]);
    expect(shardPlace(dealing, ATTACKER).collection).toBe(shardCollection(ATTACKER));
    expect(await readNow(dealing, ATTACKER)).toBeNull();
  });
}
