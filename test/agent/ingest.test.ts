/** Durable before acknowledged, over real brokers: commits, order, reconnects, dead letters. */
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import type { BatchStore } from '@blocktorrent/agent/batch/batch-store.ts';
import { Backoff } from '@blocktorrent/agent/ingest/backoff.ts';
import type { MqttSource, MqttSourceState } from '@blocktorrent/agent/ingest/mqtt-source.ts';
import { type Broker, startBroker } from '@blocktorrent/broker/broker.ts';
import type { Reading } from '@blocktorrent/protocol/reading.ts';
import { Aedes } from 'aedes';
import { connectAsync, type MqttClient } from 'mqtt';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { countingMetrics, createIngest, createSource, openStore } from '../support/ingest.ts';
import { startMosquitto } from '../support/mosquitto.ts';
import { aFolder } from '../support/readings.ts';
import { requireTool } from '../support/tools.ts';

const SESSION = 'blocktorrent-gateway-1';
const cleanUps: (() => unknown)[] = [];
let store: BatchStore;
let folder: string;

beforeEach(() => {
  const [path, remove] = aFolder();
  folder = path;
  cleanUps.push(remove);
  store = openStore(folder);
  cleanUps.push(() => store.stop());
});
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

async function aBroker(port = 0): Promise<Broker> {
  const broker = await startBroker({ port });
  cleanUps.push(() => broker.stop());
  return broker;
}

async function aPublisher(url: string): Promise<MqttClient> {
  const client = await connectAsync(url);
  client.on('error', () => undefined);
  cleanUps.push(() => client.endAsync(true));
  return client;
}

type SourceOptions = NonNullable<Parameters<typeof createSource>[2]>;

async function started(
  url: string,
  sink: Parameters<typeof createSource>[1],
  options: SourceOptions = {},
): Promise<{ source: MqttSource; states: MqttSourceState[] }> {
  const states: MqttSourceState[] = [];
  const source = createSource(url, sink, { ...options, onState: (state) => states.push(state) });
  cleanUps.push(() => source.stop());
  source.start();
  // Subscribed: the state after SUBACK is the second one with a connection.
  await vi.waitFor(() => expect(states.filter(({ connected }) => connected)).toHaveLength(2));
  return { source, states };
}

const payload = (seq: number, sensor = 't-1'): string =>
  JSON.stringify({ sensor, seq, time: 1.7e12 + seq, value: seq });

async function publish(client: MqttClient, from: number, to: number, topic = 'site/a') {
  await Promise.all(
    Array.from({ length: to - from + 1 }, (_, index) =>
      client.publishAsync(topic, payload(from + index), { qos: 1 }),
    ),
  );
}

const originals = (): Reading[] =>
  [...store.recent(1e6)].filter(({ duplicateOf }) => duplicateOf === null);
const deviceSeqs = (): (number | null)[] => originals().map(({ deviceSeq }) => deviceSeq);
const upTo = (count: number): number[] => Array.from({ length: count }, (_, n) => n + 1);

/** A store whose commits and syncs can be made to fail, and that says what of it is synced. */
function breakable(inner: BatchStore) {
  return {
    broken: false,
    syncBroken: false,
    written: 0,
    synced: 0,
    get nextSeq() {
      return inner.nextSeq;
    },
    write(readings: readonly Reading[]) {
      if (this.broken) throw new Error('disk full');
      inner.write(readings);
      this.written += readings.length;
    },
    async sync() {
      const { written } = this;
      if (this.syncBroken) throw new Error('disk failed');
      await inner.sync();
      this.synced = Math.max(this.synced, written);
    },
    syncNow() {
      if (this.syncBroken) throw new Error('disk failed');
      inner.syncNow();
      this.synced = this.written;
    },
  };
}

/** A stage whose groups are of 10, and what it acknowledges. */
function stageOver(of: Parameters<typeof createIngest>[0]) {
  const acknowledged: number[] = [];
  const from = {
    acknowledge: (ids: readonly number[]) => acknowledged.push(...ids),
    abandon: () => undefined,
  };
  const ingest = createIngest(of, { maxReadings: 10, maxDelayMs: 1e6 });
  const give = (first: number, last: number) => {
    for (let id = first; id <= last; id += 1) {
      const message = { topic: 'site/a', qos: 1, dup: false, retain: false } as const;
      ingest.take({ ...message, payload: Buffer.from(payload(id)), messageId: id }, from);
    }
  };
  return { ingest, give, acknowledged };
}

describe('an acknowledgement', () => {
  it('is sent after the commit of its reading, never before', async () => {
    const broker = await aBroker();
    const watched = breakable(store);
    const metrics = countingMetrics();
    const early: number[] = [];
    const ingest = createIngest(watched, {
      metrics: {
        ...metrics,
        acknowledged(count) {
          metrics.acknowledged(count);
          if (metrics.of.acknowledged > watched.synced) early.push(metrics.of.acknowledged);
        },
      },
      maxReadings: 1e6,
      maxDelayMs: 1e6,
    });
    const url = `mqtt://${broker.address}`;
    await started(url, ingest);
    await publish(await aPublisher(url), 1, 300);
    // All have come, none is committed: the broker must still have them all.
    await vi.waitFor(() => expect(ingest.held).toBe(300));
    expect([broker.queuedFor(SESSION), store.nextSeq]).toEqual([300, 1]);
    ingest.flush();
    await vi.waitFor(() => expect(broker.queuedFor(SESSION)).toBe(0));
    expect(deviceSeqs()).toEqual(upTo(300));
    expect(early).toEqual([]);
  });

  it('is not sent when the commit fails: the broker sends again until it works', async () => {
    const broker = await aBroker();
    const watched = breakable(store);
    const metrics = countingMetrics();
    const url = `mqtt://${broker.address}`;
    const ingest = createIngest(watched, { metrics });
    await started(url, ingest);
    const publisher = await aPublisher(url);
    await publish(publisher, 1, 50);
    await vi.waitFor(() => expect(broker.queuedFor(SESSION)).toBe(0));
    watched.broken = true;
    await publish(publisher, 51, 120);
    await vi.waitFor(() => expect(metrics.of.failures).toBeGreaterThan(2));
    expect([broker.queuedFor(SESSION), store.nextSeq]).toEqual([70, 51]);
    expect(ingest.failure).toBe('disk full');
    watched.broken = false;
    await vi.waitFor(() => expect(broker.queuedFor(SESSION)).toBe(0));
    expect(deviceSeqs()).toEqual(upTo(120));
    expect(ingest.failure).toBeNull();
  });

  it('goes out in order of receipt [MQTT-4.6.0-2], to its own connection or nowhere', () => {
    const sent: [string, readonly number[]][] = [];
    const delivery = (name: string) => ({
      acknowledge: (ids: readonly number[]) => sent.push([name, ids]),
      abandon: () => undefined,
    });
    const ingest = createIngest(store, { maxDelayMs: 1e6 });
    const [first, second] = [delivery('first'), delivery('second')];
    for (const [index, from] of [first, second, first, first, second].entries()) {
      const id = 65_533 + index;
      const message = { topic: 'site/a', qos: 1, dup: false, retain: false } as const;
      ingest.take({ ...message, payload: Buffer.from(payload(id)), messageId: id }, from);
    }
    const unacknowledged = { topic: 'site/a', qos: 0, dup: false, retain: false } as const;
    ingest.take({ ...unacknowledged, payload: Buffer.from('{'), messageId: null }, first);
    ingest.stop();
    expect(sent).toEqual([
      ['first', [65_533, 65_535, 65_536]],
      ['second', [65_534, 65_537]],
    ]);
    expect(originals()).toHaveLength(6);
  });

  it('waits for a full group and its sync, without any timer', async () => {
    const { ingest, give, acknowledged } = stageOver(store);
    give(1, 25);
    expect([store.nextSeq, acknowledged]).toEqual([21, []]);
    await vi.waitFor(() => expect(acknowledged).toEqual(upTo(20)));
    ingest.stop();
    expect(acknowledged).toEqual(upTo(25));
  });

  it('follows the sync that covers its reading, while later groups are committed', async () => {
    const syncs: PromiseWithResolvers<void>[] = [];
    const sync = () => {
      syncs.push(Promise.withResolvers<void>());
      return syncs.at(-1)?.promise ?? Promise.reject(new Error('no promise'));
    };
    const { give, acknowledged } = stageOver(Object.assign(breakable(store), { sync }));
    give(1, 50);
    expect([store.nextSeq, syncs.length, acknowledged]).toEqual([51, 1, []]);
    syncs[0]?.resolve();
    await vi.waitFor(() => expect(acknowledged).toEqual(upTo(10)));
    // One at a time, each for all that was committed until it began.
    give(51, 60);
    expect(syncs).toHaveLength(2);
    syncs[1]?.resolve();
    await vi.waitFor(() => expect(acknowledged).toEqual(upTo(50)));
    expect(syncs).toHaveLength(3);
  });

  it('waits no longer where too much is not synced: then the disk holds everything up', () => {
    const never = new Promise<void>(() => undefined);
    const { give, acknowledged } = stageOver(
      Object.assign(breakable(store), { sync: () => never }),
    );
    give(1, 3_999);
    expect(acknowledged).toEqual([]);
    give(4_000, 4_000);
    expect(acknowledged).toEqual(upTo(4_000));
  });

  it('is not sent when the sync fails: all that it may not have covered is sent again', async () => {
    const broker = await aBroker();
    const watched = breakable(store);
    const metrics = countingMetrics();
    const ingest = createIngest(watched, { metrics, maxReadings: 10 });
    const url = `mqtt://${broker.address}`;
    await started(url, ingest);
    const publisher = await aPublisher(url);
    await publish(publisher, 1, 50);
    await vi.waitFor(() => expect(broker.queuedFor(SESSION)).toBe(0));
    watched.syncBroken = true;
    await publish(publisher, 51, 120);
    await vi.waitFor(() => expect(metrics.of.failures).toBeGreaterThan(2));
    expect([broker.queuedFor(SESSION), metrics.of.acknowledged]).toEqual([70, 50]);
    expect(ingest.failure).toBe('disk failed');
    watched.syncBroken = false;
    await vi.waitFor(() => expect(broker.queuedFor(SESSION)).toBe(0));
    expect(deviceSeqs()).toEqual(upTo(120));
    expect(ingest.failure).toBeNull();
  });
});

describe('a source', () => {
  it('gets what came while the agent was stopped', async () => {
    const broker = await aBroker();
    const url = `mqtt://${broker.address}`;
    const { source } = await started(url, createIngest(store));
    const publisher = await aPublisher(url);
    await publish(publisher, 1, 20);
    await vi.waitFor(() => expect(deviceSeqs()).toHaveLength(20));
    await source.stop();
    await publish(publisher, 21, 60);
    await started(url, createIngest(store));
    await vi.waitFor(() => expect(deviceSeqs()).toEqual(upTo(60)));
  });

  it('commits and acknowledges what it holds when it stops', async () => {
    const broker = await aBroker();
    const url = `mqtt://${broker.address}`;
    const metrics = countingMetrics();
    const ingest = createIngest(store, { metrics, maxDelayMs: 1e6 });
    const { source } = await started(url, ingest);
    await publish(await aPublisher(url), 1, 20);
    await vi.waitFor(() => expect(ingest.held).toBe(20));
    await source.stop();
    await vi.waitFor(() => expect(broker.queuedFor(SESSION)).toBe(0));
    expect(deviceSeqs()).toEqual(upTo(20));
  });

  it('connects again after its broker was gone, and subscribes again', async () => {
    const broker = await aBroker();
    const url = `mqtt://${broker.address}`;
    const { source } = await started(url, createIngest(store));
    await broker.stop();
    await vi.waitFor(() => expect(source.state.connected).toBe(false));
    expect(source.state.reason).not.toBeNull();
    await aBroker(broker.port);
    await vi.waitFor(() => expect(source.state.connections).toBe(2));
    const publisher = await aPublisher(url);
    await vi.waitFor(async () => {
      await publisher.publishAsync('site/a', payload(1), { qos: 1 });
      expect(deviceSeqs()).toEqual([1]);
    });
  });

  it('falls back to MQTT 3.1.1 where 5 is refused', async () => {
    const broker = await aBroker();
    const { source } = await started(`mqtt://${broker.address}`, createIngest(store));
    expect(source.state).toMatchObject({ version: 4, connected: true, refused: [] });
  });

  it('speaks MQTT 5 where it can, with the same promises', async (context) => {
    requireTool('mosquitto', context);
    const mosquitto = await startMosquitto();
    cleanUps.push(() => mosquitto.stop());
    const watched = breakable(store);
    const metrics = countingMetrics();
    const ingest = createIngest(watched, { metrics });
    const { source } = await started(mosquitto.url, ingest);
    expect(source.state.version).toBe(5);
    const publisher = await aPublisher(mosquitto.url);
    await publish(publisher, 1, 100);
    await vi.waitFor(() => expect(deviceSeqs()).toHaveLength(100));
    watched.broken = true;
    await publish(publisher, 101, 150);
    await vi.waitFor(() => expect(metrics.of.failures).toBeGreaterThan(2));
    await source.stop();
    await publish(publisher, 151, 200);
    watched.broken = false;
    await started(mosquitto.url, ingest);
    await vi.waitFor(() => expect(deviceSeqs()).toEqual(upTo(200)));
  });

  it('leaves what is no longer configured, also after a restart, and keeps the rest', async () => {
    const broker = await aBroker();
    const url = `mqtt://${broker.address}`;
    let remembered: readonly string[] = [];
    const subscribed = {
      get: () => remembered,
      put: (filters: readonly string[]) => {
        remembered = filters;
      },
    };
    const ingest = createIngest(store);
    const before = ['site/#', 'old/+', 'older/#'];
    const { source } = await started(url, ingest, { filters: before, subscribed });
    await vi.waitFor(() => expect(remembered).toEqual(before));
    await source.stop();
    await started(url, ingest, { filters: ['site/#', 'new/#'], subscribed });
    await vi.waitFor(() => expect(remembered).toEqual(['site/#', 'new/#']));
    const publisher = await aPublisher(url);
    for (const topic of ['old/a', 'older/b/c', 'new/a', 'site/a']) {
      await publish(publisher, 1, 1, topic);
    }
    await vi.waitFor(() => expect(originals().at(-1)?.topic).toBe('site/a'));
    expect([...store.recent(100)].map(({ topic }) => topic)).toEqual(['new/a', 'site/a']);
  });

  it('names the subscriptions that were not granted, and goes on with the others', async () => {
    const broker = await Aedes.createBroker({
      authorizeSubscribe: (_client, subscription, done) =>
        done(null, subscription.topic === 'secret/#' ? null : subscription),
    });
    const server = createServer(broker.handle).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    cleanUps.push(
      () => new Promise<void>((resolve) => broker.close(() => server.close(() => resolve()))),
    );
    const url = `mqtt://127.0.0.1:${port}`;
    const { source } = await started(url, createIngest(store), { filters: ['site/#', 'secret/#'] });
    expect(source.state.refused).toEqual(['secret/#: refused with code 128 (Unspecified error)']);
    await publish(await aPublisher(url), 1, 3);
    await vi.waitFor(() => expect(deviceSeqs()).toEqual(upTo(3)));
  });
});

describe('a bad payload', () => {
  it('is a dead letter with its reason, acknowledged, and stops nobody', async () => {
    const broker = await aBroker();
    const url = `mqtt://${broker.address}`;
    const metrics = countingMetrics();
    await started(url, createIngest(store, { metrics }));
    const publisher = await aPublisher(url);
    const bad = [Buffer.from('{"sensor":"t-1","se'), Buffer.from([0xff, 0xfe]), Buffer.alloc(0)];
    await publish(publisher, 1, 5);
    for (const bytes of bad) await publisher.publishAsync('site/a', bytes, { qos: 1 });
    await publish(publisher, 6, 10);
    await vi.waitFor(() => expect(originals()).toHaveLength(13));
    await vi.waitFor(() => expect(broker.queuedFor(SESSION)).toBe(0));
    const dead = originals().filter(({ refusal }) => refusal !== null);
    expect(dead.map((reading) => Buffer.from(reading.payload))).toEqual(bad);
    expect(dead.map(({ refusal }) => refusal?.slice(0, 8))).toEqual([
      'not JSON',
      'not UTF-8'.slice(0, 8),
      'not JSON',
    ]);
    expect(metrics.of).toMatchObject({ deadLetters: 3, duplicates: 0, failures: 0 });
  });

  it('that is too large to keep leaves its size and digest', () => {
    const ingest = createIngest(store);
    const from = { acknowledge: () => 1, abandon: () => undefined };
    const message = { topic: 'site/a', qos: 1, dup: false, retain: false, messageId: 1 } as const;
    ingest.take({ ...message, payload: Buffer.alloc(10 * 1024 * 1024) }, from);
    ingest.stop();
    const [reading] = originals();
    expect(reading?.refusal).toMatch(
      /^payload of 10485760 bytes not kept, .*SHA-256 [0-9a-f]{64}$/,
    );
    expect(reading?.payload).toHaveLength(0);
  });
});

describe('a gateway that was ended', () => {
  it('takes what is retained once where MQTT 5 lets it say so', async (context) => {
    requireTool('mosquitto', context);
    const mosquitto = await startMosquitto();
    cleanUps.push(() => mosquitto.stop());
    const publisher = await aPublisher(mosquitto.url);
    await publisher.publishAsync('site/a', payload(1), { qos: 1, retain: true });
    for (let connection = 2; connection <= 4; connection += 1) {
      const { source } = await started(mosquitto.url, createIngest(store), { version: '5' });
      // The retained message would come before this one.
      await publish(publisher, connection, connection, 'site/b');
      await vi.waitFor(() => expect(deviceSeqs()).toContain(connection));
      await source.stop();
    }
    const taken = [...store.recent(100)].map(({ deviceSeq }) => deviceSeq);
    expect(taken).toEqual([1, 2, 3, 4]);
  });
});

describe('the wait between attempts', () => {
  it('doubles up to a bound, is jittered, and starts again only after a stable connection', () => {
    const options = { minMs: 100, maxMs: 1000, stableMs: 5000 };
    const longest = new Backoff({ ...options, random: () => 1 });
    expect([0, 0, 0, 0, 0, 10, 4999].map((up) => longest.next(up))).toEqual([
      100, 200, 400, 800, 1000, 1000, 1000,
    ]);
    expect([5000, 0].map((up) => longest.next(up))).toEqual([100, 200]);
    expect(new Backoff({ ...options, random: () => 0 }).next(0)).toBe(50);
  });
});
