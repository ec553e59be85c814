import { createHash } from 'node:crypto';
import { toBase64, toHex, utf8 } from '@blocktorrent/protocol/bytes.ts';
import type { ListResult, RecordInput } from '@blocktorrent/protocol/ledger-api.ts';
import { CHAIN_ROOT } from '@blocktorrent/protocol/manifest.ts';
import { publicKeyOf } from '@blocktorrent/protocol/signing.ts';
import { describe, expect, it } from 'vitest';
import { AUDITOR, agentOf, orgName, POLICY, TrialConsortium } from '../support/consortium.ts';

const NAME = 'ledger/records:Record';

describe('contract records', () => {
  it('records a file with everything but its table, and the table under its own key', async () => {
    const consortium = await new TrialConsortium().found();
    const { fabric } = consortium;
    const { record } = await consortium.file();
    const { txId } = await fabric.submit(agentOf(1), NAME, record);
    const { masterTable, ...rest } = record;
    const fileId = record.fileId;
    expect(await fabric.evaluate(AUDITOR, 'ledger/records:GetRecord', { fileId })).toEqual({
      ...rest,
      source: orgName(1),
      recordedAtMs: expect.any(Number),
      txId,
      void: null,
      confirmedBy: [],
      available: false,
      replacements: [],
    });
    expect(await fabric.evaluate(AUDITOR, 'ledger/records:GetMasterTable', { fileId })).toEqual({
      masterTable,
    });
    expect(fabric.events.at(-1)).toEqual({
      name: 'recorded',
      payload: { files: [{ fileId, holders: record.dealing.holders }] },
    });
    await expect(fabric.submit(agentOf(1), NAME, record)).rejects.toThrow(/^WRONG_CHAIN: /);
  });

  it('takes receipts that an owner signed before it changed its key, until that key is revoked', async () => {
    const consortium = await new TrialConsortium().found();
    const { fabric } = consortium;
    const [first, second] = [await consortium.file(), await consortium.file()];
    const before = toHex(publicKeyOf(consortium.seedOf(orgName(2))));
    const entry = { name: 'admin', roles: ['store' as const], dhtAddress: '' };
    const register = { ...entry, overlayKey: 'ab'.repeat(32) };
    await fabric.submit(agentOf(2), 'ledger/consortium:RegisterPeer', register);
    await fabric.submit(agentOf(1), NAME, first.record);
    const revoke = { peer: 'admin', overlayKey: before };
    await fabric.submit(agentOf(2), 'ledger/consortium:RevokeKey', revoke);
    await expect(fabric.submit(agentOf(1), NAME, second.record)).rejects.toThrow(
      /^BAD_SIGNATURE: receipt [0-9]+: .*Org2MSP/,
    );
  });

  it.each<[string, string, (record: RecordInput, consortium: TrialConsortium) => RecordInput]>([
    [
      'BAD_DIGEST',
      'a table that is not the one hashed',
      (record) => ({
        ...record,
        masterTable: toBase64(utf8(`age-encryption.org/v1\nother`)),
      }),
    ],
    [
      'BAD_ARGUMENT',
      'a table that is no age file',
      (record) => {
        const table = utf8('plain');
        const masterTableHash = createHash('sha256').update(table).digest('hex');
        return { ...record, masterTable: toBase64(table), masterTableHash };
      },
    ],
    [
      'BAD_ARGUMENT',
      'more chunks than its bytes can have',
      (record) => ({ ...record, bytes: 16_384 }),
    ],
    ['TOO_EARLY', 'a time in the future', (record) => ({ ...record, timeMs: record.timeMs + 1e6 })],
    ['WRONG_EPOCH', 'an epoch that is not open', (record) => ({ ...record, epoch: 2 })],
    ['WRONG_CHAIN', 'a seq that skips one', (record) => ({ ...record, seq: 2 })],
    [
      'WRONG_CHAIN',
      'another previous file',
      (record) => ({ ...record, previous: '11'.repeat(32) }),
    ],
    ['NOT_ALLOWED', 'a gateway that is not registered', (record) => ({ ...record, gateway: 'gw' })],
    ['NOT_ALLOWED', 'a peer that is no gateway', (record) => ({ ...record, gateway: 'admin' })],
    [
      'TOO_FEW_RECEIPTS',
      'receipts of one organisation only',
      (record) => ({
        ...record,
        receipts: record.receipts.slice(0, 1),
      }),
    ],
    [
      'WRONG_RECEIPT',
      'the same receipt twice',
      (record) => ({
        ...record,
        receipts: [...record.receipts, ...record.receipts.slice(0, 1)],
      }),
    ],
    [
      'WRONG_RECEIPT',
      'a receipt of its own organisation',
      (record, consortium) => ({
        ...record,
        receipts: [...record.receipts, consortium.receipt(record.fileId, orgName(1), 5, [0])],
      }),
    ],
    [
      'WRONG_RECEIPT',
      'a receipt of a stranger',
      (record, consortium) => ({
        ...record,
        receipts: [...record.receipts, consortium.receipt(record.fileId, orgName(9), 5, [0])],
      }),
    ],
    [
      'WRONG_RECEIPT',
      'a receipt for another file',
      (record, consortium) => ({
        ...record,
        receipts: [...record.receipts, consortium.receipt('22'.repeat(32), orgName(2), 5, [0])],
      }),
    ],
    [
      'WRONG_RECEIPT',
      'a receipt under another epoch',
      (record, consortium) => ({
        ...record,
        receipts: [
          ...record.receipts,
          consortium.receipt(record.fileId, orgName(2), 5, [0], { epoch: 2 }),
        ],
      }),
    ],
    [
      'WRONG_RECEIPT',
      'a receipt of another channel',
      (record, consortium) => ({
        ...record,
        receipts: [
          ...record.receipts,
          consortium.receipt(record.fileId, orgName(2), 5, [0], { channel: 'other' }),
        ],
      }),
    ],
    [
      'WRONG_RECEIPT',
      'a receipt for another number of chunks',
      (record, consortium) => ({
        ...record,
        receipts: [...record.receipts, consortium.receipt(record.fileId, orgName(2), 6, [0])],
      }),
    ],
    [
      'WRONG_RECEIPT',
      'a receipt by a peer that is not registered',
      (record, consortium) => ({
        ...record,
        receipts: [
          ...record.receipts,
          consortium.receipt(record.fileId, orgName(2), 5, [0], { peer: 'b' }),
        ],
      }),
    ],
    [
      'BAD_SIGNATURE',
      'a receipt with a changed signature',
      (record) => ({
        ...record,
        receipts: record.receipts.map((one, i) =>
          i === 1 ? { ...one, signature: (record.receipts[0] ?? one).signature } : one,
        ),
      }),
    ],
    [
      'BAD_SIGNATURE',
      'a receipt in another organisation’s name',
      (record) => ({
        ...record,
        receipts: record.receipts.map((one) => ({ ...one, mspId: orgName(4) })),
      }),
    ],
    [
      'MALFORMED',
      'a receipt that is no CBOR',
      (record) => ({
        ...record,
        receipts: record.receipts.map((one) => ({ ...one, receipt: toBase64(utf8('xx')) })),
      }),
    ],
    [
      'WRONG_DEALING',
      'a dealing of another file',
      (record) => ({
        ...record,
        dealing: { ...record.dealing, fileId: '11'.repeat(32) },
      }),
    ],
    [
      'WRONG_DEALING',
      'holders that the source likes better',
      (record) => ({
        ...record,
        dealing: { ...record.dealing, holders: record.dealing.holders.toReversed() },
      }),
    ],
    [
      'BAD_PROOF',
      'a dealing whose root is another',
      (record) => ({
        ...record,
        dealing: { ...record.dealing, merkleRoot: '11'.repeat(32) },
      }),
    ],
    [
      'WRONG_DEALING',
      'a threshold that is not the policy’s',
      (record) => ({
        ...record,
        dealing: { ...record.dealing, k: 3 },
      }),
    ],
  ])('refuses with %s %s', async (code, _, change) => {
    const consortium = await new TrialConsortium().found();
    const { record } = await consortium.file();
    const { fabric } = consortium;
    await expect(fabric.submit(agentOf(1), NAME, change(record, consortium))).rejects.toThrow(
      new RegExp(`^${code}: `),
    );
    await fabric.submit(agentOf(1), NAME, record);
  });

  it('takes records of members’ agents only, each for its own gateways', async () => {
    const consortium = await new TrialConsortium().found();
    const { record } = await consortium.file();
    const { fabric } = consortium;
    for (const caller of [AUDITOR, agentOf(2), { mspId: orgName(1), role: 'admin' }]) {
      await expect(fabric.submit(caller, NAME, record)).rejects.toThrow(/^NOT_ALLOWED: /);
    }
  });

  it('records a run of one chain at once, all of it or nothing', async () => {
    const consortium = await new TrialConsortium().found();
    const { fabric } = consortium;
    const files = [await consortium.file(), await consortium.file(), await consortium.file()];
    const records = files.map(({ record }) => record);
    const many = (given: readonly RecordInput[]) =>
      fabric.submit(agentOf(1), 'ledger/records:RecordMany', { records: given });
    await expect(many(records.toReversed())).rejects.toThrow(/^WRONG_CHAIN: /);
    const broken = records.map((one, i) => (i === 2 ? { ...one, seq: 7 } : one));
    await expect(many(broken)).rejects.toThrow(/^WRONG_CHAIN: /);
    const [first] = records;
    const same = records.map((one, i) =>
      i === 1 ? { ...one, fileId: first?.fileId ?? '', dealing: one.dealing } : one,
    );
    await expect(many(same)).rejects.toThrow(/^ALREADY_EXISTS: /);
    const { simulation } = await many(records);
    expect(simulation.scanned).toBe(false);
    expect(fabric.events.at(-1)?.payload).toEqual({
      files: records.map(({ fileId, dealing }) => ({ fileId, holders: dealing.holders })),
    });
    const chain = { source: orgName(1), gateway: 'gateway-1' };
    expect(await fabric.evaluate(agentOf(2), 'ledger/records:GetChain', chain)).toEqual({
      seq: 3,
      fileId: records[2]?.fileId,
    });
  });

  it('goes on after a file that was given up', async () => {
    const consortium = await new TrialConsortium().found();
    const { fabric } = consortium;
    const [lost, next] = [await consortium.file(), await consortium.file()];
    const { fileId, gateway, seq, previous } = lost.record;
    const input = { fileId, gateway, seq, previous, reason: 'disk lost' };
    await expect(fabric.submit(agentOf(2), 'ledger/records:Void', input)).rejects.toThrow(
      /^NOT_ALLOWED: /,
    );
    await fabric.submit(agentOf(1), 'ledger/records:Void', input);
    const again = { ...lost.record, seq: 2, previous: fileId };
    await expect(fabric.submit(agentOf(1), NAME, again)).rejects.toThrow(/^ALREADY_EXISTS: /);
    await fabric.submit(agentOf(1), NAME, next.record);
    const found = await fabric.evaluate(AUDITOR, 'ledger/records:GetRecord', { fileId });
    expect([found?.void, found?.available, found?.seq]).toEqual(['disk lost', false, 1]);
    await expect(
      fabric.submit(agentOf(2), 'ledger/audits:Confirm', { fileIds: [fileId] }),
    ).rejects.toThrow(/^NOT_FOUND: /);
  });

  it('records under the previous epoch, but not under the one before', async () => {
    const consortium = await new TrialConsortium().found();
    const { fabric } = consortium;
    const [first, second] = [await consortium.file(), await consortium.file()];
    const weights = { Org1MSP: 1, Org2MSP: 1, Org3MSP: 1, Org4MSP: 1 };
    await fabric.submit(agentOf(2), 'ledger/consortium:OpenEpoch', { epoch: 2, weights });
    await fabric.submit(agentOf(1), NAME, first.record);
    await fabric.submit(agentOf(3), 'ledger/consortium:OpenEpoch', { epoch: 3, weights });
    await expect(fabric.submit(agentOf(1), NAME, second.record)).rejects.toThrow(/^WRONG_EPOCH: /);
  });

  it('asks for no more receipts than owners can exist', async () => {
    const policy = { ...POLICY, k: 2, n: 2, receiptsMin: 3, approvals: 1 };
    const consortium = await new TrialConsortium(2, policy).found();
    const { record } = await consortium.file();
    expect(new Set(record.receipts.map(({ mspId }) => mspId)).size).toBe(2);
    await consortium.fabric.submit(agentOf(1), NAME, record);
  });

  it('appends late receipts by the source or by their owner, and shows them', async () => {
    const consortium = await new TrialConsortium().found();
    const { fabric } = consortium;
    const { record } = await consortium.file();
    await fabric.submit(agentOf(1), NAME, record);
    const { fileId } = record;
    const late = consortium.receipt(fileId, orgName(2), 5, [0, 1]);
    const append = (number: number) =>
      fabric.submit(agentOf(number), 'ledger/records:AppendReceipts', { fileId, receipts: [late] });
    await expect(append(3)).rejects.toThrow(/^NOT_ALLOWED: /);
    const { simulation } = await append(2);
    expect(simulation.scanned).toBe(false);
    await append(1);
    const found = await fabric.evaluate(AUDITOR, 'ledger/records:GetRecord', { fileId });
    expect(found?.receipts).toEqual([...record.receipts, late]);
  });

  it('records a replacement under a recent epoch, with receipts for that epoch', async () => {
    const consortium = await new TrialConsortium().found();
    const { fabric } = consortium;
    const { record } = await consortium.file();
    await fabric.submit(agentOf(1), NAME, record);
    const { fileId } = record;
    const weights = { Org1MSP: 1, Org2MSP: 1, Org3MSP: 1 };
    await fabric.submit(agentOf(4), 'ledger/consortium:OpenEpoch', { epoch: 2, weights });
    const replace = (receiptEpoch: number, epoch = 2) =>
      fabric.submit(agentOf(3), 'ledger/records:RecordReplacement', {
        fileId,
        epoch,
        receipts: [consortium.receipt(fileId, orgName(2), 5, [3], { epoch: receiptEpoch })],
        detail: record.masterTable,
      });
    await expect(replace(1)).rejects.toThrow(/^WRONG_RECEIPT: /);
    await expect(replace(4, 4)).rejects.toThrow(/^WRONG_EPOCH: /);
    await replace(2);
    const found = await fabric.evaluate(AUDITOR, 'ledger/records:GetRecord', { fileId });
    expect(found?.replacements.map(({ by, epoch }) => [by, epoch])).toEqual([[orgName(3), 2]]);
  });

  it('anchors grow only', async () => {
    const { fabric } = await new TrialConsortium().found();
    const anchor = (count: number, batch: number, head = '33') =>
      fabric.submit(agentOf(1), 'ledger/records:Anchor', {
        gateway: 'gateway-1',
        batch,
        count,
        head: head.repeat(32),
      });
    const where = { source: orgName(1), gateway: 'gateway-1' };
    expect(await fabric.evaluate(AUDITOR, 'ledger/records:GetAnchor', where)).toBeNull();
    await anchor(10, 1);
    const { simulation } = await anchor(10, 1);
    expect(simulation.writes.size).toBe(0);
    await expect(anchor(10, 1, '44')).rejects.toThrow(/^WRONG_CHAIN: /);
    await expect(anchor(9, 1)).rejects.toThrow(/^WRONG_CHAIN: /);
    await expect(anchor(11, 0)).rejects.toThrow(/^WRONG_CHAIN: /);
    await anchor(11, 1);
    const found = await fabric.evaluate(AUDITOR, 'ledger/records:GetAnchor', where);
    expect(found?.count).toBe(11);
  });

  it('keep every head by its count, in pages, so that a later change does not fit any more', async () => {
    const { fabric } = await new TrialConsortium().found();
    const counts = [2, 9, 10, 100];
    for (const count of counts) {
      const head = String(count).padStart(64, '0');
      const input = { gateway: 'gateway-1', batch: 1, count, head };
      await fabric.submit(agentOf(1), 'ledger/records:Anchor', input);
    }
    const list = (fromCount: number, limit: number) =>
      fabric.evaluate(AUDITOR, 'ledger/records:ListAnchors', {
        ...{ source: orgName(1), gateway: 'gateway-1' },
        ...{ fromCount, limit },
      });
    const first = await list(0, 3);
    expect(first.anchors.map(({ count, head }) => [count, Number(head)])).toEqual([
      [2, 2],
      [9, 9],
      [10, 10],
    ]);
    const rest = await list(first.nextCount ?? 0, 3);
    expect([rest.anchors.map(({ count }) => count), rest.nextCount]).toEqual([[100], null]);
    expect((await list(101, 3)).anchors).toEqual([]);
  });

  it('lists a source’s files by time, in pages, each once', async () => {
    const consortium = await new TrialConsortium().found();
    const { fabric } = consortium;
    const ids: string[] = [];
    for (let i = 0; i < 5; i++) {
      const { record } = await consortium.file();
      await fabric.submit(agentOf(1), NAME, record);
      ids.push(record.fileId);
    }
    const range = { source: orgName(1), fromMs: 0, toMs: fabric.timeMs + 1, limit: 2 };
    const pages: string[][] = [];
    let bookmark = '';
    do {
      const page = await fabric.evaluate(AUDITOR, 'ledger/records:ListRecords', {
        ...range,
        bookmark,
      });
      pages.push(page.files.map(({ fileId }) => fileId));
      bookmark = page.bookmark;
    } while (bookmark !== '');
    expect(pages.map((page) => page.length)).toEqual([2, 2, 1]);
    expect(pages.flat()).toEqual(ids);
    const [, second, third] = await Promise.all(
      ids.map((fileId) => fabric.evaluate(AUDITOR, 'ledger/records:GetRecord', { fileId })),
    );
    const middle = await fabric.evaluate(AUDITOR, 'ledger/records:ListRecords', {
      ...range,
      fromMs: second?.timeMs ?? 0,
      toMs: third?.timeMs ?? 0,
      bookmark: '',
    });
    expect(middle.files.map(({ fileId }) => fileId)).toEqual([ids[1]]);
  });

  it('lists with one range read, however many files and late receipts there are', async () => {
    const consortium = await new TrialConsortium().found();
    const { fabric } = consortium;
    for (let i = 0; i < 3; i++) {
      const { record } = await consortium.recorded();
      const { fileId } = record;
      const receipts = [consortium.receipt(fileId, orgName(2), 5, [0])];
      await fabric.submit(agentOf(2), 'ledger/records:AppendReceipts', { fileId, receipts });
    }
    const argument = { source: orgName(1), fromMs: 0, toMs: fabric.timeMs, limit: 9, bookmark: '' };
    const done = await fabric.simulate(
      AUDITOR,
      'ledger/records:ListRecords',
      JSON.stringify(argument),
      {},
    );
    const { files } = JSON.parse(done.payload.toString()) as ListResult;
    expect([done.rangeCount, files.length]).toEqual([1, 3]);
    expect(files.map(({ available }) => available)).toEqual([true, true, true]);
  });

  it('starts every chain at seq 0 and zeros', async () => {
    const { fabric } = await new TrialConsortium().found();
    const where = { source: orgName(2), gateway: 'none' };
    expect(await fabric.evaluate(AUDITOR, 'ledger/records:GetChain', where)).toEqual({
      seq: 0,
      fileId: CHAIN_ROOT,
    });
  });
});
