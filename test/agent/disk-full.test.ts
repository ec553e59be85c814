/** A file system that is full: the agent stays up, says so, and loses nothing that it acknowledged. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const PROCESS = fileURLToPath(new URL('../support/disk-full-process.ts', import.meta.url));
/** A small file system of its own, where the kernel lets users have that. */
const small = (folder: string, mib: number, command: string, ...more: string[]) => {
  const mount = `mount -t tmpfs -o size=${mib}m tmpfs "$1"`;
  return spawnSync(
    'unshare',
    ['-rm', 'sh', '-c', `${mount} && ${command}`, 'sh', folder, ...more],
    {
      encoding: 'utf8',
      timeout: 60_000,
    },
  );
};

describe('a gateway on a full disk', () => {
  for (const [mib, reserve, alarm] of [
    [20, '8000000', /^no room: readings are not taken/],
    [10, '0', /^readings cannot be committed, .*disk is full/],
  ] as const) {
    it(`with a reserve of ${reserve} bytes loses nothing, says so, and goes on when there is room`, (context) => {
      const folder = mkdtempSync(join(tmpdir(), 'bt-full-'));
      try {
        if (small(folder, mib, 'true').status !== 0)
          context.skip('no file systems of our own here');
        const node = 'exec "$2" "$3" "$1" "$4"';
        const run = small(folder, mib, node, process.execPath, PROCESS, reserve);
        expect(run.stderr).toBe('');
        const verdict = JSON.parse(run.stdout) as Record<'published' | 'stored', number> & {
          alarm: string;
          full: Record<'stored' | 'atBroker' | 'open' | 'left', number>;
        };
        expect(verdict.alarm).toMatch(alarm);
        expect(verdict.full.atBroker).toBeGreaterThan(0);
        expect(verdict.full.stored + verdict.full.atBroker).toBeGreaterThanOrEqual(
          verdict.published,
        );
        expect(verdict.stored).toBe(verdict.published);
        if (reserve === '0') return;
        // It is kept but for a look each MiB and what one commit brings; and a batch can be closed.
        expect(verdict.full.left).toBeGreaterThan(Number(reserve) - 2_500_000);
        expect(verdict.full.open).toBe(0);
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    });
  }
});
