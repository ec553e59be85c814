/** What is erased is not on the disk any more. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { FILE_QUEUE_MIGRATIONS, FileQueue } from '@blocktorrent/agent/runtime/file-queue.ts';
import { migrate } from '@blocktorrent/agent/runtime/migrate.ts';
import { openDatabase } from '@blocktorrent/agent/runtime/sqlite.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { aFolder } from '../support/readings.ts';

let folder: string;
let remove: () => void;
beforeEach(() => {
  [folder, remove] = aFolder();
});
afterEach(() => remove());

describe('the key of a file', () => {
  it('is in no file of the queue once it was erased, also for the file that is sealed anew', () => {
    const path = join(folder, 'state.sqlite');
    const database = openDatabase(path, { alone: true });
    migrate(database, FILE_QUEUE_MIGRATIONS);
    const queue = new FileQueue(database, () => 0);
    const onDisk = (key: Buffer): boolean =>
      readdirSync(folder).some((name) => readFileSync(join(folder, name)).includes(key));
    const key = Buffer.from('the first key of 32 bytes, secret');
    const another = Buffer.from('another key of 32 bytes, secret!!');
    const { id } = queue.add({ kind: 'batch', inputPath: '/gone', batch: 1, recipients: [] });
    queue.purgeErased();
    queue.update(id, { stage: 'sealed', identity: key });
    queue.giveUp(id, 'epoch 1 is over');
    queue.purgeErased();
    expect(onDisk(key)).toBe(true);
    queue.update(id + 1, { stage: 'sealed', identity: another });
    queue.purgeErased();
    expect([onDisk(key), onDisk(another)]).toEqual([false, true]);
    queue.update(id + 1, { stage: 'available', identity: null });
    expect(onDisk(another)).toBe(true);
    queue.purgeErased();
    expect(onDisk(another)).toBe(false);
    database.close();
  });
});
