/**
 * Epochs change while files wait and while they lie: a gateway whose file was placed by ranges that
 * the ledger takes no more places it anew, also where its sealed copy is all that is left of it, and
 * owners serve what was placed epochs ago.
 */
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { FabricLedger } from '../../agent/src/ledger/fabric-ledger.ts';
import { compare } from '../../demo/compare.ts';
import { audit, until, useCast } from '../support/cast.ts';

const OWNERS = ['Org2MSP', 'Org3MSP', 'Org4MSP'];
const WEIGHTS = { Org1MSP: 1, Org2MSP: 1, Org3MSP: 1, Org4MSP: 1 };

describe('epochs that change', () => {
  const stage = useCast({ batch: { maxAgeMs: 600_000 } });

  async function openEpoch(by: string, epoch: number, weights: Record<string, number>) {
    const ledger = new FabricLedger(stage().network.ledgerConfigFor(by));
    await ledger.submit('ledger/consortium:OpenEpoch', { epoch, weights });
    ledger.close();
  }

  it('lose no file that was placed before them, recorded or not', async () => {
    const cast = stage();
    const { processes } = cast;
    // Until they are ended: however long a step takes, each batch has some.
    await cast.startSensors(['--rate', '40']);
    const moreReadings = async (count: number) => {
      const { readings } = await cast.status();
      await until(async () => (await cast.status()).readings >= readings + count);
    };
    await moreReadings(60);
    await cast.closeBatch();
    await until(async () => (await cast.status()).files.available === 1);
    for (const mspId of OWNERS) await processes.end(`agent ${mspId}`, 'SIGTERM');
    await cast.closeBatch();
    await until(async () => (await cast.status()).files.named === 1);
    await moreReadings(60);
    await processes.end('sensors', 'SIGTERM');
    const sent = readFileSync(cast.sensorLog, 'utf8').trimEnd().split('\n').length;
    await until(async () => (await cast.status()).readings === sent);
    await cast.closeBatch();
    await until(async () => (await cast.status()).files.named === 2);
    // As a gateway does whose disk is full: what is sealed makes room.
    rmSync(join(cast.configs.get(cast.source)?.dataDir ?? '', 'batches', '2.sqlite'));

    await openEpoch('Org2MSP', 2, { ...WEIGHTS, Org2MSP: 5 });
    await openEpoch('Org3MSP', 3, { ...WEIGHTS, Org2MSP: 5, Org3MSP: 9 });
    for (const mspId of OWNERS) await cast.startAgent(mspId);
    await until(async () => (await cast.status()).files.available === 3);
    expect((await cast.status()).files.void).toBe(2);
    expect((await cast.status()).epoch).toBe(3);

    for (const mspId of [...OWNERS, cast.source]) await processes.end(`agent ${mspId}`, 'SIGKILL');
    for (const mspId of OWNERS) await cast.startAgent(mspId);
    const report = await audit(cast, ['--source', cast.source]);
    expect(report.files).toHaveLength(3);
    expect(report.faults).toEqual([]);
    const verdict = compare(
      cast.sensorLog,
      report.files.map((file) => file.contentPath),
    );
    expect(verdict).toEqual({ sent, recovered: sent, missing: 0, altered: 0 });
  }, 180_000);
});
