/** Syncs beside the event loop: what is durable when, and what follows one that fails. */
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import type { BatchStore } from '@blocktorrent/agent/batch/batch-store.ts';
import { openDatabase, openReadOnly } from '@blocktorrent/agent/runtime/sqlite.ts';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { openStore } from '../support/ingest.ts';
import { aFolder, readings } from '../support/readings.ts';

const disk = vi.hoisted(() => ({ fails: false, syncs: 0 }));
vi.mock('node:fs', async (original) => {
  const fs = await original<typeof import('node:fs')>();
  const failure = () => Object.assign(new Error('EIO: i/o error, fdatasync'), { code: 'EIO' });
  return {
    ...fs,
    fdatasync(descriptor: number, done: (error: Error | null) => void) {
      disk.syncs += 1;
      if (disk.fails) setImmediate(() => done(failure()));
      else fs.fdatasync(descriptor, done);
    },
    fdatasyncSync(descriptor: number) {
      disk.syncs += 1;
      if (disk.fails) throw failure();
      fs.fdatasyncSync(descriptor);
    },
  };
});

let folder: string;
let store: BatchStore;
const cleanUps: (() => void)[] = [];
beforeEach(() => {
  let remove: () => void;
  [folder, remove] = aFolder();
  cleanUps.push(remove);
  store = openStore(folder);
  cleanUps.push(() => store.stop());
  Object.assign(disk, { fails: false, syncs: 0 });
});
afterEach(() => {
  for (const cleanUp of cleanUps.splice(0).reverse()) cleanUp();
});

/** Readings that are in the file of the open batch itself, its log left out. */
function inFileAlone(): number {
  const copy = join(folder, 'copy.sqlite');
  copyFileSync(join(folder, '1.open.sqlite'), copy);
  const database = openReadOnly(copy);
  try {
    const table = database.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'reading'").get();
    if (table === undefined) return 0;
    return database.prepare('SELECT count(*) FROM reading').pluck().get() as number;
  } finally {
    database.close();
  }
}

it('what is written counts as durable when it is synced, and not before', async () => {
  store.write(readings(1, 5));
  expect([store.current.lastSeq, store.durable.lastSeq]).toEqual([5, 0]);
  const first = store.sync();
  store.write(readings(6, 9));
  await first;
  expect([store.current.lastSeq, store.durable.lastSeq]).toEqual([9, 5]);
  expect(Buffer.from(store.durable.chainEnd)).not.toEqual(Buffer.from(store.current.chainEnd));
  store.syncNow();
  expect([store.durable, disk.syncs]).toEqual([store.current, 2]);
  await store.sync();
  expect(disk.syncs).toBe(2);
});

it('what is appended is synced before that returns, also among what is only written', () => {
  store.write(readings(1, 2));
  store.append(readings(3, 4));
  expect([store.durable.lastSeq, disk.syncs]).toEqual([4, 1]);
});

it('a sync that ends late takes nothing back', async () => {
  store.write(readings(1, 2));
  const late = store.sync();
  store.write(readings(3, 4));
  store.syncNow();
  await late;
  expect(store.durable.lastSeq).toBe(4);
});

it('closing a batch syncs it, and a sync that is under way does not mind', async () => {
  store.write(readings(1, 2));
  const late = store.sync();
  expect(store.closeCurrent()).toMatchObject({ lastSeq: 2 });
  expect(store.durable.lastSeq).toBe(2);
  await late;
  store.write(readings(3, 4));
  expect(store.durable.lastSeq).toBe(2);
  await store.sync();
  expect(store.durable.lastSeq).toBe(4);
});

for (const [how, sync] of [
  ['beside the event loop', () => store.sync()],
  ['at once', async () => store.syncNow()],
] as const) {
  it(`after a sync ${how} that failed, the next readings wait for a checkpoint`, async () => {
    store.write(readings(1, 5));
    disk.fails = true;
    await expect(sync()).rejects.toThrow('EIO');
    disk.fails = false;
    expect([store.durable.lastSeq, inFileAlone()]).toEqual([0, 0]);
    store.write(readings(6, 7));
    expect([store.durable.lastSeq, inFileAlone()]).toEqual([5, 5]);
    await store.sync();
    expect(store.durable.lastSeq).toBe(7);
    expect([...store.recent(10)].map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5, 6, 7]);
  });

  it(`after a sync that failed, one ${how} does not take the kernel's word either`, async () => {
    store.write(readings(1, 5));
    disk.fails = true;
    await expect(store.sync()).rejects.toThrow('EIO');
    disk.fails = false;
    await sync();
    expect([store.durable.lastSeq, inFileAlone()]).toEqual([5, 5]);
  });
}

it('a sync that goes well while another one fails counts only with a checkpoint', async () => {
  store.write(readings(1, 5));
  const early = store.sync();
  disk.fails = true;
  expect(() => store.syncNow()).toThrow('EIO');
  disk.fails = false;
  await early;
  expect([store.durable.lastSeq, inFileAlone()]).toEqual([5, 5]);
});

it('while a reader keeps that checkpoint from its end, no reading is taken', async () => {
  store.write(readings(1, 2));
  await store.sync();
  const reader = openDatabase(join(folder, '1.open.sqlite'));
  cleanUps.push(() => reader.close());
  reader.exec('BEGIN; SELECT count(*) FROM reading');
  store.write(readings(3, 5));
  disk.fails = true;
  await expect(store.sync()).rejects.toThrow('EIO');
  disk.fails = false;
  expect(() => store.write(readings(6, 7))).toThrow('is being read');
  expect([store.nextSeq, store.durable.lastSeq]).toEqual([6, 2]);
  reader.exec('COMMIT');
  store.write(readings(6, 7));
  expect(store.durable.lastSeq).toBe(5);
});
