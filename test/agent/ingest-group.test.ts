/** What a group of messages is worth while it waits for its sync: its times, its bounds, its counts, its taps. */
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import type { BatchStore } from '@blocktorrent/agent/batch/batch-store.ts';
import { Duplicates } from '@blocktorrent/agent/ingest/duplicates.ts';
import type { IngestOptions } from '@blocktorrent/agent/ingest/ingest.ts';
import { Taps } from '@blocktorrent/agent/ingest/taps.ts';
import { silentLog } from '@blocktorrent/agent/runtime/log.ts';
import type { Reading } from '@blocktorrent/protocol/reading.ts';
import { generate, type Packet, parser } from 'mqtt-packet';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { countingMetrics, createIngest, createSource, openStore } from '../support/ingest.ts';
import { manualClock } from '../support/manual-clock.ts';
import { aFolder } from '../support/readings.ts';

const START_MS = 1.8e12;
let store: BatchStore;
let remove: () => void;
const given = { lost: [] as unknown[] };

beforeEach(() => {
  let folder: string;
  [folder, remove] = aFolder();
  store = openStore(folder);
  given.lost = [];
});
afterEach(() => {
  store.stop();
  remove();
});

/** A stage whose syncs end when `synced` is called, and what a connection of it is told. */
function aStage(options: Partial<IngestOptions> = {}) {
  const acknowledged: number[] = [];
  const abandoned: string[] = [];
  let end: PromiseWithResolvers<void> | null = null;
  let broken = false;
  const metrics = countingMetrics();
  const log = {
    ...silentLog,
    error: (_message: string, fields: Record<string, unknown> = {}) => given.lost.push(fields.lost),
  };
  const ingest = createIngest(
    {
      get nextSeq() {
        return store.nextSeq;
      },
      write(readings) {
        if (broken) throw new Error('disk full');
        store.write(readings);
      },
      sync() {
        end = Promise.withResolvers<void>();
        return end.promise;
      },
      syncNow: () => store.syncNow(),
    },
    { metrics, log, maxReadings: 1e6, maxDelayMs: 1e6, ...options },
  );
  const from = {
    acknowledge: (ids: readonly number[]) => acknowledged.push(...ids) && ids.length,
    abandon: (reason: string) => void abandoned.push(reason),
  };
  return {
    ...{ ingest, metrics, acknowledged, abandoned },
    take(body: object | Uint8Array, change: { id?: number | null; dup?: boolean } = {}) {
      const payload = body instanceof Uint8Array ? body : Buffer.from(JSON.stringify(body));
      const { id = 1, dup = false } = change;
      const flags = { qos: id === null ? 0 : 1, dup, retain: false } as const;
      ingest.take({ topic: 'site/a', payload, ...flags, messageId: id }, from);
    },
    breakDisk: () => {
      broken = true;
    },
    async synced() {
      end?.resolve();
      await setImmediate();
    },
  };
}

const stored = (): Reading[] => [...store.recent(100)];

it('what comes at once has one time of receipt; what comes later, or after a jump, its own', async () => {
  const clock = manualClock(START_MS);
  let jumpMs = 0;
  let synchronised = false;
  const { ingest, take } = aStage({
    clock: { monotonicMs: clock.monotonicMs, nowMs: () => clock.nowMs() + jumpMs },
    clockSynchronised: () => synchronised,
  });
  clock.advance(5);
  take({ sensor: 'a', seq: 1, value: 1 });
  take({ sensor: 'a', seq: 2, time: START_MS - 60_000, value: 1 });
  await setImmediate();
  clock.advance(1000);
  jumpMs = -1e11;
  synchronised = true;
  take({ sensor: 'a', seq: 3, time: START_MS, value: 1 });
  await setImmediate();
  jumpMs = -1e13;
  take({ sensor: 'a', seq: 4, value: 1 });
  ingest.stop();
  expect(
    stored().map(({ receivedMs, monotonicMs, clockSynchronised, deviceMs, historical }) => {
      return [receivedMs, monotonicMs, clockSynchronised, deviceMs, historical];
    }),
  ).toEqual([
    [START_MS + 5, 5, false, null, false],
    [START_MS + 5, 5, false, START_MS - 60_000, true],
    [START_MS + 1005 - 1e11, 1005, true, START_MS, false],
    [0, 1005, true, null, false],
  ]);
});

it('a group ends with the payload that makes it too large, whatever else it waits for', () => {
  const { take } = aStage();
  for (let mib = 1; mib <= 8; mib += 1) {
    expect(store.nextSeq).toBe(1);
    take(Buffer.alloc(1024 * 1024, 0x20), { id: mib });
  }
  expect(store.nextSeq).toBe(9);
});

it('readings are shown once they are durable, each to its taps, and one that throws is taken off', async () => {
  const taps = new Taps();
  const shown: string[] = [];
  const stop = taps.add('site/#', ({ deviceSeq }) => shown.push(`all ${deviceSeq}`));
  taps.add('site/b', () => shown.push('another topic'));
  taps.add('site/a', () => {
    shown.push('bad');
    throw new Error('nobody reads');
  });
  const { take, synced } = aStage({ maxReadings: 2, onCommitted: (all) => taps.keep(all) });
  take({ sensor: 'a', seq: 1, value: 1 });
  take({ sensor: 'a', seq: 2, value: 1 });
  expect([store.nextSeq, shown]).toEqual([3, []]);
  await synced();
  expect(shown).toEqual(['all 1', 'all 2', 'bad']);
  take({ sensor: 'a', seq: 3, value: 1 });
  take({ sensor: 'a', seq: 4, value: 1 });
  stop();
  await synced();
  expect(shown).toHaveLength(3);
});

it('what fails behind a commit keeps nobody from being acknowledged', async () => {
  let groups = 0;
  const { take, synced, acknowledged } = aStage({
    maxReadings: 1,
    onCommitted: () => {
      groups += 1;
      if (groups === 1) throw new Error('told of the commit');
      return () => {
        throw new Error('told that it is durable');
      };
    },
  });
  for (const id of [1, 2, 3]) take({ sensor: 'a', seq: id, value: 1 }, { id });
  await synced();
  await synced();
  expect(acknowledged).toEqual([1, 2, 3]);
  expect(given.lost).toHaveLength(3);
});

it('repetitions and dead letters are counted when durable, a repeated dead letter once', async () => {
  const { ingest, metrics, take } = aStage({ duplicates: new Duplicates() });
  take({ sensor: 'a', seq: 1, value: 1 });
  take({ sensor: 'a', seq: 1, value: 1 }, { id: 2 });
  take(Buffer.from('{'), { id: 3 });
  take(Buffer.from('{'), { id: 4, dup: true });
  take(Buffer.from('{'), { id: null });
  expect(metrics.of).toMatchObject({ duplicates: 0, deadLetters: 0, committed: 0 });
  ingest.flush();
  expect(metrics.of).toMatchObject({
    ...{ received: 5, committed: 5, duplicates: 2, deadLetters: 2, failures: 0 },
    ...{ acknowledged: 4, unacknowledged: 1 },
  });
});

it('a commit that fails says how many messages no broker keeps, and gives each connection up', () => {
  const { ingest, take, breakDisk, abandoned, acknowledged } = aStage();
  breakDisk();
  take({ sensor: 'a', seq: 1, value: 1 });
  take({ sensor: 'a', seq: 2, value: 1 }, { id: null });
  take({ sensor: 'a', seq: 3, value: 1 }, { id: null });
  ingest.flush();
  expect([given.lost, acknowledged, stored()]).toEqual([[2], [], []]);
  expect(abandoned).toEqual(['commit failed: disk full']);
});

it('a message that is not taken is acknowledged in its turn, after the sync of those before it', async () => {
  const { take, synced, acknowledged, metrics } = aStage({
    maxReadings: 3,
    admits: (() => {
      let count = 0;
      return () => ++count !== 2 && count !== 4;
    })(),
  });
  for (const id of [7, 8, 9]) take({ sensor: 'a', seq: id, value: 1 }, { id });
  expect(acknowledged).toEqual([]);
  await synced();
  expect(acknowledged).toEqual([7, 8, 9]);
  expect(stored().map(({ deviceSeq }) => deviceSeq)).toEqual([7, 9]);
  for (const seq of [10, 11, 12]) take({ sensor: 'a', seq, value: 1 }, { id: null });
  await synced();
  expect(metrics.of).toMatchObject({ committed: 4, acknowledged: 3, unacknowledged: 2 });
});

it('the keepalive goes on while readings wait for a sync that takes long', async () => {
  const heard: (string | undefined)[] = [];
  const server = createServer((socket) => {
    const send = (packet: Packet): void => void socket.write(generate(packet));
    const packets = parser();
    packets.on('packet', ({ cmd, messageId = 0 }) => {
      heard.push(cmd);
      if (cmd === 'connect') send({ cmd: 'connack', sessionPresent: false, returnCode: 0 });
      if (cmd === 'pingreq') send({ cmd: 'pingresp' });
      if (cmd !== 'subscribe') return;
      send({ cmd: 'suback', messageId, granted: [1] });
      const flags = { qos: 1, dup: false, retain: false } as const;
      for (let id = 1; id <= 3; id += 1) {
        send({ cmd: 'publish', topic: 'site/a', payload: '{"value":1}', messageId: id, ...flags });
      }
    });
    socket.on('data', (bytes) => packets.parse(bytes));
    socket.on('error', () => socket.destroy());
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { ingest, synced } = aStage({ maxReadings: 3 });
  const url = `mqtt://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const source = createSource(url, ingest, { version: '4', keepaliveSeconds: 1 });
  source.start();
  const count = (cmd: string) => heard.filter((one) => one === cmd).length;
  try {
    await vi.waitFor(() => expect(count('pingreq')).toBeGreaterThan(1));
    expect([store.nextSeq, count('puback'), count('connect')]).toEqual([4, 0, 1]);
    await synced();
    await vi.waitFor(() => expect(count('puback')).toBe(3));
  } finally {
    await source.stop();
    server.close();
  }
});
