/** A broker with a store is killed at random moments: what it has acknowledged is there after it. */
import { fileURLToPath } from 'node:url';
import { connect, type MqttClient } from 'mqtt';
import { expect, it, vi } from 'vitest';
import { mqttEvent } from '../support/mqtt-event.ts';
import { type JsonProcess, startNode } from '../support/process.ts';
import { aFolder } from '../support/readings.ts';
import { Seeded, seedOfRun } from '../support/seeded.ts';

const MAIN = fileURLToPath(new URL('../../broker/src/main.ts', import.meta.url));
const KILLS = process.env.BLOCKTORRENT_LONG === '1' ? 200 : 20;
const SESSION = { clientId: 'gateway', clean: false, reconnectPeriod: 0 } as const;

async function startBrokerIn(folder: string): Promise<{ broker: JsonProcess; url: string }> {
  const broker = startNode(MAIN, ['--listen', '127.0.0.1:0', '--data-dir', folder]);
  const { address } = await broker.next();
  return { broker, url: `mqtt://${String(address)}` };
}

async function aClient(url: string, options: object): Promise<MqttClient> {
  const client = connect(url, { reconnectPeriod: 0, ...options });
  await mqttEvent(client, 'connect');
  client.on('error', () => undefined);
  return client;
}

interface Seen {
  /** How often each message has come. */
  readonly times: Map<string, number>;
  /** Messages that came again without DUP. */
  readonly unmarked: string[];
  /** Topics in which a message came, for the first time, after a later one. */
  readonly disorder: string[];
  readonly newest: Map<string, number>;
}

async function subscriber(url: string, seen: Seen): Promise<MqttClient> {
  const client = connect(url, SESSION);
  client.on('error', () => undefined);
  client.on('message', (topic, payload, { dup }) => {
    const text = String(payload);
    const times = seen.times.get(text) ?? 0;
    if (times > 0 && !dup) seen.unmarked.push(text);
    if (times === 0) {
      if (Number(text) < (seen.newest.get(topic) ?? 0)) seen.disorder.push(`${topic}: ${text}`);
      seen.newest.set(topic, Number(text));
    }
    seen.times.set(text, times + 1);
  });
  await mqttEvent(client, 'connect');
  return client;
}

it(`keeps every acknowledged message over ${KILLS} kills, in order, and marks what comes again`, async (context) => {
  const seed = seedOfRun();
  const random = new Seeded(seed);
  const [folder, remove] = aFolder();
  context.onTestFinished(remove);
  const seen: Seen = { times: new Map(), unmarked: [], disorder: [], newest: new Map() };
  const acknowledged: string[] = [];
  let next = 1;
  for (let kill = 0; kill < KILLS; kill += 1) {
    const { broker, url } = await startBrokerIn(folder);
    if (kill === 0) {
      const client = await aClient(url, SESSION);
      await client.subscribeAsync('site/#', { qos: 1 });
      await client.endAsync();
    }
    const away = random.integer(0, 2) === 0;
    const reader = away ? null : await subscriber(url, seen);
    const publisher = await aClient(url, {});
    const killAfter = random.integer(1, 400);
    let here = 0;
    const dead = new Promise<void>((resolve) => {
      const more = (): void => {
        const text = String(next);
        next += 1;
        publisher.publish(`site/${next % 3}`, text, { qos: 1 }, (error) => {
          if (error) return;
          acknowledged.push(text);
          here += 1;
          if (here === killAfter) {
            broker.child.kill('SIGKILL');
            resolve();
          } else if (here < killAfter) more();
        });
      };
      for (let flight = 0; flight < 50; flight += 1) more();
    });
    await dead;
    await broker.ended;
    for (const client of [publisher, reader]) await client?.endAsync(true);
  }
  const { broker, url } = await startBrokerIn(folder);
  const reader = await subscriber(url, seen);
  const missing = () => acknowledged.filter((text) => !seen.times.has(text)).length;
  await vi.waitFor(() => expect(missing()).toBe(0));
  console.log(`seed ${seed}, acknowledged ${acknowledged.length}, came ${seen.times.size}`);
  expect([seen.unmarked, seen.disorder], `seed ${seed}`).toEqual([[], []]);
  await reader.endAsync();
  broker.child.kill('SIGTERM');
  expect(await broker.ended).toBe(0);
}, 600_000);
