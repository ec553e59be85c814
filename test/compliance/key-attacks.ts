/**
 * Attacks on keys and their shards by one organisation with changed chaincode: as a stranger to a
 * deposit, as the one that deals, and as a holder. Part of `describeLedgerAttacks`.
 */
import { concatBytes, toBase64, toHex } from '@blocktorrent/protocol/bytes.ts';
import {
  dealShards,
  depositIdOf,
  rebuildIdentity,
  verifyShard,
} from '@blocktorrent/protocol/dealing.ts';
import {
  bundleName,
  type Dealing,
  type RecordInput,
  shardCollection,
} from '@blocktorrent/protocol/ledger-api.ts';
import { decodeShard, encodeShard } from '@blocktorrent/protocol/shard.ts';
import { describe, expect, it } from 'vitest';
import { AUDITOR, agentOf, type ConsortiumOn, orgName } from '../support/consortium.ts';
import { dealingOver } from '../support/dealings.ts';
import { type FabricClient, fabricClient, json } from '../support/fabric-client.ts';
import {
  ATTACKER,
  attackCode,
  depositOf,
  ENDORSEMENT_POLICY_FAILURE,
  expectIntact,
  freshDeposit,
  heldShard,
  ON_SHARDS,
  shardPlace,
  VALID,
  VICTIM,
} from './attack-tools.ts';
import type { NetworkLedger } from './network-ledger.ts';
import { describePurge } from './purge-attacks.ts';

/** A founded consortium on a network, and the attacker's own connection. */
export interface AttackScene {
  readonly ledger: NetworkLedger;
  readonly house: ConsortiumOn<NetworkLedger>;
  readonly attacker: FabricClient;
}

/** Registers the attacks on keys; `scene` is called when they run. */
export function describeKeyAttacks(scene: () => AttackScene): void {
  describe('on the deposits of others', () => describeStranger(scene));
  describe('on bundles of many deposits', () => describeBundles(scene));
  describe('on what holders purge', () => describePurge(scene));
  describe('as the one that deals', () => describeDealer(scene));
  describe('as a holder', () => describeHolder(scene));
}

/** A deposit of `Org1MSP`, endorsed and not yet ordered. */
export async function endorsedDeposit({ ledger, house }: AttackScene) {
  const depositor = await fabricClient(ledger.network, orgName(1));
  const { argument, transientData } = depositOf(await house.file(), house);
  const transaction = await depositor.keys
    .newProposal('keys:Deposit', {
      ...{ arguments: [argument], transientData, endorsingOrganizations: [orgName(1)] },
    })
    .endorse();
  const dealing = json(transaction.getResult()) as Dealing;
  return {
    dealing,
    order: async () => (await (await transaction.submit()).getStatus()).code,
    [Symbol.dispose]: () => depositor[Symbol.dispose](),
  };
}

function describeStranger(scene: () => AttackScene): void {
  it('cannot spoil a shard name by pre-creating it, whoever told it the transaction’s id', async () => {
    const { ledger, attacker } = scene();
    using deposit = await endorsedDeposit(scene());
    const place = shardPlace(deposit.dealing, VICTIM);
    const squat = { do: 'putPrivate', ...place, value: 'squatted' } as const;
    expect(await attackCode(attacker, 'keys', squat)).toBe(VALID);
    expect(await deposit.order()).toBe(VALID);
    await expectIntact(ledger, deposit.dealing);
  });

  it('stops one deposit at most by pre-creating a name with a policy of its own: the next has another', async () => {
    const { ledger, attacker } = scene();
    using deposit = await endorsedDeposit(scene());
    const place = { ...shardPlace(deposit.dealing, VICTIM), value: 'squatted' };
    for (const what of ['putPrivate', 'setPrivatePolicy'] as const) {
      const squat = { do: what, ...place, mspIds: [ATTACKER] };
      expect(await attackCode(attacker, 'keys', squat)).toBe(VALID);
    }
    expect(await deposit.order()).toBe(ENDORSEMENT_POLICY_FAILURE);
    using again = await endorsedDeposit(scene());
    expect(await again.order()).toBe(VALID);
    await expectIntact(ledger, again.dealing);
  });

  it('cannot hold deposits up by writing to the depositor’s collection', async () => {
    const { ledger, attacker } = scene();
    using deposit = await endorsedDeposit(scene());
    const collection = shardCollection(orgName(1));
    for (const key of ['member', shardPlace(deposit.dealing, VICTIM).key]) {
      const write = { do: 'putPrivate', collection, key, value: 'x' } as const;
      expect(await attackCode(attacker, 'keys', write)).toBe(VALID);
    }
    expect(await deposit.order()).toBe(VALID);
    await expectIntact(ledger, deposit.dealing);
  });

  it('gains nothing by replaying an old deposit, as it was or in another record', async () => {
    const { ledger } = scene();
    using deposit = await endorsedDeposit(scene());
    expect(await deposit.order()).toBe(VALID);
    // The same envelope again: refused at once, or ordered and left without effect.
    await deposit.order().catch((error: unknown) => expect(error).toBeInstanceOf(Error));
    await expectIntact(ledger, deposit.dealing);
    const { depositTx } = deposit.dealing;
    const found = await ledger.evaluate(agentOf(3), 'keys/keys:GetDealing', { depositTx });
    expect(found).toEqual(deposit.dealing);

    const { record } = await attackersFile(scene(), 'replay');
    const { fileId } = record;
    await expectRefused(scene(), { ...record, dealing: deposit.dealing }, /^WRONG_DEALING: /);
    // Rewritten for the new file it is of another key than the record's.
    const rewritten = { ...deposit.dealing, fileId, holders: record.dealing.holders };
    await expectRefused(scene(), { ...record, dealing: rewritten }, /^(WRONG_DEALING|BAD_KEY): /);
  });
}

/** Two deposits of `Org1MSP` in one transaction. */
export async function bundledDeposit({ ledger, house }: AttackScene) {
  const holders = [2, 3, 4].map(orgName);
  const keys = [1, 2].map(() => freshDeposit(house, holders));
  const entropy = house.random.bytes(32);
  const identity = concatBytes(...keys.map((one) => one.identity));
  const deposits = keys.map(({ input }) => input);
  const argument = { deposits };
  const transient = { identity, entropy };
  const name = 'keys/keys:DepositMany';
  const { result, txId } = await ledger.submit(agentOf(1), name, argument, { transient });
  return { dealings: result, txId, keys, entropy };
}

function describeBundles(scene: () => AttackScene): void {
  const bundled = () => bundledDeposit(scene());

  it.each(ON_SHARDS)('cannot %s another’s bundle of shards', async (_, what) => {
    const { ledger, attacker } = scene();
    const { dealings, txId } = await bundled();
    const place = { collection: shardCollection(VICTIM), key: bundleName(txId) };
    const attack = { do: what, ...place, value: 'forged', mspIds: [ATTACKER] };
    expect(await attackCode(attacker, 'keys', attack)).toBe(ENDORSEMENT_POLICY_FAILURE);
    for (const dealing of dealings) await expectIntact(ledger, dealing);
  });

  it('cannot hide a bundled shard behind a forged one of its own name', async () => {
    const { ledger, attacker } = scene();
    const { dealings } = await bundled();
    const [dealing] = dealings;
    if (dealing === undefined) throw new Error('no dealing');
    const forged = { do: 'putPrivate', ...shardPlace(dealing, VICTIM), value: 'forged' } as const;
    expect(await attackCode(attacker, 'keys', forged)).toBe(VALID);
    await expectIntact(ledger, dealing);
  });

  it('cannot keep a holder from a shard of a bundle: it is re-issued alone', async () => {
    const { ledger, attacker } = scene();
    const { dealings, txId, keys, entropy } = await bundled();
    // The holder has lost its bundle; only it could have purged it.
    const place = { collection: shardCollection(ATTACKER), key: bundleName(txId) };
    expect(await attackCode(attacker, 'keys', { do: 'purgePrivate', ...place })).toBe(VALID);
    const [dealing, other] = dealings;
    const [deposit] = keys;
    if (dealing === undefined || other === undefined || deposit === undefined)
      throw new Error('none');
    const index = dealing.holders.indexOf(ATTACKER) + 1;
    const { depositTx, fileId } = dealing;
    const get = (one: Dealing) =>
      ledger.of(ATTACKER).evaluate('keys/keys:GetShard', { depositTx: one.depositTx, index });
    expect([await get(dealing), await get(other)]).toEqual([null, null]);
    expect(depositTx).toBe(depositIdOf(txId, fileId));
    const { identity, input } = deposit;
    const dealt = dealShards({ identity, entropy, txId: depositTx, input });
    const shards = dealt.shards[index - 1] ?? new Uint8Array();
    // What a re-issue would write, written beforehand: it does not matter.
    const key = `reissue/${depositTx}/${index}`;
    for (const what of ['put', 'setPolicy'] as const) {
      const squat = { do: what, key, value: '{}', mspIds: [ATTACKER] };
      expect(await attackCode(attacker, 'keys', squat)).toBe(VALID);
    }
    const argument = { fileId, depositTx, index, holder: ATTACKER };
    await ledger.submit(agentOf(1), 'keys/keys:Reissue', argument, { transient: { shards } });
    const again = await heldShard(ledger, dealing, ATTACKER);
    expect(verifyShard(again, index, dealing).index).toBe(index);
    expect(await get(other)).toBeNull();
  });
}

/** A file of the attacker's own, the first of a gateway of its own; its shards as they are dealt. */
async function attackersFile({ house }: AttackScene, gateway: string) {
  await house.register(ATTACKER, gateway, ['ingest']);
  const { record, identity } = await house.file(ATTACKER, 5, gateway);
  const { fileId, recipient, dealing } = record;
  const { scheme, k, n, holders } = dealing;
  const txId = toHex(house.random.bytes(32));
  const input = { fileId, recipient, scheme, k, n, holders };
  // Dealt by the attacker itself under an id of its own: its chaincode writes what it likes.
  const dealt = dealShards({ identity, entropy: house.random.bytes(32), txId, input });
  return { record, dealing: dealt.dealing, shards: dealt.shards };
}

/** Hands out `shards` by changed chaincode, and records the file with `dealing`. */
async function dealAndRecord(
  { ledger, attacker }: AttackScene,
  record: RecordInput,
  dealing: Dealing,
  shards: readonly Uint8Array[],
): Promise<void> {
  for (const [i, holder] of dealing.holders.entries()) {
    const base64 = toBase64(shards[i] ?? new Uint8Array());
    const put = { do: 'putPrivate', ...shardPlace(dealing, holder), base64 } as const;
    expect(await attackCode(attacker, 'keys', put)).toBe(VALID);
  }
  await ledger.submit(agentOf(4), 'ledger/records:Record', { ...record, dealing });
}

/** The attacker's record is refused by the others. */
async function expectRefused({ ledger }: AttackScene, record: RecordInput, text: RegExp) {
  await expect(ledger.submit(agentOf(4), 'ledger/records:Record', record)).rejects.toMatchObject({
    message: expect.stringMatching(text),
  });
}

const complain = ({ ledger }: AttackScene, holder: string, fileId: string, shard: Uint8Array) =>
  ledger.submit({ mspId: holder, role: 'agent' }, 'ledger/audits:Complain', {
    ...{ fileId, shard: toBase64(shard) },
  });

const faultsOf = async ({ ledger }: AttackScene, mspId: string, fileId: string) =>
  (await ledger.evaluate(AUDITOR, 'ledger/consortium:ListFaults', { mspId }))
    .filter((fault) => fault.fileId === fileId)
    .map(({ kind, reporter }) => `${kind} by ${reporter}`);

/** Shards with the victim's share exchanged for another holder's. */
function withWrongShare(dealing: Dealing, shards: readonly Uint8Array[]): Uint8Array[] {
  const at = dealing.holders.indexOf(VICTIM);
  const other = decodeShard(shards[(at + 1) % shards.length] ?? new Uint8Array());
  return shards.map((one, i) =>
    i === at ? encodeShard({ ...decodeShard(one), share: other.share }) : one,
  );
}

function describeDealer(scene: () => AttackScene): void {
  it('is named when it deals a wrong shard to one holder, by that shard', async () => {
    const { ledger } = scene();
    const { record, dealing, shards } = await attackersFile(scene(), 'wrong-shard');
    const { fileId } = record;
    const wrong = withWrongShare(dealing, shards);
    const lied = dealingOver(dealing, wrong);
    await dealAndRecord(scene(), record, lied, wrong);
    const shard = await heldShard(ledger, lied, VICTIM);
    const index = lied.holders.indexOf(VICTIM) + 1;
    expect(() => verifyShard(shard, index, lied)).toThrow(/does not fit the commitments/);
    await complain(scene(), VICTIM, fileId, shard);
    expect(await faultsOf(scene(), ATTACKER, fileId)).toEqual([`bad-dealing by ${VICTIM}`]);
  });

  it('gets no available file when one holder’s shard is not the one that it pinned', async () => {
    const { ledger } = scene();
    const { record, dealing, shards } = await attackersFile(scene(), 'unpinned-shard');
    const { fileId } = record;
    await dealAndRecord(scene(), record, dealing, withWrongShare(dealing, shards));
    const index = dealing.holders.indexOf(VICTIM) + 1;
    const shard = await heldShard(ledger, dealing, VICTIM);
    expect(() => verifyShard(shard, index, dealing)).toThrow(/expected SHA-256/);
    // It shows nothing, so it is no fault: this holder does not confirm, and all three must.
    await expect(complain(scene(), VICTIM, fileId, shard)).rejects.toMatchObject({
      message: expect.stringMatching(/^BAD_DIGEST: /),
    });
    for (const mspId of dealing.holders.filter((one) => one !== VICTIM)) {
      await ledger.submit({ mspId, role: 'agent' }, 'ledger/audits:Confirm', { fileIds: [fileId] });
    }
    const found = await ledger.evaluate(AUDITOR, 'ledger/records:GetRecord', { fileId });
    expect([found?.confirmedBy.length, found?.available]).toEqual([2, false]);
  });

  it('cannot keep holders from the shards of others by what it writes about its own deposit', async () => {
    const { ledger, house, attacker } = scene();
    const { dealing } = await house.file();
    const index = dealing.holders.indexOf(VICTIM) + 1;
    const id = () => toHex(house.random.bytes(32));
    const bundle = id();
    const odd = { collection: shardCollection(VICTIM), key: bundleName(bundle) };
    expect(await attackCode(attacker, 'keys', { do: 'putPrivate', ...odd, value: 'odd' })).toBe(
      VALID,
    );
    const entries = ['no json', 'null', '{}', '{"dealing":{"shardHashes":7},"bundle":"x"}'];
    const shards = [];
    for (const value of [...entries, JSON.stringify({ dealing, bundle })]) {
      const depositTx = id();
      const put = { do: 'put', key: `dealing/${depositTx}`, value } as const;
      expect(await attackCode(attacker, 'keys', put)).toBe(VALID);
      shards.push({ depositTx, index });
    }
    await expectIntact(ledger, dealing);
    shards.push({ depositTx: dealing.depositTx, index });
    const found = await ledger.of(VICTIM).evaluate('keys/keys:GetShards', { shards });
    expect(found.map((one) => one !== null)).toEqual([false, false, false, false, false, true]);
  });

  it('cannot record wrong commitments to another key, and is named for those to other shares', async () => {
    const { ledger } = scene();
    const { record, dealing, shards } = await attackersFile(scene(), 'wrong-commitments');
    const { fileId } = record;
    const [c0 = '', c1 = ''] = dealing.commitments;
    for (const commitments of [[c1, c1], [c0], [c0, c1, c1], [c0, '00'.repeat(32)]]) {
      const refusal = /^(BAD_KEY|MALFORMED|BAD_COMMITMENT): /;
      await expectRefused(scene(), { ...record, dealing: { ...dealing, commitments } }, refusal);
    }
    const lied = { ...dealing, commitments: [c0, c0] };
    await dealAndRecord(scene(), record, lied, shards);
    await complain(scene(), VICTIM, fileId, await heldShard(ledger, lied, VICTIM));
    expect(await faultsOf(scene(), ATTACKER, fileId)).toEqual([`bad-dealing by ${VICTIM}`]);
  });

  it('cannot deposit or record a key that does not match the recipient', async () => {
    const { ledger, house } = scene();
    const { record, dealing } = await attackersFile(scene(), 'wrong-key');
    const other = freshDeposit(house, dealing.holders);
    const entropy = house.random.bytes(32);
    // By the others' chaincode, with the identity of another recipient.
    const deposit = ledger.submit(agentOf(1), 'keys/keys:Deposit', other.input, {
      transient: { identity: freshDeposit(house, dealing.holders).identity, entropy },
    });
    await expect(deposit).rejects.toMatchObject({ message: expect.stringMatching(/^BAD_KEY: /) });
    // By changed chaincode: a right dealing, but of another key than the file's.
    const { fileId } = record;
    const { identity, input } = { ...other, input: { ...other.input, fileId } };
    const wrong = dealShards({ identity, entropy, txId: dealing.depositTx, input }).dealing;
    await expectRefused(scene(), { ...record, dealing: wrong }, /^WRONG_DEALING: /);
    const { recipient } = record;
    await expectRefused(scene(), { ...record, dealing: { ...wrong, recipient } }, /^BAD_KEY: /);
  });
}

function describeHolder(scene: () => AttackScene): void {
  it('cannot swap its shard and accuse the dealer', async () => {
    const { ledger, house, attacker } = scene();
    await house.register(orgName(1), 'gateway-2', ['ingest']);
    // Three of the four hold a shard, the source none: the attacker is always a holder.
    const { record, dealing } = await house.recorded(orgName(1), 'gateway-2');
    const { fileId } = record;
    const right = await heldShard(ledger, dealing, ATTACKER);
    const index = dealing.holders.indexOf(ATTACKER) + 1;
    const { share } = decodeShard(await heldShard(ledger, dealing, VICTIM));
    const swapped = encodeShard({ ...decodeShard(right), share });
    const base64 = toBase64(swapped);
    const place = shardPlace(dealing, ATTACKER);
    expect(await attackCode(attacker, 'keys', { do: 'putPrivate', ...place, base64 })).toBe(VALID);
    expect(await heldShard(ledger, dealing, ATTACKER)).toEqual(swapped);
    expect(() => verifyShard(swapped, index, dealing)).toThrow(/expected SHA-256/);
    await expect(complain(scene(), ATTACKER, fileId, swapped)).rejects.toMatchObject({
      message: expect.stringMatching(/^BAD_DIGEST: /),
    });
    await expect(complain(scene(), ATTACKER, fileId, right)).rejects.toMatchObject({
      message: expect.stringMatching(/^NO_FAULT: /),
    });
    expect(await faultsOf(scene(), orgName(1), fileId)).toEqual([]);
  });

  it('rebuilds no key with k - 1 holders, and with nothing that it makes up', async () => {
    const { ledger, house } = scene();
    const { dealing, identity } = await house.file();
    const index = dealing.holders.indexOf(ATTACKER) + 1;
    const own = verifyShard(await heldShard(ledger, dealing, ATTACKER), index, dealing);
    expect(() => rebuildIdentity([own], dealing)).toThrow(/expected 2 shards, got 1/);
    expect(() => rebuildIdentity([own, own], dealing)).toThrow(/is there twice/);
    const victims = dealing.holders.indexOf(VICTIM) + 1;
    const madeUp = { ...own, index: victims };
    expect(() => rebuildIdentity([own, madeUp], dealing)).toThrow();
    const second = verifyShard(await heldShard(ledger, dealing, VICTIM), victims, dealing);
    expect(toHex(rebuildIdentity([own, second], dealing))).toBe(toHex(identity));
  });
}
