/** Closed batches between the store and the queue: in, and away when they are available. */
import { readdirSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { BatchStore, ClosedBatch } from '../../agent/src/batch/batch-store.ts';
import { ClosedBatches } from '../../agent/src/closed-batches.ts';
import { FileQueue } from '../../agent/src/runtime/file-queue.ts';
import { silentLog } from '../../agent/src/runtime/log.ts';
import { migrate } from '../../agent/src/runtime/migrate.ts';
import { openDatabase } from '../../agent/src/runtime/sqlite.ts';
import { STATE_MIGRATIONS } from '../../agent/src/state-file.ts';
import { openStore } from '../support/ingest.ts';
import { aFolder, aReading } from '../support/readings.ts';

let folder: string;
let store: BatchStore;
let queue: FileQueue;
let closed: ClosedBatches;
let remove: () => void;

beforeEach(() => {
  [folder, remove] = aFolder();
  store = openStore(folder);
  const db = openDatabase(':memory:');
  migrate(db, STATE_MIGRATIONS);
  queue = new FileQueue(db, () => 5);
  closed = new ClosedBatches({ store, queue, log: silentLog });
});
afterEach(() => {
  store.stop();
  remove();
});

function aClosed(): ClosedBatch {
  store.append([aReading(store.nextSeq)]);
  const batch = store.closeCurrent();
  if (batch === null) throw new Error('nothing was closed');
  return batch;
}
const available = (batch: number) => {
  const file = queue.at('queued', 100).find((one) => one.batch === batch);
  queue.update(file?.id ?? 0, { stage: 'available' });
  closed.becameAvailable(batch);
};
const onDisk = () => readdirSync(folder).filter((name) => /^\d+\.sqlite$/.test(name));

describe('a closed batch', () => {
  it('goes when it is available, and where it was one of the newest when a later one is closed', () => {
    for (let n = 0; n < 4; n += 1) closed.add(aClosed());
    available(1);
    expect(onDisk()).toEqual(['2.sqlite', '3.sqlite', '4.sqlite']);
    available(3);
    expect(onDisk()).toEqual(['2.sqlite', '3.sqlite', '4.sqlite']);
    closed.add(aClosed());
    expect(onDisk()).toEqual(['2.sqlite', '4.sqlite', '5.sqlite']);
  });

  it('is queued once, and anew after it was given up', () => {
    closed.add(aClosed());
    closed.queueAgain();
    expect(queue.counts()).toMatchObject({ queued: 1, void: 0 });
    const [file] = queue.at('queued', 1);
    queue.giveUp(file?.id ?? 0, 'its epoch is over');
    closed.queueAgain();
    expect(queue.counts()).toMatchObject({ queued: 1, void: 1 });
    expect(closed.isUnqueued).toBe(false);
  });

  it('is still to be queued after the disk did not take it', () => {
    const add = queue.add.bind(queue);
    queue.add = () => {
      throw new Error('database or disk is full');
    };
    closed.add(aClosed());
    expect([closed.isUnqueued, queue.counts().queued]).toEqual([true, 0]);
    queue.add = add;
    closed.queueAgain();
    expect([closed.isUnqueued, queue.counts().queued]).toEqual([false, 1]);
  });

  it('does not cost the more, the more others there are', () => {
    for (let n = 0; n < 5; n += 1) closed.add(aClosed());
    let looks = 0;
    const list = store.list.bind(store);
    store.list = () => {
      looks += 1;
      return list();
    };
    available(1);
    expect([looks, onDisk().length]).toEqual([0, 4]);
  });
});
