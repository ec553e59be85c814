/** What our broker keeps over a restart, and for whom: sessions, queues, retained messages. */
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { openDatabase } from '@blocktorrent/agent/runtime/sqlite.ts';
import { type Broker, type BrokerOptions, startBroker } from '@blocktorrent/broker/broker.ts';
import { DEFAULTS } from '@blocktorrent/broker/config.ts';
import { Journal } from '@blocktorrent/broker/journal.ts';
import { hashPassword } from '@blocktorrent/broker/password.ts';
import { SessionStore } from '@blocktorrent/broker/session-store.ts';
import { connect, type IClientOptions, type MqttClient } from 'mqtt';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { connected, publishes } from '../support/broker-client.ts';
import { aFolder } from '../support/readings.ts';

const HASH = await hashPassword('right');
const USERS = `
anonymous: { subscribe: ['public/#'] }
users:
  gateway: { password: '${HASH}', subscribe: ['site/#'] }
  truck-1: { password: '${HASH}', publish: ['site/{user}/#'] }
`;
const cleanUps: (() => unknown)[] = [];
let folder: string;
const file = (name: string): string => join(folder, name);
const as = (username: string): IClientOptions => ({ username, password: 'right' });

beforeEach(() => {
  const [path, remove] = aFolder();
  folder = path;
  cleanUps.push(remove);
});
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

type Warning = readonly [message: string, fields: Readonly<Record<string, unknown>>];

async function aBroker(options: BrokerOptions = {}): Promise<{
  readonly broker: Broker;
  readonly warnings: readonly Warning[];
  readonly url: string;
}> {
  const warnings: Warning[] = [];
  const warn = (...warning: Warning) => void warnings.push(warning);
  const broker = await startBroker({ port: 0, warn, ...options });
  cleanUps.push(() => broker.stop());
  return { broker, warnings, url: `mqtt://${broker.address}` };
}

async function aClient(url: string, options: IClientOptions = {}): Promise<MqttClient> {
  const client = await connected(url, options);
  cleanUps.push(() => client.endAsync(true));
  return client;
}

describe('a client id', () => {
  it('is of the user who had it first, also over a restart', async () => {
    writeFileSync(file('users.yaml'), USERS);
    const options = { usersFile: file('users.yaml'), dataDir: file('data') };
    const first = await aBroker(options);
    const own = { ...as('gateway'), clientId: 'reader', clean: false };
    const reader = await aClient(first.url, own);
    await reader.subscribeAsync('site/#', { qos: 1 });
    const other = { ...as('truck-1'), clientId: 'reader' };
    const refused = 'Identifier rejected';
    // Neither ended nor emptied by somebody else.
    await expect(aClient(first.url, other)).rejects.toThrow(refused);
    expect(reader.connected).toBe(true);
    await reader.endAsync();
    const truck = await aClient(first.url, as('truck-1'));
    await truck.publishAsync('site/truck-1/a', '1', { qos: 1 });
    for (const clean of [true, false]) {
      await expect(aClient(first.url, { ...other, clean })).rejects.toThrow(refused);
    }
    await first.broker.stop();
    const { broker, url, warnings } = await aBroker(options);
    await expect(aClient(url, { ...other, clean: false })).rejects.toThrow(refused);
    await expect(aClient(url, { clientId: 'reader' })).rejects.toThrow(refused);
    expect(JSON.stringify(warnings)).toContain("the client id is another user's");
    expect(broker.queuedFor('reader')).toBe(1);
    const again = await aClient(url, own);
    await vi.waitFor(() => expect(broker.queuedFor('reader')).toBe(0));
    await again.endAsync();
    // Whose user is there no more is anybody's.
    writeFileSync(file('users.yaml'), USERS.replace('  gateway:', '  renamed:'));
    broker.reload();
    await aClient(url, { ...other, clean: false });
  });
});

it('a session without a name, to which nobody could come back, is refused [MQTT-3.1.3-8]', async () => {
  const { broker } = await aBroker();
  const answers = async (flags: number): Promise<Buffer> => {
    const socket = createConnection(broker.port, '127.0.0.1');
    cleanUps.push(() => socket.destroy());
    // CONNECT of MQTT 3.1.1 with a client id of no bytes.
    socket.write(Buffer.from([0x10, 12, 0, 4, 0x4d, 0x51, 0x54, 0x54, 4, flags, 0, 60, 0, 0]));
    const [answer] = await once(socket, 'data');
    return answer;
  };
  expect([...(await answers(0))]).toEqual([0x20, 2, 0, 2]);
  expect([...(await answers(2))]).toEqual([0x20, 2, 0, 0]);
});

describe('a store', () => {
  it('of version 1, which knew no users, is taken over with what it has', async () => {
    const dataDir = file('data');
    mkdirSync(dataDir);
    const database = openDatabase(join(dataDir, 'broker.sqlite'));
    database.exec(VERSION_1);
    database.close();
    const { broker, url } = await aBroker({ dataDir });
    expect(broker.queuedFor('reader')).toBe(1);
    await aClient(url, { clientId: 'reader', clean: false });
    await vi.waitFor(() => expect(broker.queuedFor('reader')).toBe(0));
    await broker.stop();
    await aBroker({ dataDir });
  });

  it('keeps sessions, what waits for them and retained messages over a restart in order', async () => {
    const dataDir = file('data');
    const first = await aBroker({ dataDir });
    const reader = await aClient(first.url, { clientId: 'reader', clean: false });
    await reader.subscribeAsync(['site/#', 'left/#'], { qos: 1 });
    await reader.unsubscribeAsync('left/#');
    await reader.endAsync();
    const publisher = await aClient(first.url);
    await publisher.publishAsync('r/1', 'kept', { qos: 1, retain: true });
    await publisher.publishAsync('r/2', 'gone', { retain: true });
    await publisher.publishAsync('r/2', '', { qos: 1, retain: true });
    for (const text of ['1', '2', '3']) await publisher.publishAsync('site/a', text, { qos: 1 });
    await publisher.publishAsync('left/a', 'x', { qos: 1 });
    await first.broker.stop();
    const second = await aBroker({ dataDir });
    expect(second.broker.queuedFor('reader')).toBe(3);
    const got: [string, boolean][] = [];
    const client = connect(second.url, { clientId: 'reader', clean: false, protocolVersion: 4 });
    cleanUps.push(() => client.endAsync(true));
    client.on('message', (_topic, payload, { dup }) => got.push([String(payload), dup]));
    await vi.waitFor(() => expect(second.broker.queuedFor('reader')).toBe(0));
    await client.subscribeAsync('r/#', { qos: 1 });
    await vi.waitFor(() => expect(got.map(([text]) => text)).toContain('kept'));
    expect(got.map(([text]) => text)).not.toContain('gone');
    // None of them had been sent before.
    expect(got.every(([, dup]) => !dup)).toBe(true);
  });

  it('belongs to one broker, and is refused where it is something else', async () => {
    const dataDir = file('data');
    await aBroker({ dataDir });
    await expect(startBroker({ port: 0, dataDir })).rejects.toThrow(
      /broker\.sqlite: another process has it/,
    );
    mkdirSync(file('other'));
    writeFileSync(join(file('other'), 'broker.sqlite'), 'no database at all, but long enough');
    await expect(startBroker({ port: 0, dataDir: file('other') })).rejects.toThrow(
      /expected the broker's own store/,
    );
  });

  it('keeps the last of a full disk for what ends', async () => {
    let freeBytes = 2 ** 30;
    const journal = new Journal(file('broker.sqlite'), () => freeBytes);
    cleanUps.push(() => journal.close());
    const message = (id: number) => journal.put(id, 'away', 'site/a', Buffer.alloc(1_000_000));
    for (let id = 1; id <= 18; id += 1) await message(id);
    freeBytes = 1_000_000;
    await expect(message(19)).rejects.toThrow('the disk has less than 16777216 bytes left');
    await expect(journal.retain('a', Buffer.alloc(1), 1)).rejects.toThrow('the disk has less');
    // Who empties the queue can come, and makes room: the file does not shrink.
    await journal.connect('away');
    for (let id = 1; id <= 18; id += 1) journal.remove(id);
    await journal.connect('away');
    await message(20);
  });

  it('that cannot be written acknowledges nothing', async () => {
    const dataDir = file('data');
    const first = await aBroker({ dataDir });
    const reader = await aClient(first.url, { clientId: 'reader', clean: false });
    await reader.subscribeAsync('site/#', { qos: 1 });
    await first.broker.stop();
    const database = openDatabase(join(dataDir, 'broker.sqlite'));
    database.exec(`CREATE TRIGGER full BEFORE INSERT ON queued WHEN NEW.topic = 'site/bad'
      BEGIN SELECT RAISE(ABORT, 'disk full'); END`);
    database.close();
    const { url } = await aBroker({ dataDir });
    expect(await publishes(await aClient(url), 'site/bad')).toBe(false);
    expect(await publishes(await aClient(url), 'site/good')).toBe(true);
  });
});

/** The store that brokers made until 2026-11-23, with one message for one session. */
const VERSION_1 = `
CREATE TABLE session (name TEXT PRIMARY KEY, connected INTEGER NOT NULL, away_seconds INTEGER NOT NULL)
  STRICT, WITHOUT ROWID;
CREATE TABLE subscription (session TEXT NOT NULL, topic TEXT NOT NULL, qos INTEGER NOT NULL,
  PRIMARY KEY (session, topic)) STRICT, WITHOUT ROWID;
CREATE TABLE queued (id INTEGER PRIMARY KEY, session TEXT NOT NULL, topic TEXT NOT NULL,
  payload BLOB NOT NULL, sent INTEGER NOT NULL) STRICT;
CREATE INDEX queued_by_session ON queued (session);
CREATE TABLE retained (topic TEXT PRIMARY KEY, payload BLOB NOT NULL, qos INTEGER NOT NULL)
  STRICT, WITHOUT ROWID;
INSERT INTO session VALUES ('reader', 0, 5);
INSERT INTO subscription VALUES ('reader', 'site/#', 1);
INSERT INTO queued VALUES (1, 'reader', 'site/a', x'31', 0);
PRAGMA user_version = 1;`;

it('keeps nothing of a client that goes while its connection begins', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout'] });
  cleanUps.push(() => vi.useRealTimers());
  const journal = new Journal(file('broker.sqlite'));
  const store = new SessionStore(DEFAULTS, () => undefined, journal);
  await store.subscriptionsByClient({ id: 'gone', clean: false });
  const here = { id: 'here', clean: false };
  await store.subscriptionsByClient(here);
  store.attach(here);
  await vi.advanceTimersByTimeAsync(10_000);
  journal.close();
  const database = openDatabase(file('broker.sqlite'));
  cleanUps.push(() => database.close());
  expect(database.prepare('SELECT name FROM session').all()).toEqual([{ name: 'here' }]);
});
