/**
 * Repair with real agents: the source is dead, a member is removed by vote, its chunks find new owners,
 * then a second owner dies; an audit still finds every byte.
 */
import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { AgentStatus } from '@blocktorrent/agent/controls.ts';
import { callControl } from '@blocktorrent/agent/runtime/control-client.ts';
import { describe, expect, it } from 'vitest';
import { FabricLedger } from '../../agent/src/ledger/fabric-ledger.ts';
import { audit, until, useCast } from '../support/cast.ts';

const SURVIVORS = ['Org2MSP', 'Org3MSP', 'Org4MSP'];

describe('a consortium that loses its source, a member and an owner', () => {
  const stage = useCast({ organisations: 5, shards: 4 });

  async function statusOf(mspId: string): Promise<AgentStatus> {
    const { dataDir = '' } = stage().configs.get(mspId) ?? {};
    return (await callControl(dataDir, 'status', null)) as AgentStatus;
  }

  it('repairs by itself, and an audit finds every byte', async () => {
    const cast = stage();
    const { processes } = cast;
    const path = join(cast.workDir, 'precious.bin');
    const bytes = randomBytes(3_000_000);
    await writeFile(path, bytes);
    const put = await cast.command(cast.source, ['put', path, '--json']);
    const { fileId } = JSON.parse(put) as { fileId: string };
    await processes.end(`agent ${cast.source}`, 'SIGKILL');

    const ledgers = SURVIVORS.map((mspId) => new FabricLedger(cast.network.ledgerConfigFor(mspId)));
    const [first] = ledgers;
    if (first === undefined) throw new Error('no ledger');
    const { result } = await first.submit('ledger/consortium:Propose', {
      action: { kind: 'remove', mspId: 'Org5MSP' },
      reason: 'it has left',
      expiresAtMs: Date.now() + 3_600_000,
    });
    const { proposalId } = result;
    for (const ledger of ledgers) {
      await ledger.submit('ledger/consortium:VoteOn', { proposalId, approve: true, reason: '' });
    }
    await first.submit('ledger/consortium:Enact', { proposalId });
    await processes.end('agent Org5MSP', 'SIGKILL');

    // That every survivor has told the new owners is not waited for: they do it half a minute apart.
    await until(async () => {
      const all = await Promise.all(SURVIVORS.map(statusOf));
      return all.every(
        ({ epoch, upkeep }) =>
          epoch === 2 &&
          upkeep !== null &&
          upkeep.copies.fewest === 3 &&
          upkeep.repair.unfinished + upkeep.repair.unrecorded === 0,
      );
    });
    const record = await first.evaluate('ledger/records:GetRecord', { fileId });
    expect(record?.replacements.length).toBeGreaterThan(0);
    for (const ledger of ledgers) ledger.close();

    await processes.end('agent Org4MSP', 'SIGKILL');
    const report = await audit(cast, [fileId]);
    expect(report.ok).toBe(true);
    expect(report.faults).toEqual([]);
    const found = await readFile(report.files[0]?.contentPath ?? '');
    expect(found.equals(bytes)).toBe(true);
  }, 240_000);
});
