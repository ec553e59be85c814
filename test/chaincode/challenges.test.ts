/** Wrong answers to challenges between owners, brought to the ledger: what is a fault, what is not. */
import type { Answer } from '@blocktorrent/protocol/challenge.ts';
import { describe, expect, it } from 'vitest';
import { ANSWERER, CHALLENGER, CHUNKS, challengedFile } from '../support/challenges.ts';
import { AUDITOR, agentOf, orgName, TrialConsortium } from '../support/consortium.ts';

const NAME = 'ledger/audits:ReportChallenge';

async function scene() {
  const consortium = await new TrialConsortium().found();
  const { fabric, random } = consortium;
  const file = await challengedFile(consortium);
  return { consortium, fabric, random, ...file };
}

describe('a wrong answer to a challenge', () => {
  it('is a fault of the answerer with the answer as evidence, once; chunk and manifest stay away', async () => {
    const { fabric, answered, report, random } = await scene();
    const wrong = answered({ hash: random.bytes(32) });
    const before = new Set(fabric.keys('ledger'));
    const { result } = await report(wrong);
    const fault = await fabric.evaluate(AUDITOR, 'ledger/consortium:GetFault', result);
    expect(fault).toMatchObject({
      ...{ kind: 'challenge-failed', mspId: ANSWERER, reporter: CHALLENGER },
      detail: expect.stringMatching(
        /^Org2MSP\/admin: its answer for block 0 of chunk \d is wrong$/,
      ),
    });
    expect(JSON.parse(Buffer.from(fault?.evidence ?? '', 'base64').toString())).toEqual(
      wrong.input,
    );
    const written = fabric.keys('ledger').filter((key) => !before.has(key));
    const bytes = written.map((key) => fabric.stored('ledger', key)?.length ?? 0);
    expect(bytes.reduce((sum, one) => sum + one, 0)).toBeLessThan(8_000);
    await expect(report(wrong)).rejects.toThrow(/^ALREADY_EXISTS: /);
  });

  it('is an admitted loss, which needs neither chunk nor manifest', async () => {
    const { fabric, answered } = await scene();
    const { input } = answered({ hash: new Uint8Array(0) });
    const { result } = await fabric.submit(agentOf(3), NAME, input);
    const fault = await fabric.evaluate(AUDITOR, 'ledger/consortium:GetFault', result);
    expect(fault?.detail).toMatch(/signed for chunk \d and says that it has lost it$/);
  });

  it('is about what the record’s receipt says, though its key was revoked since', async () => {
    const { fabric, answered, consortium, random, report } = await scene();
    const entry = { name: 'admin', roles: ['store' as const], dhtAddress: '' };
    const { peers } = await fabric.evaluate(AUDITOR, 'ledger/consortium:GetConsortium', {});
    const before = peers.find(({ mspId }) => mspId === ANSWERER)?.overlayKey ?? '';
    await fabric.submit(agentOf(2), 'ledger/consortium:RegisterPeer', {
      ...{ ...entry, overlayKey: 'ab'.repeat(32) },
    });
    await fabric.submit(agentOf(2), 'ledger/consortium:RevokeKey', {
      ...{ peer: 'admin', overlayKey: before },
    });
    // Its answers are signed with the revoked key here, and count for nothing any more.
    await expect(report(answered({ hash: random.bytes(32) }))).rejects.toThrow(/^BAD_SIGNATURE: /);
    await consortium.register(ANSWERER, 'second', ['store']);
    const seed = consortium.seedOf(ANSWERER, 'second');
    consortium.seedOf = () => seed;
    const { result } = await report(answered({ peer: 'second', hash: random.bytes(32) }));
    expect(result.faultId).toMatch(/^[0-9a-f]{64}\.0$/);
  });
});

describe('no fault of anybody', () => {
  it('is a right answer', async () => {
    const { answered, report } = await scene();
    await expect(report(answered())).rejects.toThrow(/^NO_FAULT: /);
  });

  it('is an answer against another chunk or manifest than the file’s', async () => {
    const { answered, report, random, chunks, manifest } = await scene();
    const right = answered();
    const other = chunks.find((chunk) => chunk !== right.chunk) ?? new Uint8Array();
    await expect(report({ ...right, chunk: other })).rejects.toThrow(/^BAD_DIGEST: .*chunk/);
    const altered = manifest.map((byte, at) => (at === manifest.length - 1 ? byte ^ 1 : byte));
    await expect(report(right, { withManifest: altered })).rejects.toThrow(/^BAD_DIGEST: .*manif/);
    const wrong = answered({ hash: random.bytes(32) });
    await expect(report({ ...wrong, chunk: new Uint8Array() })).rejects.toThrow(/^BAD_ARGUMENT: /);
  });

  it.each<[string, RegExp, Partial<Answer>]>([
    ['another file', /^BAD_ARGUMENT: answer.fileId/, { fileId: '11'.repeat(32) }],
    ['another channel', /^BAD_ARGUMENT: answer.channel/, { channel: 'other' }],
    ['another challenger', /^BAD_ARGUMENT: answer.challenger/, { challenger: orgName(4) }],
    ['an owner without the receipt', /^WRONG_RECEIPT: /, { answerer: orgName(4) }],
    ['a peer that nobody registered', /^BAD_SIGNATURE: /, { peer: 'nobody' }],
  ])('is an answer about or by %s', async (_, error, change) => {
    const { answered, report, random } = await scene();
    const submitted = report(answered({ hash: random.bytes(32), ...change }));
    await expect(submitted).rejects.toThrow(error);
  });

  it('is an answer that its owner did not sign, or about a chunk that it never signed for', async () => {
    const { answered, report, random, consortium } = await scene();
    const wrong = answered({ hash: random.bytes(32) });
    const forged = { ...wrong.input, signature: '00'.repeat(64) };
    await expect(report({ ...wrong, input: forged })).rejects.toThrow(/^BAD_SIGNATURE: /);
    const { fileId } = wrong.input;
    const lone = consortium.receipt(fileId, ANSWERER, CHUNKS, [0]);
    let elsewhere = wrong;
    for (let tries = 0; tries < 64 && elsewhere.chunk.length > 0; tries++) {
      elsewhere = answered({ hash: random.bytes(32) });
      const input = { ...elsewhere.input, receipt: lone };
      const outcome = await report({ ...elsewhere, input }).then(
        () => 'taken',
        (error: Error) => error.message,
      );
      if (outcome === 'taken') continue;
      expect(outcome).toMatch(/^BAD_ARGUMENT: .*has not signed for chunk [1-4]/);
      return;
    }
    throw new Error('chunk 0 was drawn 64 times');
  });

  it('may be reported by somebody else, nor just said', async () => {
    const { answered, report, random, fabric } = await scene();
    const wrong = answered({ hash: random.bytes(32) });
    await expect(report(wrong, { by: 4 })).rejects.toThrow(/^BAD_ARGUMENT: answer.challenger/);
    const said = { kind: 'challenge-failed', mspId: ANSWERER, fileId: wrong.input.fileId };
    const reported = await fabric.simulate(
      agentOf(3),
      'ledger/consortium:ReportFault',
      JSON.stringify({ ...said, detail: '' }),
      {},
    );
    expect(reported.message).toMatch(/^BAD_ARGUMENT: argument.kind/);
  });
});
