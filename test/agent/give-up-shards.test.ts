/** A holder gives its shards up, against the contracts in memory: never so that it is at fault. */
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import { describe, expect, it } from 'vitest';
import { purgeShards, withdrawShards } from '../../agent/src/consortium/give-up-shards.ts';
import type { Ledger } from '../../agent/src/ledger/ledger.ts';
import { AUDITOR, agentOf, orgName, TrialConsortium } from '../support/consortium.ts';

async function recorded() {
  const consortium = await new TrialConsortium().found();
  const { fabric } = consortium;
  const files = [await consortium.recorded(), await consortium.recorded()];
  const fileIds = files.map(({ record }) => record.fileId);
  const as = (number: number): Pick<Ledger, 'evaluate' | 'submit' | 'mspId'> => ({
    mspId: orgName(number),
    evaluate: (name, argument) => fabric.evaluate(agentOf(number), name, argument),
    submit: (name, argument) => fabric.submit(agentOf(number), name, argument),
  });
  const reason = 'retention is over';
  const withdraw = () => withdrawShards(as(2), { fileIds, reason });
  const purge = (number = 2, ids = fileIds) => purgeShards(as(number), ids, fabric.timeMs);
  const request = () =>
    fabric.submit(AUDITOR, 'ledger/audits:Request', {
      ...{ fileIds, reason, recipients: consortium.recipients() },
      expiresAtMs: fabric.timeMs + 3_600_000,
    });
  const shardsLeft = () => fabric.keys('keys').filter((key) => key.startsWith('shards-Org2MSP:'));
  return { consortium, fabric, fileIds, withdraw, purge, request, shardsLeft };
}

describe('giving shards up', () => {
  it('is withdrawing, waiting, purging; and again, harmlessly', async () => {
    const { fabric, fileIds, withdraw, purge, shardsLeft } = await recorded();
    await withdraw();
    fabric.timeMs += LIMITS.withdrawalDelayMs;
    expect(shardsLeft()).toHaveLength(2);
    expect(await purge()).toBe(2);
    expect(shardsLeft()).toEqual([]);
    expect(await purge()).toBe(0);
    expect(await withdraw()).toHaveLength(1);
    const [fileId = ''] = fileIds;
    const found = await fabric.evaluate(AUDITOR, 'ledger/records:GetRecord', { fileId });
    expect(found?.withdrawals).toHaveLength(1);
  });

  it('purges nothing without a word, too soon, of strangers, or that is not known', async () => {
    const { withdraw, purge, shardsLeft } = await recorded();
    await expect(purge()).rejects.toMatchObject({ code: 'not-withdrawn' });
    await withdraw();
    await expect(purge()).rejects.toMatchObject({ code: 'too-early' });
    await expect(purge(1)).rejects.toMatchObject({ code: 'no-holder' });
    await expect(purge(2, ['ab'.repeat(32)])).rejects.toMatchObject({ code: 'unknown-file' });
    expect(shardsLeft()).toHaveLength(2);
  });

  it('waits for requests that expect a shard, until it is released or they have ended', async () => {
    for (const end of ['released', 'expired', 'later'] as const) {
      const { consortium, fabric, withdraw, purge, request } = await recorded();
      const asked = end === 'later' ? null : (await request()).result;
      await withdraw();
      fabric.timeMs += LIMITS.withdrawalDelayMs;
      const later = end === 'later' ? (await request()).result : null;
      if (asked !== null) await expect(purge()).rejects.toMatchObject({ code: 'asked-for' });
      if (end === 'expired') fabric.timeMs += 3_600_000;
      if (end === 'released' && asked !== null) {
        for (const number of [3, 4]) {
          const vote = { ...asked, approve: true, reason: '' };
          await fabric.submit(agentOf(number), 'ledger/audits:Vote', vote);
        }
        await expect(purge()).rejects.toMatchObject({ code: 'asked-for' });
        const shards = consortium.ageFile(consortium.recipients()[orgName(2)] ?? '');
        await fabric.submit(agentOf(2), 'ledger/audits:Release', { ...asked, shards });
      }
      expect(later === null || asked === null).toBe(true);
      expect(await purge()).toBe(2);
    }
  });
});
