/** A wall clock that is set back ten years lengthens no wait: each is measured by the monotonic clock. */
import type { FileRecord } from '@blocktorrent/protocol/ledger-api.ts';
import { afterEach, describe, expect, it, vi } from 'vitest';
import {
  type ReissueTimes,
  type SettleOptions,
  settleFile,
} from '../../agent/src/record/settle.ts';
import type { QueuedFile } from '../../agent/src/runtime/file-queue.ts';
import { silentLog } from '../../agent/src/runtime/log.ts';
import { Grid } from '../support/grid.ts';
import { manualClock } from '../support/manual-clock.ts';
import { seedOfRun } from '../support/seeded.ts';
import { storeOn } from '../support/stored-files.ts';

const TEN_YEARS_MS = 10 * 365.25 * 86_400_000;
const machineNowMs = Date.now;

afterEach(() => vi.restoreAllMocks());

function setBack(): void {
  vi.spyOn(Date, 'now').mockImplementation(() => machineNowMs() - TEN_YEARS_MS);
}

describe('after a clock was set back ten years', () => {
  it('what waits for another try is tried again in its time, and after a restart at once', async () => {
    const seed = seedOfRun();
    console.log(`clock: SEED=${seed}`);
    const grid = await Grid.start({ organisations: 5, seed: String(seed) });
    const open = () =>
      grid.nodes
        .filter((node) => node.alive)
        .map(({ upkeep }) => {
          const { handovers, unfinished, unrecorded, wanted } = upkeep.status().repair;
          return handovers + unfinished + unrecorded + wanted;
        })
        .reduce((sum, rows) => sum + rows, 0);
    const healed = () => expect.poll(open, { timeout: 20_000, interval: 50 }).toBe(0);
    try {
      await storeOn(grid, 2, 300_000);
      await healed();
      grid.ledger.down = true;
      await grid.node('Org5MSP').kill();
      grid.openEpoch(['Org1MSP', 'Org2MSP', 'Org3MSP', 'Org4MSP']);
      const tried = () =>
        grid.nodes.filter((node) => node.alive && node.upkeep.status().repair.unrecorded > 0);
      await expect.poll(() => tried().length).toBeGreaterThan(0);
      setBack();
      grid.ledger.down = false;
      await tried()[0]?.restart();
      await healed();
    } finally {
      vi.restoreAllMocks();
      await grid.stop();
    }
  });

  it('a holder that does not confirm is dealt its shard again', async () => {
    const clock = manualClock(machineNowMs());
    let setBackMs = 0;
    const dealing = { fileId: 'aa', depositTx: 'tx', holders: ['Org2MSP'] };
    const record = { available: false, void: null, confirmedBy: [], recordedAtMs: clock.nowMs() };
    const file = {
      id: 1,
      fileId: 'aa',
      updatedMs: clock.nowMs(),
      dealing,
      deposit: null,
      lateReceipts: [],
    };
    const settle = () =>
      settleFile(
        file as unknown as QueuedFile,
        {
          ledger: { evaluate: async () => record as unknown as FileRecord },
          queue: { get: () => file },
          ciphertextPathOf: () => '/nonexistent',
          log: silentLog,
          nowMs: () => clock.nowMs() - setBackMs,
          monotonicMs: clock.monotonicMs,
          reissueAfterMs: 60_000,
        } as unknown as SettleOptions,
        reissued,
      );
    const reissued: ReissueTimes = new Map();
    // This file's shard could not be dealt again: that it is tried is what is looked at.
    const isDealtAgain = () =>
      settle().then(
        () => false,
        (error: Error) => /no deposit/.test(error.message),
      );
    expect(await isDealtAgain()).toBe(false);
    setBackMs = TEN_YEARS_MS;
    clock.advance(59_000);
    expect(await isDealtAgain()).toBe(false);
    clock.advance(2_000);
    expect(await isDealtAgain()).toBe(true);
    clock.advance(59_000);
    expect(await isDealtAgain()).toBe(false);
    // Every file passes here in the agent's years: of one that is available nothing is kept.
    record.available = true;
    await settle();
    expect(reissued.size).toBe(0);
  });
});
