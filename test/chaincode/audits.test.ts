import { encrypt } from '@blocktorrent/protocol/age.ts';
import { toBase64, utf8 } from '@blocktorrent/protocol/bytes.ts';
import { describe, expect, it } from 'vitest';
import {
  AUDITOR,
  agentOf,
  orgName,
  TrialConsortium,
  type TrialFile,
} from '../support/consortium.ts';

/** A consortium with one recorded file of Org1 and an open request for it. */
async function requested(): Promise<{
  consortium: TrialConsortium;
  file: TrialFile;
  requestId: string;
  recipients: Record<string, string>;
}> {
  const consortium = await new TrialConsortium().found();
  const file = await consortium.recorded();
  const recipients = consortium.recipients();
  const { result } = await consortium.fabric.submit(AUDITOR, 'ledger/audits:Request', {
    fileIds: [file.record.fileId],
    reason: 'spoiled goods',
    expiresAtMs: consortium.fabric.timeMs + 3_600_000,
    recipients,
  });
  return { consortium, file, requestId: result.requestId, recipients };
}

const vote = (consortium: TrialConsortium, number: number, requestId: string, approve = true) =>
  consortium.fabric.submit(agentOf(number), 'ledger/audits:Vote', {
    requestId,
    approve,
    reason: '',
  });

const stateOf = async (consortium: TrialConsortium, requestId: string) =>
  (await consortium.fabric.evaluate(AUDITOR, 'ledger/audits:GetRequest', { requestId }))?.state;

const release = (consortium: TrialConsortium, number: number, requestId: string, to: string) =>
  consortium.fabric.submit(agentOf(number), 'ledger/audits:Release', {
    requestId,
    shards: toBase64(encrypt(utf8('{}'), [to], consortium.random.bytes)),
  });

describe('confirming shards', () => {
  it('makes a file available with k + 1 confirmations of holders', async () => {
    const consortium = await new TrialConsortium(6, {
      k: 2,
      n: 4,
      replicas: 3,
      receiptsMin: 2,
      approvals: 2,
      auditExpiryMsMax: 1000,
      scheme: 'shamir-gf256',
    }).found();
    const { fabric } = consortium;
    const { record, dealing } = await consortium.file();
    await fabric.submit(agentOf(1), 'ledger/records:Record', record);
    const { fileId } = record;
    const available: boolean[] = [];
    for (const holder of dealing.holders) {
      await fabric.submit({ mspId: holder, role: 'agent' }, 'ledger/audits:Confirm', {
        fileIds: [fileId],
      });
      const found = await fabric.evaluate(AUDITOR, 'ledger/records:GetRecord', { fileId });
      available.push(found?.available ?? false);
    }
    expect(available).toEqual([false, false, true, true]);
  });

  it('takes many at once from a holder, repeats harmlessly, and refuses others', async () => {
    const consortium = await new TrialConsortium().found();
    const { fabric } = consortium;
    const files = [await consortium.file(), await consortium.file()];
    const records = files.map(({ record }) => record);
    await fabric.submit(agentOf(1), 'ledger/records:RecordMany', { records });
    const fileIds = records.map(({ fileId }) => fileId);
    const confirm = (number: number) =>
      fabric.submit(agentOf(number), 'ledger/audits:Confirm', { fileIds });
    await expect(confirm(1)).rejects.toThrow(/^NOT_HOLDER: /);
    await confirm(2);
    expect(fabric.events.at(-1)).toEqual({
      name: 'confirmed',
      payload: { fileIds, mspId: orgName(2) },
    });
    const { simulation } = await confirm(2);
    expect([simulation.writes.size, simulation.event]).toEqual([0, null]);
    await expect(
      fabric.submit(agentOf(2), 'ledger/audits:Confirm', { fileIds: ['44'.repeat(32)] }),
    ).rejects.toThrow(/^NOT_FOUND: /);
  });
});

describe('asking for an audit', () => {
  it('opens a request with a frozen list of files', async () => {
    const { consortium, file, requestId, recipients } = await requested();
    const request = await consortium.fabric.evaluate(agentOf(2), 'ledger/audits:GetRequest', {
      requestId,
    });
    expect(request).toEqual({
      requestId,
      fileIds: [file.record.fileId],
      reason: 'spoiled goods',
      expiresAtMs: expect.any(Number),
      recipients,
      auditor: AUDITOR.mspId,
      requestedAtMs: expect.any(Number),
      votes: [],
      releases: [],
      state: 'open',
      outcome: null,
    });
  });

  it('is for auditors, existing files, a bounded time and one fresh recipient a holder', async () => {
    const consortium = await new TrialConsortium().found();
    const { fabric } = consortium;
    const file = await consortium.recorded();
    const good = {
      fileIds: [file.record.fileId],
      reason: 'x',
      expiresAtMs: fabric.timeMs + 1000,
      recipients: consortium.recipients(),
    };
    const ask = (change: Partial<typeof good>, caller = AUDITOR) =>
      fabric.submit(caller, 'ledger/audits:Request', { ...good, ...change });
    await expect(ask({}, agentOf(2))).rejects.toThrow(/^NOT_ALLOWED: /);
    await expect(ask({}, { mspId: orgName(2), role: 'auditor' })).rejects.toThrow(/^NOT_ALLOWED: /);
    await expect(ask({ fileIds: ['55'.repeat(32)] })).rejects.toThrow(/^NOT_FOUND: /);
    await expect(ask({ expiresAtMs: fabric.timeMs })).rejects.toThrow(/^BAD_ARGUMENT: /);
    await expect(ask({ expiresAtMs: fabric.timeMs + 86_400_001 })).rejects.toThrow(
      /^BAD_ARGUMENT: /,
    );
    const [first, second = ''] = Object.values(good.recipients);
    await expect(ask({ recipients: { [orgName(2)]: second } })).rejects.toThrow(/has none/);
    await expect(
      ask({ recipients: { ...good.recipients, [orgName(2)]: first ?? '' } }),
    ).rejects.toThrow(/fresh one/);
    await expect(
      ask({ recipients: { ...good.recipients, [orgName(2)]: 'age1xyz' } }),
    ).rejects.toThrow(/^BAD_ARGUMENT: argument.recipients.Org2MSP/);
    await ask({});
  });

  it('is refused where too few organisations could vote', async () => {
    const consortium = await new TrialConsortium().found();
    const fileIds: string[] = [];
    for (const number of [1, 2, 3]) {
      if (number > 1) await consortium.register(orgName(number), 'gateway-1', ['ingest']);
      fileIds.push((await consortium.recorded(orgName(number))).record.fileId);
    }
    await expect(
      consortium.fabric.submit(AUDITOR, 'ledger/audits:Request', {
        fileIds,
        reason: 'x',
        expiresAtMs: consortium.fabric.timeMs + 1000,
        recipients: consortium.recipients(),
      }),
    ).rejects.toThrow(/^NOT_APPROVABLE: /);
  });
});

describe('voting', () => {
  it('approves with enough votes, one for each organisation that may', async () => {
    const { consortium, requestId } = await requested();
    await expect(vote(consortium, 1, requestId)).rejects.toThrow(/^NOT_ALLOWED: /);
    await expect(vote(consortium, 9, requestId)).rejects.toThrow(/^NOT_ALLOWED: /);
    await vote(consortium, 2, requestId);
    await expect(vote(consortium, 2, requestId)).rejects.toThrow(/^ALREADY_EXISTS: /);
    expect(await stateOf(consortium, requestId)).toBe('open');
    await vote(consortium, 3, requestId);
    expect(await stateOf(consortium, requestId)).toBe('approved');
    await vote(consortium, 4, requestId, false);
    expect(await stateOf(consortium, requestId)).toBe('approved');
  });

  it('denies once it cannot be approved any more', async () => {
    const { consortium, requestId } = await requested();
    await vote(consortium, 2, requestId, false);
    expect(await stateOf(consortium, requestId)).toBe('open');
    await vote(consortium, 3, requestId, false);
    expect(await stateOf(consortium, requestId)).toBe('denied');
  });

  it('ends when the request expires', async () => {
    const { consortium, requestId } = await requested();
    consortium.fabric.timeMs += 3_600_000;
    await expect(vote(consortium, 2, requestId)).rejects.toThrow(/^NOT_OPEN: .* expired/);
    expect(await stateOf(consortium, requestId)).toBe('expired');
  });

  it('of two organisations in one block does not clash', async () => {
    const { consortium, requestId } = await requested();
    const argument = JSON.stringify({ requestId, approve: true, reason: '' });
    const [a, b] = await Promise.all(
      [2, 3].map((one) =>
        consortium.fabric.simulate(agentOf(one), 'ledger/audits:Vote', argument, {}),
      ),
    );
    if (a === undefined || b === undefined) throw new Error('two simulations expected');
    expect([a.status, b.status]).toEqual([200, 200]);
    expect([...a.reads].filter((key) => b.writes.has(key))).toEqual([]);
    expect([...b.reads].filter((key) => a.writes.has(key))).toEqual([]);
    expect([...a.writes.keys()].filter((key) => b.writes.has(key))).toEqual([]);
  });
});

describe('releasing', () => {
  it('is for holders, once, and only while the request is approved and running', async () => {
    const { consortium, requestId, recipients } = await requested();
    const to = recipients[orgName(2)] ?? '';
    await expect(release(consortium, 2, requestId, to)).rejects.toThrow(/^NOT_APPROVED: .* 0 of 2/);
    await vote(consortium, 2, requestId);
    await vote(consortium, 3, requestId);
    await expect(release(consortium, 1, requestId, to)).rejects.toThrow(/^NOT_HOLDER: /);
    const { simulation } = await release(consortium, 2, requestId, to);
    expect(simulation.scanned).toBe(false);
    await expect(release(consortium, 2, requestId, to)).rejects.toThrow(/^ALREADY_EXISTS: /);
    const name = 'ledger/audits:GetRequest';
    const request = await consortium.fabric.evaluate(AUDITOR, name, { requestId });
    expect(request?.releases.map(({ mspId, shards }) => [mspId, shards.length > 100])).toEqual([
      [orgName(2), true],
    ]);
    const requests = await consortium.fabric.evaluate(AUDITOR, 'ledger/audits:ListRequests', {
      state: 'approved',
    });
    expect(requests[0]?.releases.map(({ shards }) => shards)).toEqual(['']);
    consortium.fabric.timeMs += 3_600_000;
    await expect(release(consortium, 3, requestId, to)).rejects.toThrow(/^NOT_OPEN: .* expired/);
  });

  it('takes nothing but an age file', async () => {
    const { consortium, requestId } = await requested();
    await expect(
      consortium.fabric.submit(agentOf(2), 'ledger/audits:Release', {
        requestId,
        shards: toBase64(utf8('a shard in the clear')),
      }),
    ).rejects.toThrow(/^BAD_ARGUMENT: argument.shards: expected an age v1 file/);
  });
});

describe('a holder that is silent past its time', () => {
  const failed = { ok: false, summary: 'too few shards', faults: [] };
  const closeWith = (consortium: TrialConsortium, requestId: string, outcome = failed) =>
    consortium.fabric.submit(AUDITOR, 'ledger/audits:Close', { requestId, outcome });
  const faultsOf = (consortium: TrialConsortium, mspId: string) =>
    consortium.fabric.evaluate(AUDITOR, 'ledger/consortium:ListFaults', { mspId });

  /** Approved by Org2 and Org3; of the holders Org2, Org3, Org4 only Org2 has released. */
  async function halfReleased(approveLate = false) {
    const { consortium, file, requestId, recipients } = await requested();
    const { fabric } = consortium;
    await vote(consortium, 2, requestId);
    if (approveLate) fabric.timeMs += 3_600_000 - 50_000;
    await vote(consortium, 3, requestId);
    await release(consortium, 2, requestId, recipients[orgName(2)] ?? '');
    const silent = file.dealing.holders.filter((holder) => holder !== orgName(2)).sort();
    return { consortium, fabric, file, requestId, silent };
  }

  it('is found when the expired request is closed, with what the ledger knows as evidence', async () => {
    const { consortium, fabric, file, requestId, silent } = await halfReleased();
    expect(silent).toEqual([orgName(3), orgName(4)]);
    fabric.timeMs += 3_600_000 + 120_000;
    const { txId } = await closeWith(consortium, requestId);
    for (const [index, mspId] of silent.entries()) {
      const [fault] = await faultsOf(consortium, mspId);
      expect(fault).toMatchObject({ kind: 'no-release', requestId, fileId: file.record.fileId });
      const faultId = fault?.faultId ?? '';
      expect(faultId.startsWith(txId), String(index)).toBe(true);
      const whole = await fabric.evaluate(agentOf(1), 'ledger/consortium:GetFault', { faultId });
      const evidence = JSON.parse(Buffer.from(whole?.evidence ?? '', 'base64').toString());
      const request = await fabric.evaluate(agentOf(1), 'ledger/audits:GetRequest', { requestId });
      expect(evidence).toEqual({
        requestId,
        holder: mspId,
        expiresAtMs: request?.expiresAtMs,
        approvals: request?.votes.map((one) => ({ mspId: one.mspId, atMs: one.atMs })),
        approvedAtMs: request?.votes[1]?.atMs,
        witness: { mspId: orgName(2), atMs: request?.releases[0]?.atMs },
      });
      expect(request?.releases.map((one) => one.mspId)).toEqual([orgName(2)]);
      expect(request?.outcome?.faults.map((one) => one.mspId).sort()).toEqual(silent);
    }
    expect(await faultsOf(consortium, orgName(2))).toEqual([]);
  });

  it('is at no fault where the request is closed before its time, or the clocks may differ', async () => {
    for (const lateMs of [0, 3_600_000 + 100_000]) {
      const { consortium, fabric, requestId, silent } = await halfReleased();
      fabric.timeMs += lateMs;
      await closeWith(consortium, requestId);
      for (const mspId of silent) expect(await faultsOf(consortium, mspId)).toEqual([]);
    }
  });

  it('is at no fault where the approval came too late to answer, or never', async () => {
    const late = await halfReleased(true);
    const never = await requested();
    for (const { consortium, requestId } of [late, never]) {
      consortium.fabric.timeMs += 2 * 3_600_000;
      await closeWith(consortium, requestId);
      for (const mspId of late.silent) expect(await faultsOf(consortium, mspId)).toEqual([]);
    }
  });

  it('is at no fault where only votes say that the approval was in time: they can be antedated', async () => {
    const { consortium, requestId } = await requested();
    // Endorsed in time, and handed to ordering by its voter after the expiry: the state is the same.
    await vote(consortium, 2, requestId);
    await vote(consortium, 3, requestId);
    consortium.fabric.timeMs += 2 * 3_600_000;
    await closeWith(consortium, requestId);
    for (const mspId of consortium.names) expect(await faultsOf(consortium, mspId)).toEqual([]);
  });

  it('is at no fault where the first release came so late that the approval may have, too', async () => {
    const { consortium, requestId, recipients } = await requested();
    const { fabric } = consortium;
    await vote(consortium, 2, requestId);
    await vote(consortium, 3, requestId);
    fabric.timeMs += 3_600_000 - 170_000;
    await release(consortium, 2, requestId, recipients[orgName(2)] ?? '');
    fabric.timeMs += 3_600_000;
    await closeWith(consortium, requestId);
    for (const mspId of consortium.names) expect(await faultsOf(consortium, mspId)).toEqual([]);
  });

  it('owes nothing of a file whose shard it never confirmed: it may have been dealt none', async () => {
    const consortium = await new TrialConsortium().found();
    const { fabric } = consortium;
    const file = await consortium.file();
    const { fileId } = file.record;
    await fabric.submit(agentOf(1), 'ledger/records:Record', file.record);
    for (const number of [2, 3]) {
      await fabric.submit(agentOf(number), 'ledger/audits:Confirm', { fileIds: [fileId] });
    }
    const recipients = consortium.recipients();
    const { result } = await fabric.submit(AUDITOR, 'ledger/audits:Request', {
      ...{ fileIds: [fileId], reason: 'x', recipients, expiresAtMs: fabric.timeMs + 3_600_000 },
    });
    const { requestId } = result;
    await vote(consortium, 2, requestId);
    await vote(consortium, 3, requestId);
    await release(consortium, 2, requestId, recipients[orgName(2)] ?? '');
    fabric.timeMs += 2 * 3_600_000;
    await closeWith(consortium, requestId);
    expect(await faultsOf(consortium, orgName(3))).toHaveLength(1);
    expect(await faultsOf(consortium, orgName(4))).toEqual([]);
  });

  it('is not at fault by the auditor’s word; what a release lacks is', async () => {
    const { consortium, fabric, file, requestId } = await halfReleased();
    const { fileId } = file.record;
    const named = { kind: 'no-release' as const, mspId: orgName(3), fileId, detail: 'I say so' };
    await expect(
      fabric.submit(AUDITOR, 'ledger/audits:Close', {
        requestId,
        outcome: { ...failed, faults: [named] },
      }),
    ).rejects.toThrow(/^BAD_ARGUMENT: Org3MSP released nothing/);
    // What its release lacks only the auditor can see.
    await fabric.submit(AUDITOR, 'ledger/audits:Close', {
      requestId,
      outcome: { ...failed, faults: [{ ...named, mspId: orgName(2) }] },
    });
    expect(await faultsOf(consortium, orgName(2))).toHaveLength(1);
  });
});

describe('closing', () => {
  const fine = { ok: true, summary: 'opened', faults: [] };

  it('is for the auditor that asked, once, and ends voting and releasing', async () => {
    const { consortium, requestId, recipients } = await requested();
    const { fabric } = consortium;
    const close = (caller = AUDITOR) =>
      fabric.submit(caller, 'ledger/audits:Close', { requestId, outcome: fine });
    await expect(close()).rejects.toThrow(/^NOT_APPROVED: /);
    await vote(consortium, 2, requestId);
    await vote(consortium, 3, requestId);
    await expect(close(agentOf(2))).rejects.toThrow(/^NOT_ALLOWED: /);
    await close();
    await expect(close()).rejects.toThrow(/^NOT_OPEN: /);
    expect(await stateOf(consortium, requestId)).toBe('closed');
    await expect(vote(consortium, 4, requestId)).rejects.toThrow(/^NOT_OPEN: /);
    await expect(release(consortium, 2, requestId, recipients[orgName(2)] ?? '')).rejects.toThrow(
      /^NOT_OPEN: /,
    );
  });

  it('withdraws a request that was never approved, without faults', async () => {
    const { consortium, file, requestId } = await requested();
    const { fileId } = file.record;
    const fault = { kind: 'bad-chunk' as const, mspId: orgName(2), fileId, detail: '' };
    const close = (faults: (typeof fault)[]) =>
      consortium.fabric.submit(AUDITOR, 'ledger/audits:Close', {
        requestId,
        outcome: { ok: false, summary: '', faults },
      });
    await expect(close([fault])).rejects.toThrow(/^NOT_APPROVED: /);
    await close([]);
    expect(await stateOf(consortium, requestId)).toBe('closed');
  });
});
