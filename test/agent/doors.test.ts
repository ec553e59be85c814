/** Listeners whose address comes later. */
import { Doors } from '@blocktorrent/agent/runtime/doors.ts';
import { silentLog } from '@blocktorrent/agent/runtime/log.ts';
import { expect, it, vi } from 'vitest';

const failure = (code: string) => Object.assign(new Error(`listen ${code} 10.0.0.9:1`), { code });

it('a listener whose address is not there is started when it is, and then said', async () => {
  const doors = new Doors({ log: silentLog, retryMs: 1, retryMsMax: 2 });
  const failures = ['EADDRNOTAVAIL', 'EADDRNOTAVAIL', 'EADDRINUSE', 'EADDRNOTAVAIL'].map(failure);
  const later = vi.fn();
  await doors.open(
    'overlay',
    async () => {
      const next = failures.shift();
      if (next !== undefined) throw next;
    },
    later,
  );
  expect(doors.waiting).toEqual([{ name: 'overlay', reason: 'listen EADDRNOTAVAIL 10.0.0.9:1' }]);
  await vi.waitFor(() => expect(later).toHaveBeenCalledTimes(1));
  expect([doors.waiting, failures]).toEqual([[], []]);
  await doors.stop();
});

it('one that no waiting can mend is an error, and one that works is not started again', async () => {
  const doors = new Doors({ log: silentLog, retryMs: 1 });
  for (const code of ['EADDRINUSE', 'EACCES', 'ENOTFOUND']) {
    const start = () => Promise.reject(failure(code));
    await expect(doors.open('metrics', start)).rejects.toThrow(code);
  }
  const start = vi.fn(async () => undefined);
  const later = vi.fn();
  await doors.open('tracker', start, later);
  await doors.stop();
  expect([doors.waiting, start.mock.calls.length, later.mock.calls.length]).toEqual([[], 1, 0]);
});

it('that still wait are not tried after the end', async () => {
  const doors = new Doors({ log: silentLog, retryMs: 60_000 });
  const start = vi.fn(() => Promise.reject(failure('EADDRNOTAVAIL')));
  await doors.open('DHT', start);
  await doors.stop();
  expect(start).toHaveBeenCalledTimes(1);
});
