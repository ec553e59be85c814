/** What an operator sees of a running consortium: the doctor's findings, one batch through the log. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { Finding } from '../../agent/src/cli/checks/finding.ts';
import { runProgram } from '../../agent/src/cli/program.ts';
import { COMMANDS } from '../../agent/src/cli/table.ts';
import type { PeerLine } from '../../agent/src/peer-list.ts';
import { until, useCast } from '../support/cast.ts';

const READINGS = 40;

describe('a running consortium', () => {
  const stage = useCast({ logLevel: 'debug', batch: { maxAgeMs: 600_000 } });
  const home = mkdtempSync(join(tmpdir(), 'bt-operate-'));
  afterAll(() => rmSync(home, { recursive: true }));

  async function cli(argv: readonly string[]) {
    const out: string[] = [];
    const err: string[] = [];
    const config = stage().configs.get(stage().source)?.path ?? '';
    const code = await runProgram([...argv, '--json', '--config', config], {
      ...{ commands: COMMANDS, version: '1', env: { HOME: home, PATH: process.env.PATH } },
      out: { write: (text) => out.push(text) },
      err: { write: (text) => err.push(text) },
      signal: new AbortController().signal,
    });
    return { code, value: JSON.parse(out.join('')) as unknown, err: err.join('') };
  }
  async function check() {
    const { code, value, err } = await cli(['check']);
    const { findings } = value as { findings: readonly Finding[] };
    const states = Object.fromEntries(findings.map(({ name, state }) => [name, state]));
    return { code, findings, states, err };
  }

  it('passes its doctor, who has looked at everything', async () => {
    const addresses = async () => (await cli(['peers'])).value as readonly PeerLine[];
    await until(async () => (await addresses()).every(({ address }) => address !== null));
    const { code, states, findings, err } = await check();
    expect(findings.filter(({ state }) => state === 'fail')).toEqual([]);
    expect([code, err]).toEqual([0, '']);
    const brokers = Object.keys(states).filter((name) => name.startsWith('broker mqtt://'));
    expect(brokers).toHaveLength(1);
    expect(states).toMatchObject({
      ...{ disk: 'ok', 'certificate ledger.certFile': 'ok', 'certificate overlay.certFile': 'ok' },
      ...{ agent: 'ok', ledger: 'ok', membership: 'ok', keys: 'ok', dht: 'ok' },
      ...{ 'registration of gateway-1': 'ok', 'peer Org4MSP/admin': 'ok' },
      // Everything listens on the loopback here.
      port: 'warn',
    });
    expect(Object.keys(states)).toEqual(expect.arrayContaining(['clock', 'write speed']));
    expect(findings.filter(({ state, todo }) => state !== 'ok' && todo === '')).toEqual([]);
  });

  it('knows its peers by their addresses', async () => {
    const { value } = await cli(['peers']);
    const peers = value as readonly PeerLine[];
    expect(peers.filter(({ own }) => own).map(({ name }) => name)).toEqual(['gateway-1']);
    expect(peers.filter(({ address }) => /^127\.0\.0\.1:\d+$/.test(address ?? ''))).toHaveLength(4);
  });

  it('can be followed through the log by a batch’s number, to the ledger’s transaction', async () => {
    const { source, workDir } = stage();
    await stage().startSensors(['--count', String(READINGS), '--rate', '400']);
    await until(async () => (await stage().status()).readings >= READINGS);
    await stage().closeBatch();
    await until(async () => (await stage().status()).files.available >= 1);
    const log = join(workDir, 'logs', `agent ${source}.log`);
    const lines = readFileSync(log, 'utf8')
      .split('\n')
      .filter((line) => line.includes('"batch":1,') || line.includes('"batch":1}'))
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    const messages = lines.map((line) => String(line.message));
    const steps = [
      ...['batch open', 'readings committed', 'batch closed', 'seal: done', 'name: done'],
      ...['distribute: done', 'deposit: about to be sent', 'recorded on the ledger'],
      'settle: done',
    ];
    expect(steps.filter((step) => !messages.includes(step))).toEqual([]);
    const places = steps.map((step) => messages.indexOf(step));
    expect(places).toEqual([...places].sort((a, b) => a - b));
    const commits = lines.filter((line) => line.message === 'readings committed');
    const seqs = commits.flatMap((line) => [Number(line.fromSeq), Number(line.toSeq)]);
    expect([Math.min(...seqs), Math.max(...seqs)]).toEqual([1, READINGS]);
    const recorded = lines.find((line) => line.message === 'recorded on the ledger');
    const fileId = String(recorded?.fileId);
    expect(recorded?.txId).toMatch(/^[0-9a-f]{64}$/);
    // The same transaction as the ledger has: the event that it emitted came back with its id.
    const event = `"txId":"${String(recorded?.txId)}","message":"ledger event"`;
    await until(async () => (await readFile(log, 'utf8')).includes(event));
    expect(lines.find((line) => line.message === 'seal: done')?.id).toBe(recorded?.id);
    expect(fileId).toMatch(/^[0-9a-f]{64}$/);
  });

  it('fails its doctor where the broker is gone, and warns of a peer that is', async () => {
    const { second, processes, status } = stage();
    await processes.end('broker', 'SIGTERM');
    await processes.end(`agent ${second}`, 'SIGKILL');
    // The doctor believes the agent, which finds out with its next attempt.
    const refused = /ECONNREFUSED/;
    await until(async () => refused.test((await status()).brokers[0]?.reason ?? ''));
    const { code, findings } = await check();
    expect(code).toBe(1);
    const broker = findings.find(({ name }) => name.startsWith('broker '));
    expect(broker).toMatchObject({ state: 'fail', found: expect.stringMatching(refused) });
    const peer = findings.find(({ name }) => name === `peer ${second}/admin`);
    expect(peer).toMatchObject({ state: 'warn' });
    expect(await readFile(stage().sensorLog, 'utf8')).not.toBe('');
  });
});
