/** Links to brokers as a configuration says them: TLS, passwords, MQTT 5, status, groups. */
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { alarmsOf } from '@blocktorrent/agent/alarms.ts';
import { statusText } from '@blocktorrent/agent/cli/status-text.ts';
import { parseConfig } from '@blocktorrent/agent/config/load.ts';
import type { AgentStatus } from '@blocktorrent/agent/controls.ts';
import { readSparkplugPayload } from '@blocktorrent/agent/ingest/decoders/sparkplug-payload.ts';
import { readiness } from '@blocktorrent/agent/readiness.ts';
import { startBroker } from '@blocktorrent/broker/broker.ts';
import type { Reading } from '@blocktorrent/protocol/reading.ts';
import { connectAsync, type IClientOptions, type MqttClient } from 'mqtt';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { gatewayConfig, startGateway, type TestGateway } from '../support/gateway.ts';
import { type Mosquitto, startMosquitto } from '../support/mosquitto.ts';
import { type Answer, CONNACK, publishPacket, startStub } from '../support/mqtt-stub.ts';
import { aFolder } from '../support/readings.ts';
import { aPayload, aTopic } from '../support/sparkplug.ts';
import { makeTlsFiles } from '../support/tls-files.ts';
import { requireTool } from '../support/tools.ts';

const RULES = '[{ topic: "site/#", value: /value }]';
const cleanUps: (() => unknown)[] = [];
let folder: string;

beforeEach((context) => {
  requireTool('mosquitto', context);
  requireTool('openssl', context);
  const [path, remove] = aFolder();
  folder = path;
  cleanUps.push(remove);
});
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

async function aMosquitto(
  lines?: readonly string[],
  more: { port?: number; scheme?: string; folder?: string } = {},
): Promise<Mosquitto> {
  const mosquitto = await startMosquitto(lines, more);
  cleanUps.push(() => mosquitto.stop());
  return mosquitto;
}

async function aClient(url: string, options: IClientOptions = {}): Promise<MqttClient> {
  const client = await connectAsync(url, options);
  client.on('error', () => undefined);
  cleanUps.push(() => client.endAsync(true));
  return client;
}

interface GatewayOptions {
  /** Further fields of the broker. */
  readonly broker?: string;
  readonly status?: string;
  readonly rules?: string;
  readonly name?: string;
}

function aGateway(url: string, options: GatewayOptions = {}): TestGateway {
  const { broker = '', status, rules = RULES, name = 'gateway-1' } = options;
  const own = join(folder, name);
  mkdirSync(own, { recursive: true });
  let text = gatewayConfig(own, rules, [url]).replace(`'${url}' }`, `'${url}', ${broker} }`);
  text = text.replace('name: gateway-1', `name: ${name}`);
  if (status !== undefined) text = text.replace('  rules:', `  statusTopic: '${status}'\n  rules:`);
  const gateway = startGateway(own, text);
  cleanUps.push(() => gateway.stop());
  return gateway;
}

const linkOf = (gateway: TestGateway) => gateway.gateway.counts().brokers[0];
async function subscribed(gateway: TestGateway): Promise<void> {
  await vi.waitFor(() => expect(linkOf(gateway)).toMatchObject({ connected: true }));
}

/** Readings that a gateway commits from now on. */
function watched(gateway: TestGateway): Reading[] {
  const readings: Reading[] = [];
  gateway.gateway.taps.add('#', (reading) => readings.push(reading));
  return readings;
}

/** Of an agent of which only its links are looked at. */
const NO_STATUS = {
  ...{ mspId: 'Org1MSP', name: 'a', roles: ['ingest'], epoch: 1, peers: 1, files: {} },
  ...{ sources: [], doors: [], stuck: [], quarantine: [], ledgerTrouble: null, unregistered: null },
  ...{ disk: null, anchor: null, awaitedOwners: [] },
  ...{ uplink: { ciphertextBytes: 0, sentBytes: 0 }, overdue: { count: 0, oldestMs: null } },
  ...{ clock: { waiting: null }, store: null, host: null, upkeep: null, problems: [] },
} as unknown as AgentStatus;

const textOf = ({ payload }: Reading): string => Buffer.from(payload).toString();

describe('a link by TLS', () => {
  beforeEach(() => makeTlsFiles(folder, ['server', 'gateway', 'stranger']));
  const file = (name: string): string => join(folder, name);
  const tlsLines = (): string[] => [
    `cafile ${file('ca.pem')}`,
    `certfile ${file('server.pem')}`,
    `keyfile ${file('server.key')}`,
  ];

  it('gives user and password from files, and takes a changed one with the next connection', async () => {
    execFileSync('mosquitto_passwd', ['-c', '-b', file('users'), 'gw', 'right'], {
      stdio: 'ignore',
    });
    chmodSync(file('users'), 0o644);
    writeFileSync(file('password'), 'wrong\nsecond line\n');
    const lines = [...tlsLines(), 'allow_anonymous false', `password_file ${file('users')}`];
    const { url } = await aMosquitto(lines, { scheme: 'mqtts' });
    const gateway = aGateway(url, {
      broker: `username: gw, passwordFile: '${file('password')}', caFile: '${file('ca.pem')}'`,
    });
    await vi.waitFor(() =>
      expect(linkOf(gateway)?.reason).toMatch(/not authorized|Not authorized/i),
    );
    writeFileSync(file('password'), 'right\n');
    await subscribed(gateway);
  });

  it('trusts nobody but the authority that is configured', async () => {
    const { url } = await aMosquitto([...tlsLines(), 'allow_anonymous true'], { scheme: 'mqtts' });
    const gateway = aGateway(url);
    await vi.waitFor(() => expect(linkOf(gateway)?.reason).toMatch(/certificate/));
  });

  it('shows its own certificate where the broker asks for one', async () => {
    const lines = [...tlsLines(), 'require_certificate true', 'use_identity_as_username true'];
    const { url } = await aMosquitto(lines, { scheme: 'mqtts' });
    const tls = (name: string) =>
      `caFile: '${file('ca.pem')}', certFile: '${file(name)}.pem', keyFile: '${file(name)}.key'`;
    await subscribed(aGateway(url, { broker: tls('gateway') }));
    const without = aGateway(url, { broker: `caFile: '${file('ca.pem')}'`, name: 'gateway-2' });
    await vi.waitFor(() => expect(linkOf(without)?.reason).not.toBe('not started'));
    expect(linkOf(without)?.connected).toBe(false);
  });

  it('whose files are not what they should be is said, stops no other, and gets right', async () => {
    const lines = [...tlsLines(), 'require_certificate true', 'use_identity_as_username true'];
    const { url } = await aMosquitto(lines, { scheme: 'mqtts' });
    // As after the first half of a renewal.
    copyFileSync(file('stranger.key'), file('own.key'));
    const own = `certFile: '${file('gateway.pem')}', keyFile: '${file('own.key')}'`;
    const gateway = aGateway(url, { broker: `caFile: '${file('ca.pem')}', ${own}` });
    const other = aGateway(url, { broker: `caFile: '${file('ca.key')}'`, name: 'gateway-2' });
    await vi.waitFor(() => expect(linkOf(gateway)?.reason).toMatch(/key values mismatch/));
    await vi.waitFor(() => expect(linkOf(other)?.reason).toMatch(/certificate|PEM/));
    copyFileSync(file('gateway.key'), file('own.key'));
    await subscribed(gateway);
  });
});

describe('the status topic', () => {
  const watch = async (url: string): Promise<string[]> => {
    const seen: string[] = [];
    const client = await aClient(url);
    client.on('message', (_topic, payload) => seen.push(JSON.parse(String(payload)).state));
    await client.subscribeAsync('blocktorrent/#', { qos: 1 });
    return seen;
  };

  it('says online, stopped in order, and lost by the will when the connection breaks', async () => {
    const { url, port } = await aMosquitto();
    const seen = await watch(url);
    const first = aGateway(url);
    await vi.waitFor(() => expect(seen).toEqual(['online']));
    await first.stop();
    cleanUps.pop();
    await vi.waitFor(() => expect(seen).toEqual(['online', 'stopped']));
    const proxy = await aProxy(port);
    const second = aGateway(`mqtt://127.0.0.1:${proxy.port}`);
    await subscribed(second);
    proxy.cut();
    await vi.waitFor(() => expect(seen.slice(2, 4)).toEqual(['online', 'lost']));
    // Retained: who comes later is told as well.
    const later = await watch(url);
    await vi.waitFor(() => expect(later).toEqual(['lost']));
  });

  it('is no reading, whatever the rules, and can be another or none', async () => {
    const { url } = await aMosquitto();
    const gateway = aGateway(url, { rules: '[{ topic: "#", value: /value }]' });
    const readings = watched(gateway);
    await subscribed(gateway);
    await (await aClient(url)).publishAsync('site/a', '{"value":1}', { qos: 1 });
    await vi.waitFor(() => expect(readings.map(({ topic }) => topic)).toEqual(['site/a']));
    const seen = await watch(url);
    await subscribed(aGateway(url, { status: 'off', name: 'gateway-2' }));
    await subscribed(aGateway(url, { status: 'blocktorrent/three', name: 'gateway-3' }));
    await vi.waitFor(() => expect(seen).toEqual(['online', 'online']));
  });

  it('that the broker does not allow is said, with what to do', async () => {
    writeFileSync(join(folder, 'acl'), 'topic read #\n');
    const { url } = await aMosquitto(['allow_anonymous true', `acl_file ${join(folder, 'acl')}`]);
    const gateway = aGateway(url);
    const other = aGateway(url, { status: 'off', name: 'gateway-2' });
    await subscribed(other);
    await vi.waitFor(() => {
      const { connected, reason } = linkOf(gateway) ?? { connected: false, reason: null };
      expect(connected || String(reason).includes('mqtt.statusTopic')).toBe(true);
    });
  });
});

describe('MQTT 5', () => {
  it('brings user properties and content type, which are kept with the reading', async () => {
    const { url } = await aMosquitto();
    const gateway = aGateway(url, { broker: "version: '5'" });
    const readings = watched(gateway);
    await subscribed(gateway);
    const publisher = await aClient(url, { protocolVersion: 5 });
    const userProperties = { unit: 'Cel', trip: ['7', '8'] };
    await publisher.publishAsync('site/a', '{"value":4}', {
      qos: 1,
      properties: { contentType: 'application/json', userProperties },
    });
    await vi.waitFor(() => expect(readings).toHaveLength(1));
    expect(readings[0]?.samples.map(({ name, value }) => [name, value])).toEqual([
      ['$content-type', 'application/json'],
      ['$user/unit', 'Cel'],
      ['$user/trip', '7'],
      ['$user/trip', '8'],
    ]);
  });

  it('lets a broker drop what has expired while we were away, and nothing else', async () => {
    const { url } = await aMosquitto();
    await subscribedAndStopped(url);
    const publisher = await aClient(url, { protocolVersion: 5 });
    const publish = (value: number, messageExpiryInterval?: number) =>
      publisher.publishAsync('site/a', `{"value":${value}}`, {
        qos: 1,
        properties: messageExpiryInterval === undefined ? {} : { messageExpiryInterval },
      });
    await publish(1, 1);
    await publish(2, 3600);
    await publish(3);
    const expiredAt = Date.now() + 2100;
    await vi.waitFor(() => expect(Date.now()).toBeGreaterThan(expiredAt));
    const readings = watched(aGateway(url, { broker: "version: '5'" }));
    await vi.waitFor(() => expect(readings.map(textOf)).toEqual(['{"value":2}', '{"value":3}']));
  });

  it('says when the broker has forgotten the session', async () => {
    const first = await aMosquitto();
    await subscribedAndStopped(first.url);
    await first.stop();
    cleanUps.splice(cleanUps.length - 1);
    const second = await aMosquitto(undefined, { port: first.port });
    const gateway = aGateway(second.url, { broker: "version: '5'" });
    await subscribed(gateway);
    const { sessionsLost, sessionLostMs } = linkOf(gateway) ?? {};
    expect([sessionsLost, await gateway.metrics.total('ingestSessionsLost')]).toEqual([1, 1]);
    await gateway.stop();
    const again = aGateway(second.url, { broker: "version: '5'" });
    await subscribed(again);
    // A person has to see it, also after a restart; it is counted once.
    expect(linkOf(again)).toMatchObject({ sessionsLost, sessionLostMs });
    expect(await again.metrics.total('ingestSessionsLost')).toBe(0);
    const status = { ...NO_STATUS, brokers: again.gateway.counts().brokers, alarms: [] };
    expect(statusText(status)).toMatch(/has forgotten our session once, the last time 2/);
  });

  it('shares a subscription between two agents: each message goes to one of them', async () => {
    const { url } = await aMosquitto();
    const share = "version: '5', share: gateways";
    const gateways = ['gateway-1', 'gateway-2'].map((name) =>
      aGateway(url, { broker: share, name }),
    );
    const readings = gateways.map(watched);
    for (const gateway of gateways) await subscribed(gateway);
    const publisher = await aClient(url);
    for (let value = 0; value < 40; value += 1) {
      await publisher.publishAsync('site/a', `{"value":${value}}`, { qos: 1 });
    }
    await vi.waitFor(() => expect(readings.flat()).toHaveLength(40));
    expect(new Set(readings.flat().map(textOf)).size).toBe(40);
    for (const taken of readings) expect(taken.length).toBeGreaterThan(5);
  });

  it('tells the broker how many messages may be on their way, and how long to keep them', async () => {
    const seen: Buffer[] = [];
    const server = await aStub((socket, packet) => {
      if (packet[0] === 0x10) seen.push(packet);
      socket.end();
    });
    const broker =
      "version: '5', receiveMaximum: 7, sessionExpirySeconds: 120, keepaliveSeconds: 77";
    aGateway(server.url, { broker });
    await vi.waitFor(() => expect(seen.length).toBeGreaterThan(0));
    // A session that stays, a will that is retained, user and password none; then the keepalive.
    const flags = seen[0]?.indexOf('MQTT') ?? 0;
    expect([...(seen[0] ?? [])].slice(flags + 4, flags + 8)).toEqual([5, 0b00101100, 0, 77]);
    // Properties Receive Maximum, Session Expiry Interval and Maximum Packet Size of CONNECT.
    expect(seen[0]?.includes(Buffer.from([0x21, 0, 7]))).toBe(true);
    expect(seen[0]?.includes(Buffer.from([0x11, 0, 0, 0, 120]))).toBe(true);
    expect(seen[0]?.includes(Buffer.from([0x27, 1, 0, 0, 0]))).toBe(true);
  });

  it('takes topics by their alias', async () => {
    const server = await aStub((socket, packet) => {
      const type = (packet[0] ?? 0) >> 4;
      if (type === 1) socket.write(CONNACK);
      if (type === 8) {
        socket.write(Buffer.from([0x90, 4, packet[2] ?? 0, packet[3] ?? 0, 0, 1]));
        socket.write(publishPacket('site/a', 1, 5, '{"value":1}'));
        socket.write(publishPacket('', 2, 5, '{"value":2}'));
      }
      if (type === 3) socket.write(Buffer.from([0x40, 2, packet.at(-2) ?? 0, packet.at(-1) ?? 0]));
    });
    const gateway = aGateway(server.url, { broker: "version: '5'", status: 'off' });
    const readings = watched(gateway);
    await vi.waitFor(() =>
      expect(readings.map(({ topic, payload }) => [topic, String(Buffer.from(payload))])).toEqual([
        ['site/a', '{"value":1}'],
        ['site/a', '{"value":2}'],
      ]),
    );
  });

  async function subscribedAndStopped(url: string): Promise<void> {
    const gateway = aGateway(url, { broker: "version: '5'" });
    await subscribed(gateway);
    await gateway.stop();
    cleanUps.pop();
  }
});

describe('a broker that refuses', () => {
  it('every version of MQTT is asked less and less often', async () => {
    const atMs: number[] = [];
    const server = await aStub((socket, packet) => {
      atMs.push(performance.now());
      const version = packet[8];
      socket.end(version === 5 ? Buffer.from([0x20, 3, 0, 132, 0]) : Buffer.from([0x20, 2, 0, 1]));
    });
    const gateway = aGateway(server.url);
    await vi.waitFor(() => expect(atMs.length).toBeGreaterThanOrEqual(5));
    // 0, then the half at least of 250, 500 and 1,000 ms.
    expect((atMs[4] ?? 0) - (atMs[0] ?? 0)).toBeGreaterThan(850);
    const reason = () => linkOf(gateway)?.reason;
    await vi.waitFor(() => expect(reason()).toContain('rotocol version'));
  });
});

describe('a topic that the broker does not grant', () => {
  it('is in the status, and keeps no other from coming', async () => {
    const users = join(folder, 'users.yaml');
    writeFileSync(users, "anonymous: { publish: ['#'], subscribe: ['site/#'] }\n");
    const broker = await startBroker({ port: 0, usersFile: users });
    cleanUps.push(() => broker.stop());
    const url = `mqtt://${broker.address}`;
    const rules = '[{ topic: "site/#", value: /value }, { topic: "yard/+", value: /value }]';
    const gateway = aGateway(url, { rules });
    const readings = watched(gateway);
    const reason = 'not granted: yard/+: refused with code 128 (Unspecified error)';
    await vi.waitFor(() => expect(linkOf(gateway)).toMatchObject({ connected: false, reason }));
    const status = { ...NO_STATUS, ...gateway.gateway.counts() };
    const text = statusText({ ...status, alarms: alarmsOf(status, Date.now()) });
    expect(text).toContain(`\nALARM     broker ${url}: ${reason}`);
    expect(text).toContain('\nbrokers   0 of 1 subscribed at\n');
    expect(await gateway.metrics.total('ingestBrokersConnected')).toBe(0);
    expect(readiness(status).reasons.join()).toContain(reason);
    await (await aClient(url)).publishAsync('site/a', '{"value":1}', { qos: 1 });
    await vi.waitFor(() => expect(readings).toHaveLength(1));
  });
});

describe('several brokers', () => {
  it('are all subscribed at, whatever they speak, and one that is away stops no other', async () => {
    const { url } = await aMosquitto();
    const own = await startBroker({ port: 0 });
    cleanUps.push(() => own.stop());
    const urls = [url, `mqtt://${own.address}`, 'mqtt://127.0.0.1:1'];
    const gateway = startGateway(folder, gatewayConfig(folder, RULES, urls));
    cleanUps.push(() => gateway.stop());
    const readings = watched(gateway);
    const connected = () => gateway.gateway.counts().brokers.map((broker) => broker.connected);
    await vi.waitFor(() => expect(connected()).toEqual([true, true, false]));
    for (const [index, one] of urls.slice(0, 2).entries()) {
      await (await aClient(one)).publishAsync('site/a', `{"value":${index}}`, { qos: 1 });
    }
    await vi.waitFor(() =>
      expect(readings.map(textOf).sort()).toEqual(['{"value":0}', '{"value":1}']),
    );
  });
});

describe('a Sparkplug node whose messages are missing', () => {
  const commands = async (url: string): Promise<Buffer[]> => {
    const seen: Buffer[] = [];
    const client = await aClient(url);
    client.on('message', (_topic, payload) => seen.push(payload));
    await client.subscribeAsync('spBv1.0/plant/NCMD/edge-1');
    return seen;
  };
  const publish = async (client: MqttClient, seq: number, type = 'NDATA') => {
    await client.publishAsync(aTopic(type), Buffer.from(aPayload(1.7e12, seq, [])), { qos: 1 });
  };

  it('is asked for its births once, where the rule says so, and nobody else is', async () => {
    const { url } = await aMosquitto();
    const rule = (rebirth: string) => `[{ topic: "spBv1.0/#", decoder: sparkplug ${rebirth} }]`;
    const quiet = aGateway(url, { rules: rule('') });
    const asking = aGateway(url, { rules: rule(', rebirth: true'), name: 'gateway-2' });
    const readings = [quiet, asking].map(watched);
    for (const gateway of [quiet, asking]) await subscribed(gateway);
    const seen = await commands(url);
    const node = await aClient(url);
    for (const seq of [1, 2, 5, 9]) await publish(node, seq);
    await vi.waitFor(() => expect(seen).toHaveLength(1));
    expect(await asking.metrics.total('ingestRebirthRequests')).toBe(1);
    const metric = readSparkplugPayload(seen[0] ?? Buffer.alloc(0));
    expect(metric.seq).toBeNull();
    expect(metric.metrics).toMatchObject([
      { name: 'Node Control/Rebirth', datatype: 11, value: true, alias: null },
    ]);
    // Both have it in the record; the command itself is a message like others.
    for (const taken of readings) {
      await vi.waitFor(() => expect(taken).toHaveLength(5));
      expect(taken.map(({ samples }) => samples[0]?.value)).toEqual([
        undefined,
        undefined,
        2,
        3,
        undefined,
      ]);
    }
  });
});

describe('a configuration of a broker', () => {
  const read = (broker: string, env = {}) => {
    const text = gatewayConfig(folder, RULES, ['mqtts://a:1']);
    return parseConfig(
      text.replace("'mqtts://a:1' }", `'mqtts://a:1', ${broker} }`),
      'a.yaml',
      env,
    );
  };

  it('may name a systemd credential', () => {
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the notation itself
    const password = "username: a, passwordFile: '${CREDENTIALS_DIRECTORY}/mqtt'";
    const config = read(password, { CREDENTIALS_DIRECTORY: '/run/credentials/x' });
    expect(config.mqtt?.brokers[0]?.passwordFile).toBe('/run/credentials/x/mqtt');
    expect(() => read(password)).toThrow('CREDENTIALS_DIRECTORY');
  });

  it.each([
    [
      'a certificate without its key',
      'certFile: c',
      'brokers[0].keyFile: expected a file, because',
    ],
    ['a password without a user', 'passwordFile: p', 'brokers[0].username: expected a user name'],
    ['a group for 3.1.1', "share: g, version: '4'", 'brokers[0].version: expected 5 or auto'],
    ['a group that is a filter', 'share: a/b', "without '/', '+' and '#'"],
  ])('is refused with %s', (_title, broker, says) => {
    expect(() => read(broker)).toThrow(says);
  });
});

/** Forwards to a port, until it is cut. */
async function aProxy(target: number): Promise<{ port: number; cut(): void }> {
  const { connect } = await import('node:net');
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    const upstream = connect(target, '127.0.0.1');
    socket.pipe(upstream).pipe(socket);
    for (const one of [socket, upstream]) one.on('error', () => undefined);
    sockets.push(socket, upstream);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanUps.push(() => new Promise((resolve) => server.close(resolve)));
  const address = server.address();
  return {
    port: address !== null && typeof address === 'object' ? address.port : 0,
    cut() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

async function aStub(answer: Answer): Promise<{ readonly url: string }> {
  const stub = await startStub(answer);
  cleanUps.push(stub.stop);
  return stub;
}
