import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { manifestChunkCount, manifestChunkDigests } from '@blocktorrent/protocol/manifest.ts';
import { ownersOf } from '@blocktorrent/protocol/placement.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type FetchOptions, fetchFile } from '../../agent/src/audit/fetch.ts';
import { type DistributeResult, distribute } from '../../agent/src/distribute/distribute.ts';
import { Grid, type GridPeer } from '../support/grid.ts';
import { POLICY } from '../support/membership.ts';
import { createTrialFile, type TrialFile } from '../support/sealed-file.ts';
import { distribution } from '../support/stored-files.ts';

const SOURCE = 'Org1MSP';
const seed = randomBytes(4).toString('hex');
console.log(`grid seed ${seed}`);

let grid: Grid;
let auditor: GridPeer;
let file: TrialFile;
let stored: DistributeResult;
let outputs = 0;

function epochOf(trial: Grid) {
  const epoch = trial.membership.epochs[0];
  if (epoch === undefined) throw new Error('no epoch');
  return epoch;
}

function fetchOptions(change: Partial<FetchOptions> = {}): FetchOptions {
  outputs += 1;
  return {
    manifest: file.manifest,
    fileId: file.fileId,
    owners: Array.from({ length: manifestChunkCount(file.manifest) }, (_, index) =>
      ownersOf(manifestChunkDigests(file.manifest, index), epochOf(grid), SOURCE, POLICY.replicas),
    ),
    receipts: stored.receipts,
    recordedAtMs: Date.now(),
    outputPath: join(grid.dir, `fetched-${outputs}.age`),
    overlay: auditor.overlay,
    addressBook: auditor.addressBook,
    membership: grid.membership,
    signal: new AbortController().signal,
    timing: { dialMs: 2_000, retryMs: 100 },
    ...change,
  };
}

beforeAll(async () => {
  grid = await Grid.start({ organisations: 7, seed, limits: { stallMs: 1_000 } });
  auditor = await grid.dialer();
  const gateway = await grid.dialer(SOURCE);
  file = await createTrialFile(join(grid.dir, 'file.age'), 5_000_000, grid.peer(SOURCE), {
    chunksTarget: 40,
  });
  stored = await distribute(distribution(grid, gateway, file));
  await stored.background;
  await grid.node(SOURCE).kill();
});
afterAll(() => grid.stop());

describe('fetching a file from its owners', () => {
  it('rebuilds it without the source and asks every owner for at least one chunk', async () => {
    const options = fetchOptions();
    const result = await fetchFile(options);
    expect(result.faults).toEqual([]);
    expect(Object.keys(result.fromOwner).sort()).toEqual(stored.receipts.map((r) => r.mspId));
    expect(file.bytes.equals(await readFile(options.outputPath))).toBe(true);
    expect(existsSync(`${options.outputPath}.part`)).toBe(false);
  });

  it('succeeds with one owner lying and one dead, and names both', async () => {
    grid.node('Org2MSP').corruptNext();
    await grid.node('Org5MSP').kill();
    const options = fetchOptions();
    const result = await fetchFile(options);
    grid.node('Org2MSP').corruptNext(0);
    await grid.node('Org5MSP').start();
    expect(file.bytes.equals(await readFile(options.outputPath))).toBe(true);
    expect(result.faults.map(({ kind, mspId }) => `${kind} ${mspId}`).sort()).toEqual([
      'bad-chunk Org2MSP',
      'unreachable Org5MSP',
    ]);
    expect(result.fromOwner.Org2MSP).toBeUndefined();
  });

  it('turns to the others when an owner hangs, and says that it shows nothing', async () => {
    grid.node('Org6MSP').hang();
    const options = fetchOptions();
    const result = await fetchFile(options);
    grid.node('Org6MSP').hang(false);
    expect(file.bytes.equals(await readFile(options.outputPath))).toBe(true);
    expect(result.faults).toMatchObject([{ kind: 'missing-chunk', mspId: 'Org6MSP' }]);
  });

  it('reports a chunk that its owner signed for and lost on disk', async () => {
    const loser = grid.node('Org7MSP');
    const chunk = fetchOptions().owners.findIndex((owners) => owners.includes('Org7MSP'));
    const path = join(loser.chunksDir, file.fileId.slice(0, 2), file.fileId, `${chunk}.chunk`);
    const bytes = await readFile(path);
    bytes[20_000] = (bytes[20_000] ?? 0) ^ 1;
    await writeFile(path, bytes);
    const only = fetchOptions().owners.map((owners, index) =>
      index === chunk ? ['Org7MSP'] : owners,
    );
    const attempt = fetchFile(fetchOptions({ owners: only }));
    await expect(attempt).rejects.toMatchObject({
      code: 'unavailable',
      faults: [expect.objectContaining({ kind: 'missing-chunk', mspId: 'Org7MSP' })],
    });
    // The owner found the rot while serving, and fetches the chunk from another owner.
    await expect.poll(() => existsSync(path)).toBe(true);
    const options = fetchOptions({ owners: only });
    expect((await fetchFile(options)).faults).toEqual([]);
    expect(file.bytes.equals(await readFile(options.outputPath))).toBe(true);
  });

  it('continues from the right chunks of an earlier try', async () => {
    const options = fetchOptions();
    const part = Buffer.from(file.bytes);
    part.fill(0, 3_000_000, 3_400_000);
    await writeFile(`${options.outputPath}.part`, part);
    const result = await fetchFile(options);
    expect(result.bytes).toBeGreaterThanOrEqual(400_000);
    expect(result.bytes).toBeLessThan(1_100_000);
    expect(file.bytes.equals(await readFile(options.outputPath))).toBe(true);
  });

  it('fetches nothing again of what an earlier run had whole, but one chunk of each owner', async () => {
    const options = fetchOptions();
    await writeFile(options.outputPath, file.bytes);
    const result = await fetchFile(options);
    expect(Object.values(result.fromOwner).every((chunks) => chunks === 1)).toBe(true);
    expect(file.bytes.equals(await readFile(options.outputPath))).toBe(true);
  });

  it('says that the whole is wrong where every chunk is the manifest’s', async () => {
    const lying = { ...file.manifest, ciphertextSha256: new Uint8Array(32) };
    const options = fetchOptions({ manifest: lying });
    await writeFile(options.outputPath, file.bytes);
    await expect(fetchFile(options)).rejects.toMatchObject({ code: 'wrong-whole' });
  });

  it('stops when it is aborted while it only asks silent owners to show a chunk', async () => {
    const options = fetchOptions();
    await writeFile(options.outputPath, file.bytes);
    const owner = grid.node('Org6MSP');
    owner.hang();
    const attempt = fetchFile({ ...options, signal: AbortSignal.timeout(500) });
    await expect(attempt).rejects.toMatchObject({ code: 'aborted' });
    owner.hang(false);
  });

  it('stops when it is aborted', async () => {
    const abort = new AbortController();
    const attempt = fetchFile(fetchOptions({ signal: abort.signal }));
    abort.abort();
    await expect(attempt).rejects.toMatchObject({ code: 'aborted' });
  });
});
