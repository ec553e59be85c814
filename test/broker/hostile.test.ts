/** Who means harm, or is only odd: the broker stays up, its memory is bounded, and others are served. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect as connectTcp, type Socket } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type Broker, DEFAULTS, startBroker } from '@blocktorrent/broker/broker.ts';
import { connectAsync, type MqttClient } from 'mqtt';
import { generate, type Packet } from 'mqtt-packet';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { startNode } from '../support/process.ts';
import { aFolder } from '../support/readings.ts';
import { Seeded, seedOfRun } from '../support/seeded.ts';

const MAIN = fileURLToPath(new URL('../../broker/src/main.ts', import.meta.url));
const FUZZ_MS = process.env.BLOCKTORRENT_LONG === '1' ? 60_000 : 3_000;
const RSS_MIB_MAX = 300;
const cleanUps: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

async function aBroker(options: Parameters<typeof startBroker>[0] = {}): Promise<Broker> {
  const broker = await startBroker({ port: 0, connectionsPerSecond: 10_000, ...options });
  cleanUps.push(() => broker.stop());
  return broker;
}

async function aClient(address: string, clientId = ''): Promise<MqttClient> {
  const given = clientId === '' ? {} : { clientId };
  const client = await connectAsync(`mqtt://${address}`, { reconnectPeriod: 0, ...given });
  cleanUps.push(() => client.endAsync(true));
  client.on('error', () => undefined);
  return client;
}

/** Until it has this many messages more. */
const takes = (reader: MqttClient, count: number) =>
  new Promise<void>((resolve) => {
    let left = count;
    const take = () => {
      left -= 1;
      if (left > 0) return;
      reader.off('message', take);
      resolve();
    };
    reader.on('message', take);
  });

const closed = (socket: Socket) => new Promise((resolve) => socket.once('close', resolve));

/** A connection that has sent these packets. */
function raw(port: number, ...packets: readonly Packet[]): Socket {
  const socket = connectTcp(port, '127.0.0.1')
    .on('error', () => undefined)
    .resume();
  cleanUps.push(() => socket.destroy());
  for (const packet of packets) socket.write(generate(packet));
  return socket;
}

const hello = (clientId: string, more: object = {}) =>
  ({
    ...{ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, clean: true, clientId },
    ...{ keepalive: 600, ...more },
  }) as Packet;
const asks = (topics: readonly string[], qos: 0 | 1) =>
  ({
    ...{ cmd: 'subscribe', messageId: 1 },
    subscriptions: topics.map((topic) => ({ topic, qos })),
  }) as Packet;

/** Whether the broker does its work. */
async function serves(address: string): Promise<void> {
  const client = await aClient(address);
  await client.subscribeAsync('health', { qos: 1 });
  const message = new Promise((resolve) => client.once('message', resolve));
  await client.publishAsync('health', 'x', { qos: 1 });
  await message;
}

describe('the broker goes on', () => {
  it('after messages and wills that it cannot keep or route', async () => {
    const warnings: string[] = [];
    const warn = (message: string) => void warnings.push(message);
    const broker = await aBroker({ retainedMax: 1, warn });
    await (await aClient(broker.address)).publishAsync('kept', 'x', { qos: 1, retain: true });
    const deep = 'a/'.repeat(150);
    for (const [topic, qos] of [
      ['other', 0],
      ['other', 1],
      [deep, 0],
      [deep, 1],
      ['site/#', 0],
    ] as const) {
      const will = { topic, payload: Buffer.from('x'), qos, retain: true };
      const dying = raw(broker.port, hello(`dying-${topic.length}-${qos}`, { will }));
      await once(dying, 'data');
      dying.destroy();
    }
    const payload = Buffer.from('x');
    const flood = { cmd: 'publish', topic: 'third', payload, qos: 0, retain: true, dup: false };
    const offender = raw(broker.port, hello('offender'), flood as Packet);
    await closed(offender);
    await vi.waitFor(() => expect(warnings.filter((one) => one === 'will refused').length).toBe(3));
    await serves(broker.address);
  });

  it('while subscribers take nothing: others get all, and memory is bounded', async () => {
    const broker = startNode(MAIN, ['--listen', '127.0.0.1:0']);
    cleanUps.push(() => broker.child.kill('SIGKILL'));
    const address = String((await broker.next()).address);
    const port = Number(address.split(':')[1]);
    for (const qos of [0, 1] as const) {
      const silent = raw(port, hello(`silent-${qos}`), asks(['#'], qos));
      await once(silent, 'data');
      silent.pause();
    }
    const reader = await aClient(address);
    await reader.subscribeAsync('t', { qos: 1 });
    const publisher = await aClient(address);
    const payload = Buffer.alloc(500_000);
    const begunMs = performance.now();
    // A few at a time: a reader that falls behind would lose some, as it may.
    for (let n = 0; n < 500; n += 1) {
      const got = takes(reader, 4);
      for (const one of [payload, 'a', 'b', 'c']) publisher.publish('t', one, { qos: 1 });
      await got;
    }
    // Before the silent ones would be ended for it.
    expect(performance.now() - begunMs).toBeLessThan(DEFAULTS.drainTimeoutMs);
    const [, peakKiB] =
      /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${broker.child.pid}/status`, 'utf8')) ?? [];
    expect(Number(peakKiB) / 1024).toBeLessThan(RSS_MIB_MAX);
    broker.child.kill('SIGTERM');
    expect(await broker.ended).toBe(0);
  });

  it('while who comes back to a full session takes nothing: publishers do not wait for it', async () => {
    const warnings: string[] = [];
    const broker = await aBroker({ warn: (message) => warnings.push(message) });
    const publisher = await aClient(broker.address);
    const payload = Buffer.alloc(1_000_000);
    const comes = async (...packets: Packet[]) => {
      const socket = raw(broker.port, hello('back', { clean: false }), ...packets);
      await once(socket, 'data');
      return socket.pause();
    };
    const before = await comes(asks(['#'], 1));
    await vi.waitFor(() => expect(before.bytesRead).toBeGreaterThan(4));
    before.destroy();
    for (let n = 0; n < 25; n += 1) await publisher.publishAsync('t', payload, { qos: 1 });
    expect(broker.queuedFor('back')).toBe(25);
    await comes();
    const reader = await aClient(broker.address);
    await reader.subscribeAsync('t', { qos: 1 });
    for (let n = 0; n < 20; n += 1) {
      const got = takes(reader, 4);
      for (const one of ['a', 'b', 'c', 'd']) publisher.publish('t', one, { qos: 1 });
      await got;
    }
    // It is still here.
    expect(warnings).toEqual([]);
  });

  it('and keeps of a subscription what it has granted, each filter once', async () => {
    const [dataDir, remove] = aFolder();
    cleanUps.push(remove);
    const broker = await aBroker({ dataDir, subscriptionsMax: 2_000 });
    const filters = Array.from({ length: 5_000 }, (_, n) => `s/${n}`);
    const greedy = raw(broker.port, hello('greedy', { clean: false }), asks(filters, 1));
    await vi.waitFor(() => expect(greedy.bytesRead).toBeGreaterThan(5_000));
    greedy.destroy();
    const publisher = await aClient(broker.address);
    for (const topic of ['s/0', 's/1999', 's/2000', 's/4999']) {
      await publisher.publishAsync(topic, 'x', { qos: 1 });
    }
    expect(broker.queuedFor('greedy')).toBe(2);
  });

  it('with one connection of each name, also where many come at once', async () => {
    const broker = await aBroker();
    let opened = 0;
    let open = 0;
    for (let n = 0; n < 40; n += 1) {
      const socket = raw(broker.port, hello('twin'));
      socket.once('connect', () => {
        opened += 1;
        open += 1;
      });
      socket.once('close', () => {
        open -= 1;
      });
    }
    await vi.waitFor(() => expect([opened, open]).toEqual([40, 1]));
  });

  it('to its end at once, where somebody has connected and said nothing', async () => {
    const broker = await startBroker({ port: 0 });
    const silent = raw(broker.port);
    await once(silent, 'connect');
    await setTimeout(50);
    const gone = closed(silent);
    await broker.stop();
    await gone;
  }, 15_000);

  it(
    'whatever bytes come',
    async () => {
      const seed = seedOfRun();
      console.log(`broker fuzz: SEED=${seed}`);
      const random = new Seeded(seed);
      const [dataDir, remove] = aFolder();
      cleanUps.push(remove);
      const broker = await aBroker({ dataDir, payloadBytesMax: 10_000, retainedMax: 50 });
      const end = performance.now() + FUZZ_MS;
      const attack = async () => {
        while (performance.now() < end) {
          const socket = raw(broker.port, hello(`c${random.integer(0, 20)}`, { clean: false }));
          for (let n = random.integer(1, 40); n > 0 && socket.writable; n -= 1) {
            socket.write(mutated(random));
          }
          await Promise.race([closed(socket), setTimeout(random.integer(0, 20))]);
          socket.destroy();
          cleanUps.pop();
        }
      };
      await Promise.all(Array.from({ length: 4 }, attack));
      await serves(broker.address);
    },
    FUZZ_MS + 20_000,
  );
});

const TOPICS = ['a', 'a/b', '#', '+/b', '', '/', '\0', '$SYS/x', '$SYS/#', 'é', 'a/'.repeat(200)];

/** A packet that a client may send, half of them with a few bytes changed, gone or more. */
function mutated(random: Seeded): Buffer {
  const topic = random.pick(TOPICS);
  const qos = random.pick([0, 1, 2] as const);
  const payload = Buffer.alloc(random.pick([0, 1, 3000, 12_000]));
  const flags = { qos, retain: random.pick([true, false]), dup: false };
  const messageId = random.integer(1, 20);
  const will = { topic: topic || 'w', payload, qos, retain: flags.retain };
  const packet = random.pick<object>([
    { cmd: 'publish', topic: topic || 'x', payload, messageId, ...flags },
    { cmd: 'subscribe', messageId, subscriptions: [{ topic: topic || 'x', qos }] },
    { cmd: 'unsubscribe', messageId, unsubscriptions: [topic || 'x'] },
    { cmd: random.pick(['puback', 'pubrec', 'pubrel', 'pubcomp']), messageId },
    { cmd: random.pick(['pingreq', 'disconnect']) },
    hello('again', { will }),
  ]);
  const bytes = Buffer.from(generate(packet as Packet));
  if (random.integer(0, 1) === 0) return bytes;
  for (let n = random.integer(1, 3); n > 0; n -= 1) {
    bytes[random.integer(0, bytes.length - 1)] = random.integer(0, 255);
  }
  return bytes.subarray(0, random.integer(1, bytes.length));
}
