/** When a link tries again: less and less often, and as at first only after a connection that lasted. */
import { MqttSource } from '@blocktorrent/agent/ingest/mqtt-source.ts';
import { systemClock } from '@blocktorrent/agent/runtime/clock.ts';
import { silentLog } from '@blocktorrent/agent/runtime/log.ts';
import { expect, it, vi } from 'vitest';
import { CONNACK, startStub } from '../support/mqtt-stub.ts';

it('a connection counts as good after its stable time only, however often it comes about', async () => {
  const uptimesMs = [0, 0, 999, 1000, 0];
  const ends = uptimesMs.length;
  let nowMs = 0;
  const stub = await startStub((socket, packet) => {
    if (packet[0] === 0x10) socket.write(CONNACK);
    if (packet[0] !== 0x82) return;
    nowMs += uptimesMs.shift() ?? 0;
    socket.destroy();
  });
  const waitsMs: unknown[] = [];
  const warn = (message: string, fields?: Readonly<Record<string, unknown>>) => {
    if (message === 'no connection to broker') waitsMs.push(fields?.waitMs);
  };
  const source = new MqttSource({
    url: stub.url,
    clientId: 'gateway-1',
    filters: ['site/#'],
    version: '5',
    backoff: { minMs: 20, maxMs: 10_000, stableMs: 1000 },
    random: () => 0,
    clock: { ...systemClock, monotonicMs: () => nowMs },
    sink: { take: () => undefined, flush: () => undefined },
    log: { ...silentLog, warn },
  });
  source.start();
  await vi.waitFor(() => expect(waitsMs.length).toBeGreaterThanOrEqual(ends));
  await source.stop();
  await stub.stop();
  // Half of 20, 40, 80, and again, because the random number is 0.
  expect(waitsMs.slice(0, ends)).toEqual([10, 20, 40, 10, 20]);
});
