/**
 * Ordinary BitTorrent clients, as Debian packages them, fetch a ciphertext from our owners. Each runs
 * in a network namespace of its own: it can reach the owners, and nothing else.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { requirePythonModule, requireTool, runTool } from '../support/tools.ts';

const TRIAL = join(import.meta.dirname, '../support/reader-trial.ts');
const ADDRESSES = [1, 2, 3, 4, 5, 6].map((last) => `10.77.0.${last}/32`);
let dir: string;

interface TrialResult {
  readonly equal: boolean;
  /** Chunks on the disk of each owner. */
  readonly chunks: readonly number[];
  readonly chunkCount: number;
  /** Bytes that each owner's plain listener sent. */
  readonly sentBytes: readonly number[];
}

async function trial(client: string): Promise<TrialResult> {
  const folder = join(dir, client);
  await mkdir(folder);
  const network = ['ip link set lo up', ...ADDRESSES.map((one) => `ip addr add ${one} dev lo`)];
  const out = await runTool('unshare', [
    ...['--map-root-user', '--net', 'sh', '-c', `${network.join(' && ')} && exec "$0" "$@"`],
    ...[process.execPath, TRIAL, client, folder],
  ]);
  return JSON.parse(out.toString()) as TrialResult;
}

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'bt-clients-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

describe('an ordinary client with an exported .torrent', () => {
  it.for(['aria2c', 'transmission-daemon', 'libtorrent'])(
    '%s fetches the whole ciphertext from five owners of whom none has all of it',
    { timeout: 120_000 },
    async (client, context) => {
      for (const tool of ['unshare', 'ip']) requireTool(tool, context);
      if (client === 'libtorrent') requirePythonModule('libtorrent', context);
      else requireTool(client, context);
      const { equal, chunks, chunkCount, sentBytes } = await trial(client);
      expect(equal).toBe(true);
      expect(chunks).toHaveLength(5);
      expect(Math.max(...chunks)).toBeLessThan(chunkCount);
      expect(chunks.reduce((sum, count) => sum + count)).toBe(3 * chunkCount);
      expect(sentBytes.filter((bytes) => bytes > 10_000).length).toBeGreaterThan(1);
    },
  );
});
