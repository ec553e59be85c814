/** An auditor of ours fetches a ciphertext from an ordinary client, libtorrent's, and from nobody else. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { encodeTorrent } from '@blocktorrent/protocol/torrent-file.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type FetchOptions, fetchFile } from '../../agent/src/audit/fetch.ts';
import { dialPlain } from '../../agent/src/overlay/plain-listener.ts';
import { seedAt } from '../../agent/src/readers.ts';
import { Grid, type GridPeer } from '../support/grid.ts';
import { createTrialFile, type TrialFile } from '../support/sealed-file.ts';
import { requirePythonModule } from '../support/tools.ts';

const CLIENT = join(import.meta.dirname, '../support/libtorrent-client.py');
let dir: string;
let grid: Grid;
let auditor: GridPeer;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'bt-seed-'));
  grid = await Grid.start({ organisations: 4, seed: 'seed' });
  auditor = await grid.dialer();
});
afterAll(async () => {
  await grid.stop();
  await rm(dir, { recursive: true, force: true });
});

function options(file: TrialFile, port: number, name: string): FetchOptions {
  return {
    manifest: file.manifest,
    fileId: file.fileId,
    // Nobody keeps it: whatever comes, comes from the client.
    owners: Array.from({ length: file.manifest.digests.length / 144 }, () => []),
    receipts: [],
    recordedAtMs: 0,
    outputPath: join(dir, name),
    seeds: [seedAt({ host: '127.0.0.1', port }, grid.random)],
    overlay: auditor.overlay,
    addressBook: auditor.addressBook,
    membership: grid.membership,
    signal: new AbortController().signal,
    timing: { dialMs: 2_000, retryMs: 100 },
  };
}

describe('an auditor', () => {
  it('fetches the whole ciphertext from a libtorrent seed, and checks every digest', async (context) => {
    requirePythonModule('libtorrent', context);
    const file = await createTrialFile(join(dir, 'trial.age'), 2_000_000, grid.peer('Org1MSP'), {
      chunksTarget: 30,
    });
    const torrent = join(dir, 'file.torrent');
    await writeFile(torrent, encodeTorrent(file.manifest.info, ['http://127.0.0.1:1/announce']));
    const seed = spawn('/usr/bin/python3', [CLIENT, 'seed', torrent, dir, '127.0.0.1'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const ended = once(seed, 'exit');
    const [line] = (await once(createInterface({ input: seed.stdout }), 'line')) as [string];
    const { port } = JSON.parse(line) as { port: number };
    const good = options(file, port, 'fetched.age');
    const result = await fetchFile(good);
    expect(file.bytes.equals(await readFile(good.outputPath))).toBe(true);
    const chunkCount = file.manifest.digests.length / 144;
    expect(result.faults).toEqual([]);
    expect(result.fromOwner).toEqual({ [`127.0.0.1:${port}`]: chunkCount });

    // The same torrent under another manifest: the digests decide, not the torrent's SHA-1.
    const digests = Uint8Array.from(file.manifest.digests);
    digests[144] = (digests[144] ?? 0) ^ 1;
    const lied = { ...file, manifest: { ...file.manifest, digests } };
    await expect(fetchFile(options(lied, port, 'lied.age'))).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('chunk 1 of'),
      faults: [],
    });
    seed.stdin.end();
    await ended;
    const gone = { address: { host: '127.0.0.1', port }, infoHash: '00'.repeat(20), handler: {} };
    const { signal } = new AbortController();
    await expect(dialPlain({ ...gone, random: grid.random, signal })).rejects.toMatchObject({
      code: 'unreachable',
    });
  });
});
