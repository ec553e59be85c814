import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { manifestChunkCount, manifestChunkDigests } from '@blocktorrent/protocol/manifest.ts';
import { ownersOf } from '@blocktorrent/protocol/placement.ts';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { fetchFile } from '../../agent/src/audit/fetch.ts';
import { distribute } from '../../agent/src/distribute/distribute.ts';
import { Grid } from '../support/grid.ts';
import { POLICY } from '../support/membership.ts';
import { createTrialFile } from '../support/sealed-file.ts';
import { distribution } from '../support/stored-files.ts';

const SOURCE = 'Org1MSP';
const seed = randomBytes(4).toString('hex');
console.log(`grid seed ${seed}`);
let grid: Grid;

beforeAll(async () => {
  grid = await Grid.start({ organisations: 4, seed });
});
afterAll(() => grid.stop());

/** Distributes and fetches a file; returns the most resident memory seen above the start, MiB. */
async function growthFor(bytes: number): Promise<number> {
  const file = await createTrialFile(join(grid.dir, `${bytes}.age`), bytes, grid.peer(SOURCE), {
    chunksTarget: 200,
  });
  const epoch = grid.membership.epochs[0];
  if (epoch === undefined) throw new Error('no epoch');
  const gateway = await grid.dialer(SOURCE);
  const auditor = await grid.dialer();
  const { signal } = new AbortController();
  const startBytes = process.memoryUsage.rss();
  let mostBytes = startBytes;
  const timer = setInterval(() => {
    mostBytes = Math.max(mostBytes, process.memoryUsage.rss());
  }, 20);
  const stored = await distribute(distribution(grid, gateway, file));
  await stored.background;
  expect(stored.complete).toBe(true);
  await fetchFile({
    signal,
    manifest: file.manifest,
    fileId: file.fileId,
    owners: Array.from({ length: manifestChunkCount(file.manifest) }, (_, index) =>
      ownersOf(manifestChunkDigests(file.manifest, index), epoch, SOURCE, POLICY.replicas),
    ),
    receipts: stored.receipts,
    recordedAtMs: Date.now(),
    outputPath: join(grid.dir, `${bytes}.fetched`),
    overlay: auditor.overlay,
    addressBook: auditor.addressBook,
    membership: grid.membership,
  });
  clearInterval(timer);
  return (mostBytes - startBytes) / 2 ** 20;
}

it('needs no more memory for a file of 64 MB than five processes may grow by', async () => {
  await growthFor(8 * 2 ** 20);
  const growth = await growthFor(64 * 2 ** 20);
  console.log(`64 MiB: resident memory grew by ${growth.toFixed(1)} MiB`);
  // Source, three owners and the auditor are in this one process: 64 MiB each would be 320.
  expect(growth).toBeLessThan(200);
});
