/**
 * A mounted file system that loses what was not synced when its power is cut (`power-cut.c`).
 *
 * Compiled for the test, mounted in a folder of its own, gone with it. Needs root or fusermount3, a
 * C compiler, libfuse 3 and /dev/fuse.
 */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { TestContext } from 'vitest';

const SOURCE = join(import.meta.dirname, 'power-cut', 'power-cut.c');
const HEADER = '/usr/include/fuse3/fuse.h';

export interface PowerCut {
  /** Where it is mounted. */
  readonly path: string;
  /** From here on every call fails, and what was not synced is lost: as a seed decides, or all of it. */
  cut(how: number | 'all'): void;
  /** Every change fails, or works again; as a kernel does where it has found a fault on the disk. */
  setReadOnly(on: boolean): void;
  /** After the last process that used it has ended: mounted again, with what the disk has. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

/** Skips the test where no such file system can be; with CI set, only where the machine has none. */
export function requirePowerCut(context: TestContext): void {
  if (!existsSync('/dev/fuse')) context.skip('this machine has no /dev/fuse');
  const missing = [
    ...(existsSync(HEADER) ? [] : ['libfuse3-dev']),
    ...['cc', 'umount'].filter((tool) => !isInstalled(tool)),
  ];
  if (missing.length > 0) {
    if (process.env.CI) throw new Error(`${missing.join(', ')}: not installed, and CI is set`);
    context.skip(`not installed: ${missing.join(', ')}`);
  }
  if (process.getuid?.() !== 0) context.skip('mounting needs root');
}

function isInstalled(tool: string): boolean {
  try {
    execFileSync('/bin/sh', ['-c', 'command -v "$0"', tool], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** Compiles it and mounts it; resolves when it can be used. */
export async function startPowerCut(): Promise<PowerCut> {
  const folder = mkdtempSync(join(tmpdir(), 'power-cut-'));
  const program = join(folder, 'power-cut');
  const path = join(folder, 'mount');
  mkdirSync(path);
  const flags = ['-O1', '-D_FILE_OFFSET_BITS=64', '-I/usr/include/fuse3'];
  execFileSync('cc', [...flags, '-o', program, SOURCE, '-lfuse3']);
  const child = spawn(program, [path], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const mounted = async () => {
    if ((await lines.next()).done) throw new Error('power-cut has ended');
  };
  await mounted();
  const unmount = () => execFileSync('umount', [path]);
  return {
    path,
    cut: (how) => writeFileSync(join(path, '.cut'), String(how)),
    setReadOnly: (on) => writeFileSync(join(path, '.read-only'), on ? '1' : '0'),
    async restart() {
      unmount();
      await mounted();
    },
    async stop() {
      writeFileSync(join(path, '.end'), '1');
      unmount();
      await ended;
      rmSync(folder, { recursive: true });
    },
  };
}
