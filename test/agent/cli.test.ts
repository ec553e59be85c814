/** The command line: results, errors, exit status, and the launcher. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { AuditError } from '../../agent/src/audit/audit-error.ts';
import { FetchError } from '../../agent/src/audit/fetch.ts';
import { issue, makeRoot } from '../../agent/src/cli/certificates.ts';
import { CliError } from '../../agent/src/cli/cli-error.ts';
import type { CliCommand } from '../../agent/src/cli/command.ts';
import { explain } from '../../agent/src/cli/explain.ts';
import { duration, fileId, instant } from '../../agent/src/cli/options.ts';
import { bytesText, Output, table } from '../../agent/src/cli/output.ts';
import { requireRoots } from '../../agent/src/cli/overlay-roots.ts';
import { runProgram } from '../../agent/src/cli/program.ts';
import { COMMANDS } from '../../agent/src/cli/table.ts';
import { sampleConfig } from '../../agent/src/config/sample.ts';
import { type Control, startControl } from '../../agent/src/runtime/control.ts';
import { silentLog } from '../../agent/src/runtime/log.ts';

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

async function cli(...argv: string[]) {
  return cliWith(COMMANDS, argv);
}
async function cliWith(
  commands: readonly CliCommand[],
  argv: readonly string[],
  /** Ended with the first remark. */
  leave: AbortController | null = null,
) {
  const out: string[] = [];
  const err: string[] = [];
  const code = await runProgram(argv, {
    commands,
    version: '1.2.3',
    env: { HOME: folder },
    out: { write: (text) => out.push(text) },
    err: {
      write: (text) => {
        err.push(text);
        leave?.abort();
      },
    },
    signal: leave?.signal ?? new AbortController().signal,
  });
  return { code, out: out.join(''), err: err.join('') };
}
const json = (text: string) => JSON.parse(text) as Record<string, unknown>;

describe('blocktorrent', () => {
  it('shows every command and the exit codes in its help', async () => {
    const { code, out } = await cli('--help');
    expect(code).toBe(0);
    for (const { name, describe: text } of COMMANDS) {
      expect(out).toContain(`  ${name}`);
      expect(out.replace(/\s+/g, ' ')).toContain(text);
    }
    expect(out).toContain('Exit status:');
    expect((await cli('--version')).out).toBe('1.2.3\n');
  });

  it.each([
    ['an unknown command', ['statsu'], /unknown command 'statsu'[\s\S]*Did you mean status/],
    ['an unknown option', ['files', '--no'], /unknown option '--no'/],
    ['a missing argument', ['put'], /missing required argument 'file'/],
    [
      'a wrong value',
      ['files', '--limit', 'x'],
      /--limit .*expected a whole number from 1 to 1000, found 'x'/,
    ],
    [
      'a wrong file id',
      ['get', 'zz', '-o', 'f'],
      /expected a file id of 64 hex digits, found 'zz'/,
    ],
    [
      'files and a source',
      ['audit', 'request', 'a'.repeat(64), '--source', 'X', '--reason', 'r'],
      /either file ids or --source/,
    ],
  ])('answers %s with exit status 2 and what was expected', async (_title, argv, message) => {
    const { code, out, err } = await cli(...argv);
    expect(err).toMatch(message);
    expect([code, out]).toEqual([2, '']);
  });

  it('prints errors as JSON where JSON was asked for', async () => {
    const { code, out, err } = await cli('status', '--json', '--config', config);
    expect([code, err]).toEqual([5, '']);
    expect(json(out).error).toMatchObject({ code: 'no-agent', exitCode: 5 });
    const none = await cli('audit', '--json');
    expect(none.code).toBe(2);
    expect(json(none.out).error).toMatchObject({ message: 'expected a command' });
    // `tap` and `top` have one document a line, the last one too.
    expect((await cli('top', '--json', '--config', config)).out).toMatch(/^\{"error":.*\}\n$/);
  });

  it('never prints a stack trace, except with --debug', async () => {
    const broken: CliCommand = {
      name: 'broken',
      describe: '',
      group: 'Agent:',
      register: (command) =>
        void command.action(() => {
          throw new TypeError('undefined is not a function');
        }),
    };
    const plain = await cliWith([broken], ['broken']);
    expect(plain.code).toBe(1);
    expect(plain.err).toContain('undefined is not a function');
    expect(plain.err).toContain('--debug');
    expect(plain.err).not.toMatch(/\.ts:\d+/);
    expect((await cliWith([broken], ['broken', '--debug'])).err).toMatch(/cli\.test\.ts:\d+/);
  });

  it.each([
    ['an ended fetch', new FetchError('aborted', 'fetching was aborted', []), 1],
    ['an ended wait', new AuditError('timeout', 'stopped waiting'), 5],
  ])('says with its exit status that Ctrl-C was first: %s', async (_, error, code) => {
    const command: CliCommand = {
      ...{ name: 'ends', describe: 'ends', group: 'Agent:' },
      register: (ends) => void ends.action(() => Promise.reject(error)),
    };
    expect((await cliWith([command], ['ends'])).code).toBe(code);
    const stopping = new AbortController();
    stopping.abort();
    expect((await cliWith([command], ['ends'], stopping)).code).toBe(130);
  });
});

describe('blocktorrent config', () => {
  it('check reports every problem of a wrong file, and passes the sample', async () => {
    const bad = join(folder, 'bad.yaml');
    writeFileSync(bad, 'name: X\nrules: 1\n');
    const { code, err } = await cli('config', 'check', '--config', bad);
    expect(code).toBe(2);
    expect(err).toContain(`${bad}:1:1: name: expected a peer name`);
    expect(err).toContain(`${bad}:2:1: rules:`);
    const good = await cli('config', 'check', '--no-files', '--config', config, '--json');
    expect(json(good.out)).toEqual({ ok: true, file: config, problems: [] });
    expect((await cli('config', 'check', '--config', config)).err).toContain('ledger.certFile');
  });

  it('show, sample and schema print what they say', async () => {
    expect(json((await cli('config', 'show', '-c', config)).out)).toMatchObject({
      name: 'gateway-1',
    });
    expect((await cli('config', 'sample')).out).toBe(sampleConfig());
    expect(json((await cli('config', 'schema')).out)).toHaveProperty('properties.ledger');
  });

  it('is looked for in the usual places, and its absence is explained', async () => {
    const { code, err } = await cli('config', 'show');
    expect(code).toBe(2);
    expect(err).toMatch(/no configuration: looked for blocktorrent\.yaml[\s\S]*--config FILE/);
  });
});

describe('blocktorrent identity', () => {
  it('makes an identity that only its owner can read, and shows it the next time', async () => {
    const path = join(folder, '.config', 'blocktorrent', 'identity.txt');
    const made = json((await cli('identity', '--json')).out);
    expect(made).toMatchObject({ file: path, created: true });
    expect(made.recipient).toMatch(/^age1[a-z0-9]{58}$/);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const text = readFileSync(path, 'utf8');
    expect(text).toContain(`# public key: ${String(made.recipient)}\nAGE-SECRET-KEY-1`);
    expect((await cli('identity')).out).toBe(`${String(made.recipient)}\n`);
    expect(readFileSync(path, 'utf8')).toBe(text);
  });

  it('leaves a file that is no identity as it is', async () => {
    const { code, err } = await cli('identity', config);
    expect(code).toBe(2);
    expect(err).toContain('holds no age identity');
    expect(readFileSync(config, 'utf8')).toBe(sampleConfig());
  });
});

describe('commands that ask the running agent', () => {
  const file = {
    id: 1,
    kind: 'file',
    stage: 'available',
    path: '/f',
    fileId: 'ab',
    bytes: 2048,
    error: null,
  };
  const serve = async (routes: Parameters<typeof startControl>[0]['routes']) => {
    control = await startControl({ dataDir: join(folder, 'data'), routes, log: silentLog });
  };

  it('put hands over an absolute path and follows the file until it is available', async () => {
    const bodies: unknown[] = [];
    await serve({
      put: async (body, { progress }) => {
        bodies.push(body);
        progress({ ...file, stage: 'named', distribute: { chunksCovered: 3, chunkCount: 9 } });
        return file;
      },
    });
    const { code, out, err } = await cli('put', config, '-c', config);
    expect([code, out]).toEqual([0, 'ab  available, 2.0 KiB sealed\n']);
    expect(err).toBe('named: 3 of 9\n');
    expect(bodies).toEqual([{ path: config, to: [] }]);
  });

  it('put --no-wait leaves once the file is queued', async () => {
    await serve({
      put: async (_body, { progress, signal }) => {
        progress({ ...file, stage: 'queued', fileId: null, bytes: null, distribute: null });
        await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
      },
    });
    const { code, out } = await cli('put', config, '--no-wait', '-c', config);
    expect([code, out]).toEqual([0, 'queued as 1  queued\n']);
  });

  it('put that is interrupted says that the agent goes on with the file', async () => {
    const leave = new AbortController();
    await serve({
      put: async (_body, { progress, signal }) => {
        progress({ ...file, id: 7, stage: 'sealed', distribute: null });
        await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
      },
    });
    const { code, err } = await cliWith(COMMANDS, ['put', config, '-c', config], leave);
    expect([
      code,
      err.includes('interrupted; the agent goes on with the file, which is number 7'),
    ]).toEqual([130, true]);
  });

  it('put refuses a folder, a missing file and a wrong recipient by itself', async () => {
    expect((await cli('put', folder, '-c', config)).err).toContain('is not a file');
    expect((await cli('put', join(folder, 'no'), '-c', config)).code).toBe(2);
    const wrong = await cli('put', config, '--to', 'age1abc', '-c', config);
    expect(wrong.err).toContain("--to: expected an age recipient (age1…), found 'age1abc'");
  });

  it('put of a file that was given up fails with the reason', async () => {
    await serve({ put: async () => ({ ...file, stage: 'void', error: 'the disk is gone' }) });
    const { code, err } = await cli('put', config, '-c', config);
    expect(code).toBe(1);
    expect(err).toContain('the disk is gone');
  });

  it('files shows a table, or JSON', async () => {
    const late = { ...file, id: 2, fileId: null, error: 'late' };
    // Names come from others.
    const evil = { ...file, path: 'a\u001b[31m\nb' };
    await serve({ files: async () => [file, late, evil] });
    const { out } = await cli('files', '-c', config);
    expect(out.split('\n')[0]).toMatch(/^no {2}file id +kind +stage/);
    expect(out).toContain('available (late)');
    expect(out).toContain('a\\u001b[31m\\u000ab');
    const { out: one } = await cli('files', '--json', '--limit', '1', '-c', config);
    expect(JSON.parse(one)).toEqual([file]);
  });

  it('status shows the pipeline at a glance', async () => {
    await serve({
      status: async () => ({
        mspId: 'Org1MSP',
        name: 'gateway-1',
        roles: ['ingest'],
        epoch: 1,
        peers: 4,
        readings: 12,
        deadLetters: 1,
        openReadings: 2,
        disk: { usedBytes: 1024, maxBytes: 2048, droppedReadings: 7, droppedMs: 0 },
        alarms: [
          { what: 'disk', about: '', text: 'little room' },
          { what: 'copies', about: '', text: '2 chunks are here alone' },
        ],
        anchor: { count: 11, error: null, alarm: 'readings are missing', alarmMs: 0 },
        files: { queued: 0, available: 3 },
        uplink: { ciphertextBytes: 1000, sentBytes: 1050, uplinkRatio: 1.05 },
        store: null,
        host: null,
        clock: { state: 'unknown', waiting: 'it is a year ahead' },
        overdue: { count: 2, oldestMs: 1_000 },
        upkeep: null,
        sources: [],
        doors: [],
        quarantine: [],
        awaitedOwners: [{ mspId: 'Org3MSP', state: 'unreachable', files: 2 }],
        brokers: [],
        problems: [
          { id: 9, stage: 'sealed', error: 'no epoch' },
          { id: 8, stage: 'sealed', error: 'too early' },
          { id: 7, stage: 'sealed', error: 'no epoch' },
        ],
      }),
    });
    const { out } = await cli('status', '-c', config);
    expect(out).toContain('Org1MSP/gateway-1 (ingest)');
    expect(out).toContain('12, 2 in the open batch, 1 dead letters since the start');
    expect(out).toMatch(/^Org1.*\nALARM {5}little room\nALARM {5}2 chunks are here alone\n/);
    expect(out).toContain('1.0 KiB of 2.0 KiB; 7 readings dropped, the last 1970-01-01');
    expect(out).toMatch(/11 readings on the ledger; 1970-01-01 00:00:00: readings are missing\n/);
    expect(out).toContain(
      '3 available\nwaiting   for receipts of Org3MSP (unreachable, 2 files)\n',
    );
    expect(out).toContain('1.05 times');
    expect(out).toContain('problem   2 files, as 9 (sealed): no epoch\n');
    expect(out).toContain('problem   file 8 (sealed): too early');
  });
});

describe('an error', () => {
  const named = (name: string, code: string, remote = '') =>
    Object.assign(new Error('x'), { name, code, remote });
  it.each([
    [named('LedgerError', 'rejected'), 3],
    [named('LedgerError', 'unavailable'), 5],
    [named('AuditError', 'denied'), 3],
    [named('AuditError', 'wrong-table'), 4],
    [named('ControlError', 'not-permitted'), 5],
    [named('ProtocolError', 'bad-digest'), 4],
    [named('ProtocolError', 'bad-argument'), 2],
    [named('ControlError', 'failed', 'rejected'), 3],
    [named('ControlError', 'failed', 'what'), 1],
    [named('Error', 'ENOSPC'), 1],
    // A service is started again: another start, or a cable, may help.
    [named('Error', 'EADDRINUSE'), 1],
    [named('Error', 'EADDRNOTAVAIL'), 1],
    [new CliError('x', { exitCode: 4 }), 4],
    [named('AbortError', 'ABORT_ERR'), 130],
    ['a string', 1],
  ])('has its exit status (%o: %i)', (error, exitCode) => {
    expect(explain(error).exitCode).toBe(exitCode);
  });
});

describe('a contract’s refusal', () => {
  it('comes with what to do about it', () => {
    const refused = (message: string) =>
      explain(Object.assign(new Error(message), { name: 'LedgerError', code: 'rejected' })).todo;
    expect(refused('NOT_FOUNDED: call Found first')).toContain('blocktorrent consortium found');
    expect(refused('NOT_ALLOWED: expected an agent')).toContain('ledger.certFile');
    expect(refused('NOT_OPEN: it is closed')).toBe('');
  });
});

describe('overlay roots in what goes to the ledger', () => {
  it.each([
    ['charter', (pem: string) => ({ members: [{ mspId: 'A', overlayRoots: [pem] }] })],
    ['auditor', (pem: string) => ({ auditors: [{ mspId: 'A', overlayRoots: [pem] }] })],
    ['decision', (pem: string) => ({ kind: 'join', member: { mspId: 'A', overlayRoots: [pem] } })],
  ])('of a %s have to be certificates that issue others, and nothing else', async (_, written) => {
    const made = await makeRoot('A');
    const root = made.certificate;
    const leaf = await issue(made, { organisation: 'A', commonName: 'a', hosts: [], role: null });
    expect(() => requireRoots(written(root))).not.toThrow();
    const key = '-----BEGIN PRIVATE KEY-----';
    expect(() => requireRoots(written(`${root}${key}`))).toThrow('found a private key');
    expect(() => requireRoots(written(leaf.certificate))).toThrow('that may issue none');
    expect(() => requireRoots(written('root.pem'))).toThrow('overlayRoots of A: expected a root');
  });
});

describe('values on the command line', () => {
  it('may be durations, times and ids', () => {
    expect(['90s', '30m', '12h', '7d'].map(duration)).toEqual([9e4, 18e5, 432e5, 6048e5]);
    expect(() => duration('7')).toThrow(/a duration such as/);
    expect(instant('2026-11-22')).toBe(Date.UTC(2026, 10, 22));
    expect(instant('2026-11-22T01:00:00')).toBe(Date.UTC(2026, 10, 22, 1));
    expect(instant('2026-11-22T01:00:00+01:00')).toBe(Date.UTC(2026, 10, 22));
    expect(() => instant('yesterday')).toThrow(/a time such as/);
    expect(fileId('A'.repeat(64))).toBe('a'.repeat(64));
  });
});

describe('output', () => {
  it('aligns tables and speaks of bytes', () => {
    expect(
      table(
        ['a', 'n'],
        [
          ['x', 1],
          ['long', 20],
        ],
      ),
    ).toBe('a      n\nx      1\nlong  20');
    expect([bytesText(0), bytesText(1536), bytesText(null)]).toEqual(['0 B', '1.5 KiB', '-']);
  });

  it('draws one line over and over on a terminal, and a few plain lines elsewhere', () => {
    const drawn: string[] = [];
    const sink = { write: (text: string) => drawn.push(text), isTTY: true, columns: 60 };
    const output = new Output({ json: false, out: sink, err: sink });
    output.progress('sealing', 1, 2);
    output.result(null, 'done');
    expect(drawn[0]).toMatch(/^\r.*sealing {2}█{12}░{12} 1\/2$/);
    expect(drawn.slice(1)).toEqual(['\r\x1b[K', 'done\n']);

    const plain: string[] = [];
    const pipe = { write: (text: string) => plain.push(text) };
    const lines = new Output({ json: false, out: pipe, err: pipe });
    for (let i = 0; i <= 100; i += 1) lines.progress('sealing', i, 100);
    expect(plain).toHaveLength(6);
  });
});

/** A line every now and then, until the caller is gone. */
async function ticking(progress: (value: unknown) => void, signal: AbortSignal): Promise<null> {
  while (!signal.aborted) {
    progress({
      receivedMs: 0,
      topic: 'a',
      refusal: null,
      duplicateOf: null,
      skipped: 0,
      payload: '',
      encoding: 'utf8',
      bytes: 0,
    });
    await setTimeout(20);
  }
  return null;
}

describe('the launcher', () => {
  const LAUNCHER = join(import.meta.dirname, '../../agent/bin/blocktorrent.js');
  const launch = (argv: readonly string[], node: string = process.execPath) =>
    new Promise<{ code: number | null; out: string; err: string }>((resolve, reject) => {
      const child = spawn(node, [LAUNCHER, ...argv], {
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      let [out, err] = ['', ''];
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        out += text;
      });
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        err += text;
      });
      child.once('error', reject);
      child.once('close', (code) => resolve({ code, out, err }));
    });

  it('runs the command line and passes its exit status on', async () => {
    expect(await launch(['config', 'sample'])).toEqual({ code: 0, out: sampleConfig(), err: '' });
    expect((await launch(['nothing'])).code).toBe(2);
  });

  it('ends when nobody reads what it shows for ever, and says where it cannot be written', async () => {
    control = await startControl({
      dataDir: join(folder, 'data'),
      routes: { tap: (_, { progress, signal }) => ticking(progress, signal) },
      log: silentLog,
    });
    const tap = ['tap', '--json', '--config', config];
    const child = spawn(process.execPath, [LAUNCHER, ...tap], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    child.stdout.once('data', () => child.stdout.destroy());
    expect(await new Promise((done) => child.once('close', done))).toBe(0);
    const full = spawnSync('sh', [
      '-c',
      `"$0" "$1" config sample > /dev/full`,
      process.execPath,
      LAUNCHER,
    ]);
    expect([full.status, full.stderr.toString()]).toEqual([
      1,
      expect.stringMatching(/^blocktorrent: standard output: ENOSPC/),
    ]);
  });

  it('started by the machine’s own Node, however old, does the same', async () => {
    // npm puts its own folders first on PATH; what stands behind them is the machine's.
    const own = (process.env.PATH ?? '').split(':').filter((dir) => !dir.includes('node_modules'));
    const node = own.map((dir) => join(dir, 'node')).find((path) => existsSync(path));
    if (node === undefined) return;
    expect((await launch(['config', 'sample'], node)).out).toBe(sampleConfig());
    expect((await launch(['nothing'], node)).code).toBe(2);
  });
});
