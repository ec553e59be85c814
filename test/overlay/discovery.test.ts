/** Peers that move, that speak IPv6, and that nobody can dial. */
import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { toHex } from '@blocktorrent/protocol/bytes.ts';
import { infoHashOf } from '@blocktorrent/protocol/chunking.ts';
import { manifestChunkDigests } from '@blocktorrent/protocol/manifest.ts';
import { ownersOf } from '@blocktorrent/protocol/placement.ts';
import { afterEach, describe, expect, it } from 'vitest';
import { distribute } from '../../agent/src/distribute/distribute.ts';
import { DhtAddressBook } from '../../agent/src/overlay/dht.ts';
import { StandingLinks } from '../../agent/src/overlay/standing-links.ts';
import { TlsOverlay } from '../../agent/src/overlay/tls-overlay.ts';
import type { Address } from '../../agent/src/overlay/types.ts';
import { silentLog } from '../../agent/src/runtime/log.ts';
import { migrate } from '../../agent/src/runtime/migrate.ts';
import { openDatabase } from '../../agent/src/runtime/sqlite.ts';
import { STORE_MIGRATIONS } from '../../agent/src/store/catalog.ts';
import { FileChunkStore } from '../../agent/src/store/file-chunk-store.ts';
import { StoreNode } from '../../agent/src/store/store-node.ts';
import { GRID_STORE_TIMING, Grid } from '../support/grid.ts';
import { POLICY } from '../support/membership.ts';
import { createTrialFile } from '../support/sealed-file.ts';
import { distribution } from '../support/stored-files.ts';

const INFO_HASH = '5c'.repeat(20);
const seed = randomBytes(4).toString('hex');
console.log(`grid seed ${seed}`);
const cleanups: (() => Promise<void> | void)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function startGrid(organisations: number): Promise<Grid> {
  const grid = await Grid.start({ organisations, seed, limits: { stallMs: 1_000 } });
  cleanups.push(() => grid.stop());
  return grid;
}

/** Overlay, DHT and store of a peer, put together by hand: `listen` null for one that only dials out. */
async function startNode(grid: Grid, mspId: string, listen: Address | null) {
  const { identity } = grid.peer(mspId);
  const overlay = new TlsOverlay({
    ...{ identity, listen, membership: grid.membership, random: grid.random, log: silentLog },
    limits: { stallMs: 1_000 },
  });
  const addressBook = new DhtAddressBook({
    ...{ identity, membership: grid.membership, log: silentLog },
    listen: { host: '127.0.0.1', port: 0 },
    nowMs: () => Date.now(),
    monotonicMs: () => performance.now(),
    timing: { retryMs: 100, joinMs: 50, queryMs: 400, maxAgeMs: 2_000, freshAgeMs: 0 },
  });
  await overlay.start();
  await addressBook.start();
  const dir = join(grid.dir, `${mspId}-by-hand`);
  await mkdir(dir);
  const database = openDatabase(join(dir, 'store.sqlite'));
  migrate(database, STORE_MIGRATIONS);
  const store = new StoreNode({
    ...{ overlay, addressBook, database, membership: grid.membership, random: grid.random },
    chunks: new FileChunkStore(join(dir, 'chunks')),
    overlaySeed: identity.overlaySeed,
    nowMs: () => Date.now(),
    monotonicMs: () => performance.now(),
    log: silentLog,
    timing: GRID_STORE_TIMING,
  });
  await store.start();
  cleanups.push(async () => {
    await addressBook.stop();
    await overlay.stop();
    await store.stop();
    database.close();
  });
  return { overlay, addressBook, store };
}

describe('a peer that moves', () => {
  it('is found at its new port after a restart', async () => {
    const grid = await startGrid(3);
    const [dialler, moving] = [grid.node('Org1MSP'), grid.node('Org2MSP')];
    const dial = () => {
      const { overlay, addressBook } = dialler.net;
      return overlay.dialMember({
        mspId: 'Org2MSP',
        addressBook,
        infoHash: INFO_HASH,
        handler: {},
      });
    };
    const before = moving.net.overlay.address;
    (await dial()).close('seen');
    await moving.restart();
    expect(moving.net.overlay.address).not.toEqual(before);
    await expect.poll(async () => (await dial()).closed).toBe(false);
  });
});

describe('a peer on IPv6', () => {
  it('is found by its address item, and dialled', async () => {
    const grid = await startGrid(3);
    await grid.node('Org3MSP').kill();
    const { overlay, addressBook } = await startNode(grid, 'Org3MSP', { host: '::1', port: 0 });
    if (overlay.address === null) throw new Error('not bound');
    await addressBook.announce(overlay.address);
    const net = grid.node('Org1MSP').net;
    const link = await net.overlay.dialMember({
      ...{ mspId: 'Org3MSP', infoHash: INFO_HASH, handler: {} },
      addressBook: net.addressBook,
    });
    expect(link.mspId).toBe('Org3MSP');
    expect(overlay.address?.host).toBe('::1');
  });
});

describe('an owner that only dials out', () => {
  it('gets its chunks, signs for them, and gives them when they are lost elsewhere', async () => {
    const grid = await startGrid(5);
    await grid.node('Org5MSP').kill();
    const hidden = await startNode(grid, 'Org5MSP', null);
    // What it once announced leads nowhere.
    await hidden.addressBook.announce({ host: '127.0.0.1', port: 1 });
    const standing = new StandingLinks({
      ...hidden,
      ...{ membership: grid.membership },
      log: silentLog,
      retryMs: 100,
    });
    standing.start();
    cleanups.push(() => standing.stop());

    const file = await createTrialFile(join(grid.dir, 'file.age'), 1_000_000, grid.peer('Org1MSP'));
    const [epoch] = grid.membership.epochs;
    if (epoch === undefined) throw new Error('no epoch');
    const source = grid.node('Org1MSP').net;
    const stored = await distribute(distribution(grid, source, file));
    await stored.background;
    expect(stored.complete).toBe(true);
    expect(stored.receipts.map(({ mspId }) => mspId)).toContain('Org5MSP');

    // Only the hidden owner is left beside the one that loses a chunk that both have.
    await grid.node('Org1MSP').kill();
    const loser = grid.node('Org2MSP');
    for (const mspId of ['Org3MSP', 'Org4MSP']) await grid.node(mspId).kill();
    const infoHash = toHex(infoHashOf(file.manifest.info));
    const before = hidden.overlay.accounts.total().sentBytes;
    const shared = Array.from({ length: file.manifest.digests.length / 144 }, (_, index) =>
      ownersOf(manifestChunkDigests(file.manifest, index), epoch, 'Org1MSP', POLICY.replicas),
    ).findIndex((owners) => owners.includes('Org2MSP') && owners.includes('Org5MSP'));
    expect(shared).toBeGreaterThanOrEqual(0);
    const kept = { fileId: file.fileId, infoHash } as Parameters<StoreNode['lost']>[0];
    loser.events.length = 0;
    await loser.store.lost(kept, shared, 'told to');
    await expect
      .poll(() => loser.events.find((event) => event.type === 'stored'))
      .toMatchObject({ index: shared });
    expect(hidden.overlay.accounts.total().sentBytes).toBeGreaterThan(before);
  });
});
