/** A source that offers files and never shows them, against an owner that others need as well. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { toHex } from '@blocktorrent/protocol/bytes.ts';
import { infoHashOf } from '@blocktorrent/protocol/chunking.ts';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { distribute } from '../../agent/src/distribute/distribute.ts';
import { ChunkBuffers } from '../../agent/src/store/chunk-buffers.ts';
import { Grid } from '../support/grid.ts';
import { createTrialFile } from '../support/sealed-file.ts';
import { distribution } from '../support/stored-files.ts';

const HOSTILE = 'Org1MSP';
const SOURCE = 'Org2MSP';
const OWNERS = ['Org3MSP', 'Org4MSP'];
const seed = randomBytes(4).toString('hex');
console.log(`grid seed ${seed}`);

let grid: Grid;
beforeAll(async () => {
  // A block now and then keeps a link as long as one likes: here, none has to come at all.
  grid = await Grid.start({ organisations: 4, seed, limits: { stallMs: 600_000 } });
});
afterAll(() => grid.stop());

it('keeps no owner from storing the files of others', async () => {
  const hostile = await grid.dialer(HOSTILE);
  const trap = await createTrialFile(join(grid.dir, 'trap.age'), 9_000_000, grid.peer(HOSTILE), {
    chunksTarget: 1,
  });
  const asked: Promise<void>[] = [];
  for (const mspId of OWNERS) {
    const isAsked = Promise.withResolvers<void>();
    asked.push(isAsked.promise);
    const link = await hostile.overlay.dialMember({
      mspId,
      infoHash: toHex(infoHashOf(trap.manifest.info)),
      addressBook: hostile.addressBook,
      signal: AbortSignal.timeout(60_000),
      handler: {
        read: () => {
          isAsked.resolve();
          return new Promise<never>(() => undefined);
        },
      },
    });
    link.announceAll(new Uint8Array([0x80]), 1);
    link.sendManifestMessage({ t: 'offer', ...trap.signed });
  }
  await Promise.all(asked);

  const gateway = await grid.dialer(SOURCE);
  const file = await createTrialFile(join(grid.dir, 'file.age'), 400_000, grid.peer(SOURCE));
  const stored = await distribute(distribution(grid, gateway, file));
  const owners = stored.receipts.map(({ mspId }) => mspId);
  expect(owners).toEqual(expect.arrayContaining(OWNERS));
  await stored.background;
});

it('has at most half of the memory for chunks, and always one chunk', () => {
  const buffers = new ChunkBuffers(8, () => undefined);
  const taken = [buffers.tryTake(2, 'a'), buffers.tryTake(2, 'a')];
  expect(taken).not.toContain(null);
  expect(buffers.tryTake(1, 'a')).toBeNull();
  expect(buffers.tryTake(4, 'b')).not.toBeNull();
  // Nothing is left, and yet whoever has nothing gets one chunk.
  expect(buffers.tryTake(16, 'c')).not.toBeNull();
  expect(buffers.tryTake(1, 'c')).toBeNull();
  for (const buffer of taken) if (buffer !== null) buffers.give(buffer, 'a');
  expect(buffers.tryTake(1, 'a')).not.toBeNull();
});
