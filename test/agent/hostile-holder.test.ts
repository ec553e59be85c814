/**
 * One holder, or a source that dealt one wrong shard, against everybody else: an audit goes on with
 * the others, blames who did it, and a holder's other duties go on.
 */
import { encrypt, identityFromRandom, recipientOf } from '@blocktorrent/protocol/age.ts';
import { toBase64, utf8 } from '@blocktorrent/protocol/bytes.ts';
import { dealShards } from '@blocktorrent/protocol/dealing.ts';
import type { FileRecord, Hex } from '@blocktorrent/protocol/ledger-api.ts';
import { decodeShard, encodeShard } from '@blocktorrent/protocol/shard.ts';
import { describe, expect, it } from 'vitest';
import { gatherShards } from '../../agent/src/audit/gather.ts';
import { Duties } from '../../agent/src/consortium/duties.ts';
import { DUTY_LIST_MIGRATION, DutyList } from '../../agent/src/consortium/duty-list.ts';
import { type Ledger, LedgerError } from '../../agent/src/ledger/ledger.ts';
import { silentLog } from '../../agent/src/runtime/log.ts';
import { migrate } from '../../agent/src/runtime/migrate.ts';
import { openDatabase } from '../../agent/src/runtime/sqlite.ts';
import { AUDITOR, agentOf, orgName, TrialConsortium } from '../support/consortium.ts';
import { dealingOver } from '../support/dealings.ts';
import { Seeded } from '../support/seeded.ts';

/** An audit of one file of Org1: Org3 and Org4 release their shards, Org2 what `inside` says. */
async function audited(inside: (fileId: Hex) => string) {
  const consortium = await new TrialConsortium().found();
  const { fabric, random } = consortium;
  const { record } = await consortium.recorded();
  const { fileId, dealing } = record;
  const identities = new Map(
    consortium.names.map((mspId) => [mspId, identityFromRandom(random.bytes(32))] as const),
  );
  const recipients = Object.fromEntries(
    [...identities].map(([mspId, identity]) => [mspId, recipientOf(identity)]),
  );
  const { result } = await fabric.submit(AUDITOR, 'ledger/audits:Request', {
    ...{ fileIds: [fileId], reason: 'x', recipients, expiresAtMs: fabric.timeMs + 3_600_000 },
  });
  for (const number of [3, 4]) {
    const vote = { ...result, approve: true, reason: '' };
    await fabric.submit(agentOf(number), 'ledger/audits:Vote', vote);
  }
  for (const number of [2, 3, 4]) {
    const index = dealing.holders.indexOf(orgName(number)) + 1;
    const get = { depositTx: dealing.depositTx, index };
    const found = await fabric.evaluate(agentOf(number), 'keys/keys:GetShard', get);
    const text = number === 2 ? inside(fileId) : JSON.stringify({ [fileId]: found?.shard });
    const to = [recipients[orgName(number)] ?? ''];
    const shards = toBase64(encrypt(utf8(text), to, random.bytes));
    await fabric.submit(agentOf(number), 'ledger/audits:Release', { ...result, shards });
  }
  const ledger: Pick<Ledger, 'evaluate'> = {
    evaluate: (name, argument) => fabric.evaluate(AUDITOR, name, argument),
  };
  return gatherShards({
    ...{ ledger: ledger as Ledger, requestId: result.requestId, identities },
    signal: new AbortController().signal,
  });
}

describe('an audit where one holder releases rubbish', () => {
  it.each([
    ['null', () => 'null'],
    ['a list', () => '[]'],
    ['text that is no base64', (fileId: Hex) => JSON.stringify({ [fileId]: '!!!' })],
    ['a shard that is no shard', (fileId: Hex) => JSON.stringify({ [fileId]: 'AAAA' })],
  ])(
    'opens the file with the others’ shards and blames the holder alone: %s',
    async (_, inside) => {
      const { shards, faults } = await audited(inside);
      expect([...shards.values()].map((each) => each.length)).toEqual([2]);
      expect(faults.map(({ kind, mspId }) => ({ kind, mspId }))).toEqual([
        { kind: 'bad-shard', mspId: orgName(2) },
      ]);
    },
  );
});

const random = new Seeded('hostile-holder');

/** A record of Org1 whose shard 1 is Org2's; `wrong`: what was dealt does not fit the commitments. */
function dealtTo2({ wrong }: { wrong: boolean }) {
  const fileId = Buffer.from(random.bytes(32)).toString('hex');
  const identity = identityFromRandom(random.bytes(32));
  const { dealing, shards } = dealShards({
    identity,
    entropy: random.bytes(32),
    txId: Buffer.from(random.bytes(32)).toString('hex'),
    input: {
      ...{ fileId, recipient: recipientOf(identity), scheme: 'feldman-25519', k: 2, n: 3 },
      holders: ['Org2MSP', 'Org3MSP', 'Org4MSP'],
    },
  });
  if (wrong) {
    const [own = new Uint8Array(), other = new Uint8Array()] = shards;
    shards[0] = encodeShard({ ...decodeShard(own), share: decodeShard(other).share });
  }
  const record = {
    ...{ fileId, source: 'Org1MSP', void: null, confirmedBy: [] as string[] },
    dealing: dealingOver(dealing, shards),
  } as unknown as FileRecord;
  return { record, shard: toBase64(shards[0] ?? new Uint8Array()) };
}

/** Org2's duties over a bad file and then a good one; the ledger has its complaint already. */
function dutiesOf2() {
  const files = [dealtTo2({ wrong: true }), dealtTo2({ wrong: false })];
  const records = new Map(files.map(({ record }) => [record.fileId, record]));
  const shards = new Map(files.map(({ record, shard }) => [record.dealing.depositTx, shard]));
  const voidByStranger = new Set<Hex>();
  const sent: { name: string; argument: unknown }[] = [];
  const requestId = 'cd'.repeat(32);
  const request = {
    ...{ requestId, state: 'approved', expiresAtMs: 1, releases: [], votes: [] },
    ...{ fileIds: [...records.keys()], auditor: 'AuditorMSP' },
    recipients: { Org2MSP: recipientOf(identityFromRandom(random.bytes(32))) },
  };
  const ledger = {
    evaluate: async (name: string, argument: Record<string, string>) => {
      if (name === 'ledger/audits:GetRequest') return request;
      if (name === 'keys/keys:GetShard') return { shard: shards.get(argument.depositTx ?? '') };
      const record = records.get(argument.fileId ?? '') ?? null;
      return voidByStranger.has(argument.fileId ?? '') ? { ...record, void: 'x' } : record;
    },
    submit: async (name: string, argument: unknown) => {
      sent.push({ name, argument });
      if (name !== 'ledger/audits:Complain') return { result: null, txId: '' };
      throw new LedgerError('rejected', 'ALREADY_EXISTS: Org2MSP has complained already', 'ab');
    },
  } as unknown as Ledger;
  const state = openDatabase(':memory:');
  migrate(state, [DUTY_LIST_MIGRATION]);
  const list = new DutyList(state);
  const duties = new Duties({
    ...{ ledger, list, log: silentLog, mspId: 'Org2MSP', vote: 'manual', nowMs: () => 0 },
    random: random.bytes,
  });
  const [bad = '', good = ''] = records.keys();
  const recorded = () =>
    duties.note({
      name: 'recorded',
      payload: { files: [bad, good].map((fileId) => ({ fileId, holders: ['Org2MSP'] })) },
      txId: 'tx',
      blockNumber: 7n,
    });
  const requested = () =>
    duties.note({
      name: 'audit-requested',
      payload: { requestId },
      txId: 'tx',
      blockNumber: 8n,
    });
  return { duties, sent, bad, good, recorded, requested, voidByStranger };
}

describe('a holder that was dealt one wrong shard, and has complained', () => {
  const { signal } = new AbortController();

  it('goes on to confirm the others, and asks no more for the wrong one', async () => {
    const { duties, sent, good, recorded } = dutiesOf2();
    recorded();
    await duties.perform(signal);
    expect(sent).toContainEqual({ name: 'ledger/audits:Confirm', argument: { fileIds: [good] } });
    expect(duties.pending).toBe(false);
  });

  it('releases its other shards when an audit asks for both: silence would be its fault', async () => {
    const { duties, sent, requested } = dutiesOf2();
    requested();
    await duties.perform(signal);
    expect(sent.map(({ name }) => name)).toContain('ledger/audits:Release');
    expect(duties.pending).toBe(false);
  });

  it('keeps the duty to confirm where a peer that is behind shows a stranger’s void', async () => {
    const { duties, sent, good, recorded, voidByStranger } = dutiesOf2();
    voidByStranger.add(good);
    recorded();
    await duties.perform(signal);
    expect(duties.pending).toBe(true);
    voidByStranger.clear();
    await duties.perform(signal);
    expect(sent).toContainEqual({ name: 'ledger/audits:Confirm', argument: { fileIds: [good] } });
  });
});
