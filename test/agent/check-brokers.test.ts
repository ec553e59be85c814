/** What the doctor says of brokers: it logs in where no agent runs, and ends nobody's session. */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { startBroker } from '@blocktorrent/broker/broker.ts';
import { connectAsync } from 'mqtt';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { checkBrokers } from '../../agent/src/cli/checks/brokers.ts';
import type { Config } from '../../agent/src/config/load.ts';
import type { AgentStatus } from '../../agent/src/controls.ts';
import { startMosquitto } from '../support/mosquitto.ts';
import { aFolder } from '../support/readings.ts';
import { makeTlsFiles } from '../support/tls-files.ts';

let folder: string;
const ends: (() => unknown)[] = [];
beforeEach(() => {
  const [path, remove] = aFolder();
  folder = path;
  ends.push(remove);
});
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});
const file = (name: string) => join(folder, name);

async function aMosquitto(lines: readonly string[], scheme = 'mqtt'): Promise<string> {
  const { url, stop } = await startMosquitto(lines, { scheme });
  ends.push(stop);
  return url;
}

function configOf(url: string, broker: object = {}): Config {
  return {
    roles: ['ingest'],
    organisation: { mspId: 'Org1MSP' },
    name: 'gateway-1',
    mqtt: { brokers: [{ url, version: 'auto', ...broker }], rules: [] },
  } as unknown as Config;
}

async function look(config: Config, agent?: AgentStatus['brokers'][number]) {
  const status = agent === undefined ? null : ({ brokers: [agent] } as unknown as AgentStatus);
  const [finding, ...more] = await checkBrokers(config, status);
  expect(more).toEqual([]);
  return [finding?.state, finding?.found];
}

describe('the doctor at a broker', () => {
  it('finds a wrong password and a certificate of nobody we trust, before an agent does', async () => {
    makeTlsFiles(folder, ['server']);
    execFileSync('mosquitto_passwd', ['-c', '-b', file('users'), 'gw', 'right'], {
      stdio: 'ignore',
    });
    chmodSync(file('users'), 0o644);
    const url = await aMosquitto(
      [
        ...[`cafile ${file('ca.pem')}`, `certfile ${file('server.pem')}`],
        ...[`keyfile ${file('server.key')}`, 'allow_anonymous false'],
        `password_file ${file('users')}`,
      ],
      'mqtts',
    );
    const known = { username: 'gw', passwordFile: file('password'), caFile: file('ca.pem') };
    writeFileSync(file('password'), 'right\n');
    expect(await look(configOf(url, known))).toEqual(['ok', 'lets us in']);
    expect(await look(configOf(url, { ...known, caFile: undefined }))).toEqual([
      'fail',
      expect.stringMatching(/certificate/),
    ]);
    writeFileSync(file('password'), 'wrong\n');
    expect(await look(configOf(url, known))).toEqual([
      'fail',
      expect.stringMatching(/not authorized/i),
    ]);
    const missing = await look(configOf(url, { ...known, passwordFile: file('absent') }));
    expect(missing).toEqual(['fail', expect.stringMatching(/ENOENT.*absent/)]);
  });

  it('goes on with MQTT 3.1.1 where a broker speaks no other, unless 5 is asked for', async () => {
    const broker = await startBroker({ port: 0, host: '127.0.0.1' });
    ends.push(() => broker.stop());
    const url = `mqtt://${broker.address}`;
    expect(await look(configOf(url))).toEqual(['ok', 'lets us in']);
    expect(await look(configOf(url, { version: '5' }))).toEqual([
      'fail',
      expect.stringMatching(/version/i),
    ]);
  });

  it('leaves the connection and the session of an agent alone that it does not know of', async () => {
    const url = await aMosquitto(['allow_anonymous true']);
    const options = { clientId: 'blocktorrent-gateway-1', clean: false, reconnectPeriod: 0 };
    const agent = await connectAsync(url, options);
    ends.push(() => agent.endAsync());
    await agent.subscribeAsync('site/#', { qos: 1 });
    expect(await look(configOf(url))).toEqual(['ok', 'lets us in']);
    const got = new Promise((resolve) => agent.once('message', resolve));
    await agent.publishAsync('site/a', 'x', { qos: 1 });
    expect(await got).toBe('site/a');
  });

  it('believes a running agent, and says why nobody answers', async () => {
    const url = 'mqtt://127.0.0.1:1';
    const agent = { url, connected: true, reason: null, sessionsLost: 0, sessionLostMs: null };
    expect(await look(configOf(url), agent)).toEqual(['ok', 'the agent is subscribed']);
    const refused = { ...agent, connected: false, reason: 'Not authorized' };
    expect(await look(configOf(url), refused)).toEqual(['fail', 'Not authorized']);
    expect(await look(configOf(url))).toEqual(['fail', expect.stringMatching(/ECONNREFUSED/)]);
  });

  it.each([
    ['says nothing', () => undefined, /timeout/],
    ['hangs up', (socket: Socket) => void socket.end(), /connect/],
  ] as const)('is let in by nobody who %s', async (_, answer, reason) => {
    const other = createServer(answer).listen(0, '127.0.0.1');
    ends.push(() => other.close());
    await once(other, 'listening');
    const { port } = other.address() as AddressInfo;
    const found = await look(configOf(`mqtt://127.0.0.1:${port}`));
    expect(found).toEqual(['fail', expect.stringMatching(reason)]);
  });
});
