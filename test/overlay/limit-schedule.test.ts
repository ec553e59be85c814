import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type LimitSchedule, limitsAt } from '../../agent/src/overlay/limit-schedule.ts';
import type { TransferLimits } from '../../agent/src/overlay/types.ts';
import { silentLog } from '../../agent/src/runtime/log.ts';
import { followTransferLimits } from '../../agent/src/transfer-limits.ts';

const SCHEDULE: LimitSchedule = {
  uploadBytesPerSecond: 1_000_000,
  limits: [
    { metered: true, uploadBytesPerSecond: 20_000, downloadBytesPerSecond: 20_000 },
    { from: '22:00', until: '06:00', uploadBytesPerSecond: 9_000_000 },
    { from: '12:00', until: '13:00' },
  ],
};

/** A local time of day. */
function at(hours: number, minutes = 0): Date {
  return new Date(2026, 0, 15, hours, minutes);
}

describe('transfer limits by schedule', () => {
  it.each([
    ['in the morning the general ones', at(9), false, 1_000_000],
    ['before midnight those of the night', at(22), false, 9_000_000],
    ['after midnight as well', at(5, 59), false, 9_000_000],
    ['from its end on the general ones again', at(6), false, 1_000_000],
    ['without a figure none', at(12, 30), false, undefined],
    ['on a metered network those, whatever the hour', at(23), true, 20_000],
  ])('hold: %s', (_, now, metered, upload) => {
    expect(limitsAt(SCHEDULE, now, metered).uploadBytesPerSecond).toBe(upload);
  });

  it('do not take over the general download limit where an exception names none', () => {
    const schedule = { ...SCHEDULE, downloadBytesPerSecond: 5 };
    expect(limitsAt(schedule, at(23), false).downloadBytesPerSecond).toBeUndefined();
  });

  it('follow the file that says that the network is metered, within one look', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'blocktorrent-limits-'));
    const meteredFile = join(dir, 'metered');
    const applied: TransferLimits[] = [];
    const end = followTransferLimits({
      overlay: { ...SCHEDULE, meteredFile } as never,
      nowMs: () => at(9).getTime(),
      log: silentLog,
      apply: (limits) => applied.push(limits),
      lookEveryMs: 10,
    });
    const uploads = () => applied.map((limits) => limits.uploadBytesPerSecond);
    try {
      expect(uploads()).toEqual([1_000_000]);
      writeFileSync(meteredFile, '');
      await expect.poll(uploads).toEqual([1_000_000, 20_000]);
      rmSync(meteredFile);
      await expect.poll(uploads).toEqual([1_000_000, 20_000, 1_000_000]);
    } finally {
      end();
      rmSync(dir, { recursive: true });
    }
  });
});
