/**
 * Owners that challenge each other, real agents on a real ledger: one whose disk gives altered bytes
 * signs a wrong answer, and the ledger has it as a fault (PROTOCOL §5).
 */
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { until, useCast } from '../support/cast.ts';

interface Fault {
  readonly kind: string;
  readonly mspId: string;
}

describe('an owner that has lost what it signed for', () => {
  const stage = useCast({ upkeep: { challengeEveryMs: 300 } });

  it('is on the ledger with its own wrong answer, and nobody else is', async () => {
    const cast = stage();
    const path = join(cast.workDir, 'evidence.bin');
    await writeFile(path, randomBytes(200_000));
    await cast.command(cast.source, ['put', path, '--json']);
    await cast.startAttacker();
    const faultsOf = async (mspId: string) =>
      JSON.parse(
        await cast.command('Org2MSP', ['consortium', 'faults', mspId, '--json']),
      ) as Fault[];
    await until(async () => (await faultsOf(cast.second)).length > 0);
    for (const fault of await faultsOf(cast.second)) {
      expect(fault).toMatchObject({ kind: 'challenge-failed', mspId: cast.second });
    }
    for (const mspId of ['Org2MSP', 'Org3MSP']) expect(await faultsOf(mspId)).toEqual([]);
  });
});
