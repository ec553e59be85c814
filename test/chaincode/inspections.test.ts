/** Random inspections: what is drawn, by whom, and what becomes of it. */
import { isDrawn } from '@blocktorrent/protocol/inspection.ts';
import { describe, expect, it } from 'vitest';
import { AUDITOR, agentOf, orgName, POLICY, TrialConsortium } from '../support/consortium.ts';

const founded = (inspectionPermille?: number) =>
  new TrialConsortium(4, {
    ...POLICY,
    ...(inspectionPermille === undefined ? {} : { inspectionPermille }),
  }).found();

async function draw({ fabric }: TrialConsortium, caller = AUDITOR): Promise<string> {
  const { result } = await fabric.submit(caller, 'ledger/audits:DrawInspection', {
    fromMs: 0,
    toMs: fabric.timeMs,
  });
  return result.inspectionId;
}

async function drawn({ fabric }: TrialConsortium, inspectionId: string): Promise<string[]> {
  const fileIds: string[] = [];
  let bookmark = '';
  do {
    const page = await fabric.evaluate(agentOf(3), 'ledger/audits:GetInspection', {
      ...{ inspectionId, source: orgName(1), bookmark },
    });
    fileIds.push(...(page?.fileIds ?? []));
    bookmark = page?.bookmark ?? '';
  } while (bookmark !== '');
  return fileIds;
}

const ask = (consortium: TrialConsortium, inspection: string, fileIds: string[]) =>
  consortium.fabric.submit(AUDITOR, 'ledger/audits:Request', {
    ...{ fileIds, inspection, reason: 'inspection' },
    expiresAtMs: consortium.fabric.timeMs + 60_000,
    recipients: consortium.recipients(),
  });

describe('the rate of a draw', () => {
  it('is the share of files that it names, all at 1000 and none at 0', () => {
    const id = '5a'.repeat(32);
    const files = Array.from({ length: 4000 }, (_, i) => i.toString(16).padStart(64, '0'));
    const share = (permille: number) => files.filter((file) => isDrawn(id, file, permille)).length;
    expect([share(0), share(1000)]).toEqual([0, 4000]);
    // 400 are expected, with a standard deviation of 19.
    expect(Math.abs(share(100) - 400)).toBeLessThan(100);
    expect(files.filter((file) => isDrawn('5b'.repeat(32), file, 100))).not.toEqual(
      files.filter((file) => isDrawn(id, file, 100)),
    );
  });
});

describe('an inspection', () => {
  it('draws the same files for everybody, at the policy’s rate', async () => {
    const consortium = await founded(500);
    const files: string[] = [];
    for (let i = 0; i < 6; i++) files.push((await consortium.recorded()).record.fileId);
    const id = await draw(consortium, agentOf(2));
    const expected = files.filter((fileId) => isDrawn(id, fileId, 500));
    expect(await drawn(consortium, id)).toEqual(expected);
    expect(consortium.fabric.events.at(-1)).toEqual({
      name: 'inspection-drawn',
      payload: { inspectionId: id },
    });
  });

  it('leads to an ordinary request for its files and for no others', async () => {
    const consortium = await founded(1000);
    const { fileId } = (await consortium.recorded()).record;
    const id = await draw(consortium);
    const late = (await consortium.recorded()).record.fileId;
    expect(await drawn(consortium, id)).toEqual([fileId]);
    await expect(ask(consortium, id, [fileId, late])).rejects.toThrow(/^NOT_DRAWN: /);
    await expect(ask(consortium, '77'.repeat(32), [fileId])).rejects.toThrow(/^NOT_FOUND: /);
    const { result } = await ask(consortium, id, [fileId]);
    const request = await consortium.fabric.evaluate(AUDITOR, 'ledger/audits:GetRequest', result);
    expect([request?.inspection, request?.state]).toEqual([id, 'open']);
  });

  it('draws no file that was given up, nor one of another time', async () => {
    const consortium = await founded(1000);
    const { fabric } = consortium;
    const { record } = await consortium.file();
    const { fileId, gateway, seq, previous } = record;
    const given = { fileId, gateway, seq, previous, reason: 'x' };
    await fabric.submit(agentOf(1), 'ledger/records:Void', given);
    expect(await drawn(consortium, await draw(consortium))).toEqual([]);
    const beforeMs = fabric.timeMs;
    await consortium.recorded();
    const { result } = await fabric.submit(AUDITOR, 'ledger/audits:DrawInspection', {
      ...{ fromMs: 0, toMs: beforeMs },
    });
    expect(await drawn(consortium, result.inspectionId)).toEqual([]);
  });

  it('draws no file that is recorded after it, whatever time that file gives', async () => {
    const consortium = await founded(1000);
    const { record } = await consortium.file();
    consortium.fabric.timeMs += 5000;
    const id = await draw(consortium);
    await consortium.fabric.submit(agentOf(1), 'ledger/records:Record', record);
    expect(await drawn(consortium, id)).toEqual([]);
    await expect(ask(consortium, id, [record.fileId])).rejects.toThrow(/^NOT_DRAWN: /);
  });

  it('is for members and auditors, over the past, if the policy has a rate', async () => {
    const consortium = await founded(10);
    await expect(draw(consortium, agentOf(9))).rejects.toThrow(/^NOT_ALLOWED: /);
    await expect(draw(consortium, { mspId: orgName(1), role: 'auditor' })).rejects.toThrow(
      /^NOT_ALLOWED: /,
    );
    const { fabric } = consortium;
    for (const [fromMs, toMs] of [
      [0, fabric.timeMs + 1],
      [5, 5],
    ] as const) {
      await expect(
        fabric.submit(AUDITOR, 'ledger/audits:DrawInspection', { fromMs, toMs }),
      ).rejects.toThrow(/^BAD_ARGUMENT: /);
    }
    await expect(draw(await founded())).rejects.toThrow(/^NOT_ALLOWED: .* no inspections/);
    const none = { inspectionId: '00'.repeat(32), source: orgName(1), bookmark: '' };
    expect(await fabric.evaluate(AUDITOR, 'ledger/audits:GetInspection', none)).toBeNull();
  });
});
