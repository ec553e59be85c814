/**
 * A machine that turns on a whole agent, started as its service starts it: it stays up, its status says
 * what is wrong, and every reading that the broker was acknowledged is there once, in order.
 * Each case by itself, with one stage behind the gateway: `hostile-environment.test.ts`. A disk that
 * takes nothing at the start: `start.test.ts`.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { type Broker, startBroker } from '@blocktorrent/broker/broker.ts';
import { connectAsync, type MqttClient } from 'mqtt';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { storedIn } from '../support/hostile.ts';
import { requirePowerCut, startPowerCut } from '../support/power-cut.ts';
import { aFolder } from '../support/readings.ts';
import { RealAgent } from '../support/real-agent.ts';
import { Seeded, seedOfRun } from '../support/seeded.ts';

const TEN_YEARS_MS = 10 * 365.25 * 86_400_000;
const SESSION = 'blocktorrent-gateway-1';
const TEST_MS = 120_000;
const POWER_CUTS = process.env.BLOCKTORRENT_LONG ? 40 : 2;
/** The publisher waits while so many are queued: a broker's queue that is full drops what comes. */
const QUEUED_MAX = 4000;
const BAD_PAYLOADS = [
  Buffer.alloc(10_000_000, 0x20),
  Buffer.from([0x22, 0xff, 0xfe, 0x22]),
  Buffer.alloc(1_000_000, '['),
];

let folder = '';
let removeFolder: () => void;
let broker: Broker;
let publisher: MqttClient;
let agent: RealAgent | null = null;
let published = 0;

beforeEach(async () => {
  [folder, removeFolder] = aFolder();
  published = 0;
  await startBrokerAt(0);
  publisher = await connectAsync(`mqtt://${broker.address}`, { reconnectPeriod: 20 });
});
afterEach(async () => {
  await agent?.kill();
  await publisher.endAsync(true);
  await broker.stop();
  removeFolder();
});

async function startBrokerAt(port: number): Promise<void> {
  const dataDir = join(folder, 'broker');
  mkdirSync(dataDir, { recursive: true });
  broker = await startBroker({ port, dataDir, payloadBytesMax: 12_000_000 });
}

/** Publishes so many; resolves when the broker has acknowledged them. */
async function publish(count: number, topic = (_: number) => 'site/a'): Promise<void> {
  for (const end = published + count; published < end; ) {
    const group = Array.from({ length: Math.min(500, end - published) }, () => {
      published += 1;
      const text = JSON.stringify({ sensor: 'x', seq: published, value: 1 });
      return publisher.publishAsync(topic(published), text, { qos: 1 });
    });
    await Promise.all(group);
  }
}

async function isConnected(running: RealAgent): Promise<void> {
  await running.until(({ brokers }) => brokers.every(({ connected }) => connected));
}

/** Every number once, in the order of each topic, beside `refused` dead letters. */
async function expectAll(running: RealAgent, refused = 0): Promise<void> {
  await running.until(
    ({ readings }) => readings >= published + refused && broker.queuedFor(SESSION) === 0,
  );
  expect(await running.stop()).toBe(0);
  const { numbers, disorder, refusals } = storedIn(running.dataDir);
  expect([...numbers].sort((a, b) => a - b)).toEqual(
    Array.from({ length: published }, (_, index) => index + 1),
  );
  expect(disorder).toEqual([]);
  expect(refusals.length).toBe(refused);
}

it(
  'survives jumps of its clock, a broker restarted in a loop, bad payloads, ten thousand topics',
  async () => {
    const running = await RealAgent.create(
      folder,
      join(folder, 'data'),
      `mqtt://${broker.address}`,
    );
    agent = running;
    running.start();
    await isConnected(running);
    const count = ({ files }: { files: Record<string, number> }) =>
      Object.values(files).reduce((sum, files) => sum + files, 0);
    for (const offsetMs of [TEN_YEARS_MS, -TEN_YEARS_MS, 0]) {
      const before = await running.until(() => true);
      running.setClock(offsetMs);
      await publish(50);
      // The batch is closed in its time, and sealing does not wait for years.
      await running.until((status) => count(status) > count(before) && status.files.queued === 0);
      if (offsetMs < 0)
        expect((await running.until(() => true)).clock.waiting).toMatch(/the clock is off/);
    }
    const port = Number(broker.address.split(':')[1]);
    for (let turn = 0; turn < 5; turn += 1) {
      await publish(100);
      await broker.stop();
      const away = await running.until(({ brokers }) =>
        brokers.some(({ connected }) => !connected),
      );
      expect(away.brokers[0]?.reason).not.toBeNull();
      await startBrokerAt(port);
    }
    await isConnected(running);
    for (const payload of BAD_PAYLOADS) await publisher.publishAsync('site/a', payload, { qos: 1 });
    const status = await running.until(({ deadLetters }) => deadLetters >= BAD_PAYLOADS.length);
    expect(status.deadLetters).toBe(BAD_PAYLOADS.length);
    await publish(10_000, (n) => `site/truck-${n % 100}/sensor-${n}`);
    await expectAll(running, BAD_PAYLOADS.length);
  },
  TEST_MS,
);

it(
  'waits on a disk that becomes read-only under it, says so, and goes on when it is mended',
  async (context) => {
    requirePowerCut(context);
    const disk = await startPowerCut();
    try {
      const url = `mqtt://${broker.address}`;
      const running = await RealAgent.create(folder, join(disk.path, 'data'), url);
      agent = running;
      running.start();
      await isConnected(running);
      await publish(200);
      await running.until(({ readings }) => readings >= published);
      let loading = true;
      const load = (async () => {
        while (loading) await publish(20);
      })();
      disk.setReadOnly(true);
      const { readings } = await running.until(({ disk }) => disk?.alarm != null);
      await running.until(() => broker.queuedFor(SESSION) > 500);
      const status = await running.until(() => true);
      expect(status.disk?.alarm).toMatch(
        /^readings cannot be committed, their brokers keep them: /,
      );
      expect(status.readings).toBe(readings);
      disk.setReadOnly(false);
      await running.until((mended) => mended.disk?.alarm === null && mended.readings > readings);
      loading = false;
      await load;
      await running.until(({ files }) => files.queued === 0);
      await expectAll(running);
    } finally {
      await agent?.kill();
      await disk.stop();
    }
  },
  TEST_MS,
);

it(
  'comes again after each power cut, also one at its start, with all that was acknowledged',
  async (context) => {
    requirePowerCut(context);
    const seed = seedOfRun();
    console.log(`seed ${seed}`);
    const random = new Seeded(seed);
    const disk = await startPowerCut();
    try {
      const url = `mqtt://${broker.address}`;
      const running = await RealAgent.create(folder, join(disk.path, 'data'), url);
      agent = running;
      running.start();
      await isConnected(running);
      let loading = true;
      const load = (async () => {
        while (loading) {
          if (broker.queuedFor(SESSION) < QUEUED_MAX) await publish(20);
          await setTimeout(10);
        }
      })();
      for (let cut = 0; cut < POWER_CUTS; cut += 1) {
        if (cut === 0 || random.integer(0, 2) > 0) await isConnected(running);
        await setTimeout(random.integer(0, 1000));
        disk.cut(random.integer(0, 2 ** 40));
        await running.kill();
        await disk.restart();
        running.start();
      }
      loading = false;
      await load;
      await isConnected(running);
      await expectAll(running);
    } finally {
      await agent?.kill();
      await disk.stop();
    }
  },
  TEST_MS + POWER_CUTS * 20_000,
);
