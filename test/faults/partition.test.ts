/**
 * A partition of the consortium while files are distributed: each side goes on as far as it can, and
 * when the line is back every owner has its chunks and has signed (PROTOCOL §2.5).
 */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { distribute } from '../../agent/src/distribute/distribute.ts';
import { GRID_DISTRIBUTE_TIMING, Grid } from '../support/grid.ts';
import { POLICY } from '../support/membership.ts';
import { createTrialFile } from '../support/sealed-file.ts';
import { seedOfRun } from '../support/seeded.ts';
import { distribution } from '../support/stored-files.ts';

describe('a partition', () => {
  const seed = seedOfRun();
  let grid: Grid;
  beforeAll(async () => {
    console.log(`partition: SEED=${seed}`);
    const slowLine = { share: 0, delayMs: [0, 0], random: () => 0 } as const;
    grid = await Grid.start({ organisations: 6, seed: String(seed), slowLine });
  });
  afterAll(() => grid.stop());

  it('keeps some owners from a file until it is over, and no longer', async () => {
    const gateway = await grid.dialer('Org1MSP');
    const file = await createTrialFile(join(grid.dir, 'file.age'), 2_000_000, grid.peer('Org1MSP'));
    const island = ['Org5MSP', 'Org6MSP'];
    grid.partition(island);
    const late: string[] = [];
    const result = await distribute({
      ...distribution(grid, gateway, file),
      policy: { ...POLICY, receiptsMin: 1 },
      timing: { ...GRID_DISTRIBUTE_TIMING, graceMs: 2_000 },
      onLateReceipt: ({ mspId }) => late.push(mspId),
    });
    expect(result).toMatchObject({ complete: false, missing: island });
    grid.partition([]);
    await result.background;
    expect([...new Set(late)].sort()).toEqual(island);
  });
});
