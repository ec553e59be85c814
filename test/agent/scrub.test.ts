/** The scrub on the grid: rot and loss on disks, found and mended from other owners. */
import { randomBytes } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { indicesOf } from '@blocktorrent/protocol/bitfield.ts';
import { toHex } from '@blocktorrent/protocol/bytes.ts';
import { decodeInfo, infoHashOf } from '@blocktorrent/protocol/chunking.ts';
import { manifestChunkCount } from '@blocktorrent/protocol/manifest.ts';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { FileChunkStore } from '../../agent/src/store/file-chunk-store.ts';
import { planOf } from '../../agent/src/store/offer.ts';
import { Grid, type GridNode } from '../support/grid.ts';
import type { TrialFile } from '../support/sealed-file.ts';
import { storeOn } from '../support/stored-files.ts';

const seed = randomBytes(4).toString('hex');
console.log(`grid seed ${seed}`);
const { signal } = new AbortController();

let grid: Grid;
let files: TrialFile[];
beforeAll(async () => {
  grid = await Grid.start({ organisations: 4, seed });
  files = await storeOn(grid, 2, 400_000);
});
afterAll(() => grid.stop());

function fileOf(number: number): TrialFile {
  const file = files[number];
  if (file === undefined) throw new Error(`no file ${number}`);
  return file;
}

/** Chunks of a file that a node keeps. */
function chunksAt(node: GridNode, file: TrialFile): number[] {
  const { ownedBits } = planOf(file.signed, node.mspId, grid.membership);
  return indicesOf(ownedBits, manifestChunkCount(file.manifest));
}

async function expectSound(node: GridNode, file: TrialFile, index: number) {
  const { pieceLength } = decodeInfo(file.manifest.info);
  const bytes = file.bytes.subarray(index * pieceLength, (index + 1) * pieceLength);
  const kept = () =>
    node.chunk(file.fileId, index, bytes.length).then(
      (found) => bytes.equals(found),
      () => false,
    );
  await expect.poll(kept, { timeout: 30_000 }).toBe(true);
}

const scrubOf = (node: GridNode) => node.upkeep.status().scrub;
const scrub = (node: GridNode) => node.upkeep.scrubNow(signal, () => undefined);

describe('a scrub', () => {
  it('finds nothing where nothing is wrong, and has read every chunk', async () => {
    const node = grid.node('Org2MSP');
    const { chunks, bytes } = node.store.status();
    expect(await scrub(node)).toEqual({ chunks, bytes, lost: 0 });
    expect(scrubOf(node)).toMatchObject({ rounds: 1, lost: 0, open: 0 });
  });

  it('finds a flipped byte, counts it, and has the chunk again from another owner', async () => {
    const node = grid.node('Org2MSP');
    const [index = 0] = chunksAt(node, fileOf(0));
    await node.rot(fileOf(0).fileId, index);
    expect(await scrub(node)).toMatchObject({ lost: 1 });
    expect(scrubOf(node).lost).toBe(1);
    await expectSound(node, fileOf(0), index);
    await expect.poll(() => scrubOf(node).open).toBe(0);
    expect(node.upkeep.status().alarm).toBeNull();
    expect(await scrub(node)).toMatchObject({ lost: 0 });
  });

  it('finds a chunk whose checksums were made to fit: the digests do not', async () => {
    const node = grid.node('Org3MSP');
    const [index = 0] = chunksAt(node, fileOf(1));
    const { pieceLength } = decodeInfo(fileOf(1).manifest.info);
    const bytes = fileOf(1).bytes.subarray(index * pieceLength, (index + 1) * pieceLength);
    await node.forge(fileOf(1).fileId, index, randomBytes(bytes.length));
    expect(await scrub(node)).toMatchObject({ lost: 1 });
    await expectSound(node, fileOf(1), index);
  });

  it('finds a chunk whose file is gone or cut short', async () => {
    const node = grid.node('Org4MSP');
    const [one = 0, two = 0] = chunksAt(node, fileOf(0));
    const { fileId } = fileOf(0);
    const pathOf = (index: number) =>
      join(node.chunksDir, fileId.slice(0, 2), fileId, `${index}.chunk`);
    await rm(pathOf(one));
    await writeFile(pathOf(two), 'short');
    expect(await scrub(node)).toMatchObject({ lost: 2 });
    await expectSound(node, fileOf(0), one);
    await expectSound(node, fileOf(0), two);
  });

  it('does not remove the chunk that has come for a lost one', async () => {
    const node = grid.node('Org3MSP');
    const { fileId, manifest } = fileOf(0);
    const file = { fileId, infoHash: toHex(infoHashOf(manifest.info)) };
    const [one = 0, two = 0] = chunksAt(node, fileOf(0));
    const removed = Promise.withResolvers<void>();
    const remove = FileChunkStore.prototype.delete;
    const slow = vi.spyOn(FileChunkStore.prototype, 'delete');
    slow.mockImplementationOnce(async function (this: FileChunkStore, ...args) {
      await removed.promise;
      await remove.apply(this, args);
    });
    const seen = node.events.length;
    const stored = () =>
      node.events.slice(seen).flatMap((event) => (event.type === 'stored' ? [event.index] : []));
    const lost = node.store.lost(file, one, 'rotten');
    await node.store.lost(file, two, 'rotten');
    await expect.poll(stored).toContain(two);
    await pause(300);
    expect(stored()).toEqual([two]);
    removed.resolve();
    await lost;
    slow.mockRestore();
    await expectSound(node, fileOf(0), one);
    expect(await scrub(node)).toMatchObject({ lost: 0 });
  });

  it('says so in an alarm while no other owner can be reached', async () => {
    const node = grid.node('Org2MSP');
    const others = ['Org3MSP', 'Org4MSP'].map((mspId) => grid.node(mspId));
    await Promise.all(others.map((other) => other.kill()));
    const [index = 0] = chunksAt(node, fileOf(1));
    await node.rot(fileOf(1).fileId, index);
    await scrub(node);
    expect(node.upkeep.status().alarm).toMatch(/1 chunks? are rotten or gone/);
    await Promise.all(others.map((other) => other.start()));
    await expectSound(node, fileOf(1), index);
    await expect.poll(() => node.upkeep.status().alarm, { timeout: 30_000 }).toBeNull();
  });

  it('goes on by itself where it was after a restart, at the pace of its round', async () => {
    const paced = await Grid.start({ organisations: 4, seed, upkeep: { scrubRoundMs: 2_000 } });
    try {
      await storeOn(paced, 1, 600_000);
      const node = paced.node('Org2MSP');
      await expect
        .poll(() => scrubOf(node).checkedBytes, { timeout: 30_000, interval: 20 })
        .toBeGreaterThan(100_000);
      await node.restart();
      expect(scrubOf(node).checkedBytes).toBeGreaterThan(100_000);
      await expect
        .poll(() => scrubOf(node).rounds, { timeout: 30_000, interval: 20 })
        .toBeGreaterThan(0);
      const [rounds, startedMs] = [scrubOf(node).rounds, performance.now()];
      await expect
        .poll(() => scrubOf(node).rounds, { timeout: 30_000, interval: 20 })
        .toBeGreaterThan(rounds);
      expect(performance.now() - startedMs).toBeGreaterThan(500);
    } finally {
      await paced.stop();
    }
  });
});
