import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { manifestChunkCount, manifestChunkDigests } from '@blocktorrent/protocol/manifest.ts';
import { ownersOf } from '@blocktorrent/protocol/placement.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fetchFile } from '../../agent/src/audit/fetch.ts';
import { distribute } from '../../agent/src/distribute/distribute.ts';
import { RateLimit } from '../../agent/src/overlay/rate-limit.ts';
import { Grid, type Rates } from '../support/grid.ts';
import { manualClock } from '../support/manual-clock.ts';
import { POLICY } from '../support/membership.ts';
import { createTrialFile, type TrialFile } from '../support/sealed-file.ts';
import { distribution } from '../support/stored-files.ts';

describe('a limit of 1,000,000 bytes a second', () => {
  it('lets a burst go at once, then makes everything wait for what went before', () => {
    const clock = manualClock(0);
    clock.advance(10_000);
    const limit = new RateLimit(1_000_000, () => clock.monotonicMs());
    expect(limit.charge(500_000)).toBe(0);
    expect(limit.charge(50_000)).toBe(0);
    expect(limit.charge(50_000)).toBe(50);
    expect(limit.charge(1)).toBe(100);
  });

  it('does not save up what was left unused', () => {
    const clock = manualClock(0);
    const limit = new RateLimit(1_000_000, () => clock.monotonicMs());
    clock.advance(3_600_000);
    let bytes = 0;
    for (let turn = 0; turn < 1000; turn++) {
      if (limit.charge(10_000) > 0) break;
      bytes += 10_000;
    }
    expect(bytes).toBeLessThanOrEqual(510_000);
  });

  it('lets through, over a second of everybody asking, a second’s worth and one burst', () => {
    const clock = manualClock(0);
    const limit = new RateLimit(1_000_000, () => clock.monotonicMs());
    let bytes = 0;
    for (let waitMs = 0; waitMs <= 1000; bytes += 16_384) waitMs = limit.charge(16_384);
    expect(bytes).toBeGreaterThan(1_000_000);
    expect(bytes).toBeLessThan(1_550_000);
  });
});

describe('links with limits', () => {
  let grid: Grid;
  beforeAll(async () => {
    const seed = randomBytes(4).toString('hex');
    console.log(`grid seed ${seed}`);
    grid = await Grid.start({ organisations: 4, seed });
  });
  afterAll(() => grid.stop());

  async function send(rates: Rates): Promise<{ file: TrialFile; seconds: number }> {
    const peer = grid.peer('Org1MSP');
    const file = await createTrialFile(join(grid.dir, 'limited.age'), 1_500_000, peer);
    const gateway = await grid.dialer('Org1MSP', {}, rates);
    const startedMs = performance.now();
    const result = await distribute(distribution(grid, gateway, file));
    expect(result.complete).toBe(true);
    return { file, seconds: (performance.now() - startedMs) / 1000 };
  }

  it('send a file to its owners no faster than the upload’s limit', async () => {
    const { seconds } = await send({ uploadBytesPerSecond: 1_000_000 });
    expect(seconds).toBeGreaterThan(0.95);
  });

  it('receive a file from its owners no faster than the download’s limit', async () => {
    const { file } = await send({});
    const epoch = grid.membership.epochs[0];
    if (epoch === undefined) throw new Error('no epoch');
    const auditor = await grid.dialer(undefined, {}, { downloadBytesPerSecond: 1_000_000 });
    const startedMs = performance.now();
    await fetchFile({
      manifest: file.manifest,
      fileId: file.fileId,
      owners: Array.from({ length: manifestChunkCount(file.manifest) }, (_, index) =>
        ownersOf(manifestChunkDigests(file.manifest, index), epoch, 'Org1MSP', POLICY.replicas),
      ),
      receipts: [],
      recordedAtMs: Date.now(),
      outputPath: join(grid.dir, 'limited.fetched'),
      overlay: auditor.overlay,
      addressBook: auditor.addressBook,
      membership: grid.membership,
      signal: new AbortController().signal,
    });
    // What waits in sockets and in TLS comes at once.
    expect(performance.now() - startedMs).toBeGreaterThan(700);
  });
});
