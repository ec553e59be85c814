/** Commands of day-to-day work: completion, top, peers, simulate, diag. */
import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { alarmsOf } from '../../agent/src/alarms.ts';
import { completionScript, SHELLS } from '../../agent/src/cli/completion.ts';
import { buildProgram, runProgram } from '../../agent/src/cli/program.ts';
import { COMMANDS } from '../../agent/src/cli/table.ts';
import { sampleConfig } from '../../agent/src/config/sample.ts';
import type { AgentStatus } from '../../agent/src/controls.ts';
import type { AddressBook } from '../../agent/src/overlay/types.ts';
import { listPeers } from '../../agent/src/peer-list.ts';
import { type Control, startControl } from '../../agent/src/runtime/control.ts';
import { silentLog } from '../../agent/src/runtime/log.ts';
import { startBroker } from '../../broker/src/broker.ts';
import { requireTool } from '../support/tools.ts';

const run = promisify(execFile);
const STATUS: AgentStatus = {
  mspId: 'Org1MSP',
  name: 'gateway-1',
  roles: ['ingest', 'store'],
  epoch: 3,
  peers: 4,
  ...{ ledgerTrouble: null, unregistered: null, alarms: [], stuck: [], awaitedOwners: [] },
  readings: 100,
  deadLetters: 1,
  openReadings: 7,
  brokers: [],
  sources: [],
  doors: [],
  disk: null,
  clock: { state: 'unknown', waiting: null },
  upkeep: null,
  anchor: null,
  quarantine: [],
  files: {
    ...{ queued: 1, sealed: 0, named: 0, distributed: 0, deposited: 0, recorded: 0 },
    ...{ available: 9, void: 0 },
  },
  uplink: { ciphertextBytes: 1_000, sentBytes: 1_100, uplinkRatio: 1.1 },
  store: null,
  host: null,
  overdue: { count: 0, oldestMs: null },
  problems: [],
};

let folder = '';
let config = '';
let control: Control | null = null;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'bt-cli-'));
  config = join(folder, 'a.yaml');
  writeFileSync(config, sampleConfig());
});
afterEach(async () => {
  await control?.stop();
  control = null;
});
afterAll(() => rmSync(folder, { recursive: true }));

interface Streams {
  readonly isTTY?: boolean;
  readonly signal?: AbortSignal;
  /** Hears what goes to standard output. */
  readonly heard?: (all: readonly string[]) => void;
}

async function cli(argv: readonly string[], streams: Streams = {}) {
  const out: string[] = [];
  const err: string[] = [];
  const code = await runProgram(argv, {
    commands: COMMANDS,
    version: '1.2.3',
    env: { HOME: folder, PATH: process.env.PATH },
    out: {
      write(text) {
        out.push(text);
        streams.heard?.(out);
      },
      ...{ isTTY: streams.isTTY ?? false, columns: 100, rows: 30 },
    },
    err: { write: (text) => err.push(text) },
    signal: streams.signal ?? new AbortController().signal,
  });
  return { code, out: out.join(''), err: err.join('') };
}

/** An agent that only answers what it is given. */
async function agentThatSays(routes: Readonly<Record<string, () => unknown>>): Promise<void> {
  const dataDir = join(folder, 'data');
  mkdirSync(dataDir, { recursive: true });
  control = await startControl({
    dataDir,
    log: silentLog,
    routes: Object.fromEntries(
      Object.entries(routes).map(([name, answer]) => [name, async () => answer()]),
    ),
  });
}

it('an agent is reached while its configuration is wrong, and told apart from none', async () => {
  const wrong = join(folder, 'wrong.yaml');
  writeFileSync(wrong, sampleConfig().replace(/^roles:/m, 'rols:'));
  const files = (...more: string[]) => cli(['files', '--config', wrong, ...more]);
  const none = await files();
  expect([none.code, none.out]).toEqual([2, '']);
  expect(none.err).toMatch(/rols: .*did you mean 'roles'/);
  await agentThatSays({ files: () => [] });
  expect(await files('--json')).toMatchObject({ code: 0, err: '', out: '[]\n' });
  expect((await files()).err).toContain('The configuration is wrong now');
  writeFileSync(wrong, 'dataDir: 5');
  expect((await files()).code).toBe(2);
});

describe('completion', () => {
  const program = buildProgram({
    ...{ commands: COMMANDS, version: '1', env: {} },
    ...{ out: { write: () => true }, err: { write: () => true } },
    signal: new AbortController().signal,
  });

  /** What a real bash offers for these words, the last one unfinished. */
  async function bash(words: readonly string[]): Promise<string[]> {
    const script = `${completionScript(program, 'bash')}
      COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _blocktorrent
      printf '%s\\n' "\${COMPREPLY[@]}"`;
    const { stdout } = await run('bash', ['-euc', script, 'bash', 'blocktorrent', ...words]);
    return stdout.split('\n').filter((line) => line !== '');
  }

  it('of bash offers commands, sub-commands, options and choices', async (context) => {
    requireTool('bash', context);
    expect(await bash([''])).toEqual(program.commands.map((command) => command.name()));
    expect(await bash(['config', ''])).toEqual(['check', 'show', 'sample', 'schema']);
    expect(await bash(['--json', 'config', 'ch'])).toEqual(['check']);
    expect(await bash(['config', 'check', '--no'])).toEqual(['--no-files']);
    expect(await bash(['completion', ''])).toEqual([...SHELLS]);
    // After an option with a value come files, whatever the command.
    expect(await bash(['--config', ''])).toEqual([]);
    expect(await bash(['--config', 'files', 'con'])).toEqual(['consortium', 'config']);
  });

  it.each(SHELLS)('of %s names every command and option there is', async (shell) => {
    const { out } = await cli(['completion', shell]);
    const visit = (command: typeof program): string[] => [
      ...command.options.flatMap((option) => (option.long ? [option.long.slice(2)] : [])),
      ...command.commands.flatMap((child) => [child.name(), ...visit(child)]),
    ];
    expect(visit(program).filter((name) => !out.includes(name))).toEqual([]);
  });

  for (const shell of ['zsh', 'fish'] as const) {
    it(`of ${shell} is a script that ${shell} reads`, async (context) => {
      requireTool(shell, context);
      const path = join(folder, `script.${shell}`);
      writeFileSync(path, completionScript(program, shell));
      expect((await run(shell, ['-n', path])).stderr).toBe('');
    });
  }
});

describe('status', () => {
  it('is alarmed by damaged files as long as they are there', async () => {
    const file = {
      file: '3',
      was: '3.sqlite',
      foundMs: 1.7e12,
      bytes: 1,
      salvaged: 9,
      reason: 'bad page',
    };
    let quarantine = [file, file];
    const facts = () => ({ ...STATUS, quarantine });
    await agentThatSays({ status: () => ({ ...facts(), alarms: alarmsOf(facts(), 0) }) });
    expect((await cli(['status', '-c', config])).out).toContain(
      'ALARM     2 damaged files were put aside: `blocktorrent quarantine` says why',
    );
    quarantine = [];
    expect((await cli(['status', '-c', config])).out).not.toContain('ALARM');
  });
});

describe('top', () => {
  it('prints plain lines where there is no terminal, with rates from the second on', async () => {
    let readings = 100;
    await agentThatSays({
      status: () => {
        readings += 1;
        return { ...STATUS, readings };
      },
    });
    const { code, out } = await cli(['top', '-c', config, '--every', '10ms', '--count', '3']);
    const lines = out.trimEnd().split('\n');
    expect([code, lines.length]).toEqual([0, 3]);
    expect(lines[0]).toMatch(/^\S+ \S+ {2}1 files under way \(1 queued\), 9 available; ledger/);
    expect(lines[2]).toMatch(/; \d+\.\d readings\/s, uplink 0 B\/s$/);
    expect(out).not.toContain('\x1b');
  });

  it('redraws a terminal, and ends on Ctrl-C without an error', async () => {
    await agentThatSays({ status: () => STATUS });
    const stop = new AbortController();
    const heard = (all: readonly string[]) => void (all.length > 4 && stop.abort());
    const streams = { isTTY: true, signal: stop.signal, heard };
    const { code, out, err } = await cli(['top', '-c', config, '--every', '10ms'], streams);
    expect([code, err]).toEqual([0, '']);
    expect(out.split('\x1b[H').length).toBeGreaterThan(3);
    expect(out).toContain('Org1MSP/gateway-1 (ingest, store)');
  });

  it('prints one JSON value a line where that was asked for', async () => {
    await agentThatSays({ status: () => STATUS });
    const argv = ['top', '-c', config, '--json', '--every', '10ms', '--count', '2'];
    const { out } = await cli(argv, { isTTY: true });
    const values = out
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as AgentStatus);
    expect(values.map((value) => value.epoch)).toEqual([3, 3]);
  });
});

describe('peers', () => {
  const peer = (name: string, key: string) => ({
    ...{ mspId: 'Org1MSP', name, roles: ['store' as const], dhtAddress: '127.0.0.1:1' },
    overlayKey: key.repeat(32),
    keys: [],
  });

  it('are listed with the addresses that the DHT has', async () => {
    const book = {
      lookup: async (key: Uint8Array) => (key[0] === 0xaa ? { host: '::1', port: 5 } : null),
    } as unknown as AddressBook;
    const peers = [peer('a', 'aa'), peer('b', 'bb')];
    const lines = await listPeers(peers, book, ({ name }) => name === 'a');
    expect(lines.map(({ name, own, address }) => [name, own, address])).toEqual([
      ['a', true, '[::1]:5'],
      ['b', false, null],
    ]);
    await agentThatSays({ peers: () => lines });
    const { out } = await cli(['peers', '-c', config]);
    expect(out).toContain('a (this one)');
    expect(out).toContain('not found');
  });
});

describe('simulate', () => {
  it('publishes to a broker from a process of its own', async () => {
    const broker = await startBroker({ port: 0, host: '127.0.0.1' });
    try {
      const log = join(folder, 'sensors.jsonl');
      const url = `mqtt://${broker.address}`;
      const argv = ['simulate', '--broker', url, '--rate', '1000', '--count', '20', '--log', log];
      const { code, out } = await cli([...argv, '--json']);
      expect([code, JSON.parse(out)]).toEqual([0, { sent: 20, bad: 0, outstanding: 0 }]);
      expect(readFileSync(log, 'utf8').trimEnd().split('\n')).toHaveLength(20);
    } finally {
      await broker.stop();
    }
  });
});

describe('diag collect', () => {
  it('writes an archive with what helps, and without any secret', async () => {
    const secrets = ['c0ffee'.repeat(10), 'AGE-SECRET-KEY-1QQQQ', 'hunter2-of-the-broker'];
    const pem = `-----BEGIN PRIVATE KEY-----\n${'QUJD'.repeat(12)}\n-----END PRIVATE KEY-----`;
    const home = join(folder, 'diag');
    mkdirSync(join(home, 'overlay'), { recursive: true });
    mkdirSync(join(home, 'mqtt'));
    writeFileSync(join(home, 'overlay/signing.key'), secrets[0] ?? '');
    writeFileSync(join(home, 'overlay/key.pem'), pem);
    writeFileSync(join(home, 'mqtt/password'), secrets[2] ?? '');
    const text = sampleConfig()
      .replace('dataDir: data', `dataDir: ${join(folder, 'data')}`)
      .replace('#passwordFile:', 'passwordFile:')
      .replace('#username:', 'username:');
    writeFileSync(join(home, 'a.yaml'), text);
    const problems = [{ id: 1, stage: 'queued', error: `seal: ${secrets[1]} and ${pem}` }];
    const leaking = { identity: secrets[1], password: secrets[2], note: pem };
    await agentThatSays({
      status: () => ({ ...STATUS, problems, ...leaking }),
      files: () => [{ id: 1, path: '/a', error: pem }],
    });
    const archive = join(folder, 'diag.tar.gz');
    const { code, err } = await cli(['diag', 'collect', '-c', join(home, 'a.yaml'), '-o', archive]);
    expect(err.replace(/^collecting.*\n/gm, '')).toBe('');
    expect(code).toBe(0);
    const out = join(folder, 'opened');
    mkdirSync(out);
    execFileSync('tar', ['-xzf', archive, '-C', out, '--strip-components=1']);
    const names = ['versions', 'config', 'status', 'files', 'peers'];
    const all = names.map((name) => readFileSync(join(out, `${name}.json`), 'utf8')).join('');
    const journal = readFileSync(join(out, 'journal.txt'), 'utf8');
    for (const secret of [...secrets, 'QUJDQUJD']) expect(all + journal).not.toContain(secret);
    expect(all).toContain('"blocktorrent": "1.2.3"');
    expect(all).toContain('mqtt/password');
    expect(all).toContain('"epoch": 3');
    // A part that cannot be had says why.
    expect(readFileSync(join(out, 'peers.json'), 'utf8')).toContain('unknown-route');
    const again = await cli(['diag', 'collect', '-c', join(home, 'a.yaml'), '-o', archive]);
    expect([again.code, again.err.includes('left as it is')]).toEqual([2, true]);
  });
});
