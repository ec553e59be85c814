/**
 * A machine that turns on its gateway: the process stays up, its status says what is wrong, and every
 * reading that the broker was acknowledged is there exactly once. A full disk: `disk-full.test.ts`.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { runEventLoop } from '@blocktorrent/agent/event-loop.ts';
import type { Ledger, LedgerEvent } from '@blocktorrent/agent/ledger/ledger.ts';
import type { ConsortiumView } from '@blocktorrent/agent/ledger/membership.ts';
import { silentLog } from '@blocktorrent/agent/runtime/log.ts';
import { type Broker, startBroker } from '@blocktorrent/broker/broker.ts';
import { connectAsync, type MqttClient } from 'mqtt';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HostileGateway, storedIn } from '../support/hostile.ts';
import { requirePowerCut, startPowerCut } from '../support/power-cut.ts';
import { aFolder } from '../support/readings.ts';

const TEN_YEARS_MS = 10 * 365.25 * 86_400_000;
const SESSION = 'blocktorrent-gateway-1';

let folder = '';
let broker: Broker;
let publisher: MqttClient;
let gateway: HostileGateway;
let published = 0;
let removeFolder: () => void;

beforeEach(async () => {
  [folder, removeFolder] = aFolder();
  published = 0;
  await startBrokerAt(0);
  publisher = await connectAsync(`mqtt://${broker.address}`, { reconnectPeriod: 20 });
});
afterEach(async () => {
  gateway.kill();
  await publisher.endAsync(true);
  await broker.stop();
  removeFolder();
});

async function startBrokerAt(port: number): Promise<void> {
  const dataDir = join(folder, 'broker');
  mkdirSync(dataDir, { recursive: true });
  broker = await startBroker({ port, dataDir, payloadBytesMax: 12_000_000 });
}

/** Starts the gateway in `where`; resolves when it has subscribed. */
async function start(where: string): Promise<void> {
  gateway = new HostileGateway(where, `mqtt://${broker.address}`);
  await gateway.until(({ connected }) => connected);
}

/** Publishes so many; resolves when the broker has acknowledged them. */
async function publish(count: number, topic = (_: number) => 'site/a'): Promise<void> {
  for (const end = published + count; published < end; ) {
    const group = Array.from({ length: Math.min(500, end - published) }, () => {
      published += 1;
      const text = JSON.stringify({ s: 'x', n: published, v: 1 });
      return publisher.publishAsync(topic(published), text, { qos: 1 });
    });
    await Promise.all(group);
  }
}

/** Every number once, in the order of each topic; what the broker has was taken. */
async function expectAll(where: string): Promise<void> {
  await gateway.until(({ readings }) => readings >= published && broker.queuedFor(SESSION) === 0);
  expect(await gateway.stop()).toBe(0);
  const { numbers, disorder } = storedIn(where);
  expect([...numbers].sort((a, b) => a - b)).toEqual(
    Array.from({ length: published }, (_, index) => index + 1),
  );
  expect(disorder).toEqual([]);
}

describe('a gateway stays up, says what is wrong, and loses nothing', () => {
  it('while its disk is read-only, and goes on when it is mended', async (context) => {
    requirePowerCut(context);
    const disk = await startPowerCut();
    const where = join(disk.path, 'data');
    try {
      mkdirSync(where);
      await start(where);
      const before = await gateway.tell({ sealing: false });
      await publish(100);
      await gateway.until(({ attempts }) => attempts > before.attempts);
      disk.setReadOnly(true);
      // The stage cannot do its work now, nor write down that it could not.
      const { attempts } = await gateway.tell({ sealing: true });
      await gateway.until((answer) => answer.attempts > attempts + 1);
      await publish(100);
      const { alarm } = await gateway.until((answer) => answer.alarm !== null);
      expect(alarm).toMatch(/^readings cannot be committed, their brokers keep them: /);
      expect(broker.queuedFor(SESSION)).toBeGreaterThan(0);
      await publish(100);
      disk.setReadOnly(false);
      await gateway.until((answer) => answer.readings >= published && answer.alarm === null);
      // What is closed meanwhile goes on through the pipeline.
      await gateway.until(({ queued, sealed }) => queued === 0 && sealed > 0);
      await expectAll(where);
    } finally {
      gateway.kill();
      await disk.stop();
    }
  });

  it('while its clock jumps ten years forth and back', async () => {
    await start(folder);
    for (const clockOffsetMs of [TEN_YEARS_MS, -TEN_YEARS_MS, 0]) {
      const before = await gateway.tell({ sealing: false });
      await publish(50);
      // The stage has a file that it will look at again.
      await gateway.until(({ attempts }) => attempts > before.attempts);
      await gateway.tell({ clockOffsetMs, sealing: true });
      await publish(50);
      // The batch is closed in its time, and the pipeline does not wait for years.
      await gateway.until(({ sealed, queued }) => sealed > before.sealed && queued === 0);
    }
    await expectAll(folder);
  });

  it('while its broker is restarted in a loop', async () => {
    await start(folder);
    const port = Number(broker.address.split(':')[1]);
    for (let turn = 0; turn < 8; turn += 1) {
      await publish(100);
      await broker.stop();
      const { reason } = await gateway.until(({ connected }) => !connected);
      expect(reason).not.toBeNull();
      await startBrokerAt(port);
    }
    await gateway.until(({ connected }) => connected);
    await expectAll(folder);
  });

  it('with readings on ten thousand topics', async () => {
    await start(folder);
    await publish(10_000, (n) => `site/truck-${n % 100}/sensor-${n}`);
    await expectAll(folder);
  });

  for (const [what, payload, refusal] of [
    ['a payload of 10 MB', Buffer.alloc(10_000_000, 0x20), /^payload of 10000000 bytes not kept/],
    ['what is not UTF-8', Buffer.from([0x22, 0xff, 0xfe, 0x22]), /UTF-8/],
    ['JSON of a million levels', Buffer.alloc(1_000_000, '['), /./],
  ] as const) {
    it(`after ${what}`, async () => {
      await start(folder);
      await publish(20);
      await publisher.publishAsync('site/a', payload, { qos: 1 });
      await publish(20);
      await gateway.until(({ readings }) => readings >= published + 1);
      expect((await gateway.tell()).deadLetters).toBe(1);
      await expectAll(folder);
      const { refusals } = storedIn(folder);
      expect(refusals).toEqual([expect.stringMatching(refusal)]);
    });
  }
});

describe('events of the ledger', () => {
  it('come again, and end nothing, where the disk could not note one', async () => {
    const event = { name: 'recorded', txId: 'a', blockNumber: 1n } as LedgerEvent;
    const stopping = new AbortController();
    let asked = 0;
    const ledger = {
      async *events() {
        asked += 1;
        yield event;
      },
    } as unknown as Ledger;
    await runEventLoop({
      ...{ ledger, view: {} as ConsortiumView, duties: null, checkpointFile: '', gatherMs: 0 },
      ...{ log: silentLog, signal: stopping.signal, wake: () => undefined },
      note() {
        if (asked > 1) return stopping.abort();
        throw Object.assign(new Error('database or disk is full'), { code: 'SQLITE_FULL' });
      },
    });
    expect(asked).toBe(2);
  });
});
