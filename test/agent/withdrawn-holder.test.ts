/** An audit of files that a holder has withdrawn from, against the contracts in memory. */
import { encrypt, identityFromRandom, recipientOf } from '@blocktorrent/protocol/age.ts';
import { toBase64, utf8 } from '@blocktorrent/protocol/bytes.ts';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import { describe, expect, it } from 'vitest';
import { gatherShards, withoutRelease } from '../../agent/src/audit/gather.ts';
import type { Ledger } from '../../agent/src/ledger/ledger.ts';
import { AUDITOR, agentOf, orgName, TrialConsortium } from '../support/consortium.ts';

const WITHDRAWN = orgName(2);

/** A request for one file of which Org2 has withdrawn so long ago, released by Org3 and Org4. */
async function audited({ earlierByMs }: { earlierByMs: number }) {
  const consortium = await new TrialConsortium().found();
  const { fabric, random } = consortium;
  const { record } = await consortium.recorded();
  const { fileId, dealing } = record;
  const fileIds = [fileId];
  await fabric.submit(agentOf(2), 'ledger/audits:Withdraw', { fileIds, reason: 'over' });
  fabric.timeMs += earlierByMs;
  const identities = new Map(
    consortium.names.map((mspId) => [mspId, identityFromRandom(random.bytes(32))] as const),
  );
  const recipients = Object.fromEntries(
    [...identities].map(([mspId, identity]) => [mspId, recipientOf(identity)]),
  );
  const { result } = await fabric.submit(AUDITOR, 'ledger/audits:Request', {
    ...{ fileIds, reason: 'x', recipients, expiresAtMs: fabric.timeMs + 3_600_000 },
  });
  for (const number of [3, 4]) {
    const vote = { ...result, approve: true, reason: '' };
    await fabric.submit(agentOf(number), 'ledger/audits:Vote', vote);
  }
  for (const number of [2, 3, 4]) {
    const index = dealing.holders.indexOf(orgName(number)) + 1;
    const get = { depositTx: dealing.depositTx, index };
    const found = await fabric.evaluate(agentOf(number), 'keys/keys:GetShard', get);
    // Org2 releases as well, for another file say: this one's shard is not in it.
    const inside = number === 2 ? {} : { [fileId]: found?.shard };
    const to = [recipients[orgName(number)] ?? ''];
    const shards = toBase64(encrypt(utf8(JSON.stringify(inside)), to, random.bytes));
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

describe('an audit of a file that a holder had withdrawn from', () => {
  it('blames it for nothing, and does with the others’ shards', async () => {
    const { faults, shards, records, request } = await audited({
      ...{ earlierByMs: LIMITS.withdrawalDelayMs },
    });
    expect(faults).toEqual([]);
    expect([...shards.values()].map((each) => each.length)).toEqual([2]);
    const nobody = { ...request, releases: [] };
    expect(withoutRelease(nobody, records)).toEqual([orgName(3), orgName(4)]);
  });

  it('blames it where it withdrew too late', async () => {
    const { faults, records, request } = await audited({ earlierByMs: 1_000 });
    expect(faults).toMatchObject([{ kind: 'no-release', mspId: WITHDRAWN }]);
    const nobody = { ...request, releases: [] };
    expect(withoutRelease(nobody, records)).toEqual([WITHDRAWN, orgName(3), orgName(4)]);
  });
});
