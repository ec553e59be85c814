/** Users, topic rules, TLS, limits and the store of our broker, by real connections. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect as connectTcp } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { covers, parseUsers } from '@blocktorrent/broker/access.ts';
import { type Broker, type BrokerOptions, startBroker } from '@blocktorrent/broker/broker.ts';
import { parseBrokerConfig } from '@blocktorrent/broker/config.ts';
import { hashPassword, isPasswordHash, PasswordChecker } from '@blocktorrent/broker/password.ts';
import type { IClientOptions, MqttClient } from 'mqtt';
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { closed, connected, publishes } from '../support/broker-client.ts';
import { gatewayConfig, startGateway } from '../support/gateway.ts';
import { startNode } from '../support/process.ts';
import { aFolder } from '../support/readings.ts';
import { makeTlsFiles } from '../support/tls-files.ts';
import { requireTool, runTool } from '../support/tools.ts';

const MAIN = fileURLToPath(new URL('../../broker/src/main.ts', import.meta.url));
const cleanUps: (() => unknown)[] = [];
let folder: string;
let hash: string;
const file = (name: string): string => join(folder, name);

beforeAll(async () => {
  hash = await hashPassword('right');
});
beforeEach(() => {
  const [path, remove] = aFolder();
  folder = path;
  cleanUps.push(remove);
});
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

type Warning = readonly [message: string, fields: Readonly<Record<string, unknown>>];

async function aBroker(options: BrokerOptions = {}) {
  const warnings: Warning[] = [];
  const broker = await startBroker({
    port: 0,
    warn: (...warning) => void warnings.push(warning),
    ...options,
  });
  cleanUps.push(() => broker.stop());
  return { broker, warnings, url: `mqtt://${broker.address}` };
}

async function aClient(url: string, options: IClientOptions = {}): Promise<MqttClient> {
  const client = await connected(url, options);
  cleanUps.push(() => client.endAsync(true));
  return client;
}

const as = (username: string, password = 'right'): IClientOptions => ({ username, password });
const users = (): string => `
anonymous: { subscribe: ['public/#'] }
users:
  gateway: { password: '${hash}', subscribe: ['site/#', '$SYS/#'], publish: ['blocktorrent/#'] }
  truck-1: { password: '${hash}', publish: ['site/{user}/#'] }
  truck-2: { certificate: true, publish: ['site/{user}/#'] }
`;

async function grants(client: MqttClient, topic: string): Promise<boolean> {
  return await client.subscribeAsync(topic, { qos: 1 }).then(
    (granted) => granted[0]?.qos === 1,
    () => false,
  );
}

describe('users and topic rules', () => {
  it('let each do what a rule allows, and nothing else', async () => {
    writeFileSync(file('users.yaml'), users());
    const { url } = await aBroker({ usersFile: file('users.yaml') });
    await expect(aClient(url, as('gateway', 'wrong'))).rejects.toThrow(/Bad username or password/);
    await expect(aClient(url, as('nobody'))).rejects.toThrow(/Bad username or password/);
    await expect(aClient(url, as('__proto__'))).rejects.toThrow(/Bad username or password/);
    await expect(aClient(url, as('truck-2'))).rejects.toThrow(/Bad username or password/);
    const gateway = await aClient(url, as('gateway'));
    expect(await grants(gateway, 'site/#')).toBe(true);
    expect(await grants(gateway, '#')).toBe(false);
    expect(await grants(gateway, 'other/a')).toBe(false);
    const stranger = await aClient(url);
    expect([await grants(stranger, 'public/a'), await grants(stranger, 'site/a')]).toEqual([
      true,
      false,
    ]);
    const truck = await aClient(url, as('truck-1'));
    expect(await publishes(truck, 'site/truck-1/t')).toBe(true);
    expect(await publishes(truck, 'site/truck-2/t')).toBe(false);
    expect(await publishes(await aClient(url), 'public/a')).toBe(false);
  });

  it('are read again on request: who is out of them is ended, what they forbid is not sent', async () => {
    writeFileSync(file('users.yaml'), users());
    const { broker, url } = await aBroker({ usersFile: file('users.yaml') });
    const gateway = await aClient(url, as('gateway'));
    const truck = await aClient(url, as('truck-1'));
    const got: string[] = [];
    gateway.on('message', (topic) => got.push(topic));
    await gateway.subscribeAsync('site/#', { qos: 1 });
    expect(await publishes(truck, 'site/truck-1/a')).toBe(true);
    await vi.waitFor(() => expect(got).toEqual(['site/truck-1/a']));
    writeFileSync(file('users.yaml'), 'users: { gateway: { password: plain } }\nuser: {}\n');
    expect(() => broker.reload()).toThrow(
      /users\.yaml:1:21: users\.gateway\.password: expected a hash from `hash-password`.*found something else\n.*users\.yaml:2:1: user: expected a known key/,
    );
    expect(await publishes(truck, 'site/truck-1/b')).toBe(true);
    await vi.waitFor(() => expect(got).toHaveLength(2));
    const gone = closed(gateway);
    const next = users()
      .replace(/ {2}gateway.*\n/, '')
      .replace('site/{user}/#', 'site/new/#');
    writeFileSync(file('users.yaml'), next);
    broker.reload();
    await gone;
    expect(await publishes(truck, 'site/truck-1/c')).toBe(false);
    expect(await publishes(await aClient(url, as('truck-1')), 'site/new/c')).toBe(true);
  });

  it('there are none without a file: whoever gives a name is let in like everybody', async () => {
    const { url } = await aBroker();
    expect(await publishes(await aClient(url, as('sensor', 'any')), 'site/a')).toBe(true);
  });

  it('cover a filter only where they cover all that it means', () => {
    const cases: readonly (readonly [string, string, boolean])[] = [
      ['site/#', 'site/#', true],
      ['site/#', 'site', true],
      ['site/+/t', 'site/a/t', true],
      ['site/+/t', 'site/+/t', true],
      ['site/+', 'site/#', false],
      ['site/a', 'site/+', false],
      ['#', '$SYS/#', false],
      ['$SYS/#', '#', false],
      ['+/a', '$SYS/a', false],
      ['site/a/b', 'site/a', false],
    ];
    for (const [allowed, wanted, expected] of cases) {
      expect([allowed, wanted, covers(allowed, wanted)]).toEqual([allowed, wanted, expected]);
    }
  });

  it('say every mistake with its place', () => {
    const text = "users:\n  a: { publish: 'x' }\n  b: { certificate: true, publish: ['a/#/b'] }\n";
    expect(() => parseUsers(text, 'u.yaml')).toThrow(
      /^u\.yaml:2:8: users\.a\.publish: expected a list of topic filters, found 'x'\nu\.yaml:3:37: users\.b\.publish\[0\]: expected an MQTT topic filter: .*; here '#' is not the last level, found 'a\/#\/b'$/,
    );
  });
});

describe('passwords', () => {
  it('are kept as scrypt hashes, each with its own salt', async () => {
    const checker = new PasswordChecker();
    expect(isPasswordHash(hash)).toBe(true);
    expect(await hashPassword('right')).not.toBe(hash);
    expect(await checker.check(Buffer.from('right'), hash)).toBe(true);
    expect(await checker.check(Buffer.from('wrong'), hash)).toBe(false);
    for (const bad of ['right', hash.replace('ln=15', 'ln=30'), hash.slice(0, 40), '']) {
      expect([bad, isPasswordHash(bad)]).toEqual([bad, false]);
    }
  });

  it('are hashed by a command', async () => {
    const made = await runTool(process.execPath, [MAIN, 'hash-password'], Buffer.from('x y\n'));
    const checker = new PasswordChecker();
    expect(await checker.check(Buffer.from('x y'), String(made).trim())).toBe(true);
  });

  it('are not guessed faster than connections are let in', async () => {
    writeFileSync(file('users.yaml'), users());
    const limits = { connectionsPerSecond: 1, usersFile: file('users.yaml') };
    const { url, warnings } = await aBroker(limits);
    await expect(aClient(url, as('gateway', 'wrong'))).rejects.toThrow();
    await expect(aClient(url, as('gateway'))).rejects.toThrow();
    expect(warnings.map(([message]) => message)).toContain('connection refused');
  });
});

describe('TLS', () => {
  beforeEach((context) => {
    requireTool('openssl', context);
    makeTlsFiles(folder, ['server', 'truck-2', 'gateway']);
  });
  const tls = (clients: boolean) => ({
    listeners: [
      {
        listen: { host: '127.0.0.1', port: 0 },
        tls: {
          certFile: file('server.pem'),
          keyFile: file('server.key'),
          ...(clients ? { clientCaFile: file('ca.pem') } : {}),
        },
      },
    ],
  });
  const secured = (broker: Broker): string => `mqtts://${broker.address}`;
  const ca = () => readFileSync(file('ca.pem'));
  const certificate = (name: string): IClientOptions => ({
    ca: ca(),
    cert: readFileSync(file(`${name}.pem`)),
    key: readFileSync(file(`${name}.key`)),
  });

  it('takes a client by its certificate, and by nothing of a stranger', async () => {
    writeFileSync(file('users.yaml'), users());
    const { broker } = await aBroker({ ...tls(true), usersFile: file('users.yaml') });
    const truck = await aClient(secured(broker), certificate('truck-2'));
    expect(await publishes(truck, 'site/truck-2/t')).toBe(true);
    await expect(aClient(secured(broker), { ca: ca() })).rejects.toThrow();
    await expect(aClient(secured(broker), certificate('gateway'))).rejects.toThrow(/username/);
  });

  it('caps packets there as well, and takes renewed certificates with a reload', async () => {
    const { broker, warnings } = await aBroker({ ...tls(false), payloadBytesMax: 1000 });
    const client = await aClient(secured(broker), { ca: ca() });
    const gone = closed(client);
    client.publish('a', Buffer.alloc(200_000), { qos: 1 }, () => undefined);
    await gone;
    expect(JSON.stringify(warnings)).toMatch(/packet of|over the cap/);
    mkdirSync(file('new'));
    makeTlsFiles(file('new'), ['server']);
    for (const name of ['server.pem', 'server.key', 'ca.pem']) {
      writeFileSync(file(name), readFileSync(join(file('new'), name)));
    }
    broker.reload();
    await aClient(secured(broker), { ca: ca() });
  });

  it.each([
    ['by user and password', false, () => `username: gateway, passwordFile: '${file('password')}'`],
    [
      'by its certificate',
      true,
      () => `certFile: '${file('gateway.pem')}', keyFile: '${file('gateway.key')}'`,
    ],
  ])('serves the agent %s, and keeps its status', async (_how, clients, credentials) => {
    const byCertificate =
      "  gateway: { certificate: true, subscribe: ['site/#'], publish: ['blocktorrent/#'] }";
    const text = clients ? users().replace(/ {2}gateway.*/, byCertificate) : users();
    writeFileSync(file('users.yaml'), text.replace("['public/#']", "['blocktorrent/#']"));
    writeFileSync(file('password'), 'right\n');
    const plain = { listen: { host: '127.0.0.1', port: 0 } };
    const listeners = [...tls(clients).listeners, plain];
    const { broker } = await aBroker({ listeners, usersFile: file('users.yaml') });
    const seen: string[] = [];
    const watcher = await aClient(`mqtt://${broker.addresses[1]}`);
    watcher.on('message', (_topic, payload) => seen.push(JSON.parse(String(payload)).state));
    await watcher.subscribeAsync('blocktorrent/#', { qos: 1 });
    const config = gatewayConfig(folder, '[{ topic: "site/#", value: /value }]', [secured(broker)]);
    const more = `${credentials()}, caFile: '${file('ca.pem')}'`;
    const gateway = startGateway(
      folder,
      config.replace(`'${secured(broker)}' }`, `'${secured(broker)}', ${more} }`),
    );
    await vi.waitFor(() => expect(gateway.gateway.counts().brokers[0]?.connected).toBe(true));
    await gateway.stop();
    await vi.waitFor(() => expect(seen).toEqual(['online', 'stopped']));
  });
});

describe('limits', () => {
  it('let in so many connections, and so many a second of one address', async () => {
    const { url, broker } = await aBroker({ connectionsMax: 2 });
    await aClient(url);
    const second = await aClient(url);
    await expect(aClient(url)).rejects.toThrow();
    await second.endAsync(true);
    await vi.waitFor(() => aClient(url));
    expect(broker.port).toBeGreaterThan(0);
    const slow = await aBroker({ connectionsPerSecond: 1 });
    let ended = 0;
    for (let n = 0; n < 30; n += 1) {
      const socket = connectTcp(slow.broker.port, '127.0.0.1');
      cleanUps.push(() => socket.destroy());
      socket.on('error', () => undefined);
      socket.once('close', () => {
        ended += 1;
      });
    }
    await vi.waitFor(() => expect(ended).toBeGreaterThanOrEqual(18));
    expect(ended).toBeLessThan(25);
  });

  it('say in $SYS what is queued and dropped, to whom may read it', async () => {
    const { url, warnings } = await aBroker({
      queuedBytesMax: 5,
      sysEverySeconds: 0.05,
      publishersWaitFor: ['away'],
    });
    const away = await aClient(url, { clientId: 'away', clean: false });
    await away.subscribeAsync('site/#', { qos: 1 });
    await away.endAsync();
    const client = await aClient(url);
    await client.publishAsync('r', 'kept', { qos: 1, retain: true });
    const said = new Map<string, string>();
    client.on('message', (topic, payload) => void said.set(topic, String(payload)));
    await client.subscribeAsync('#');
    await vi.waitFor(() => expect(said.get('r')).toBe('kept'));
    expect([...said.keys()]).toEqual(['r']);
    await client.subscribeAsync('$SYS/#', { qos: 1 });
    await (await aClient(url)).subscribeAsync('other/#');
    for (let n = 0; n < 5; n += 1) await client.publishAsync('site/a', `${n}`, { qos: 1 });
    // Never has room: waiting for it would be for ever.
    await client.publishAsync('site/a', 'longer', { qos: 1 });
    await vi.waitFor(() => {
      expect(said.get('$SYS/broker/publish/messages/dropped')).toBe('1');
      expect(said.get('$SYS/broker/store/messages/count')).toBe('5');
      expect(said.get('$SYS/broker/clients/sessions')).toBe('1');
    });
    // Not what the broker's parts tell each other: who subscribes to what.
    expect([...said.keys()].filter((topic) => !/^(r$|site\/|\$SYS\/broker\/)/.test(topic))).toEqual(
      [],
    );
    await aClient(url, { clientId: 'away', clean: false });
    expect(warnings).toContainEqual([
      'messages were dropped for this client',
      { clientId: 'away', dropped: 1 },
    ]);
  });

  it('end sessions and retained messages that are too many', async () => {
    const { url } = await aBroker({ sessionsMax: 1, retainedMax: 1 });
    const first = await aClient(url, { clientId: 'a', clean: false });
    expect(await grants(first, 'site/#')).toBe(true);
    const second = await aClient(url, { clientId: 'b', clean: false });
    const gone = closed(second);
    second.subscribe('site/#', { qos: 1 }, () => undefined);
    await gone;
    const publisher = await aClient(url);
    await publisher.publishAsync('r/1', '1', { qos: 1, retain: true });
    const ended = closed(publisher);
    publisher.publish('r/2', '1', { qos: 1, retain: true }, () => undefined);
    await ended;
  });

  it('refuse topic filters that are too many, in one packet and over connections', async () => {
    const { url } = await aBroker({ subscriptionsMax: 3 });
    const client = await aClient(url);
    const asked = ['a', 'b', 'c', 'd', 'a'];
    const granted = await client.subscribeAsync(asked, { qos: 1 }).catch((error) => error.message);
    expect(String(granted)).toMatch(/Subscribe error|Unspecified/);
    expect(await grants(client, 'b')).toBe(true);
    expect(await grants(client, 'e')).toBe(false);
    await client.unsubscribeAsync('a');
    expect(await grants(client, 'e')).toBe(true);
    const session = { clientId: 'kept', clean: false };
    const before = await aClient(url, session);
    expect(await grants(before, 'x')).toBe(true);
    expect(await grants(before, 'y')).toBe(true);
    await before.endAsync();
    const after = await aClient(url, session);
    expect(await grants(after, 'z')).toBe(true);
    expect(await grants(after, 'w')).toBe(false);
  });

  it('end who retains too many bytes, and count what takes another one’s place', async () => {
    const { url } = await aBroker({ retainedBytesMax: 10 });
    const retain = { qos: 1, retain: true } as const;
    const client = await aClient(url);
    await client.publishAsync('r/1', '12345678', retain);
    await client.publishAsync('r/1', '1234567890', retain);
    await client.publishAsync('r/1', '12345', retain);
    await client.publishAsync('r/2', '12345', retain);
    await client.publishAsync('r/2', '', retain);
    await client.publishAsync('r/3', '12345', retain);
    const ended = closed(client);
    client.publish('r/4', '1', retain, () => undefined);
    await ended;
  });
});

describe('the configuration file', () => {
  it('says every mistake with its place', () => {
    const text = [
      'listeners:',
      "  - { listen: '0.0.0.0:1883' }",
      "  - { listen: 'nowhere' }",
      'payloadBytesMax: big',
      'sesionsMax: 3',
    ].join('\n');
    expect(() => parseBrokerConfig(text, '/etc/b.yaml')).toThrow(
      [
        "/etc/b.yaml:3:7: listeners[1].listen: expected host:port, e.g. 0.0.0.0:8883, found 'nowhere'",
        "/etc/b.yaml:4:1: payloadBytesMax: expected a whole number from 1 to 268435456, found 'big'",
        '/etc/b.yaml:5:1: sesionsMax: expected a known key, found an unknown one',
      ].join('\n'),
    );
    expect(() => parseBrokerConfig("listeners: [{ listen: '0.0.0.0:1' }]", '/b.yaml')).toThrow(
      'or `usersFile`',
    );
  });

  it('is checked by --check, used by --config, and its users are read again on SIGHUP', async () => {
    writeFileSync(file('users.yaml'), users());
    writeFileSync(
      file('broker.yaml'),
      "listeners: [{ listen: '127.0.0.1:0' }]\nusersFile: users.yaml\n",
    );
    await runTool(process.execPath, [MAIN, '--config', file('broker.yaml'), '--check']);
    const broker = startNode(MAIN, ['--config', file('broker.yaml')]);
    cleanUps.push(async () => {
      broker.child.kill('SIGTERM');
      await broker.ended;
    });
    const url = `mqtt://${String((await broker.next()).address)}`;
    await aClient(url, as('gateway'));
    // Empty is what a file is for a moment while it is written.
    for (const [index, text] of ['users: 5\n', ''].entries()) {
      writeFileSync(file('users.yaml'), text);
      broker.child.kill('SIGHUP');
      await vi.waitFor(() => {
        const said = broker.stderr().split('the old users and certificates stay').length - 1;
        expect(said).toBe(index + 1);
      });
    }
    await aClient(url, as('gateway'));
    writeFileSync(file('users.yaml'), users().replace('gateway', 'portal'));
    broker.child.kill('SIGHUP');
    await vi.waitFor(() => expect(broker.stderr()).toContain('certificates read again'));
    await aClient(url, as('portal'));
    await expect(aClient(url, as('gateway'))).rejects.toThrow(/username/);
    const wrong = startNode(MAIN, ['--config', file('users.yaml')]);
    expect(await wrong.ended).toBe(2);
  });
});
