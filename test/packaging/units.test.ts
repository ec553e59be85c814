/** The systemd units: known to systemd-analyze as they are written, and as closed as promised. */
import { execFile } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { beforeEach, describe, expect, it } from 'vitest';
import { EXIT } from '../../agent/src/cli/exit-codes.ts';
import { requireTool } from '../support/tools.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const UNITS = globSync('*.service', { cwd: join(ROOT, 'systemd') });
const pathOf = (unit: string) => join(ROOT, 'systemd', unit);
const run = promisify(execFile);
/** `systemd-analyze security --threshold`, in tenths: 2.0. */
const EXPOSURE_MAX = 20;

/** Values of a key, in the order of the file. */
function valuesOf(unit: string, key: string): string[] {
  const text = readFileSync(pathOf(unit), 'utf8');
  return [...text.matchAll(new RegExp(`^${key}=(.*)$`, 'gm'))].map((match) => match[1] ?? '');
}

/** What `systemd-analyze verify` says of a unit whose programs stand where this machine has some. */
async function verify(name: string, text: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'bt-units-'));
  try {
    const path = join(folder, name);
    await writeFile(
      path,
      text.replace(/^(Exec\w+=)\/usr\/(bin|lib)\/blocktorrent\S*/gm, '$1/bin/true'),
    );
    const { stdout, stderr } = await run('systemd-analyze', ['verify', '--man=no', path]).catch(
      (error: { stdout: string; stderr: string }) => error,
    );
    return stdout + stderr;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

describe('each unit', () => {
  beforeEach((context) => requireTool('systemd-analyze', context));

  it('is one of three', () => {
    expect([...UNITS].sort()).toEqual([
      'blocktorrent-agent.service',
      'blocktorrent-broker.service',
      'blocktorrent-chaincode.service',
    ]);
  });

  it.each(UNITS)('holds only what systemd knows: %s', async (unit) => {
    expect(await verify(unit, readFileSync(pathOf(unit), 'utf8'))).toBe('');
  });

  it.each(UNITS)('is exposed by 2.0 at most: %s', async (unit) => {
    await run('systemd-analyze', [
      ...['security', '--offline=true', `--threshold=${EXPOSURE_MAX}`, '--no-pager', pathOf(unit)],
    ]);
  });

  it.each(UNITS)('is ready when it says so, watched, and not started again in vain: %s', (unit) => {
    expect(valuesOf(unit, 'Type')).toEqual(['notify']);
    expect(valuesOf(unit, 'NotifyAccess')).toEqual(['main']);
    expect(Number(valuesOf(unit, 'WatchdogSec')[0])).toBeGreaterThan(0);
    expect(valuesOf(unit, 'Restart')).toEqual(['on-failure']);
    expect(valuesOf(unit, 'RestartPreventExitStatus')).toEqual([String(EXIT.usage)]);
    // Its own restarts never use the limit up: nobody is there at night to start it again.
    const [pause, limit, starts] = ['RestartSec', 'StartLimitIntervalSec', 'StartLimitBurst'].map(
      (key) => Number(valuesOf(unit, key)[0]),
    );
    expect((pause ?? 0) * (starts ?? 0)).toBeGreaterThan(limit ?? 0);
  });

  it('would be refused with a key that is mistyped, or without its sandbox', async () => {
    const text = readFileSync(pathOf('blocktorrent-agent.service'), 'utf8');
    expect(await verify('x.service', text.replace('ProtectHome', 'ProtectHomes'))).toContain(
      'ProtectHomes',
    );
    const folder = await mkdtemp(join(tmpdir(), 'bt-units-'));
    const open = join(folder, 'open.service');
    await writeFile(open, text.replace(/^(Protect|Restrict|System|Private|Capab).*\n/gm, ''));
    const check = run('systemd-analyze', [
      ...['security', '--offline=true', `--threshold=${EXPOSURE_MAX}`, '--no-pager', open],
    ]);
    await expect(check).rejects.toMatchObject({ code: 1 });
    await rm(folder, { recursive: true, force: true });
  });
});

describe('the agent’s unit', () => {
  const unit = 'blocktorrent-agent.service';

  it('checks the configuration before the agent is told to read it', () => {
    const [check, hangup] = valuesOf(unit, 'ExecReload');
    const file = /--config (\S+)$/.exec(valuesOf(unit, 'ExecStart')[0] ?? '')?.[1];
    expect(check).toBe(`/usr/bin/blocktorrent config check --no-files --config ${file}`);
    expect(hangup).toContain('-HUP $MAINPID');
  });

  it('boots without an uplink', () => {
    expect(valuesOf(unit, 'Requires')).toEqual([]);
    expect(valuesOf(unit, 'Wants')).toEqual(['network-online.target']);
  });
});
