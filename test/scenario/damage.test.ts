/**
 * A sealed file that rots on the gateway's disk before its owners have it: they refuse it, its place
 * in the chain becomes void, the batch is sealed anew, and nothing is lost.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { FabricLedger } from '../../agent/src/ledger/fabric-ledger.ts';
import { compare } from '../../demo/compare.ts';
import { audit, until, useCast } from '../support/cast.ts';

const OWNERS = ['Org2MSP', 'Org3MSP', 'Org4MSP'];

describe('a sealed file that was damaged on the disk', () => {
  const stage = useCast({ batch: { maxAgeMs: 600_000 } });

  it('is refused by its owners, voided on the ledger, and its batch recorded anew', async () => {
    const cast = stage();
    const { processes } = cast;
    for (const mspId of OWNERS) await processes.end(`agent ${mspId}`, 'SIGTERM');
    await cast.startSensors(['--count', '120']);
    await until(async () => (await cast.status()).readings >= 120);
    await processes.end('sensors', 'SIGTERM');
    await cast.closeBatch();
    await until(async () => (await cast.status()).files.named === 1);
    const spooled = join(cast.configs.get(cast.source)?.dataDir ?? '', 'spool', '1.age');
    expect(existsSync(spooled)).toBe(true);
    const bytes = readFileSync(spooled);
    bytes[700] = (bytes[700] ?? 0) ^ 1;
    writeFileSync(spooled, bytes);

    for (const mspId of OWNERS) await cast.startAgent(mspId);
    await until(async () => (await cast.status()).files.available === 1);
    expect((await cast.status()).files.void).toBe(1);

    const ledger = new FabricLedger(cast.network.ledgerConfigFor(cast.source));
    const range = { source: cast.source, fromMs: 0, toMs: 9_999_999_999_999 };
    const chain = await ledger.evaluate('ledger/records:GetChain', {
      source: cast.source,
      gateway: 'gateway-1',
    });
    expect(chain.seq).toBe(2);
    const { files } = await ledger.evaluate('ledger/records:ListRecords', {
      ...range,
      limit: 10,
      bookmark: '',
    });
    ledger.close();
    const good = files.filter((file) => file.void === null);
    expect(good).toHaveLength(1);

    const report = await audit(cast, [good[0]?.fileId ?? '']);
    const verdict = compare(
      cast.sensorLog,
      report.files.map((file) => file.contentPath),
    );
    expect(verdict).toEqual({ sent: 120, recovered: 120, missing: 0, altered: 0 });
  });
});
