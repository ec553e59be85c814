/** The control socket: what the command line and the agent say to each other. */
import { once } from 'node:events';
import { existsSync, mkdtempSync, renameSync, rmSync, statSync } from 'node:fs';
import { request } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  type Control,
  type ControlHandler,
  controlSocketPath,
  startControl,
} from '../../agent/src/runtime/control.ts';
import { callControl } from '../../agent/src/runtime/control-client.ts';
import { silentLog } from '../../agent/src/runtime/log.ts';

let dataDir = '';
let control: Control | null = null;
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'bt-control-'));
});
afterEach(async () => {
  await control?.stop();
  control = null;
  rmSync(dataDir, { recursive: true });
});

async function serve(routes: Record<string, ControlHandler>): Promise<void> {
  control = await startControl({ dataDir, routes, log: silentLog });
}

describe('a control call', () => {
  it('carries JSON to the handler and its result back', async () => {
    await serve({ echo: async (body) => ({ got: body }) });
    expect(await callControl(dataDir, 'echo', { path: 'ä\n€' })).toEqual({ got: { path: 'ä\n€' } });
    expect(await callControl(dataDir, 'echo', null)).toEqual({ got: null });
  });

  it('reports progress while it runs', async () => {
    const seen: unknown[] = [];
    let release: () => void = () => undefined;
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    await serve({
      slow: async (_body, { progress }) => {
        progress(1);
        await released;
        progress({ done: 2 });
        return 'end';
      },
    });
    const onProgress = (value: unknown) => {
      seen.push(value);
      release();
    };
    expect(await callControl(dataDir, 'slow', {}, { onProgress })).toBe('end');
    expect(seen).toEqual([1, { done: 2 }]);
  });

  it('waits for long work, and not for an agent that is frozen', async () => {
    const patienceMs = 400;
    await serve({ slow: () => setTimeout(3 * patienceMs, 'done') });
    expect(await callControl(dataDir, 'slow', null, { patienceMs })).toBe('done');
    await control?.stop();
    // The kernel takes connections in its stead.
    const frozen = createServer((socket) => void socket.resume());
    await new Promise<void>((done) => frozen.listen(controlSocketPath(dataDir), done));
    await expect(callControl(dataDir, 'slow', null, { patienceMs })).rejects.toMatchObject({
      code: 'no-answer',
      message: `the agent at ${controlSocketPath(dataDir)} was silent for 0 s`,
    });
    await new Promise((done) => frozen.close(done));
  });

  it('that is interrupted says so, and nothing else', async () => {
    const interrupt = new AbortController();
    await serve({
      slow: async (_body, { progress, signal }) => {
        progress(1);
        await once(signal, 'abort');
      },
    });
    const { signal } = interrupt;
    const call = callControl(dataDir, 'slow', null, {
      signal,
      onProgress: () => interrupt.abort(),
    });
    await expect(call).rejects.toMatchObject({ name: 'AbortError' });
  });

  it('passes on the handler’s error with its message and code', async () => {
    await serve({
      bad: async () => {
        throw Object.assign(new Error('NO: not a member'), { code: 'rejected' });
      },
    });
    await expect(callControl(dataDir, 'bad', {})).rejects.toMatchObject({
      code: 'failed',
      remote: 'rejected',
      message: 'NO: not a member',
    });
  });

  it('says clearly that no agent runs, also where one was killed', async () => {
    await expect(callControl(dataDir, 'status', null)).rejects.toMatchObject({
      code: 'no-agent',
      message: `no agent is running with dataDir ${dataDir}`,
    });
    await leaveDeadSocket();
    await expect(callControl(dataDir, 'status', null)).rejects.toMatchObject({ code: 'no-agent' });
  });

  it('of an unknown route is refused, whatever its name', async () => {
    await serve({ status: async () => null });
    for (const route of ['nothing', 'toString', '__proto__', '../status']) {
      await expect(callControl(dataDir, route, {})).rejects.toMatchObject({
        code: 'unknown-route',
      });
    }
  });

  it('with a body beyond 1 MiB is refused', async () => {
    await serve({ echo: async () => null });
    const body = 'x'.repeat(1024 * 1024);
    const refused = callControl(dataDir, 'echo', body);
    await expect(refused).rejects.toMatchObject({
      code: expect.stringMatching(/too-large|broken-off/),
    });
    expect(await callControl(dataDir, 'echo', 'x')).toBeNull();
  });

  it('tells the handler when the caller goes away', async () => {
    let aborted: () => void = () => undefined;
    const gone = new Promise<void>((resolve) => {
      aborted = resolve;
    });
    await serve({
      wait: async (_body, { signal, progress }) => {
        progress('started');
        await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
        aborted();
      },
    });
    const caller = new AbortController();
    const onProgress = () => caller.abort();
    const call = callControl(dataDir, 'wait', {}, { onProgress, signal: caller.signal });
    await expect(call).rejects.toThrow();
    await gone;
  });

  it('keeps no lines without an end for a caller that does not read them', async () => {
    const LINE_BYTES = 10_000;
    const done = Promise.withResolvers<number>();
    await serve({
      many: async (_body, { progress }) => {
        let taken = 0;
        for (let i = 0; i < 2_000; i += 1) {
          if (progress('x'.repeat(LINE_BYTES))) taken += 1;
          if (i % 50 === 0) await setImmediate();
        }
        done.resolve(taken);
      },
    });
    const socketPath = controlSocketPath(dataDir);
    const call = request({ socketPath, path: '/many', method: 'POST' }, (all) => void all.pause());
    call.on('error', () => undefined).end();
    const taken = await done.promise;
    expect(taken).toBeGreaterThan(50);
    expect(taken * LINE_BYTES).toBeLessThan(4 * 1024 * 1024);
    call.destroy();
  });

  it('ends with an error when the agent stops in between', async () => {
    await serve({
      wait: async (_body, { progress }) => {
        progress('started');
        await new Promise(() => undefined);
      },
    });
    const onProgress = () => void control?.stop();
    await expect(callControl(dataDir, 'wait', {}, { onProgress })).rejects.toMatchObject({
      code: 'broken-off',
    });
  });
});

describe('the control socket', () => {
  it('belongs to the agent’s user alone and is gone after it', async () => {
    await serve({});
    const path = controlSocketPath(dataDir);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    await control?.stop();
    expect(existsSync(path)).toBe(false);
  });

  it('of a running agent is not taken over, that of a dead one is', async () => {
    await serve({ who: async () => 1 });
    await expect(startControl({ dataDir, routes: {}, log: silentLog })).rejects.toMatchObject({
      code: 'already-running',
    });
    expect(await callControl(dataDir, 'who', null)).toBe(1);
    await control?.stop();
    await leaveDeadSocket();
    await serve({ who: async () => 2 });
    expect(await callControl(dataDir, 'who', null)).toBe(2);
  });

  it('with too long a path is refused with the limit', async () => {
    const long = join(dataDir, 'x'.repeat(100));
    await expect(startControl({ dataDir: long, routes: {}, log: silentLog })).rejects.toMatchObject(
      {
        code: 'path-too-long',
      },
    );
  });
});

/** A socket file that nobody listens on, as SIGKILL leaves it. */
async function leaveDeadSocket(): Promise<void> {
  const path = controlSocketPath(dataDir);
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(`${path}.tmp`, resolve));
  renameSync(`${path}.tmp`, path);
  await new Promise<void>((resolve) => server.close(() => resolve()));
  expect(existsSync(path)).toBe(true);
}
