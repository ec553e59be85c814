/** The simulated fleet: the same seed, the same readings; a log that is true. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { batchRulesOf } from '@blocktorrent/agent/batch/batch-rule.ts';
import { createDecode, type DecodeRule } from '@blocktorrent/agent/ingest/decode.ts';
import { readSparkplugPayload } from '@blocktorrent/agent/ingest/decoders/sparkplug-payload.ts';
import { startBroker } from '@blocktorrent/broker/broker.ts';
import { hashPassword } from '@blocktorrent/broker/password.ts';
import { createFleet, type FleetSettings } from '@blocktorrent/sensors-sim/fleet.ts';
import { FORMATS } from '@blocktorrent/sensors-sim/formats.ts';
import { parseRecording, replayFleet } from '@blocktorrent/sensors-sim/replay.ts';
import { connect } from 'mqtt';
import { afterEach, describe, expect, it } from 'vitest';
import { createIngest, openStore } from '../support/ingest.ts';
import { startMosquitto } from '../support/mosquitto.ts';
import { mqttEvent } from '../support/mqtt-event.ts';
import { startNode } from '../support/process.ts';
import { aFolder } from '../support/readings.ts';
import { requireTool, runTool } from '../support/tools.ts';

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

  it('say themselves what waited, in which unit they are, and begin with a good connection', () => {
    const said = { historical: '/buffered', unitAt: '/unit' };
    const rules = RULES.map((rule) => ({
      ...(['cbor', 'msgpack'].includes(rule.decoder) ? { ...rule, ...said } : rule),
      historicalAfterMs: 0,
    }));
    const decode = createDecode(rules);
    const outage = { outageEveryMs: 60_000, outageMs: 20_000 };
    const formats = ['cbor', 'msgpack', 'senml-json', 'senml-cbor', 'sparkplug'] as const;
    const all = messages(2500, { formats, sensors: 54, ...outage });
    expect(all[0]?.afterMs).toBe(0);
    for (const { topic, payload, afterMs } of all) {
      const found = decode(topic, Buffer.from(payload), 1.7e12 + afterMs);
      if (found.refusal !== null) throw new Error(found.refusal);
      const values = found.samples.filter(({ name }) => !name.startsWith('$'));
      expect(
        values.every(({ unit }) => unit !== ''),
        topic,
      ).toBe(true);
      if (topic.startsWith('senml') || topic.includes('/N')) continue;
      expect(found.historical, topic).toBe(found.deviceMs !== 1.7e12 + afterMs);
    }
  });

  it('are dead letters where they are bad, each of them, and nothing else is', () => {
    const decode = createDecode(RULES);
    const all = messages(5000, { formats: FORMATS, sensors: 54, badEvery: 7, seed: 11 });
    const wrong = all.filter(({ topic, payload, bad, afterMs }) => {
      const { refusal } = decode(topic, Buffer.from(payload), 1.7e12 + afterMs);
      return (refusal !== null) !== bad;
    });
    expect(wrong.map(({ topic, payload }) => [topic, payload])).toEqual([]);
    expect(all.filter(({ bad }) => bad)).toHaveLength(714);
    expect(all.filter(({ payload }) => String(payload).startsWith('[[[['))).not.toEqual([]);
  });

  it('have the time of a clock that jumps years, which is kept beside that of arrival', () => {
    const decode = createDecode(RULES);
    const years = 10 * 365 * 86_400_000;
    for (const clockJumpMs of [years, -years]) {
      const all = messages(3000, {
        formats: FORMATS,
        sensors: 54,
        clockJumpEveryMs: 60_000,
        clockJumpMs,
      });
      const offs = all.flatMap(({ topic, payload, afterMs }) => {
        const found = decode(topic, Buffer.from(payload), 1.7e12 + afterMs);
        if (found.refusal !== null || found.deviceMs === null) return [];
        const off = found.deviceMs - (1.7e12 + afterMs);
        // Nothing tells a clock that is behind from a buffer; Sparkplug says itself what waited.
        if (found.rule !== 'spBv1.0/#') expect(found.historical).toBe(off < 0);
        return [off];
      });
      expect(new Set(offs)).toEqual(new Set([0, clockJumpMs]));
    }
  });

  it('come in storms, of which the gateway marks all but the first where a sensor counts', () => {
    const all = messages(2000, { formats: ['json', 'csv'], repeatEvery: 50, repeatTimes: 20 });
    const [folder, remove] = aFolder();
    cleanUps.push(remove);
    const store = openStore(folder, { rules: batchRulesOf(RULES) });
    const ingest = createIngest(store, { decode: createDecode(RULES), maxDelayMs: 1e6 });
    const from = { acknowledge: () => 0, abandon: () => undefined };
    for (const { topic, payload } of all) {
      const message = { topic, payload: Buffer.from(payload), qos: 1, messageId: 1 } as const;
      ingest.take({ ...message, dup: false, retain: false }, from);
    }
    ingest.stop();
    const marked = [...store.recent(1e6)].map(({ duplicateOf }) => duplicateOf !== null);
    store.stop();
    expect(marked).toEqual(all.map(({ repeat }) => repeat));
    expect(marked.filter(Boolean).length).toBeGreaterThan(500);
  });

  it('die and are born again as a Sparkplug node with each outage, without a gap', () => {
    const decode = createDecode(RULES);
    const outage = { outageEveryMs: 600_000, outageMs: 300_000 };
    const all = messages(20_000, { formats: ['sparkplug'], ...outage });
    const online: unknown[] = [];
    for (const { topic, payload, afterMs } of all) {
      const found = decode(topic, Buffer.from(payload), 1.7e12 + afterMs);
      if (found.refusal !== null) throw new Error(found.refusal);
      if (/\/N(BIRTH|DEATH)\//.test(topic)) online.push(found.samples[0]?.value);
      expect(found.samples.map(({ name }) => name)).not.toContain('$gap');
    }
    expect(online).toEqual([1, 0, 1]);
    // Sparkplug 3.0: seq begins again after 255, bdSeq tells the connections apart.
    const read = all.map(({ payload }) => readSparkplugPayload(Buffer.from(payload)));
    expect(Math.max(...read.map(({ seq }) => seq ?? 0))).toBe(255);
    const sessions = read.flatMap(({ metrics }) => metrics.filter(({ name }) => name === 'bdSeq'));
    expect(sessions.map(({ value }) => Number(value))).toEqual([0, 0, 1]);
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

describe('a recording', () => {
  it('is published as it was, in its order and with its pauses', () => {
    const text = [
      'time,topic,payload,payload_base64',
      '2026-01-01T00:00:00Z,site/a,"{""value"":1}",',
      '1767225601500,site/b,,',
      '1767225601000,site/b,x,',
    ].join('\n');
    const replay = replayFleet(parseRecording(text));
    expect([replay.next(), replay.next(), replay.next(), replay.next()]).toMatchObject([
      { topic: 'site/a', payload: '{"value":1}', afterMs: 0, seq: 1 },
      { topic: 'site/b', payload: '', afterMs: 1500 },
      { topic: 'site/b', payload: 'x', afterMs: 1500 },
      null,
    ]);
    const base64 = parseRecording('time,topic,payload_base64\n1,a,AP8=\n');
    expect(base64[0]?.payload).toEqual(Buffer.from([0, 255]));
  });

  it.each([
    ['a time', 'time,topic,payload\n1,a,x\nsoon,a,x', 'line 3: expected a time, found "soon"'],
    ['a topic', 'time,topic,payload\n1,a/#,x', 'line 2: expected a topic, found "a/#"'],
    ['a topic that can be sent', 'time,topic,payload\n1,a\0b,x', 'line 2: expected a topic'],
    ['a payload', 'time,topic\n1,a', 'line 2: expected payload or payload_base64'],
    ['lines', 'time,topic,payload\n', 'expected lines below the header, found none'],
  ])('is refused without %s, by its line', (_what, text, says) => {
    expect(() => parseRecording(text)).toThrow(says);
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
    const sentText = ({ topic, payload, encoding }: (typeof logged)[number]) => {
      return { topic, payload: String(Buffer.from(payload, encoding ?? 'utf8')) };
    };
    expect(logged.map(sentText)).toEqual(got);
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

  it('replays a recording to a broker with users, and ends with it', async () => {
    const [folder, remove] = aFolder();
    cleanUps.push(remove);
    const file = (name: string, text: string): string => {
      writeFileSync(join(folder, name), text);
      return join(folder, name);
    };
    const hash = await hashPassword('right');
    const user = `{ password: '${hash}', publish: ['site/#'], subscribe: [] }`;
    const usersFile = file('users.yaml', `users: { sim: ${user} }`);
    const broker = await startBroker({ port: 0, usersFile });
    cleanUps.push(() => broker.stop());
    const recording = file('r.csv', 'time,topic,payload\n0,site/a,1\n50000,site/a,2\n');
    const sim = startNode(MAIN, [
      ...['--broker', `mqtt://${broker.address}`, '--log', logFile(), '--replay', recording],
      ...['--username', 'sim', '--password-file', file('p', 'right\n'), '--speed', '50'],
    ]);
    await sim.next();
    const startedMs = performance.now();
    expect(await sim.next()).toEqual({ sent: 2, bad: 0, outstanding: 0 });
    // 50 s in a fiftieth of the time; that it has begun may have been heard late.
    expect(performance.now() - startedMs).toBeGreaterThan(300);
    expect(await sim.ended).toBe(0);
  });

  it.each([
    [['--rate', '0'], '--rate: expected a number, 0.001 to 1000000, found "0"'],
    [['--sensors', '1e9'], '--sensors: expected a number, 1 to 100000, found "1e9"'],
    [['--clock-jump-s=-1e15'], '--clock-jump-s: expected a number, '],
    [['--broker', 'http://x'], '--broker: expected mqtt://HOST:PORT, found "http://x"'],
  ])('names a wrong option: %s', async (args, says) => {
    const sim = startNode(MAIN, ['--log', logFile(), ...args]);
    expect(await sim.ended).toBe(2);
    expect(sim.stderr()).toContain(says);
  });

  it('explains itself', async () => {
    expect(String(await runTool(process.execPath, [MAIN, '--help']))).toContain('--replay FILE');
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
