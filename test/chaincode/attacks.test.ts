/**
 * What a dishonest organisation tries with an honest majority of endorsers: every transaction here
 * is well formed and properly signed, by somebody who must not succeed with it.
 */
import { fromBase64 } from '@blocktorrent/protocol/bytes.ts';
import { verifyShard } from '@blocktorrent/protocol/dealing.ts';
import { type Dealing, shardName } from '@blocktorrent/protocol/ledger-api.ts';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import { CHAIN_ROOT } from '@blocktorrent/protocol/manifest.ts';
import { describe, expect, it } from 'vitest';
import { AUDITOR, agentOf, orgName, POLICY, TrialConsortium } from '../support/consortium.ts';
import { decide, enact, propose, readProposal, voteOn } from '../support/decisions.ts';

const RECORD = 'ledger/records:Record';
const founded = (organisations = 4) => new TrialConsortium(organisations).found();
const remove = (number: number) => ({ kind: 'remove', mspId: orgName(number) }) as const;
const policyWith = (change: Partial<typeof POLICY>) =>
  ({ kind: 'policy', policy: { ...POLICY, ...change } }) as const;

/** Text of the refusal of a raw argument. */
async function refusal(
  { fabric }: TrialConsortium,
  caller: { mspId: string; role: string | null },
  name: string,
  argument: object,
): Promise<string> {
  const done = await fabric.simulate(caller, name, JSON.stringify(argument), {});
  expect(done.status).toBe(500);
  return done.message;
}

describe('votes', () => {
  it('cannot be cast in another’s name', async () => {
    const consortium = await founded();
    const proposalId = await propose(consortium, remove(4));
    const vote = { proposalId, approve: true, reason: '', mspId: orgName(2) };
    expect(await refusal(consortium, agentOf(1), 'ledger/consortium:VoteOn', vote)).toMatch(
      /^BAD_ARGUMENT: argument: unknown field "mspId"/,
    );
    await voteOn(consortium, proposalId, 1);
    const { votes } = await readProposal(consortium, proposalId);
    expect(votes.map(({ mspId }) => mspId)).toEqual([orgName(1)]);
  });

  it('count once, however often they are cast', async () => {
    const consortium = await founded();
    const id = await propose(consortium, remove(4));
    await voteOn(consortium, id, 1);
    for (const approve of [true, false]) {
      await expect(voteOn(consortium, id, 1, approve)).rejects.toThrow(/^ALREADY_EXISTS: /);
    }
    await expect(enact(consortium, id)).rejects.toThrow(/^NOT_APPROVED: .* 1 of 2/);
  });

  it('are for members: no auditor, no stranger, no identity without a role', async () => {
    const consortium = await founded();
    const proposalId = await propose(consortium, remove(4));
    const vote = { proposalId, approve: true, reason: '' };
    for (const caller of [AUDITOR, agentOf(9), { mspId: orgName(1), role: null }]) {
      expect(await refusal(consortium, caller, 'ledger/consortium:VoteOn', vote)).toMatch(
        /^NOT_ALLOWED: /,
      );
    }
  });

  it('are not for the one that they are about, nor is enacting', async () => {
    const consortium = await founded();
    const id = await propose(consortium, remove(4), 4);
    await expect(voteOn(consortium, id, 4, false)).rejects.toThrow(/^NOT_ALLOWED: /);
    for (const voter of [1, 2]) await voteOn(consortium, id, voter);
    await expect(enact(consortium, id, 4)).rejects.toThrow(/^NOT_ALLOWED: /);
    await enact(consortium, id, 1);
  });

  it('of a member that was removed since no longer count', async () => {
    const consortium = await founded(6);
    const id = await propose(consortium, policyWith({ approvals: 1 }));
    for (const voter of [1, 5, 6]) await voteOn(consortium, id, voter);
    await voteOn(consortium, id, 2);
    expect((await readProposal(consortium, id)).state).toBe('accepted');
    await decide(consortium, remove(6), [1, 2, 3]);
    await decide(consortium, remove(5), [1, 2, 3]);
    const { state, votes, needed } = await readProposal(consortium, id);
    expect([state, votes.map(({ mspId }) => mspId), needed]).toEqual([
      'open',
      [orgName(1), orgName(2)],
      3,
    ]);
    await expect(enact(consortium, id)).rejects.toThrow(/^NOT_APPROVED: .* 2 of 3/);
    await expect(voteOn(consortium, id, 6)).rejects.toThrow(/^NOT_ALLOWED: /);
  });

  it('on an audit are not for a member that was removed', async () => {
    const consortium = await founded(5);
    const { fabric } = consortium;
    const { record } = await consortium.recorded();
    const { result } = await fabric.submit(AUDITOR, 'ledger/audits:Request', {
      ...{ fileIds: [record.fileId], reason: 'x', expiresAtMs: fabric.timeMs + 3_600_000 },
      recipients: consortium.recipients(),
    });
    await decide(consortium, remove(5), [1, 2, 3]);
    const vote = { ...result, approve: true, reason: '' };
    expect(await refusal(consortium, agentOf(5), 'ledger/audits:Vote', vote)).toMatch(
      /^NOT_ALLOWED: /,
    );
  });
});

describe('decisions', () => {
  it('are not enacted without a majority, not even by half of the members', async () => {
    const consortium = await founded();
    const id = await propose(consortium, policyWith({ approvals: 1 }));
    for (const voter of [1, 2]) await voteOn(consortium, id, voter);
    await expect(enact(consortium, id)).rejects.toThrow(/^NOT_APPROVED: .* 2 of 3/);
  });

  it('are not repeated', async () => {
    const consortium = await founded(5);
    const member = { mspId: orgName(5), name: 'x', weight: 1, overlayRoots: ['PEM'] };
    await consortium.fabric.submit(agentOf(5), 'ledger/consortium:Leave', {});
    const id = await decide(consortium, { kind: 'join', member }, [1, 2, 3]);
    await consortium.fabric.submit(agentOf(5), 'ledger/consortium:Leave', {});
    await expect(enact(consortium, id)).rejects.toThrow(/^NOT_OPEN: /);
  });

  it('are not made by one member in any other way', async () => {
    const consortium = await founded();
    const attempts: [string, object, RegExp][] = [
      [
        'Found',
        { members: [], auditors: [], policy: { ...POLICY, approvals: 1 } },
        /^BAD_ARGUMENT: /,
      ],
      ['OpenEpoch', { epoch: 2, weights: { Org1MSP: 1, Org2MSP: 1 } }, /^NOT_ALLOWED: .*propose/],
      [
        'OpenEpoch',
        { epoch: 2, weights: { Org1MSP: 1, Org2MSP: 9, Org3MSP: 1, Org4MSP: 1 } },
        /^NOT_ALLOWED: .*propose/,
      ],
      ['SetPolicy', policyWith({ approvals: 1 }), /^NOT_FOUND: no transaction/],
      ['Enact', { proposalId: '00'.repeat(32) }, /^NOT_FOUND: /],
    ];
    for (const [name, argument, expected] of attempts) {
      const full = `ledger/consortium:${name}`;
      expect(await refusal(consortium, agentOf(1), full, argument)).toMatch(expected);
    }
  });

  it('are not prepared by a member that was removed, nor carried out by it', async () => {
    const consortium = await founded(5);
    const { fabric } = consortium;
    const id = await propose(consortium, policyWith({ approvals: 3 }));
    for (const voter of [1, 2, 3]) await voteOn(consortium, id, voter);
    await decide(consortium, remove(5), [1, 2, 3]);
    await expect(enact(consortium, id, 5)).rejects.toThrow(/^NOT_ALLOWED: /);
    await expect(propose(consortium, remove(1), 5)).rejects.toThrow(/^NOT_ALLOWED: /);
    for (const [name, argument] of [
      ['consortium:Leave', {}],
      ['consortium:OpenEpoch', { epoch: 3, weights: { Org1MSP: 1, Org2MSP: 1 } }],
      ['audits:DrawInspection', { fromMs: 0, toMs: fabric.timeMs }],
      ['audits:Confirm', { fileIds: ['00'.repeat(32)] }],
    ] as const) {
      expect(await refusal(consortium, agentOf(5), `ledger/${name}`, argument)).toMatch(
        /^NOT_ALLOWED: /,
      );
    }
  });

  it('cannot be outrun by epochs that one member opens one after another', async () => {
    const consortium = await founded();
    const { fabric } = consortium;
    const { record } = await consortium.file();
    const open = (epoch: number) =>
      fabric.submit(agentOf(2), 'ledger/consortium:OpenEpoch', {
        ...{ epoch, weights: { Org1MSP: 1, Org2MSP: epoch, Org3MSP: 1, Org4MSP: 1 } },
      });
    await open(2);
    await expect(open(3)).rejects.toThrow(/^NOT_ALLOWED: .* again after/);
    await fabric.submit(agentOf(1), RECORD, record);
    fabric.timeMs += LIMITS.ownEpochPauseMs;
    await open(3);
  });
});

describe('confirmations and releases', () => {
  it('cannot be made in another’s name', async () => {
    const consortium = await founded(5);
    const { fabric } = consortium;
    const { record, dealing } = await consortium.file();
    await fabric.submit(agentOf(1), RECORD, record);
    const fileIds = [record.fileId];
    const stranger = [2, 3, 4, 5].find((one) => !dealing.holders.includes(orgName(one))) ?? 0;
    const confirm = 'ledger/audits:Confirm';
    expect(await refusal(consortium, agentOf(stranger), confirm, { fileIds })).toMatch(
      /^NOT_HOLDER: /,
    );
    const named = { fileIds, mspId: dealing.holders[0] };
    expect(await refusal(consortium, agentOf(stranger), confirm, named)).toMatch(
      /^BAD_ARGUMENT: argument: unknown field/,
    );
    const found = await fabric.evaluate(AUDITOR, 'ledger/records:GetRecord', {
      fileId: record.fileId,
    });
    expect(found?.confirmedBy).toEqual([]);
  });
});

describe('receipts', () => {
  it('cannot be signed for another organisation', async () => {
    const consortium = await founded();
    const { record } = await consortium.file();
    const { fileId } = record;
    const forged = record.receipts.map(({ mspId }) => ({
      ...consortium.receipt(fileId, orgName(1), 5, [0, 1, 2, 3, 4], { owner: mspId }),
      mspId,
    }));
    const message = await refusal(consortium, agentOf(1), RECORD, { ...record, receipts: forged });
    expect(message).toMatch(/^BAD_SIGNATURE: receipt 0: /);
  });

  it('cannot be crowded out by one owner that appends many', async () => {
    const consortium = await founded();
    const { fabric } = consortium;
    const { record } = await consortium.file();
    await fabric.submit(agentOf(1), RECORD, record);
    const { fileId } = record;
    const append = (owner: string, count: number) =>
      fabric.submit({ mspId: owner, role: 'agent' }, 'ledger/records:AppendReceipts', {
        fileId,
        receipts: Array.from({ length: count }, () => consortium.receipt(fileId, owner, 5, [0])),
      });
    await append(orgName(2), LIMITS.lateReceiptsPerOwnerMax + 20);
    await append(orgName(3), 2);
    const found = await fabric.evaluate(AUDITOR, 'ledger/records:GetRecord', { fileId });
    const late = found?.receipts.slice(record.receipts.length).map(({ mspId }) => mspId) ?? [];
    expect(late.filter((mspId) => mspId === orgName(2))).toHaveLength(8);
    expect(late.filter((mspId) => mspId === orgName(3))).toHaveLength(2);
  });

  it('of a replacement cannot be hidden behind those of one member', async () => {
    const consortium = await founded();
    const { fabric } = consortium;
    const { record } = await consortium.file();
    await fabric.submit(agentOf(1), RECORD, record);
    const { fileId } = record;
    const replace = (by: number) =>
      fabric.submit(agentOf(by), 'ledger/records:RecordReplacement', {
        ...{ fileId, epoch: 1, detail: record.masterTable },
        receipts: [consortium.receipt(fileId, orgName(by), 5, [0])],
      });
    for (let i = 0; i < LIMITS.replacementsPerMemberMax + 2; i++) await replace(2);
    await replace(4);
    const found = await fabric.evaluate(AUDITOR, 'ledger/records:GetRecord', { fileId });
    const by = found?.replacements.map((one) => one.by) ?? [];
    expect([by.length, by.at(-1)]).toEqual([LIMITS.replacementsPerMemberMax + 1, orgName(4)]);
  });
});

describe('records', () => {
  it('cannot be made in another’s chain', async () => {
    const consortium = await founded();
    const { record } = await consortium.file();
    await consortium.register(orgName(2), 'gateway-2', ['ingest']);
    expect(await refusal(consortium, agentOf(2), RECORD, record)).toMatch(/^NOT_ALLOWED: /);
    const named = { ...record, source: orgName(1) };
    expect(await refusal(consortium, agentOf(2), RECORD, named)).toMatch(/^BAD_ARGUMENT: /);
  });

  it('cannot be made of another’s file with that file’s receipts', async () => {
    const consortium = await founded(5);
    const { record } = await consortium.file();
    await consortium.register(orgName(2), 'gateway-2', ['ingest']);
    const receipts = record.receipts.filter(({ mspId }) => mspId !== orgName(2));
    const stolen = { ...record, gateway: 'gateway-2', seq: 1, previous: CHAIN_ROOT, receipts };
    expect(await refusal(consortium, agentOf(2), RECORD, stolen)).toMatch(
      /^WRONG_RECEIPT: receipt 0: expected source Org2MSP, got Org1MSP/,
    );
    await consortium.fabric.submit(agentOf(1), RECORD, record);
  });

  it('cannot be prevented by giving up another’s file', async () => {
    const consortium = await founded();
    const { fabric } = consortium;
    const { record } = await consortium.file();
    await consortium.register(orgName(2), 'gateway-2', ['ingest']);
    const { fileId } = record;
    await fabric.submit(agentOf(2), 'ledger/records:Void', {
      ...{ fileId, gateway: 'gateway-2', seq: 1, previous: CHAIN_ROOT, reason: 'mine' },
    });
    await fabric.submit(agentOf(1), RECORD, record);
    const found = await fabric.evaluate(AUDITOR, 'ledger/records:GetRecord', { fileId });
    expect([found?.source, found?.void]).toEqual([orgName(1), null]);
  });

  it('cannot be given up afterwards, by nobody', async () => {
    const consortium = await founded();
    const { fabric } = consortium;
    const { record } = await consortium.file();
    await fabric.submit(agentOf(1), RECORD, record);
    await consortium.register(orgName(2), 'gateway-2', ['ingest']);
    const { fileId } = record;
    const give = (gateway: string, seq: number, previous: string) => ({
      fileId,
      gateway,
      seq,
      previous,
      reason: 'x',
    });
    for (const [caller, input] of [
      [agentOf(1), give('gateway-1', 2, fileId)],
      [agentOf(2), give('gateway-2', 1, CHAIN_ROOT)],
    ] as const) {
      expect(await refusal(consortium, caller, 'ledger/records:Void', input)).toMatch(
        /^ALREADY_EXISTS: /,
      );
    }
  });

  it('take no older deposit’s dealing', async () => {
    const consortium = await founded();
    const old = await consortium.recorded();
    const { record } = await consortium.file();
    const replayed = { ...record, dealing: old.dealing };
    expect(await refusal(consortium, agentOf(1), RECORD, replayed)).toMatch(
      /^WRONG_DEALING: dealing.fileId/,
    );
  });

  it('with an older deposit’s dealing rewritten for the file get no confirmation', async () => {
    const consortium = await founded();
    const { fabric } = consortium;
    const old = await consortium.recorded();
    const { record } = await consortium.file();
    const { fileId } = record;
    const { holders } = record.dealing;
    const dealing: Dealing = { ...old.dealing, fileId, holders };
    const forged = { ...record, dealing, recipient: dealing.recipient };
    await fabric.submit(agentOf(1), RECORD, forged);
    for (const [i, holder] of old.dealing.holders.entries()) {
      const caller = { mspId: holder, role: 'agent' };
      const found = await fabric.evaluate(caller, 'keys/keys:GetShard', {
        depositTx: dealing.depositTx,
        index: i + 1,
      });
      const shard = fromBase64(found?.shard ?? '');
      expect(shard.length, shardName(dealing.depositTx, i + 1)).toBeGreaterThan(0);
      expect(() => verifyShard(shard, i + 1, dealing)).toThrow();
    }
    const found = await fabric.evaluate(AUDITOR, 'ledger/records:GetRecord', { fileId });
    expect(found?.available).toBe(false);
  });
});

describe('anchors', () => {
  it('cannot be taken back or rewritten, nor made for another’s gateway', async () => {
    const consortium = await founded();
    const anchor = (count: number, head: string) => ({
      ...{ gateway: 'gateway-1', batch: 3, count, head: head.repeat(32) },
    });
    const name = 'ledger/records:Anchor';
    await consortium.fabric.submit(agentOf(1), name, anchor(10, '11'));
    for (const forged of [anchor(10, '22'), anchor(9, '22'), { ...anchor(11, '22'), batch: 2 }]) {
      expect(await refusal(consortium, agentOf(1), name, forged)).toMatch(/^WRONG_CHAIN: /);
    }
    expect(await refusal(consortium, agentOf(2), name, anchor(11, '22'))).toMatch(/^NOT_ALLOWED: /);
  });
});

describe('audits', () => {
  it('are not approved by the votes of the source or by fewer than the policy asks for', async () => {
    const consortium = await founded();
    const { fabric } = consortium;
    const { record } = await consortium.recorded();
    const { result } = await fabric.submit(AUDITOR, 'ledger/audits:Request', {
      ...{ fileIds: [record.fileId], reason: 'x', expiresAtMs: fabric.timeMs + 3_600_000 },
      recipients: consortium.recipients(),
    });
    const vote = { ...result, approve: true, reason: '' };
    expect(await refusal(consortium, agentOf(1), 'ledger/audits:Vote', vote)).toMatch(
      /^NOT_ALLOWED: /,
    );
    await fabric.submit(agentOf(2), 'ledger/audits:Vote', vote);
    const release = { ...result, shards: record.masterTable };
    expect(await refusal(consortium, agentOf(3), 'ledger/audits:Release', release)).toMatch(
      /^NOT_APPROVED: .* 1 of 2/,
    );
  });

  it('go on without a holder that has left', async () => {
    const consortium = await founded(5);
    const { fabric } = consortium;
    const { record, dealing } = await consortium.recorded();
    const [gone = ''] = dealing.holders;
    await fabric.submit({ mspId: gone, role: 'agent' }, 'ledger/consortium:Leave', {});
    const ask = (recipients: Record<string, string>) =>
      fabric.submit(AUDITOR, 'ledger/audits:Request', {
        ...{ fileIds: [record.fileId], reason: 'x', expiresAtMs: fabric.timeMs + 1000 },
        recipients,
      });
    const all = consortium.recipients();
    const { [gone]: _, ...present } = all;
    await ask(present);
    await ask(all);
  });
});
