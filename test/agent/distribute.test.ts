import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { toHex } from '@blocktorrent/protocol/bytes.ts';
import { infoHashOf } from '@blocktorrent/protocol/chunking.ts';
import type { SignedReceipt } from '@blocktorrent/protocol/ledger-api.ts';
import { manifestChunkCount } from '@blocktorrent/protocol/manifest.ts';
import { coverage, verifyReceipt } from '@blocktorrent/protocol/receipt.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { distribute } from '../../agent/src/distribute/distribute.ts';
import type { StoreTiming } from '../../agent/src/store/types.ts';
import { GRID_DISTRIBUTE_TIMING, Grid, type GridPeer } from '../support/grid.ts';
import { createTrialFile, type TrialFile } from '../support/sealed-file.ts';
import { distribution } from '../support/stored-files.ts';

const SOURCE = 'Org1MSP';
const seed = randomBytes(4).toString('hex');
console.log(`grid seed ${seed}`);

let grid: Grid;
let gateway: GridPeer;
let fileNumber = 0;

async function newFile(bytes: number, chunksTarget?: number): Promise<TrialFile> {
  fileNumber += 1;
  const path = join(grid.dir, `file-${fileNumber}.age`);
  const options = chunksTarget === undefined ? {} : { chunksTarget };
  return createTrialFile(path, bytes, grid.peer(SOURCE), options);
}

function coverageOf(file: TrialFile, receipts: readonly SignedReceipt[]): number[] {
  const verified = receipts.map((signed) => {
    return verifyReceipt(signed, grid.membership.keysOf(signed.mspId, signed.peer));
  });
  return coverage(verified, manifestChunkCount(file.manifest));
}

/** A grid of its own for the tests of a `describe`. */
function useGrid(storeTiming: Partial<StoreTiming> = {}): void {
  beforeAll(async () => {
    grid = await Grid.start({ organisations: 7, seed, storeTiming });
    gateway = await grid.dialer(SOURCE);
  });
  afterAll(() => grid.stop());
}

describe('the uplink of a source', () => {
  // An owner that has waited so long asks the source: none does because this process is slow.
  useGrid({ lateMs: 3_000, partialMs: 3_000 });

  it('gives every chunk three owners with verified receipts and uploads it once', async () => {
    const file = await newFile(4 * 1024 * 1024, 32);
    const result = await distribute(distribution(grid, gateway, file));
    await result.background;
    expect(result).toMatchObject({ complete: true, missing: [] });
    expect(Math.min(...coverageOf(file, result.receipts))).toBe(3);
    expect(result.receipts.map(({ mspId }) => mspId)).not.toContain(SOURCE);
    const infoHash = toHex(infoHashOf(file.manifest.info));
    const { sentBytes } = gateway.overlay.accounts.of(infoHash);
    expect(result.sentBytes).toBeLessThanOrEqual(sentBytes);
    expect(sentBytes / file.bytes.length).toBeGreaterThan(1);
    expect(sentBytes / file.bytes.length).toBeLessThanOrEqual(1.05);
  });

  it('uploads little more than once when one owner dies half-way', async () => {
    const file = await newFile(6 * 1024 * 1024, 64);
    const doomed = grid.node('Org5MSP');
    const before = doomed.events.length;
    const running = distribute({
      ...distribution(grid, gateway, file),
      timing: { ...GRID_DISTRIBUTE_TIMING, graceMs: 1_000, lingerMs: 0 },
    });
    await expect
      .poll(() => doomed.events.slice(before).filter(({ type }) => type === 'stored').length, {
        interval: 1,
        timeout: 10_000,
      })
      .toBeGreaterThan(2);
    await doomed.kill();
    const result = await running;
    await result.background;
    await doomed.start();
    expect(Math.min(...coverageOf(file, result.receipts))).toBeGreaterThanOrEqual(2);
    expect(result.sentBytes / file.bytes.length).toBeLessThanOrEqual(1.35);
  });

  it('goes on where it was after the source was killed half-way', async () => {
    const file = await newFile(6 * 1024 * 1024, 64);
    const first = await grid.dialer(SOURCE);
    const abort = new AbortController();
    let stored = 0;
    const before = grid.nodes.map((node) => node.events.length);
    const interrupted = distribute({ ...distribution(grid, first, file), signal: abort.signal });
    interrupted.catch(() => undefined);
    await expect
      .poll(
        () => {
          stored = grid.nodes
            .flatMap((node, at) => node.events.slice(before[at]))
            .filter((event) => event.type === 'stored' && event.fileId === file.fileId).length;
          return stored;
        },
        { interval: 1, timeout: 10_000 },
      )
      .toBeGreaterThan(10);
    abort.abort();
    await expect(interrupted).rejects.toMatchObject({ code: 'aborted' });
    await first.stop();
    const second = await grid.dialer(SOURCE);
    const result = await distribute(distribution(grid, second, file));
    await result.background;
    expect(result.complete).toBe(true);
    expect(Math.min(...coverageOf(file, result.receipts))).toBe(3);
    expect(result.sentBytes).toBeLessThan(file.bytes.length);
  });
});

describe('distributing a file to six owners', () => {
  useGrid();

  it('gets the same receipts again for a file that is complete, and sends no chunk', async () => {
    const file = await newFile(600_000);
    const first = await distribute(distribution(grid, gateway, file));
    await first.background;
    const second = await distribute(distribution(grid, gateway, file));
    await second.background;
    expect(second.receipts).toEqual(first.receipts);
    expect(second.sentBytes).toBeLessThan(100_000);
  });

  it('ends with two of three owners after the grace when one is dead, and late receipts follow', async () => {
    const dead = grid.node('Org4MSP');
    await dead.kill();
    const file = await newFile(1_500_000);
    const late: SignedReceipt[] = [];
    const result = await distribute({
      ...distribution(grid, gateway, file),
      timing: { ...GRID_DISTRIBUTE_TIMING, graceMs: 1_000 },
      onLateReceipt: (receipt) => late.push(receipt),
    });
    expect(result).toMatchObject({ complete: false, missing: ['Org4MSP'] });
    const counts = coverageOf(file, result.receipts);
    expect(Math.min(...counts)).toBe(2);
    expect(Math.max(...counts)).toBe(3);
    await dead.start();
    await result.background;
    expect(late.map(({ mspId }) => mspId)).toContain('Org4MSP');
    expect(Math.min(...coverageOf(file, [...result.receipts, ...late]))).toBe(3);
  });

  it('stops the file with a named error when an owner finds a digest that differs', async () => {
    const file = await newFile(1_000_000);
    const altered = Buffer.from(file.bytes);
    altered[500_000] = (altered[500_000] ?? 0) ^ 1;
    await writeFile(file.path, altered);
    const attempt = distribute(distribution(grid, gateway, file));
    await expect(attempt).rejects.toMatchObject({ code: 'digest-mismatch', fileId: file.fileId });
    await expect(attempt).rejects.toThrow(/chunk \d+ of .*: SHA3-256, SHA-384, SHA-512 differ/);
    const evidence = grid.nodes.flatMap((node) => (node.alive ? node.store.evidence() : []));
    expect(evidence).toContainEqual(
      expect.objectContaining({ kind: 'bad-chunk', mspId: SOURCE, fileId: file.fileId }),
    );
  });

  it('goes on with the others when an owner says of good chunks that they are wrong', async () => {
    const file = await newFile(400_000);
    const liar = grid.node('Org5MSP');
    liar.accuse();
    const result = await distribute({
      ...distribution(grid, gateway, file),
      timing: { ...GRID_DISTRIBUTE_TIMING, graceMs: 1_000 },
    });
    expect(Math.min(...coverageOf(file, result.receipts))).toBeGreaterThanOrEqual(2);
    expect(result.receipts.map((receipt) => receipt.mspId)).not.toContain('Org5MSP');
    await liar.restart();
    await result.background;
  });

  it('names the one digest that differs when the manifest is wrong about one', async () => {
    fileNumber += 1;
    const file = await createTrialFile(join(grid.dir, 'wrong.age'), 200_000, grid.peer(SOURCE), {
      change: (manifest) => {
        const digests = Uint8Array.from(manifest.digests);
        // Byte 100 of the first chunk's 144 is inside SHA-512; owners change only with its start.
        digests[143] = (digests[143] ?? 0) ^ 1;
        return { ...manifest, digests };
      },
    });
    const attempt = distribute(distribution(grid, gateway, file));
    await expect(attempt).rejects.toThrow(/chunk 0 of .*: SHA-512 differs/);
  });

  it('gets the same receipt from an owner that has restarted, from what is on its disk', async () => {
    const file = await newFile(300_000);
    const result = await distribute(distribution(grid, gateway, file));
    await result.background;
    await grid.node(result.receipts[0]?.mspId ?? '').restart();
    const again = await distribute(distribution(grid, gateway, file));
    expect(again.receipts).toEqual(result.receipts);
  });

  it('moves work to the other owners and reports it when an owner gives an altered chunk', async () => {
    const liar = grid.node('Org3MSP');
    liar.corruptNext();
    const file = await newFile(2_000_000);
    const result = await distribute(distribution(grid, gateway, file));
    await result.background;
    liar.corruptNext(0);
    expect(result.complete).toBe(true);
    expect(Math.min(...coverageOf(file, result.receipts))).toBe(3);
    const evidence = grid.nodes.flatMap((node) => node.store.evidence());
    expect(evidence).toContainEqual(
      expect.objectContaining({ kind: 'bad-chunk', mspId: 'Org3MSP', fileId: file.fileId }),
    );
  });
});
