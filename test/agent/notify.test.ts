/** What systemd is told, and when its watchdog is fed: datagrams as a Python listener sees them. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Lifecycle } from '../../agent/src/runtime/lifecycle.ts';
import { createLog, silentLog } from '../../agent/src/runtime/log.ts';
import { createNotify, watchdogIntervalMs } from '../../agent/src/runtime/notify.ts';
import { requireTool } from '../support/tools.ts';

const ROOT = resolve(import.meta.dirname, '../..');
/** Binds a datagram socket at argv[1] (`@` is an abstract name), then prints what comes, in hex. */
const LISTENER = `
import socket, sys
name = sys.argv[1]
listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
listener.bind("\\0" + name[1:] if name.startswith("@") else name)
print("bound", flush=True)
while True:
    print(listener.recv(65536).hex(), flush=True)
`;

describe('systemd is told', () => {
  let folder: string;
  let listener: ChildProcess | null = null;
  beforeEach(async (context) => {
    requireTool('python3', context);
    folder = await mkdtemp(join(tmpdir(), 'bt-notify-'));
  });
  afterEach(async () => {
    listener?.kill('SIGKILL');
    listener = null;
    await rm(folder, { recursive: true, force: true });
  });

  /** Starts the listener; returns the next datagram, each time it is asked. */
  async function listen(name: string): Promise<() => Promise<string>> {
    const child = spawn('python3', ['-c', LISTENER, name], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    listener = child;
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    expect((await lines.next()).value).toBe('bound');
    return async () => Buffer.from(String((await lines.next()).value), 'hex').toString();
  }

  it.each([
    ['at a path', (dir: string) => join(dir, 'notify')],
    ['at an abstract name', (dir: string) => `@${dir}`],
  ])('in one datagram for each call, %s', async (_title, nameIn) => {
    const next = await listen(nameIn(folder));
    const notify = await createNotify({ NOTIFY_SOCKET: nameIn(folder) }, silentLog);
    notify('READY=1\nSTATUS=4 files under way – läuft');
    notify('WATCHDOG=1');
    expect(await next()).toBe('READY=1\nSTATUS=4 files under way – läuft');
    expect(await next()).toBe('WATCHDOG=1');
  });

  it('of every step of a life: ready, status, reload, stop', async () => {
    const path = join(folder, 'notify');
    const next = await listen(path);
    const notify = await createNotify({ NOTIFY_SOCKET: path }, silentLog);
    const lifecycle = new Lifecycle({ log: silentLog, notify });
    lifecycle.ready('serving');
    lifecycle.status('serving');
    lifecycle.status('1 file under way');
    await lifecycle.reload(() => undefined);
    await expect(lifecycle.reload(() => Promise.reject(new Error('x')))).rejects.toThrow('x');
    await lifecycle.stop('done');
    expect(await next()).toBe('READY=1\nSTATUS=serving');
    expect(await next()).toBe('STATUS=1 file under way');
    for (const _ of [1, 2]) {
      expect(await next()).toMatch(/^RELOADING=1\nMONOTONIC_USEC=[1-9]\d*$/);
      expect(await next()).toBe('READY=1\nSTATUS=1 file under way');
    }
    expect(await next()).toBe('STOPPING=1');
  });

  it.each([
    ['broker', ['broker/src/main.ts', '--listen', '127.0.0.1:0']],
    [
      'chaincode',
      ['chaincode/src/serve.ts', '--chaincode', 'keys', '--listen', '127.0.0.1:0', '--ccid', 'k'],
    ],
  ])('by the %s: READY when it serves, then the watchdog is fed, STOPPING', async (_name, args) => {
    const path = join(folder, 'notify');
    const next = await listen(path);
    const child = spawn(process.execPath, ['--import', './systemd/ready.ts', ...args], {
      cwd: ROOT,
      env: { ...process.env, NOTIFY_SOCKET: path, WATCHDOG_USEC: '100000' },
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const gone = once(child, 'exit');
    try {
      const told: string[] = [];
      const until = async (text: string) => {
        while (!(told.at(-1) ?? '').startsWith(text)) told.push(await next());
      };
      const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
      await until('READY=1');
      const { address } = JSON.parse(String((await lines.next()).value)) as { address: string };
      expect(told.at(-1)).toBe(`READY=1\nSTATUS=serving at ${address}`);
      await until('WATCHDOG=1');
      child.kill('SIGTERM');
      await until('STOPPING=1');
      expect(told.filter((state) => state.startsWith('READY=1'))).toHaveLength(1);
      expect((await gone)[0]).toBe(0);
    } finally {
      child.kill('SIGKILL');
    }
  });

  it('nothing where it does not ask, and nothing fails where it has gone', async () => {
    const lines: string[] = [];
    const log = createLog({ stream: { write: (line: string) => lines.push(line) } });
    (await createNotify({}, log))('READY=1');
    expect(lines).toEqual([]);
    (await createNotify({ NOTIFY_SOCKET: join(folder, 'nobody') }, log))('READY=1');
    expect(lines.join('')).toContain('"errno":2');
    (await createNotify({ NOTIFY_SOCKET: 'vsock:2:1' }, log))('READY=1');
    (await createNotify({ NOTIFY_SOCKET: `/${'x'.repeat(108)}` }, log))('READY=1');
    expect(lines).toHaveLength(3);
  });
});

describe('a start that takes minutes', () => {
  afterEach(() => void vi.useRealTimers());

  it('asks for more time every 10 s, and says what it is at', () => {
    vi.useFakeTimers();
    const told: string[] = [];
    const lifecycle = new Lifecycle({ log: silentLog, notify: (state) => told.push(state) });
    for (let second = 1; second <= 25; second += 1) {
      vi.advanceTimersByTime(1_000);
      lifecycle.starting(`closed batch ${100 * second} of 9000`);
    }
    expect(told).toEqual([
      'EXTEND_TIMEOUT_USEC=120000000\nSTATUS=starting: closed batch 1000 of 9000',
      'EXTEND_TIMEOUT_USEC=120000000\nSTATUS=starting: closed batch 2000 of 9000',
    ]);
  });

  it('says nothing where it takes seconds', () => {
    const told: string[] = [];
    const lifecycle = new Lifecycle({ log: silentLog, notify: (state) => told.push(state) });
    lifecycle.starting('closed batch 1 of 3');
    expect(told).toEqual([]);
  });
});

describe('the watchdog is fed', () => {
  it('twice in the time that systemd allows, and only where this process is watched', () => {
    expect(watchdogIntervalMs({ WATCHDOG_USEC: '60000000' }, 7)).toBe(30_000);
    expect(watchdogIntervalMs({ WATCHDOG_USEC: '60000000', WATCHDOG_PID: '7' }, 7)).toBe(30_000);
    expect(watchdogIntervalMs({ WATCHDOG_USEC: '60000000', WATCHDOG_PID: '8' }, 7)).toBeNull();
    expect(watchdogIntervalMs({ WATCHDOG_USEC: 'soon' }, 7)).toBeNull();
    expect(watchdogIntervalMs({}, 7)).toBeNull();
  });
});
