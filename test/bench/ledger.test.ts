/** The ledger's benchmark: a network that it started ends with it, whoever ends it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';

const RUN = join(import.meta.dirname, '../../bench/run.ts');
let dir = '';
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'bench-ledger-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

/** Processes that have our folder in their environment, by id. */
async function ours(): Promise<number[]> {
  const ids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  const mine = await Promise.all(
    ids.map(async (pid) => {
      // It ended, or is another user's.
      const environment = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '');
      return environment.includes(`TMPDIR=${dir}\0`);
    }),
  );
  return ids.filter((_, i) => mine[i]);
}

describe('the benchmark of the ledger', () => {
  it.runIf(process.platform === 'linux')(
    'leaves no process and no file when it is told to end',
    async () => {
      const bench = spawn(process.execPath, [RUN, 'ledger', '--quick'], {
        env: { ...process.env, TMPDIR: dir },
        stdio: 'ignore',
      });
      const ended = once(bench, 'exit');
      // Itself, the ledger, and two chaincodes of each of four organisations.
      await vi.waitFor(async () => expect(await ours()).toHaveLength(10));
      bench.kill('SIGTERM');
      expect(await ended).toEqual([143, null]);
      await vi.waitFor(async () => expect(await ours()).toEqual([]));
      expect(await readdir(dir)).toEqual([]);
    },
  );
});
