/** The order of each topic [MQTT-4.6.0-6], whatever befalls publishers, subscribers and the broker. */
import { setTimeout } from 'node:timers/promises';
import { type Broker, startBroker } from '@blocktorrent/broker/broker.ts';
import { connect, connectAsync, type IClientOptions, type MqttClient } from 'mqtt';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { mqttEvent } from '../support/mqtt-event.ts';
import { aFolder } from '../support/readings.ts';
import { Seeded, seedOfRun } from '../support/seeded.ts';

const LONG = process.env.BLOCKTORRENT_LONG === '1';
const SESSION = { clientId: 'gateway', clean: false, reconnectPeriod: 0 } as const;
const TOPICS = 3;
const cleanUps: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

/** A broker with a store, so that a message is in the queue some time before it is sent. */
async function aBroker(options: Parameters<typeof startBroker>[0] = {}): Promise<Broker> {
  const [dataDir, remove] = aFolder();
  const broker = await startBroker({ port: 0, dataDir, ...options });
  cleanUps.push(remove, () => broker.stop());
  return broker;
}

async function aClient({ address }: Broker, options: IClientOptions = {}): Promise<MqttClient> {
  const client = await connectAsync(`mqtt://${address}`, { reconnectPeriod: 0, ...options });
  client.on('error', () => undefined);
  cleanUps.push(() => client.endAsync(true));
  return client;
}

/** A session of a client that is away. */
async function aSession(broker: Broker, clientId: string, topic: string): Promise<void> {
  const client = await aClient(broker, { ...SESSION, clientId });
  await client.subscribeAsync(topic, { qos: 1 });
  await client.endAsync();
}

/** Payloads in the order in which they come. */
async function aListener(broker: Broker, topic: string): Promise<string[]> {
  const texts: string[] = [];
  const client = await aClient(broker);
  client.on('message', (_topic, payload) => void texts.push(String(payload)));
  await client.subscribeAsync(topic, { qos: 1 });
  return texts;
}

describe('messages of a topic', () => {
  it('come in their order, and all of them, to a session that is cut off again and again', async () => {
    const seed = seedOfRun();
    const random = new Seeded(`order/${seed}`);
    const broker = await aBroker();
    await aSession(broker, SESSION.clientId, 'site/#');
    const newest = new Map<string, number>();
    const disorder: string[] = [];
    const seen = new Set<number>();
    let acknowledged = 0;
    let running = true;
    const publisher = await aClient(broker);
    const publishing = (async () => {
      for (let next = 1; running; next += 20) {
        const group = Array.from({ length: 20 }, (_, n) => {
          const number = next + n;
          // Now and then one that is kept, too, and one that overtakes if it can.
          const retain = number % 7 === 0;
          publisher.publish(`quick/${number % TOPICS}`, 'x', { qos: 0 });
          return publisher.publishAsync(`site/${number % TOPICS}`, `${number}`, { qos: 1, retain });
        });
        await Promise.all(group);
        acknowledged = next + 19;
        while (running && broker.queuedFor(SESSION.clientId) > 500) await setTimeout(5);
      }
    })();
    const reader = async (): Promise<MqttClient> => {
      const client = connect(`mqtt://${broker.address}`, SESSION);
      client.on('error', () => undefined);
      client.on('message', (topic, payload) => {
        const number = Number(String(payload));
        if (seen.has(number)) return;
        seen.add(number);
        if (number < (newest.get(topic) ?? 0)) disorder.push(`${topic}: ${number}`);
        else newest.set(topic, number);
      });
      await mqttEvent(client, 'connect');
      return client;
    };
    let last = await reader();
    for (let cut = 0; cut < (LONG ? 400 : 60); cut += 1) {
      await setTimeout(random.integer(0, 25));
      // Half of the time the broker learns of the end from the next connection only.
      if (random.integer(0, 1) === 0) last.stream.destroy();
      const before = last;
      last = await reader();
      await before.endAsync(true);
    }
    running = false;
    await publishing;
    // Nothing is left over that only another connection would bring.
    await vi.waitFor(() => expect(broker.queuedFor(SESSION.clientId)).toBe(0));
    await last.endAsync();
    console.log(`order: SEED=${seed}, ${acknowledged} messages`);
    expect(seen.size).toBe(acknowledged);
    expect(disorder, `seed ${seed}`).toEqual([]);
  });

  it('are not lost to a subscriber because a later one overtakes them on the way to the disk', async () => {
    const broker = await aBroker();
    await aSession(broker, 'away', 'site/#');
    const texts = await aListener(broker, '#');
    const publisher = await aClient(broker);
    const sent: string[] = [];
    for (let n = 0; n < 50; n += 1) {
      for (const [topic, qos] of [
        ['site/a', 1],
        ['else/a', 0],
        ['else/b', 1],
        ['site/b', 2],
      ] as const) {
        sent.push(`${topic} ${n}`);
        publisher.publish(topic, `${topic} ${n}`, { qos });
      }
    }
    await vi.waitFor(() => expect(texts.length).toBe(sent.length));
    for (const topic of ['site/a', 'else/a', 'else/b', 'site/b']) {
      const of = (all: readonly string[]) => all.filter((text) => text.startsWith(topic));
      expect(of(texts)).toEqual(of(sent));
    }
  });

  it('reach who is connected, also where their publisher goes before it is acknowledged', async () => {
    const broker = await aBroker();
    await aSession(broker, 'away', 'site/#');
    const reader = await aClient(broker, SESSION);
    const texts: string[] = [];
    reader.on('message', (_topic, payload) => void texts.push(String(payload)));
    await reader.subscribeAsync('site/#', { qos: 1 });
    for (let n = 1; n <= 20; n += 1) {
      const publisher = await aClient(broker);
      publisher.publish('site/a', `${n}`, { qos: 1 }, () => undefined);
      publisher.stream.end();
    }
    await (await aClient(broker)).publishAsync('site/a', 'last', { qos: 1 });
    await vi.waitFor(() => expect(texts.at(-1)).toBe('last'));
    // Which of them the broker still read is its own affair; who is away and who is here have the same.
    expect(texts.length).toBeGreaterThan(1);
    expect(broker.queuedFor('away')).toBe(texts.length);
    await vi.waitFor(() => expect(broker.queuedFor(SESSION.clientId)).toBe(0));
  });

  it('are acknowledged in the order in which they came', async () => {
    const broker = await aBroker();
    await aSession(broker, 'away', 'site/#');
    const publisher = await aClient(broker);
    const order: number[] = [];
    const all = Array.from({ length: 40 }, async (_, n) => {
      await publisher.publishAsync(n % 2 === 0 ? 'site/a' : 'nobody/a', `${n}`, { qos: 1 });
      order.push(n);
    });
    await Promise.all(all);
    expect(order).toEqual(Array.from({ length: 40 }, (_, n) => n));
  });
});

describe('a queue that is full', () => {
  const publishersWaitFor = ['gate*'];
  const full = { sessionMessagesMax: 5, sysEverySeconds: 0.05, publishersWaitFor };

  it('keeps its publishers waiting, and nothing is lost', async () => {
    const warnings: unknown[] = [];
    const warn = (...what: unknown[]) => void warnings.push(what);
    const broker = await aBroker({ ...full, warn });
    await aSession(broker, SESSION.clientId, 'site/#');
    const said = new Map<string, string>();
    const watcher = await aClient(broker);
    watcher.on('message', (topic, payload) => void said.set(topic, String(payload)));
    await watcher.subscribeAsync('$SYS/#');
    const publisher = await aClient(broker, { keepalive: 1 });
    const acknowledged: number[] = [];
    const all = Array.from({ length: 30 }, async (_, n) => {
      await publisher.publishAsync('site/a', `${n}`, { qos: 1 });
      acknowledged.push(n);
    });
    await vi.waitFor(() => {
      expect(said.get('$SYS/broker/publish/messages/held')).toBe('25');
      expect(acknowledged).toEqual([0, 1, 2, 3, 4]);
    });
    expect(warnings).toEqual([['queue is full, publishers wait', { clientId: 'gateway' }]]);
    // It stays connected, as its pings are answered, and others are served.
    const texts = await aListener(broker, 'else/#');
    await (await aClient(broker)).publishAsync('else/a', 'x', { qos: 1 });
    await vi.waitFor(() => expect(texts).toEqual(['x']));
    await setTimeout(2_500);
    expect(publisher.connected).toBe(true);
    const got: string[] = [];
    const reader = connect(`mqtt://${broker.address}`, SESSION);
    cleanUps.push(() => reader.endAsync(true));
    reader.on('message', (_topic, payload) => void got.push(String(payload)));
    await Promise.all(all);
    await vi.waitFor(() => expect(broker.queuedFor(SESSION.clientId)).toBe(0));
    expect(got).toEqual(Array.from({ length: 30 }, (_, n) => `${n}`));
    expect(broker.dropped()).toBe(0);
    await vi.waitFor(() => expect(said.get('$SYS/broker/publish/messages/held')).toBe('0'));
  });

  it('stops nobody where its session is not one to wait for', async () => {
    const warnings: unknown[] = [];
    const warn = (...what: unknown[]) => void warnings.push(what);
    const broker = await aBroker({ ...full, warn });
    await aSession(broker, 'a-display', 'site/#');
    const publisher = await aClient(broker);
    const all = Array.from({ length: 8 }, (_, n) =>
      publisher.publishAsync('site/a', `${n}`, { qos: 1 }),
    );
    await Promise.all(all);
    expect([broker.queuedFor('a-display'), broker.dropped()]).toEqual([5, 3]);
    expect(warnings[0]).toEqual([
      'queue is full, message dropped',
      { clientId: 'a-display', dropped: 1 },
    ]);
  });

  it('leaves half of the bytes to sessions that are waited for', async () => {
    const bytes = { publishersWaitFor, queuedBytesMax: 1000 };
    const broker = await aBroker(bytes);
    await aSession(broker, 'a-display', 'site/#');
    const publisher = await aClient(broker);
    const publish = () => publisher.publishAsync('site/a', 'x'.repeat(100), { qos: 1 });
    for (let n = 0; n < 8; n += 1) await publish();
    expect([broker.queuedFor('a-display'), broker.dropped()]).toEqual([5, 3]);
    await aSession(broker, SESSION.clientId, 'site/#');
    for (let n = 0; n < 5; n += 1) await publish();
    expect(broker.queuedFor(SESSION.clientId)).toBe(5);
    expect(broker.dropped()).toBe(8);
  });

  it('lets a subscriber that publishes into it empty it', async () => {
    const broker = await aBroker(full);
    const client = await aClient(broker, SESSION);
    await client.subscribeAsync('site/#', { qos: 1 });
    let seen = 0;
    client.on('message', () => {
      seen += 1;
    });
    const all = Array.from({ length: 60 }, (_, n) =>
      client.publishAsync('site/a', `${n}`, { qos: 1 }),
    );
    await Promise.all(all);
    await vi.waitFor(() => expect(seen).toBe(60));
  });

  it('forgets what waited with a publisher that goes, and takes it when it comes again', async () => {
    const broker = await aBroker(full);
    await aSession(broker, SESSION.clientId, 'site/#');
    const options = { clientId: 'sensor', clean: false, reconnectPeriod: 50 };
    for (const qos of [1, 2] as const) {
      const sensor = await aClient(broker, { ...options, clientId: `sensor-${qos}` });
      const all = Array.from({ length: 10 }, (_, n) =>
        sensor.publishAsync('site/a', `${qos}/${n}`, { qos }),
      );
      await vi.waitFor(() => expect(broker.queuedFor(SESSION.clientId)).toBe(5));
      sensor.stream.destroy();
      // MQTT.js says that it is connected when all that it sends again is acknowledged.
      await mqttEvent(sensor, 'close');
      await vi.waitFor(() => expect(sensor.connected).toBe(true));
      const got = new Set<string>();
      const reader = connect(`mqtt://${broker.address}`, SESSION);
      cleanUps.push(() => reader.endAsync(true));
      reader.on('message', (_topic, payload) => void got.add(String(payload)));
      await Promise.all(all);
      await vi.waitFor(() => expect(got.size).toBe(10));
      await vi.waitFor(() => expect(broker.queuedFor(SESSION.clientId)).toBe(0));
      await reader.endAsync();
      expect([...got]).toEqual(Array.from({ length: 10 }, (_, n) => `${qos}/${n}`));
    }
    expect(broker.dropped()).toBe(0);
  });
});
