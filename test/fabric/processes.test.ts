/** Background processes: they outlive who started them, and only ours are ever ended. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import {
  isRunning,
  listProcesses,
  requireRunning,
  startProcess,
  stopProcess,
} from '../../fabric/src/processes.ts';
import { waitFor } from '../../fabric/src/wait.ts';

let dir: string;
let stranger: ChildProcess | undefined;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'fabric-processes-'));
});
afterEach(async () => {
  for (const { name } of listProcesses(dir)) await stopProcess(dir, name);
  stranger?.kill('SIGKILL');
  await rm(dir, { recursive: true, force: true });
});

const sleeper = (name: string, code = 'setInterval(() => {}, 1000)') => ({
  name,
  program: process.execPath,
  args: ['-e', code],
  cwd: dir,
  env: {},
});

it('starts a process once, and ends it', async () => {
  await startProcess(dir, sleeper('one'));
  const [before] = listProcesses(dir);
  await startProcess(dir, sleeper('one'));
  expect(listProcesses(dir)).toEqual([before]);
  expect(before).toMatchObject({ name: 'one', running: true });
  await stopProcess(dir, 'one');
  expect(isRunning(dir, 'one')).toBe(false);
  expect(listProcesses(dir)).toEqual([]);
});

it('never touches a process that got the id later', async () => {
  stranger = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)']);
  await startProcess(dir, sleeper('one'));
  await stopProcess(dir, 'one');
  await writeFile(
    join(dir, 'run', 'one.json'),
    JSON.stringify({ pid: stranger.pid, startedAt: 'earlier' }),
  );
  expect(listProcesses(dir)).toEqual([{ name: 'one', pid: stranger.pid, running: false }]);
  await stopProcess(dir, 'one');
  expect(stranger.exitCode).toBeNull();
  expect(stranger.signalCode).toBeNull();
  expect(process.kill(stranger.pid ?? 0, 0)).toBe(true);
});

it('shows the end of the log of a process that died', async () => {
  await startProcess(dir, sleeper('one', 'console.error("port is taken"); process.exit(1)'));
  await waitFor('its end', 5_000, async () => (isRunning(dir, 'one') ? 'runs' : null));
  expect(() => requireRunning(dir, 'one')).toThrow('port is taken');
});

it('leaves the caller’s Fabric settings out of a process’s environment', async () => {
  process.env.CORE_PEER_ADDRESS = 'elsewhere:7051';
  const file = join(dir, 'env');
  const code = `require('fs').writeFileSync(${JSON.stringify(file)}, JSON.stringify(process.env))`;
  try {
    await startProcess(dir, { ...sleeper('one', code), env: { FABRIC_CFG_PATH: dir } });
    await waitFor('its end', 5_000, async () => (isRunning(dir, 'one') ? 'runs' : null));
    const env: Record<string, string> = JSON.parse(await readFile(file, 'utf8'));
    expect(env.FABRIC_CFG_PATH).toBe(dir);
    expect(env.CORE_PEER_ADDRESS).toBeUndefined();
  } finally {
    delete process.env.CORE_PEER_ADDRESS;
  }
});
