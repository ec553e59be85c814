/** The broker over real TCP: readiness, caps, sessions that wait, redelivery. */
import { once } from 'node:events';
import { connect as connectTcp } from 'node:net';
import { fileURLToPath } from 'node:url';
import { type Broker, startBroker } from '@blocktorrent/broker/broker.ts';
import { PacketMeter } from '@blocktorrent/broker/packet-cap.ts';
import { connect, type IClientOptions, type IPublishPacket, type MqttClient } from 'mqtt';
import { afterEach, describe, expect, it } from 'vitest';
import { mqttEvent } from '../support/mqtt-event.ts';
import { startNode } from '../support/process.ts';

const MAIN = fileURLToPath(new URL('../../broker/src/main.ts', import.meta.url));
const SESSION = { clientId: 'gateway', clean: false } as const;
const cleanUps: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

async function aBroker(options: Parameters<typeof startBroker>[0] = {}): Promise<Broker> {
  const broker = await startBroker({ port: 0, ...options });
  cleanUps.push(() => broker.stop());
  return broker;
}

interface Client {
  readonly mqtt: MqttClient;
  readonly packets: IPublishPacket[];
  /** Resolves when so many messages have come. */
  until(count: number): Promise<void>;
}

async function aClient(
  address: string,
  options: IClientOptions = {},
  acknowledges = true,
): Promise<Client> {
  const mqtt = connect(`mqtt://${address}`, { reconnectPeriod: 0, ...options });
  cleanUps.push(() => mqtt.endAsync(true));
  const packets: IPublishPacket[] = [];
  mqtt.on('message', (_topic, _payload, packet) => packets.push(packet));
  if (!acknowledges) mqtt.handleMessage = (_packet, callback) => callback(new Error('not yet'));
  await mqttEvent(mqtt, 'connect');
  mqtt.on('error', () => undefined);
  return {
    mqtt,
    packets,
    async until(count) {
      while (packets.length < count) await mqttEvent(mqtt, 'message');
    },
  };
}

async function publishNumbers(client: Client, from: number, to: number): Promise<void> {
  for (let n = from; n < to; n += 1) await client.mqtt.publishAsync('site/a', `${n}`, { qos: 1 });
}

/** Everything that was published before this call has been through the broker's queues. */
async function settled(broker: Broker): Promise<void> {
  const client = await aClient(broker.address);
  await client.mqtt.subscribeAsync('settled', { qos: 1 });
  await client.mqtt.publishAsync('settled', '', { qos: 1 });
  await client.until(1);
}

const texts = ({ packets }: Client): string[] => packets.map(({ payload }) => `${payload}`);
const numbers = (from: number, to: number): string[] =>
  Array.from({ length: to - from }, (_, n) => `${from + n}`);

describe('the broker as a process', () => {
  it('says in one JSON line where it listens, and ends in order on SIGTERM', async () => {
    const broker = startNode(MAIN, ['--listen', '127.0.0.1:0']);
    const ready = await broker.next();
    expect(ready).toMatchObject({
      ready: true,
      address: expect.stringMatching(/^127\.0\.0\.1:\d+$/),
    });
    const client = await aClient(String(ready.address));
    const closed = mqttEvent(client.mqtt, 'close');
    broker.child.kill('SIGTERM');
    expect(await broker.ended).toBe(0);
    await closed;
  });

  it('names a wrong option and what was expected', async () => {
    const broker = startNode(MAIN, ['--max-payload-bytes', 'many']);
    expect(await broker.ended).toBe(2);
    expect(broker.stderr()).toContain('--max-payload-bytes: expected a whole number, found "many"');
  });
});

describe('a persistent session', () => {
  it('gets what came while its client was away, in order', async () => {
    const broker = await aBroker();
    const first = await aClient(broker.address, SESSION);
    await first.mqtt.subscribeAsync('site/#', { qos: 1 });
    await first.mqtt.endAsync();
    await publishNumbers(await aClient(broker.address), 0, 50);
    const second = await aClient(broker.address, SESSION);
    await second.until(50);
    expect(texts(second)).toEqual(numbers(0, 50));
  });

  it('gets again, with DUP, what it has not acknowledged, beside what is new', async () => {
    const broker = await aBroker();
    const first = await aClient(broker.address, SESSION, false);
    await first.mqtt.subscribeAsync('site/#', { qos: 1 });
    const publisher = await aClient(broker.address);
    await publishNumbers(publisher, 0, 20);
    await first.until(20);
    await first.mqtt.endAsync(true);
    await settled(broker);
    await publishNumbers(publisher, 20, 30);
    const second = await aClient(broker.address, SESSION);
    await second.until(30);
    expect(texts(second)).toEqual(numbers(0, 30));
    const dups = second.packets.filter(({ dup }) => dup).map(({ payload }) => `${payload}`);
    expect(dups).toEqual(numbers(0, 20));
    expect(new Set(second.packets.map(({ messageId }) => messageId)).size).toBe(30);
  });

  it('forgets what was acknowledged, and nothing else', async () => {
    const broker = await aBroker();
    const first = await aClient(broker.address, SESSION);
    await first.mqtt.subscribeAsync(['site/#', 'site/a'], { qos: 1 });
    await publishNumbers(await aClient(broker.address), 0, 10);
    await first.until(10);
    await first.mqtt.endAsync();
    await publishNumbers(await aClient(broker.address), 10, 12);
    await settled(broker);
    expect(broker.queuedFor('gateway')).toBe(2);
  });

  it('gets QoS 1 at most', async () => {
    const broker = await aBroker();
    const client = await aClient(broker.address, SESSION);
    await client.mqtt.subscribeAsync('site/#', { qos: 2 });
    const publisher = await aClient(broker.address);
    await publisher.mqtt.publishAsync('site/a', 'x', { qos: 2 });
    await client.until(1);
    expect(client.packets[0]?.qos).toBe(1);
  });
});

describe('the cap on payloads', () => {
  it('ends the connection of whoever exceeds it, and lets the others go on', async () => {
    const broker = await aBroker({ payloadBytesMax: 1000 });
    const listener = await aClient(broker.address);
    await listener.mqtt.subscribeAsync('site/#', { qos: 1 });
    const offender = await aClient(broker.address);
    const closed = mqttEvent(offender.mqtt, 'close');
    offender.mqtt.publish('site/a', 'x'.repeat(1001), { qos: 1 }, () => undefined);
    await closed;
    await publishNumbers(await aClient(broker.address), 0, 1);
    await listener.until(1);
    expect(texts(listener)).toEqual(['0']);
  });

  it('refuses a packet by its header, before its body has come', async () => {
    const broker = await aBroker({ payloadBytesMax: 1000 });
    const socket = connectTcp(broker.port, '127.0.0.1');
    // PUBLISH of 256 MiB - 1, of which nothing else is ever sent.
    socket.write(Buffer.from([0x30, 0xff, 0xff, 0xff, 0x7f]));
    socket.on('error', () => undefined);
    await once(socket, 'close');
  });

  it('counts packets right, whatever pieces they come in', () => {
    const packet = (length: number): number[] => [
      0x30,
      ...(length < 128 ? [length] : [(length & 0x7f) | 0x80, length >> 7]),
      ...Array.from({ length }, () => 0xff),
    ];
    const bytes = Uint8Array.from([...packet(0), ...packet(300), ...packet(127), ...packet(5)]);
    for (const size of [1, 2, 3, 7, bytes.length]) {
      const meter = new PacketMeter(300);
      for (let at = 0; at < bytes.length; at += size) {
        expect(meter.accept(bytes.subarray(at, at + size))).toBeNull();
      }
      expect(meter.accept(Uint8Array.from(packet(301)))).toMatch(/packet of 301 bytes/);
    }
    expect(new PacketMeter(2 ** 30).accept(Uint8Array.of(0x30, 0xff, 0xff, 0xff, 0xff))).toMatch(
      /malformed/,
    );
  });
});
