/** `keys:Purge` and `audits:Withdraw`: a holder gives its shards up, and everybody knows. */
import { identityFromRandom, recipientOf } from '@blocktorrent/protocol/age.ts';
import { concatBytes, fromBase64, toHex } from '@blocktorrent/protocol/bytes.ts';
import { dealShards, verifyShard } from '@blocktorrent/protocol/dealing.ts';
import {
  bundleName,
  type Dealing,
  type DepositInput,
  restName,
  shardCollection,
  shardName,
  type TransactionName,
} from '@blocktorrent/protocol/ledger-api.ts';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import { encodeBundle } from '@blocktorrent/protocol/shard.ts';
import shim from 'fabric-shim';
import { describe, expect, it } from 'vitest';
import { AUDITOR, agentOf, orgName, TrialConsortium } from '../support/consortium.ts';
import type { Caller, Simulation } from '../support/memory-fabric.ts';

const HOLDER = orgName(2);
const AGENT = agentOf(2);
const ADMIN: Caller = { mspId: HOLDER, role: 'admin' };
const COLLECTION = shardCollection(HOLDER);

/** `count` files of Org1, each with a shard at Org2, Org3 and Org4. */
function trial(count: number) {
  const { fabric, random } = new TrialConsortium();
  const keys = Array.from({ length: count }, () => {
    const identity = identityFromRandom(random.bytes(32));
    const fileId = toHex(random.bytes(32));
    const holders = [2, 3, 4].map(orgName);
    const recipient = recipientOf(identity);
    const input: DepositInput = {
      ...{ fileId, recipient, scheme: 'feldman-25519', k: 2, n: 3, holders },
    };
    return { identity, input };
  });
  const entropy = random.bytes(32);
  const deposits = keys.map(({ input }) => input);
  const identity = concatBytes(...keys.map((one) => one.identity));
  const transient = { identity, entropy };
  const together = () =>
    fabric.submit(agentOf(1), 'keys/keys:DepositMany', { deposits }, { transient });
  const alone = () => {
    const [first] = deposits;
    if (first === undefined) throw new Error('no deposit');
    const own = { ...transient, identity: identity.subarray(0, 32) };
    return fabric.submit(agentOf(1), 'keys/keys:Deposit', first, { transient: own });
  };
  const get = async ({ depositTx }: Pick<Dealing, 'depositTx'>) =>
    (await fabric.evaluate(AGENT, 'keys/keys:GetShard', { depositTx, index: 1 }))?.shard ?? null;
  const purge = (dealings: readonly Dealing[], caller = ADMIN) =>
    fabric.submit(caller, 'keys/keys:Purge', { shards: dealings.map(refOf) });
  const dealtAgain = (dealing: Dealing) => {
    const key = keys.find(({ input }) => input.fileId === dealing.fileId);
    if (key === undefined) throw new Error('no key');
    const { shards } = dealShards({ ...key, entropy, txId: dealing.depositTx });
    return shards[0] ?? new Uint8Array();
  };
  const reissue = (dealing: Dealing) =>
    fabric.submit(
      agentOf(1),
      'keys/keys:Reissue',
      { ...refOf(dealing), holder: HOLDER },
      { transient: { shards: dealtAgain(dealing) } },
    );
  const privateNames = () =>
    fabric.keys('keys').flatMap((key) => (key.startsWith(COLLECTION) ? key.split(':')[1] : []));
  return { fabric, random, together, alone, get, purge, reissue, privateNames };
}
const refOf = ({ fileId, depositTx }: Dealing) => ({ fileId, depositTx, index: 1 });
const at = <T>(all: readonly T[], index: number): T => {
  const one = all[index];
  if (one === undefined) throw new Error(`nothing at ${index}`);
  return one;
};

describe('purging a shard', () => {
  it('removes one that stands alone, and nobody else’s', async () => {
    const { fabric, alone, get, purge, privateNames } = trial(1);
    const { result: dealing } = await alone();
    const { result } = await purge([dealing]);
    expect(result).toEqual([{ depositTx: dealing.depositTx, index: 1 }]);
    expect(privateNames()).toEqual([]);
    expect(await get(dealing)).toBeNull();
    const { depositTx } = dealing;
    const others = await fabric.evaluate(agentOf(3), 'keys/keys:GetShard', { depositTx, index: 2 });
    verifyShard(fromBase64(others?.shard ?? ''), 2, dealing);
    await expect(purge([dealing])).rejects.toThrow(/^NOT_FOUND: Org2MSP holds none/);
  });

  it('moves the rest of a bundle to a name of its own transaction, again and again', async () => {
    const { fabric, together, get, purge, privateNames } = trial(4);
    const { result: dealings, txId: bundle } = await together();
    const [first, second, third, last] = [0, 1, 2, 3].map((i) => at(dealings, i));
    if (!first || !second || !third || !last) throw new Error('four were dealt');
    const { txId } = await purge([second]);
    expect(privateNames()).toEqual([restName(txId, bundle)]);
    const policy = fabric.policy(`${COLLECTION}:${restName(txId, bundle)}`) ?? new Uint8Array();
    expect(new shim.KeyEndorsementPolicy(policy).listOrgs()).toEqual([HOLDER]);
    const left = async () => (await Promise.all(dealings.map(get))).map((one) => one !== null);
    expect(await left()).toEqual([true, false, true, true]);
    const again = await purge([first, third], AGENT);
    expect(privateNames()).toEqual([restName(again.txId, bundle)]);
    expect(await left()).toEqual([false, false, false, true]);
    verifyShard(fromBase64((await get(last)) ?? ''), 1, last);
    await purge([last]);
    expect(privateNames()).toEqual([]);
    expect(await left()).toEqual([false, false, false, false]);
  });

  it('is undone by a re-issue, which can be purged as well', async () => {
    for (const way of ['alone', 'together'] as const) {
      const { get, purge, reissue, privateNames, ...one } = trial(2);
      const dealing = at([(await one[way]()).result].flat(), 0);
      await purge([dealing]);
      for (let round = 0; round < 2; round++) {
        await reissue(dealing);
        verifyShard(fromBase64((await get(dealing)) ?? ''), 1, dealing);
        await purge([dealing]);
        expect(await get(dealing)).toBeNull();
      }
      expect(privateNames()).toHaveLength(way === 'alone' ? 0 : 1);
    }
  });

  it('leaves nothing under its name that could hide a re-issue', async () => {
    const { fabric, alone, get, purge, reissue } = trial(1);
    const { result: dealing } = await alone();
    await purge([dealing]);
    // Now the name is anybody's.
    const name = shardName(dealing.depositTx, 1);
    fabric.writePrivate(COLLECTION, name, Buffer.from('forged'));
    await reissue(dealing);
    verifyShard(fromBase64((await get(dealing)) ?? ''), 1, dealing);
  });

  it('takes nothing away for a deposit whose entry points at another’s shard', async () => {
    const { fabric, random, alone, together, get, purge } = trial(2);
    const { result: single } = await alone();
    const { result: bundled, txId: bundle } = await together();
    const fileId = toHex(random.bytes(32));
    // As an organisation with changed chaincode may write it, of a file of its own.
    const traps: [string, Dealing, object][] = [
      [single.depositTx, { ...single, fileId }, {}],
      [toHex(random.bytes(32)), { ...at(bundled, 0), fileId }, { bundle }],
    ];
    for (const [depositTx, dealing, more] of traps) {
      const entry = { depositor: orgName(4), dealing: { ...dealing, depositTx }, ...more };
      fabric.writeState('keys', `dealing/${depositTx}`, Buffer.from(JSON.stringify(entry)));
      await expect(purge([{ ...dealing, depositTx }])).rejects.toThrow(/^NOT_FOUND: /);
    }
    for (const dealing of [single, ...bundled]) expect(await get(dealing)).not.toBeNull();
  });

  it('is refused where the peer never got what it would have to look into', async () => {
    const { fabric, alone, together, purge } = trial(2);
    const { result: single } = await alone();
    const { result: bundled, txId } = await together();
    fabric.losePrivate(COLLECTION, shardName(single.depositTx, 1), 'at this peer');
    fabric.losePrivate(COLLECTION, bundleName(txId), 'at this peer');
    for (const dealing of [single, at(bundled, 0)]) {
      await expect(purge([dealing])).rejects.toThrow(/^NOT_FOUND: .* never reached this peer/);
    }
  });

  it('is for the holder’s agents and admins, of its own collection', async () => {
    const { alone, get, purge } = trial(1);
    const { result: dealing } = await alone();
    for (const caller of [AUDITOR, { mspId: HOLDER, role: 'gateway' }]) {
      await expect(purge([dealing], caller)).rejects.toThrow(/^NOT_ALLOWED: /);
    }
    await expect(purge([dealing], agentOf(9))).rejects.toThrow(/^NOT_ALLOWED: Org9MSP has no coll/);
    for (const stranger of [1, 3]) {
      await expect(purge([dealing], agentOf(stranger))).rejects.toThrow(/^NOT_FOUND: /);
    }
    await expect(purge([dealing, dealing])).rejects.toThrow(/^BAD_ARGUMENT: .* no shard twice/);
    const many = Array.from({ length: LIMITS.shardsPerPurgeMax + 1 }, () => dealing);
    await expect(purge(many)).rejects.toThrow(/^BAD_ARGUMENT: argument.shards: .* 1..100 items/);
    expect(await get(dealing)).not.toBeNull();
  });

  it('passes over what is far too long to be a shard, whoever put it there', async () => {
    const { fabric, random, alone, get, purge } = trial(1);
    const { result: dealing } = await alone();
    const junk = { ...dealing, depositTx: toHex(random.bytes(32)) };
    const name = shardName(junk.depositTx, 1);
    fabric.writePrivate(COLLECTION, name, new Uint8Array(LIMITS.evidenceBytesMax + 1));
    const { result } = await purge([junk, dealing]);
    expect(result).toEqual([{ depositTx: dealing.depositTx, index: 1 }]);
    expect(await get(dealing)).toBeNull();
  });

  it('keeps what it cannot read in a bundle of somebody’s making', async () => {
    const { fabric, together, purge, privateNames } = trial(2);
    const { result: dealings, txId: bundle } = await together();
    const stored = fabric.stored('keys', `${COLLECTION}:${bundleName(bundle)}`);
    const [mine = new Uint8Array()] = stored === null ? [] : [stored];
    fabric.writePrivate(COLLECTION, bundleName(bundle), encodeBundle([Uint8Array.of(1, 2), mine]));
    await expect(purge([at(dealings, 0)])).rejects.toThrow(/^NOT_FOUND: /);
    expect(privateNames()).toEqual([bundleName(bundle)]);
  });
});

describe('withdrawing', () => {
  async function recorded() {
    const consortium = await new TrialConsortium().found();
    const file = await consortium.recorded();
    const { fabric } = consortium;
    const { fileId } = file.record;
    const withdraw = (caller = ADMIN, reason = 'retention is over') =>
      fabric.submit(caller, 'ledger/audits:Withdraw', { fileIds: [fileId], reason });
    const record = () => fabric.evaluate(AUDITOR, 'ledger/records:GetRecord', { fileId });
    return { consortium, fabric, fileId, withdraw, record };
  }

  it('is public, with time, reason and transaction, and for good', async () => {
    const { fabric, fileId, withdraw, record } = await recorded();
    expect((await record())?.withdrawals).toBeUndefined();
    expect(await record()).toMatchObject({ available: true });
    const atMs = fabric.timeMs;
    const { txId } = await withdraw();
    expect(fabric.events.at(-1)).toEqual({
      ...{ name: 'withdrawn', payload: { fileIds: [fileId], mspId: HOLDER } },
    });
    const trace = { mspId: HOLDER, reason: 'retention is over', atMs, txId };
    const found = await record();
    expect(found).toMatchObject({ withdrawals: [trace], available: false });
    expect(found?.confirmedBy.toSorted()).toEqual([orgName(3), orgName(4)]);
    const events = fabric.events.length;
    await withdraw(AGENT, 'another reason');
    expect(fabric.events).toHaveLength(events);
    expect((await record())?.withdrawals).toEqual([trace]);
    const confirm = fabric.submit(AGENT, 'ledger/audits:Confirm', { fileIds: [fileId] });
    await expect(confirm).rejects.toThrow(/^NOT_HOLDER: Org2MSP has withdrawn from .*, for good/);
  });

  it('is for holders alone', async () => {
    const { withdraw } = await recorded();
    await expect(withdraw(agentOf(1))).rejects.toThrow(/^NOT_HOLDER: /);
    await expect(withdraw(AUDITOR)).rejects.toThrow(/^NOT_ALLOWED: /);
    await expect(withdraw({ mspId: HOLDER, role: 'gateway' })).rejects.toThrow(/^NOT_ALLOWED: /);
  });

  /** A request for the file, approved, in which Org4 alone releases; closed long after it expired. */
  async function neglected(consortium: TrialConsortium, fileId: string) {
    const { fabric } = consortium;
    const recipients = consortium.recipients();
    const { result } = await fabric.submit(AUDITOR, 'ledger/audits:Request', {
      ...{ fileIds: [fileId], reason: 'x', recipients },
      expiresAtMs: fabric.timeMs + 3_600_000,
    });
    return async (beforeClosing: () => Promise<unknown> = async () => undefined) => {
      for (const number of [3, 4]) {
        const vote = { ...result, approve: true, reason: '' };
        await fabric.submit(agentOf(number), 'ledger/audits:Vote', vote);
      }
      const shards = consortium.ageFile(recipients[orgName(4)] ?? '');
      await fabric.submit(agentOf(4), 'ledger/audits:Release', { ...result, shards });
      await beforeClosing();
      fabric.timeMs += 2 * 3_600_000;
      const outcome = { ok: false, summary: 'nothing came', faults: [] };
      await fabric.submit(AUDITOR, 'ledger/audits:Close', { ...result, outcome });
      const request = await fabric.evaluate(AUDITOR, 'ledger/audits:GetRequest', result);
      return request?.outcome?.faults.map(({ mspId }) => mspId).sort();
    };
  }
  const others = [orgName(3)];

  it('excuses from what is asked for later, by more than clocks may differ', async () => {
    const { consortium, fabric, fileId, withdraw } = await recorded();
    await withdraw();
    fabric.timeMs += LIMITS.withdrawalDelayMs;
    expect(await (await neglected(consortium, fileId))()).toEqual(others);
  });

  it('excuses from nothing that had been asked for before, or a moment after', async () => {
    const before = await recorded();
    const close = await neglected(before.consortium, before.fileId);
    expect(await close(() => before.withdraw())).toEqual([HOLDER, ...others]);
    const after = await recorded();
    await after.withdraw();
    after.fabric.timeMs += LIMITS.withdrawalDelayMs - 10_000;
    expect(await (await neglected(after.consortium, after.fileId))()).toEqual([HOLDER, ...others]);
  });

  it('and a request never pass each other: ordered after the other, either has to be made anew', async () => {
    const { consortium, fabric, fileId } = await recorded();
    const asks = {
      ...{ fileIds: [fileId], reason: 'x', recipients: consortium.recipients() },
      expiresAtMs: fabric.timeMs + 3_600_000,
    };
    // Both endorsed on one state, as who keeps an endorsed transaction back for a better day.
    const simulate = (caller: Caller, name: TransactionName, argument: object) =>
      fabric.simulate(caller, name, JSON.stringify(argument), {});
    const request = await simulate(AUDITOR, 'ledger/audits:Request', asks);
    const withdrawal = await simulate(AGENT, 'ledger/audits:Withdraw', {
      ...{ fileIds: [fileId], reason: 'kept back' },
    });
    expect([request.message, withdrawal.message]).toEqual(['', '']);
    const hurts = (first: Simulation, second: Simulation) =>
      [...first.writes.keys()].some((key) => second.reads.has(key));
    expect(hurts(request, withdrawal)).toBe(true);
    expect(hurts(withdrawal, request)).toBe(true);
    // Two requests do not get into each other's way, nor do two holders' withdrawals.
    const another = await simulate(AUDITOR, 'ledger/audits:Request', asks);
    const others = await simulate(agentOf(3), 'ledger/audits:Withdraw', {
      ...{ fileIds: [fileId], reason: 'x' },
    });
    expect(hurts(request, another)).toBe(false);
    expect(hurts(withdrawal, others)).toBe(false);
  });

  it('is no fault by an auditor’s word either', async () => {
    const { consortium, fabric, fileId, withdraw } = await recorded();
    await withdraw();
    fabric.timeMs += LIMITS.withdrawalDelayMs;
    const recipients = consortium.recipients();
    const { result } = await fabric.submit(AUDITOR, 'ledger/audits:Request', {
      ...{ fileIds: [fileId], reason: 'x', recipients, expiresAtMs: fabric.timeMs + 3_600_000 },
    });
    for (const number of [3, 4]) {
      const vote = { ...result, approve: true, reason: '' };
      await fabric.submit(agentOf(number), 'ledger/audits:Vote', vote);
    }
    // It has released for the request: another file's shards, say.
    const shards = consortium.ageFile(recipients[HOLDER] ?? '');
    await fabric.submit(AGENT, 'ledger/audits:Release', { ...result, shards });
    const fault = { kind: 'no-release' as const, mspId: HOLDER, fileId, detail: 'not in it' };
    const outcome = { ok: false, summary: '', faults: [fault] };
    await expect(
      fabric.submit(AUDITOR, 'ledger/audits:Close', { ...result, outcome }),
    ).rejects.toThrow(/^BAD_ARGUMENT: Org2MSP had withdrawn from .* before the request/);
  });
});
