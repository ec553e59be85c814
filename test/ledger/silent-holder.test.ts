/** What the auditor is told of holders that released nothing: the contracts in memory, no network. */
import { encrypt, identityFromRandom, recipientOf } from '@blocktorrent/protocol/age.ts';
import { toBase64, utf8 } from '@blocktorrent/protocol/bytes.ts';
import { describe, expect, it } from 'vitest';
import { gatherShards, withoutRelease } from '../../agent/src/audit/gather.ts';
import type { Ledger } from '../../agent/src/ledger/ledger.ts';
import { AUDITOR, agentOf, orgName, orgNames, TrialConsortium } from '../support/consortium.ts';

/** An approved request for a file of Org1, whose holders are Org2, Org3 and Org4. */
async function approved() {
  const consortium = await new TrialConsortium().found();
  const { fabric, random } = consortium;
  const { record } = await consortium.recorded();
  const identities = new Map(
    orgNames(4).map((mspId) => [mspId, identityFromRandom(random.bytes(32))] as const),
  );
  const recipients = Object.fromEntries(
    [...identities].map(([mspId, identity]) => [mspId, recipientOf(identity)]),
  );
  const { result } = await fabric.submit(AUDITOR, 'ledger/audits:Request', {
    ...{ fileIds: [record.fileId], reason: 'spoiled goods', recipients },
    expiresAtMs: fabric.timeMs + 3_600_000,
  });
  const { requestId } = result;
  for (const number of [2, 3]) {
    const vote = { requestId, approve: true, reason: '' };
    await fabric.submit(agentOf(number), 'ledger/audits:Vote', vote);
  }
  const shards = toBase64(encrypt(utf8('{}'), [recipients[orgName(2)] ?? ''], random.bytes));
  await fabric.submit(agentOf(2), 'ledger/audits:Release', { requestId, shards });
  const ledger: Ledger = {
    mspId: AUDITOR.mspId,
    evaluate: (name, argument) => fabric.evaluate(AUDITOR, name, argument),
    submit: (name, argument) => fabric.submit(AUDITOR, name, argument),
    events: () => {
      throw new Error('nobody asks for events here');
    },
    close: () => undefined,
  };
  return { fabric, ledger, requestId, identities };
}

describe('holders without a release', () => {
  it('are named to the auditor when the request expires, with what to do', async () => {
    const { fabric, ledger, requestId, identities } = await approved();
    fabric.timeMs += 3_600_000;
    const { signal } = new AbortController();
    const gathering = gatherShards({ ledger, requestId, identities, signal });
    await expect(gathering).rejects.toMatchObject({
      code: 'expired',
      message: expect.stringMatching(
        /releases: 1; nothing released by: Org3MSP, Org4MSP\).*"blocktorrent audit close"/,
      ),
    });
  });

  it('are those of the shards, and not those that have released', async () => {
    const { ledger, requestId } = await approved();
    const request = await ledger.evaluate('ledger/audits:GetRequest', { requestId });
    if (request === null) throw new Error('the request is there');
    const [fileId = ''] = request.fileIds;
    const record = await ledger.evaluate('ledger/records:GetRecord', { fileId });
    if (record === null) throw new Error('the record is there');
    expect(withoutRelease(request, [record])).toEqual([orgName(3), orgName(4)]);
  });
});
