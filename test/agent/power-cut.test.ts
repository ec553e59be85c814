/**
 * The power is cut at random moments, and the file system loses what was not synced: every reading
 * that was acknowledged is there exactly once, in order, and the chain holds.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { BadBatchError } from '../../agent/src/audit/verify-batch.ts';
import { endUnderLoad, expectAllInOrder, type Found } from '../support/ended-gateway.ts';
import { type PowerCut, requirePowerCut, startPowerCut } from '../support/power-cut.ts';
import { type Seeded, seedOfRun } from '../support/seeded.ts';

const CUTS = process.env.BLOCKTORRENT_LONG ? 100 : 8;

type Cut = (disk: PowerCut, random: Seeded, finish: () => Promise<void>) => void | Promise<void>;

async function cutUnderLoad(cuts: number, cut: Cut, more: readonly string[] = []): Promise<Found> {
  const disk = await startPowerCut();
  try {
    const folder = join(disk.path, 'batches');
    return await endUnderLoad({
      seed: seedOfRun(),
      ends: cuts,
      more,
      folder() {
        mkdirSync(folder, { recursive: true });
        return folder;
      },
      async end(gateway, random, finish) {
        await cut(disk, random, finish);
        gateway.child.kill('SIGKILL');
        // It may have met a page of its memory that is gone.
        expect(['SIGKILL', 'SIGBUS']).toContain(await gateway.ended);
        await disk.restart();
      },
    });
  } finally {
    await disk.stop();
  }
}

it(
  'loses and repeats nothing when the power is cut at random moments under load',
  async (context) => {
    requirePowerCut(context);
    const found = await cutUnderLoad(CUTS, (disk, random) => disk.cut(random.integer(0, 2 ** 40)));
    expectAllInOrder(found, CUTS * 5);
    console.log(found.note);
  },
  120_000 + CUTS * 20_000,
);

it('would be seen to lose readings if commits were not synced', async (context) => {
  requirePowerCut(context);
  const afterAll: Cut = async (disk, _random, finish) => {
    await finish();
    disk.cut('all');
  };
  // A batch that cannot even be read any more is a loss, too.
  const found = await cutUnderLoad(1, afterAll, ['unsynced']).catch((error: unknown) => {
    if (!(error instanceof BadBatchError)) throw error;
    return { originals: [], published: 1, note: String(error) };
  });
  console.log(found.note);
  expect(found.originals.length, found.note).toBeLessThan(found.published);
});
