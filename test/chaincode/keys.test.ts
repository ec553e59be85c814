import { createHash } from 'node:crypto';
import { identityFromRandom, recipientOf } from '@blocktorrent/protocol/age.ts';
import { fromBase64, toHex } from '@blocktorrent/protocol/bytes.ts';
import { rebuildIdentity, verifyShard } from '@blocktorrent/protocol/dealing.ts';
import {
  type DepositInput,
  type KeyScheme,
  shardCollection,
  shardName,
} from '@blocktorrent/protocol/ledger-api.ts';
import { decodeShard } from '@blocktorrent/protocol/shard.ts';
import shim from 'fabric-shim';
import { describe, expect, it } from 'vitest';
import { AUDITOR, agentOf, orgName, TrialConsortium } from '../support/consortium.ts';

const SCHEMES: readonly KeyScheme[] = ['feldman-25519', 'shamir-gf256'];

function trial(scheme: KeyScheme = 'feldman-25519') {
  const consortium = new TrialConsortium();
  const identity = identityFromRandom(consortium.random.bytes(32));
  const entropy = consortium.random.bytes(32);
  const input: DepositInput = {
    fileId: toHex(consortium.random.bytes(32)),
    recipient: recipientOf(identity),
    scheme,
    k: 2,
    n: 3,
    holders: [3, 4, 2].map(orgName),
  };
  const deposit = (change: Partial<DepositInput> = {}, caller = agentOf(1)) =>
    consortium.fabric.submit(
      caller,
      'keys/keys:Deposit',
      { ...input, ...change },
      { transient: { identity, entropy } },
    );
  return { consortium, fabric: consortium.fabric, identity, entropy, input, deposit };
}

const orgsOf = (policy: Uint8Array | null) =>
  new shim.KeyEndorsementPolicy(policy ?? new Uint8Array()).listOrgs();

describe('contract keys', () => {
  it.each(SCHEMES)('hands each holder its shard, any k rebuild the key: %s', async (scheme) => {
    const { fabric, identity, input, deposit } = trial(scheme);
    const { result: dealing, txId, simulation } = await deposit();
    expect(dealing.depositTx).toBe(txId);
    expect(dealing.holders).toEqual(input.holders);
    const shards = [];
    for (const [i, holder] of dealing.holders.entries()) {
      const found = await fabric.evaluate({ mspId: holder, role: 'agent' }, 'keys/keys:GetShard', {
        depositTx: txId,
        index: i + 1,
      });
      const bytes = fromBase64(found?.shard ?? '');
      shards.push(verifyShard(bytes, i + 1, dealing));
      const key = `${shardCollection(holder)}:${shardName(txId, i + 1)}`;
      expect(orgsOf(fabric.policy(key))).toEqual([holder]);
      const hash = createHash('sha256')
        .update(fabric.stored('keys', key) ?? '')
        .digest('hex');
      expect(hash).toBe(dealing.shardHashes[i]);
    }
    expect(rebuildIdentity(shards.slice(1), dealing)).toEqual(identity);
    expect(orgsOf(fabric.policy(`dealing/${txId}`))).toEqual([orgName(1)]);
    expect(simulation.writes.size).toBe(4);
    const read = await fabric.evaluate(AUDITOR, 'keys/keys:GetDealing', { depositTx: txId });
    expect(read).toEqual(dealing);
  });

  it.each(SCHEMES)('puts no secret into the response or the public state: %s', async (scheme) => {
    const { fabric, identity, entropy, deposit } = trial(scheme);
    const { simulation, txId } = await deposit();
    const shards = [...simulation.writes]
      .filter(([key]) => key.startsWith('shards-'))
      .map(([, shard]) => decodeShard(shard).share);
    expect(shards).toHaveLength(3);
    const open = `${simulation.payload}${Buffer.from(fabric.stored('keys', `dealing/${txId}`) ?? [])}`;
    for (const secret of [identity, entropy, ...shards]) {
      expect(open).not.toContain(toHex(secret));
      expect(open).not.toContain(Buffer.from(secret).toString('base64'));
    }
  });

  it.each(SCHEMES)('computes the same everywhere, and never the same again: %s', async (scheme) => {
    const { fabric, identity, entropy, input } = trial(scheme);
    const endorse = async (txId: string) => {
      const proposal = { transient: { identity, entropy }, txId };
      const argument = JSON.stringify(input);
      const done = await fabric.simulate(agentOf(1), 'keys/keys:Deposit', argument, proposal);
      return [...done.writes.values()].map(toHex);
    };
    const once = await endorse('aa'.repeat(32));
    expect(await endorse('aa'.repeat(32))).toEqual(once);
    for (const write of await endorse('bb'.repeat(32))) expect(once).not.toContain(write);
  });

  it.each<[string, Partial<DepositInput>]>([
    ['BAD_KEY', { recipient: recipientOf(identityFromRandom(new Uint8Array(32).fill(9))) }],
    ['BAD_ARGUMENT', { n: 2 }],
    ['BAD_ARGUMENT', { k: 4 }],
    ['BAD_ARGUMENT', { holders: [2, 2, 3].map(orgName) }],
    ['BAD_ARGUMENT', { scheme: 'plain' as KeyScheme }],
  ])('refuses with %s %j', async (code, change) => {
    const { deposit } = trial();
    await expect(deposit(change)).rejects.toThrow(new RegExp(`^${code}: `));
  });

  it('refuses a deposit without the transient fields, and by an auditor', async () => {
    const { fabric, input, identity, deposit } = trial();
    await expect(deposit({}, AUDITOR)).rejects.toThrow(/^NOT_ALLOWED: /);
    const partial = fabric.submit(agentOf(1), 'keys/keys:Deposit', input, {
      transient: { identity },
    });
    await expect(partial).rejects.toThrow(
      'BAD_ARGUMENT: transient.entropy: expected 32..32 bytes, got nothing',
    );
  });

  it('refuses a deposit by an organisation that is no member', async () => {
    const { deposit } = trial('feldman-25519');
    await expect(deposit({}, agentOf(9))).rejects.toThrow(/^NOT_ALLOWED: Org9MSP is no member/);
  });

  it('gives a shard to nobody but its holder', async () => {
    const { fabric, deposit } = trial();
    const { txId } = await deposit();
    const get = (caller: typeof AUDITOR) =>
      fabric.evaluate(caller, 'keys/keys:GetShard', { depositTx: txId, index: 1 });
    expect(await get(agentOf(3))).not.toBeNull();
    expect(await get(agentOf(4))).toBeNull();
    expect(await get(agentOf(1))).toBeNull();
    await expect(get(AUDITOR)).rejects.toThrow(/^NOT_ALLOWED: /);
  });

  it('answers after one read who says which hash the record pins, and is fooled by no other', async () => {
    const { fabric, deposit } = trial();
    const { result: dealing, txId: depositTx } = await deposit();
    const [hash = ''] = dealing.shardHashes;
    const ask = async (argument: object) => {
      const text = JSON.stringify({ depositTx, index: 1, ...argument });
      const done = await fabric.simulate(agentOf(3), 'keys/keys:GetShard', text, {});
      return { shard: `${done.payload}`, reads: [...done.reads].map((key) => key.split('/')[0]) };
    };
    const right = await ask({});
    expect(right.reads.toSorted()).toEqual(['dealing', 'shards-Org3MSP:shard']);
    expect(await ask({ hash })).toEqual({ ...right, reads: ['shards-Org3MSP:shard'] });
    expect((await ask({ hash: '66'.repeat(32) })).shard).toBe(right.shard);
    const name = shardName(depositTx, 1);
    fabric.writePrivate(shardCollection(orgName(3)), name, Buffer.from('forged'));
    const forged = await ask({ hash });
    expect(forged.reads).toContain('dealing');
    expect(forged.shard).toBe(JSON.stringify({ shard: Buffer.from('forged').toString('base64') }));
  });

  it('re-issues the same bytes to the same holder, by the depositor only', async () => {
    const { fabric, deposit } = trial();
    const { result: dealing, txId: depositTx } = await deposit();
    const collection = shardCollection(orgName(3));
    const shards = fabric.stored('keys', `${collection}:${shardName(depositTx, 1)}`);
    if (shards === null) throw new Error('no shard');
    fabric.losePrivate(collection, shardName(depositTx, 1));
    const get = { depositTx, index: 1 };
    expect(await fabric.evaluate(agentOf(3), 'keys/keys:GetShard', get)).toBeNull();
    const input = { fileId: dealing.fileId, depositTx, index: 1, holder: orgName(3) };
    const reissue = (change: Partial<typeof input>, bytes: Uint8Array, caller = agentOf(1)) =>
      fabric.submit(
        caller,
        'keys/keys:Reissue',
        { ...input, ...change },
        {
          transient: { shards: bytes },
        },
      );
    await expect(reissue({}, shards, agentOf(2))).rejects.toThrow(/^NOT_ALLOWED: /);
    await expect(reissue({}, Uint8Array.of(1))).rejects.toThrow(/^BAD_DIGEST: /);
    await expect(reissue({ holder: orgName(4) }, shards)).rejects.toThrow(/^NOT_HOLDER: /);
    await expect(reissue({ index: 2, holder: orgName(4) }, shards)).rejects.toThrow(
      /^BAD_DIGEST: /,
    );
    await expect(reissue({ depositTx: '66'.repeat(32) }, shards)).rejects.toThrow(/^NOT_FOUND: /);
    await expect(reissue({ fileId: '66'.repeat(32) }, shards)).rejects.toThrow(/^WRONG_DEALING: /);
    const { result, txId, simulation } = await reissue({}, shards);
    expect(result).toEqual({ depositTx: txId, index: 1 });
    expect(simulation.payload.length).toBeLessThan(200);
    expect(orgsOf(fabric.policy(`${collection}:${shardName(txId, 1)}`))).toEqual([orgName(3)]);
    const found = await fabric.evaluate(agentOf(3), 'keys/keys:GetShard', get);
    expect(fromBase64(found?.shard ?? '')).toEqual(Uint8Array.from(shards));
    expect(await fabric.evaluate(agentOf(3), 'keys/keys:GetShard', result)).toEqual(found);
  });
});
