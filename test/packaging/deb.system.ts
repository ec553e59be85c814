/**
 * The Debian package on a clean machine: what an operator does from the installation to the purge.
 * The tests of the machine follow one another; each goes on where the last one ended.
 */
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EXIT } from '../../agent/src/cli/exit-codes.ts';
import { agentConfig, makeKeys } from './agent-config.ts';
import { Machine } from './machine.ts';
import { asVersion, baseTree, buildPackage, cannotRun, nicely } from './packages.ts';

const TOOLS = ['dpkg-deb', 'lintian', 'mmdebstrap', 'openssl', 'systemd-nspawn'];
const skipped = cannotRun(TOOLS);
const AGENT = 'blocktorrent-agent.service';
const CONFIG = '/etc/blocktorrent/blocktorrent.yaml';
const POLL = { timeout: 30_000, interval: 200 };
const READINGS = 25;

if (skipped !== null) process.stderr.write(`test:packaging SKIPS the package: ${skipped}\n`);

describe.skipIf(skipped !== null)('the Debian package', () => {
  let folder: string;
  let path: string;
  let machine: Machine;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'bt-deb-'));
    path = await buildPackage('amd64', folder);
    machine = await Machine.boot(await baseTree('amd64'));
    await machine.put(path, '/root/new.deb');
    await machine.put(await asVersion(path, '0.0.1', folder), '/root/old.deb');
  });
  afterAll(async () => {
    await machine?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  it('is the same, byte for byte, when it is built again', async () => {
    const again = await buildPackage('amd64', join(folder, 'again'));
    expect(await sha256(again)).toBe(await sha256(path));
  });

  it('has nothing that lintian objects to, but for what is overridden with a reason', async () => {
    const args = ['--allow-root', '--fail-on=none', '--tag-display-limit=0', path];
    expect(await nicely('lintian', args)).toBe('');
  });

  it('is installed on a clean Debian, and starts nothing', async () => {
    await machine.must('dpkg', '-i', '/root/old.deb');
    for (const unit of [AGENT, 'blocktorrent-broker.service', 'blocktorrent-chaincode.service']) {
      expect((await machine.run('systemctl', 'is-active', unit)).stdout).toBe('inactive');
      expect((await machine.run('systemctl', 'is-enabled', unit)).stdout).toBe('disabled');
    }
    expect(await machine.must('blocktorrent', '--version')).toMatch(/^\d+\.\d+\.\d+/);
    const verify = await machine.run(
      'sh',
      '-c',
      'systemd-analyze verify --man=no /lib/systemd/system/blocktorrent-*.service',
    );
    expect(verify.stdout + verify.stderr).toBe('');
  });

  it('serves a chaincode in its sandbox, and a second one beside it', async () => {
    for (const name of ['blocktorrent-chaincode', 'blocktorrent-chaincode@keys']) {
      const chaincode = name.endsWith('@keys') ? 'keys' : 'ledger';
      const options = `--chaincode ${chaincode} --listen 127.0.0.1:0 --ccid ${chaincode}:1`;
      await machine.put(await file(`CHAINCODE_OPTIONS=${options}\n`), `/etc/default/${name}`);
      await machine.must('systemctl', 'start', name);
      await expect.poll(() => journal(name), POLL).toContain('{"ready":true,"address":"127.0.0.1:');
      await machine.must('systemctl', 'stop', name);
      expect(await machine.property(name, 'Result')).toBe('success');
    }
  });

  it('is not started without a configuration, and that is no failure', async () => {
    await machine.must('systemctl', 'start', AGENT);
    expect(await machine.property(AGENT, 'ConditionResult')).toBe('no');
    expect(await machine.property(AGENT, 'ActiveState')).toBe('inactive');
  });

  it('is not started again and again with a wrong configuration', async () => {
    await machine.put(await file('name: 5\n'), CONFIG);
    await machine.must('chgrp', 'blocktorrent', CONFIG);
    expect((await machine.run('systemctl', 'start', AGENT)).code).not.toBe(0);
    expect(await machine.property(AGENT, 'ActiveState')).toBe('failed');
    expect(await machine.property(AGENT, 'ExecMainStatus')).toBe(String(EXIT.usage));
    expect(await machine.property(AGENT, 'NRestarts')).toBe('0');
    await machine.must('systemctl', 'reset-failed', AGENT);
  });

  it('is READY once it serves, with keys that only root may read', async () => {
    await machine.must('systemctl', 'enable', '--now', 'blocktorrent-broker.service');
    await configure({ level: 'info' });
    await machine.must('systemctl', 'start', AGENT);
    expect(await machine.property(AGENT, 'ActiveState')).toBe('active');
    const line = () => machine.property(AGENT, 'StatusText');
    await expect
      .poll(line, POLL)
      .toMatch(
        /^(ALARMS: \d+, .*status; )?0 files under way, 0 available; brokers 1\/1; ledger not/,
      );
    expect(await status()).toMatchObject({ name: 'gateway-1', readings: 0 });
    const spied = await asAgent('cat', '/etc/blocktorrent/keys/signing.key');
    expect(spied.code).not.toBe(0);
    expect(await machine.must('stat', '-c', '%a %U', '/var/lib/blocktorrent')).toBe(
      '700 blocktorrent',
    );
  });

  it('takes readings in its sandbox', async () => {
    await publish(READINGS);
    await expect.poll(async () => (await status()).readings, POLL).toBe(READINGS);
  });

  it('applies a changed configuration on reload, and says what waits for a restart', async () => {
    const pid = await machine.property(AGENT, 'MainPID');
    await configure({ level: 'debug', name: 'gateway-2' });
    await machine.must('systemctl', 'reload', AGENT);
    await expect
      .poll(() => journal(), POLL)
      .toContain('"applied":["log.level"],"needRestart":["name"]');
    await expect.poll(() => machine.property(AGENT, 'ActiveState'), POLL).toBe('active');
    expect(await machine.property(AGENT, 'MainPID')).toBe(pid);
  });

  it('fails a reload of a wrong configuration, and goes on with the one in force', async () => {
    const pid = await machine.property(AGENT, 'MainPID');
    await machine.put(await file('name: 5\n'), CONFIG);
    await machine.must('chgrp', 'blocktorrent', CONFIG);
    expect((await machine.run('systemctl', 'reload', AGENT)).code).not.toBe(0);
    expect(await machine.property(AGENT, 'ActiveState')).toBe('active');
    expect(await machine.property(AGENT, 'MainPID')).toBe(pid);
    await configure({ level: 'info' });
  });

  it('is upgraded with its data kept, and goes on running', async () => {
    const pid = await machine.property(AGENT, 'MainPID');
    await machine.must('dpkg', '--force-confold', '-i', '/root/new.deb');
    expect(await machine.property(AGENT, 'ActiveState')).toBe('active');
    expect(await machine.property(AGENT, 'MainPID')).not.toBe(pid);
    expect((await machine.run('systemctl', 'is-enabled', AGENT)).stdout).toBe('disabled');
    expect((await status()).readings).toBe(READINGS);
  });

  it('is started again when it is frozen', async () => {
    const dropIn = `/etc/systemd/system/${AGENT}.d/watchdog.conf`;
    await machine.put(await file('[Service]\nWatchdogSec=2\nTimeoutAbortSec=1\n'), dropIn);
    await machine.must('systemctl', 'daemon-reload');
    await machine.must('systemctl', 'restart', AGENT);
    const pid = await machine.property(AGENT, 'MainPID');
    await machine.must('kill', '-STOP', pid);
    await expect.poll(() => machine.property(AGENT, 'NRestarts'), POLL).toBe('1');
    await expect.poll(() => machine.property(AGENT, 'ActiveState'), POLL).toBe('active');
    expect(await machine.property(AGENT, 'MainPID')).not.toBe(pid);
    expect(await journal()).toContain('Watchdog timeout');
    expect((await status()).readings).toBe(READINGS);
  });

  it('stops in order, in its time', async () => {
    await machine.must('systemctl', 'stop', AGENT);
    expect(await machine.property(AGENT, 'Result')).toBe('success');
    expect(await machine.property(AGENT, 'ExecMainStatus')).toBe('0');
  });

  it('leaves nothing of its own when it is purged, and nobody’s keys are deleted', async () => {
    await machine.must('systemctl', 'start', AGENT);
    const said = await machine.must('dpkg', '-P', 'blocktorrent');
    expect(said).toContain('left as it is: /etc/blocktorrent');
    for (const gone of [
      '/usr/lib/blocktorrent',
      '/var/lib/blocktorrent',
      '/usr/bin/blocktorrent',
    ]) {
      expect((await machine.run('test', '-e', gone)).code).toBe(1);
    }
    expect(await machine.must('ls', '/etc/blocktorrent/keys')).toContain('signing.key');
    const left = await machine.run(
      'systemctl',
      'list-units',
      '--all',
      '--no-legend',
      '--state=active,failed',
      'blocktorrent*',
    );
    expect(left.stdout).toBe('');
    expect(
      await machine.must('find', '/etc/systemd/system', '-name', 'blocktorrent-*.service'),
    ).toBe('');
  });

  /** A file with this text, of the test's own. */
  async function file(text: string): Promise<string> {
    const name = join(folder, createHash('sha256').update(text).digest('hex').slice(0, 16));
    await writeFile(name, text);
    return name;
  }

  /** Certificates, keys and a configuration, as OPERATIONS would have an operator write them. */
  async function configure({
    level,
    name = 'gateway-1',
  }: {
    level: 'debug' | 'info';
    name?: string;
  }) {
    const keys = '$' + '{CREDENTIALS_DIRECTORY}/keys_';
    const text = agentConfig({ name, level, keys, broker: 'mqtt://127.0.0.1:1883' });
    await makeKeys(folder);
    await machine.put(join(folder, 'cert.pem'), '/etc/blocktorrent/cert.pem');
    for (const key of ['ledger.pem', 'overlay.pem', 'signing.key']) {
      await machine.put(join(folder, key), `/etc/blocktorrent/keys/${key}`);
    }
    await machine.put(await file(text), CONFIG);
    await machine.must(
      'sh',
      '-c',
      'chmod 600 /etc/blocktorrent/keys/* && chgrp blocktorrent /etc/blocktorrent/*.*',
    );
  }

  async function asAgent(...command: readonly string[]) {
    return machine.run('runuser', '-u', 'blocktorrent', '--', ...command);
  }

  async function status(): Promise<{ name: string; readings: number }> {
    const { stdout, stderr } = await asAgent('blocktorrent', '--json', 'status');
    if (stdout === '') throw new Error(stderr);
    return JSON.parse(stdout) as { name: string; readings: number };
  }

  function journal(unit = AGENT): Promise<string> {
    return machine.must('journalctl', '--no-pager', '-o', 'cat', '-u', unit);
  }

  /** Publishes from inside the machine, at QoS 1, with the package's own Node. */
  async function publish(count: number): Promise<void> {
    const script = `
      const mqtt = require('/usr/lib/blocktorrent/node_modules/mqtt');
      const client = mqtt.connect('mqtt://127.0.0.1:1883');
      (async () => {
        for (let seq = 1; seq <= ${count}; seq += 1) {
          const payload = JSON.stringify({ sensor: 's', seq, value: seq });
          await client.publishAsync('site/s', payload, { qos: 1 });
        }
        await client.endAsync();
      })();`;
    await machine.must('/usr/lib/blocktorrent/bin/node', '-e', script);
  }
});

async function sha256(path: string): Promise<string> {
  return createHash('sha256')
    .update(await readFile(path))
    .digest('hex');
}
