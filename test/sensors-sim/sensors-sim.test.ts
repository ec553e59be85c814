/** The simulated fleet: the same seed, the same readings; a log that is true. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createDecode, type DecodeRule } from '@blocktorrent/agent/ingest/decode.ts';
import { startBroker } from '@blocktorrent/broker/broker.ts';
import { createFleet, type FleetSettings } from '@blocktorrent/sensors-sim/fleet.ts';
import { FORMATS } from '@blocktorrent/sensors-sim/formats.ts';
import { connect } from 'mqtt';
import { afterEach, describe, expect, it } from 'vitest';
import { startMosquitto } from '../support/mosquitto.ts';
import { mqttEvent } from '../support/mqtt-event.ts';
import { startNode } from '../support/process.ts';
import { requireTool } from '../support/tools.ts';

const MAIN = fileURLToPath(new URL('../../sensors-sim/src/main.ts', import.meta.url));
const SETTINGS: FleetSettings = { sensors: 12, rate: 20, seed: 7, startMs: 1.7e12, badEvery: 0 };
const cleanUps: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

function messages(count: number, settings: Partial<FleetSettings> = {}) {
  const fleet = createFleet({ ...SETTINGS, ...settings });
  return Array.from({ length: count }, () => fleet.next());
}

describe('the fleet', () => {
  it('gives the same readings for the same seed, and others for another', () => {
    expect(messages(2000)).toEqual(messages(2000));
    expect(messages(100, { seed: 8 })).not.toEqual(messages(100));
  });

  it('counts each sensor from 1 without holes, and never goes back in time', () => {
    const seqs = new Map<string, number>();
    let last = 0;
    for (const { sensor, seq, afterMs } of messages(20_000, { rate: 0.5, sensors: 20 })) {
      expect(seq).toBe((seqs.get(sensor) ?? 0) + 1);
      expect(afterMs).toBeGreaterThanOrEqual(last);
      seqs.set(sensor, seq);
      last = afterMs;
    }
    expect(seqs.size).toBe(20);
  });

  it('has gaps, outliers and drift, and stays within what its instruments can show', () => {
    const readings = messages(30_000, { rate: 2, sensors: 6 }).map(
      ({ payload }) =>
        JSON.parse(String(payload)) as { sensor: string; value: number; time: string },
    );
    const cold = readings.filter(({ sensor }) => sensor === 'temperature-1');
    const usual = cold.filter(({ value }) => value > -5 && value < 15);
    expect(usual.length).toBeGreaterThan(cold.length * 0.99);
    expect(usual.length).toBeLessThan(cold.length);
    const times = cold.map(({ time }) => Date.parse(time));
    const steps = times.slice(1).map((time, index) => time - (times[index] ?? 0));
    expect(Math.min(...steps)).toBe(3000);
    expect(Math.max(...steps)).toBeGreaterThan(9000);
    expect(readings.every(({ value }) => value === undefined || value !== null)).toBe(true);
  });

  it('makes every so many payloads something else than JSON', () => {
    const all = messages(100, { badEvery: 10 });
    expect(all.filter(({ bad }) => bad)).toHaveLength(10);
    for (const { bad, payload } of all) {
      if (bad) expect(() => JSON.parse(String(payload))).toThrow();
      else expect(JSON.parse(String(payload))).toMatchObject({ sensor: expect.any(String) });
    }
  });
});

describe('the formats of the fleet', () => {
  const VALUES = { value: '/value', lat: '/fields/lat', x: '/fields/x' };
  const RULES: readonly DecodeRule[] = [
    {
      topic: 'site/#',
      decoder: 'json',
      sensor: '/sensor',
      sequence: '/seq',
      time: '/time',
      values: VALUES,
    },
    { topic: 'number/#', decoder: 'number' },
    { topic: 'csv/#', decoder: 'csv', sensor: '/0', sequence: '/1', time: '/2', value: '/3' },
    { topic: 'influx/#', decoder: 'influx' },
    { topic: 'senml-json/#', decoder: 'senml-json' },
    { topic: 'senml-cbor/#', decoder: 'senml-cbor' },
    { topic: 'cbor/#', decoder: 'cbor', sensor: '/sensor', time: '/time', values: VALUES },
    { topic: 'msgpack/#', decoder: 'msgpack', sensor: '/sensor', time: '/time', values: VALUES },
    { topic: 'spBv1.0/#', decoder: 'sparkplug' },
  ];

  it('are all taken by the decoders of the gateway, with the time of the reading', () => {
    const decode = createDecode(RULES);
    const seen = new Set<string>();
    for (const { topic, payload, afterMs } of messages(3000, { formats: FORMATS, sensors: 54 })) {
      const nowMs = 1.7e12 + afterMs;
      const found = decode(topic, Buffer.from(payload), nowMs);
      if (found.refusal !== null) throw new Error(`${topic}: ${found.refusal}`);
      seen.add(found.rule);
      if (found.rule !== 'number/#') expect(found.deviceMs).toBe(nowMs);
      if (!['site/#', 'number/#'].includes(found.rule) && !topic.includes('/NBIRTH/')) {
        expect(found.samples.length, topic).toBeGreaterThan(0);
      }
      for (const { name } of found.samples) expect(name).not.toMatch(/^alias /);
    }
    expect(seen.size).toBe(FORMATS.length);
  });

  it('are marked as historical by the gateway where an outage held them back', () => {
    const decode = createDecode(RULES);
    const outage = { outageEveryMs: 600_000, outageMs: 300_000 };
    const all = messages(20_000, { formats: FORMATS, sensors: 54, ...outage });
    expect(all.map(({ afterMs }) => afterMs)).toEqual(
      all.map(({ afterMs }) => afterMs).sort((a, b) => a - b),
    );
    const marks = all.map(({ topic, payload, afterMs }) => {
      const found = decode(topic, Buffer.from(payload), 1.7e12 + afterMs);
      return found.refusal === null && found.historical;
    });
    const share = marks.filter(Boolean).length / marks.length;
    expect(share).toBeGreaterThan(0.1);
    expect(share).toBeLessThan(0.45);
  });

  it('are repeated as often as asked, byte for byte', () => {
    const all = messages(1000, { formats: FORMATS, repeatEvery: 10 });
    const repeats = all.flatMap((message, index) =>
      message.repeat ? [[all[index - 1], message]] : [],
    );
    expect(repeats.length).toBe(90);
    for (const [before, after] of repeats) expect({ ...after, repeat: false }).toEqual(before);
  });
});

function logFile(): string {
  const folder = mkdtempSync(join(tmpdir(), 'sensors-sim-'));
  cleanUps.push(() => rmSync(folder, { recursive: true }));
  return join(folder, 'sent.jsonl');
}

const linesOf = (file: string) =>
  readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .map(
      (line) =>
        JSON.parse(line) as {
          topic: string;
          payload: string;
          encoding?: 'base64';
          bad?: boolean;
        },
    );

describe('the simulator as a process', () => {
  it('logs exactly what a subscriber at our broker (3.1.1) gets', async () => {
    const broker = await startBroker({ port: 0 });
    cleanUps.push(() => broker.stop());
    const subscriber = connect(`mqtt://${broker.address}`);
    cleanUps.push(() => subscriber.endAsync(true));
    await mqttEvent(subscriber, 'connect');
    const got: { topic: string; payload: string }[] = [];
    subscriber.on('message', (topic, payload) => got.push({ topic, payload: `${payload}` }));
    await subscriber.subscribeAsync('site/#', { qos: 1 });
    const log = logFile();
    const simulator = startNode(MAIN, [
      ...['--broker', `mqtt://${broker.address}`, '--rate', '2000', '--seed', '7'],
      ...['--count', '500', '--bad-every', '100', '--log', log],
    ]);
    expect(await simulator.next()).toEqual({ ready: true });
    expect(await simulator.next()).toEqual({ sent: 500, bad: 5, outstanding: 0 });
    expect(await simulator.ended).toBe(0);
    while (got.length < 500) await mqttEvent(subscriber, 'message');
    const logged = linesOf(log);
    expect(logged.filter(({ bad }) => bad)).toHaveLength(5);
    expect(logged.map(({ topic, payload }) => ({ topic, payload }))).toEqual(got);
  });

  it('speaks every format; what is no text is in its log as base64', async () => {
    const broker = await startBroker({ port: 0 });
    cleanUps.push(() => broker.stop());
    const subscriber = connect(`mqtt://${broker.address}`);
    cleanUps.push(() => subscriber.endAsync(true));
    await mqttEvent(subscriber, 'connect');
    const got: string[] = [];
    subscriber.on('message', (topic, payload) => got.push(`${topic} ${payload.toString('hex')}`));
    await subscriber.subscribeAsync('#', { qos: 1 });
    const log = logFile();
    const simulator = startNode(MAIN, [
      ...['--broker', `mqtt://${broker.address}`, '--rate', '2000', '--sensors', '18'],
      ...['--count', '200', '--formats', 'all', '--log', log],
    ]);
    await simulator.next();
    expect(await simulator.next()).toEqual({ sent: 200, bad: 0, outstanding: 0 });
    while (got.length < 200) await mqttEvent(subscriber, 'message');
    const logged = linesOf(log).map(({ topic, payload, encoding }) => {
      return `${topic} ${Buffer.from(payload, encoding ?? 'utf8').toString('hex')}`;
    });
    expect(logged).toEqual(got);
    expect(new Set(got.map((line) => line.split('/')[0])).size).toBe(9);
    const wrong = startNode(MAIN, ['--formats', 'xml', '--log', log]);
    expect(await wrong.ended).toBe(2);
  });

  it('ends in order on SIGTERM: its log is what the broker has acknowledged', async () => {
    const broker = await startBroker({ port: 0 });
    cleanUps.push(() => broker.stop());
    const log = logFile();
    const url = `mqtt://${broker.address}`;
    const simulator = startNode(MAIN, ['--broker', url, '--rate', '500', '--log', log]);
    await simulator.next();
    simulator.child.kill('SIGTERM');
    const { sent, outstanding } = await simulator.next();
    expect(await simulator.ended).toBe(0);
    expect(outstanding).toBe(0);
    expect(readFileSync(log, 'utf8').split('\n').length - 1).toBe(sent);
  });

  it('speaks MQTT 5 to a broker that does', async (context) => {
    requireTool('mosquitto', context);
    const mosquitto = await startMosquitto();
    cleanUps.push(() => mosquitto.stop());
    const common = ['--broker', mosquitto.url, '--rate', '1000', '--count', '50'];
    for (const version of ['auto', '5', '4']) {
      const log = logFile();
      const simulator = startNode(MAIN, [...common, '--mqtt-version', version, '--log', log]);
      await simulator.next();
      expect(await simulator.next()).toMatchObject({ sent: 50 });
      expect(linesOf(log)).toHaveLength(50);
    }
  });
});
