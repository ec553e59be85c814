/** What the command line shows of ingestion: dead letters, readings as they come, trial decoding. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runProgram } from '@blocktorrent/agent/cli/program.ts';
import { COMMANDS } from '@blocktorrent/agent/cli/table.ts';
import { gatewayRoutes } from '@blocktorrent/agent/gateway-controls.ts';
import { startControl } from '@blocktorrent/agent/runtime/control.ts';
import { silentLog } from '@blocktorrent/agent/runtime/log.ts';
import { startBroker } from '@blocktorrent/broker/broker.ts';
import { connectAsync } from 'mqtt';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { gatewayConfig, startGateway, type TestGateway } from '../support/gateway.ts';
import { aFolder } from '../support/readings.ts';

const RULES = `
    - { topic: 'site/#', value: /v, sensor: /s, unit: Cel }
    - { topic: 'number/+', decoder: number, unit: V }
    - { topic: 'csv', decoder: csv, values: { t: /1 }, time: /0 }`;
const cleanUps: (() => unknown)[] = [];
let folder = '';
let configFile = '';

beforeEach(() => {
  const [path, remove] = aFolder();
  cleanUps.push(remove);
  folder = path;
  configFile = join(folder, 'a.yaml');
});
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

async function cli(argv: readonly string[], onOut: (text: string) => void = () => undefined) {
  const out: string[] = [];
  const err: string[] = [];
  const code = await runProgram([...argv, '--config', configFile], {
    commands: COMMANDS,
    version: '1.2.3',
    env: { HOME: folder },
    out: {
      write: (text) => {
        out.push(text);
        onOut(text);
      },
    },
    err: { write: (text) => err.push(text) },
    signal: new AbortController().signal,
  });
  return { code, out: out.join(''), err: err.join('') };
}

/** A gateway with its broker and its control socket. */
async function running(): Promise<
  TestGateway & { publish(topic: string, payload: string | Buffer): Promise<unknown> }
> {
  const broker = await startBroker({ port: 0 });
  cleanUps.push(() => broker.stop());
  const url = `mqtt://${broker.address}`;
  const configText = gatewayConfig(folder, RULES, [url]);
  writeFileSync(configFile, configText);
  const test = startGateway(folder, configText);
  cleanUps.push(() => test.stop());
  const routes = gatewayRoutes(test.gateway);
  const control = await startControl({ dataDir: folder, routes, log: silentLog });
  cleanUps.push(() => control.stop());
  const client = await connectAsync(url);
  cleanUps.push(() => client.endAsync(true));
  await vi.waitFor(() => expect(test.gateway.counts().brokers[0]?.connected).toBe(true));
  const publish = (topic: string, payload: string | Buffer) =>
    client.publishAsync(topic, payload, { qos: 1 });
  // Subscribed.
  await vi.waitFor(async () => {
    await publish('number/ready', '1');
    expect(test.gateway.counts().readings).toBeGreaterThan(0);
  });
  return { ...test, publish };
}

describe('blocktorrent dead-letters', () => {
  it('lists them from open and closed batches with reason and payload, newest first', async () => {
    const { gateway, publish } = await running();
    await publish('site/a', 'not JSON');
    await publish('site/a', '{"v":1}');
    await vi.waitFor(() => expect(gateway.counts().deadLetters).toBe(1));
    gateway.closeBatch();
    await publish('number/x', Buffer.from([0xff, 0x00]));
    await publish('site/b', `{"x":"a${'ü'.repeat(1000)}"}`);
    // As it is where a retained message is taken back.
    await publish('site/c', '');
    await vi.waitFor(() => expect(gateway.counts().deadLetters).toBe(4));
    const { out, code } = await cli(['dead-letters', '--json']);
    expect(code).toBe(0);
    const letters = JSON.parse(out) as Record<string, unknown>[];
    expect(letters).toMatchObject([
      { topic: 'site/c', refusal: expect.stringMatching('not JSON'), bytes: 0, payload: '' },
      { topic: 'site/b', refusal: "no value at '/v'", bytes: 2009, encoding: 'utf8', batch: 2 },
      { topic: 'number/x', refusal: 'not UTF-8', payload: '/wA=', encoding: 'base64' },
      { topic: 'site/a', payload: 'not JSON', batch: 1, bytes: 8 },
    ]);
    expect(String(letters[1]?.payload)).toMatch(/^\{"x":"aü+$/);
    const one = await cli(['dead-letters', '--topic', 'site/b', '--limit', '1']);
    expect(one.out).toMatch(/site\/b +no value at '\/v' .*… \(2009 bytes\)\n$/);
  });

  it('says so where there is none, and where the agent takes no readings', async () => {
    await running();
    expect((await cli(['dead-letters'])).out).toBe('no dead letters\n');
    await expect(gatewayRoutes(null)['dead-letters']?.({ limit: 1 }, call())).rejects.toThrow(
      'role ingest',
    );
    const routes = gatewayRoutes({} as never);
    for (const body of [null, { limit: 0 }, { limit: 1001 }, { limit: 1, topic: 7 }]) {
      await expect(routes['dead-letters']?.(body, call())).rejects.toThrow('dead-letters: "');
    }
  });
});

const call = () => ({ signal: AbortSignal.abort(), progress: () => true });

describe('blocktorrent tap', () => {
  it('shows the readings of a topic as they are committed, and ends after --count', async () => {
    const { publish } = await running();
    const ticker = setInterval(() => {
      void publish('number/other', '1');
      void publish('site/cold', '{"v":-18.5,"s":"t-1"}');
      void publish('site/cold', 'broken');
    }, 20);
    try {
      const { out, code } = await cli(['tap', 'site/#', '--count', '4', '--json']);
      expect(code).toBe(0);
      const lines = out
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as Record<string, unknown>);
      expect(lines).toHaveLength(4);
      expect(new Set(lines.map((line) => line.topic))).toEqual(new Set(['site/cold']));
      expect(lines).toContainEqual(
        expect.objectContaining({ sensor: 't-1', payload: '{"v":-18.5,"s":"t-1"}' }),
      );
      const shown = await cli(['tap', 'site/#', '--count', '4']);
      expect(shown.out).toMatch(/site\/cold {2}"broken" {2}dead letter: not JSON/);
    } finally {
      clearInterval(ticker);
    }
  });
});

describe('blocktorrent decode', () => {
  const decode = async (payload: string, ...argv: string[]) => {
    writeFileSync(configFile, gatewayConfig(folder, RULES, ['mqtt://127.0.0.1:1']));
    const file = join(folder, 'payload');
    writeFileSync(file, payload);
    return cli(['decode', file, ...argv]);
  };

  it('shows what the rules make of a payload, as the views of a batch would', async () => {
    const json = await decode('{"v":-18.5,"s":"t-1"}', '--topic', 'site/a', '--json');
    expect(JSON.parse(json.out)).toMatchObject({
      rule: 'site/#',
      refusal: null,
      sensor: 't-1',
      values: [{ sensor: 't-1', name: 'value', value: -18.5, unit: 'Cel' }],
    });
    const csv = await decode('2026-01-01T00:00:00Z,7', '--rule', 'csv');
    expect(csv.out).toMatch(
      /rule +csv\n[\s\S]*buffered +yes[\s\S]*csv +t +7 +2026-01-01T00:00:00.000Z/,
    );
    expect((await decode('12', '--rule', 'number/+', '--json')).out).toContain('"value": 12');
  });

  it('exits with 1 and the reason for a dead letter, with 2 for a rule that is none', async () => {
    const dead = await decode('[', '--topic', 'site/a');
    expect([dead.code, dead.err]).toEqual([1, expect.stringContaining('a dead letter: not JSON')]);
    const stray = await decode('1', '--topic', 'elsewhere', '--json');
    expect([stray.code, stray.err]).toEqual([1, '']);
    expect(JSON.parse(stray.out)).toMatchObject({ rule: null });
    const none = await decode('1', '--rule', 'nothing');
    expect([none.code, none.err]).toEqual([
      2,
      expect.stringContaining("'site/#', 'number/+', 'csv'"),
    ]);
    expect((await decode('1')).code).toBe(2);
  });
});

describe('a topic that breaks MQTT', () => {
  it.each([
    ['tap', 'a/#/b'],
    ['tap', ''],
    ['dead-letters', '--topic', 'a/b#'],
    ['decode', 'payload', '--rule', 'a+/b'],
    ['decode', 'payload', '--topic', 'site/#'],
    ['init', 'here', '--organisation', 'Org1MSP', '--topic', '#/a'],
  ])('is refused by %s with what was expected: %j', async (...argv) => {
    const { code, err } = await cli(argv);
    const found = `found '${argv.at(-1)}'`;
    expect([code, err]).toEqual([
      2,
      expect.stringMatching(/expected (an MQTT topic filter|the to)/),
    ]);
    expect(err).toContain(found);
  });

  it('is refused by the agent, too, whoever calls it', async () => {
    const { gateway } = await running();
    const routes = gatewayRoutes(gateway);
    const call = { signal: AbortSignal.abort(), progress: () => true };
    const says = "here '#' is not the last level";
    const query = { topic: 'a/#/b', limit: 1 };
    await expect(routes.tap?.(query, call)).rejects.toThrow(says);
    await expect(routes['dead-letters']?.(query, call)).rejects.toThrow(says);
    await expect(routes.tap?.({ topic: 5 }, call)).rejects.toThrow('here it is no text');
  });
});
