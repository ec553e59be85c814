/**
 * An owner that is away while a file is distributed: the file is recorded with the others' receipts,
 * and the owner's own is appended to the record when it comes back.
 */
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { FabricLedger } from '../../agent/src/ledger/fabric-ledger.ts';
import { until, useCast } from '../support/cast.ts';

describe('an owner that comes back', () => {
  const stage = useCast({});

  it('signs for its chunks late, and the record has its receipt then', async () => {
    const cast = stage();
    await cast.processes.end('agent Org4MSP', 'SIGTERM');
    const path = join(cast.workDir, 'late.bin');
    await writeFile(path, randomBytes(100_000));
    const put = cast.command(cast.source, ['put', path, '--json']);
    await until(async () => (await cast.status()).files.recorded === 1);
    await cast.startAgent('Org4MSP');
    const { fileId } = JSON.parse(await put) as { fileId: string };

    const ledger = new FabricLedger(cast.network.ledgerConfigFor(cast.source));
    const owners = async () => {
      const record = await ledger.evaluate('ledger/records:GetRecord', { fileId });
      return record?.receipts.map((receipt) => receipt.mspId).sort() ?? [];
    };
    await until(async () => (await owners()).length === 3);
    expect(await owners()).toEqual(['Org2MSP', 'Org3MSP', 'Org4MSP']);
    ledger.close();
  });
});
