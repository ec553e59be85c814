/** What is erased is not on the disk any more, nor what a crash kept from being deleted. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { FILE_QUEUE_MIGRATIONS, FileQueue } from '@blocktorrent/agent/runtime/file-queue.ts';
import { migrate } from '@blocktorrent/agent/runtime/migrate.ts';
import { openDatabase } from '@blocktorrent/agent/runtime/sqlite.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { gatewayConfig, startGateway } from '../support/gateway.ts';
import { openStore } from '../support/ingest.ts';
import { aFolder, readings } from '../support/readings.ts';

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

describe('a batch that is available', () => {
  it('goes at the start where a kill came before', async () => {
    const store = openStore(join(folder, 'batches'));
    for (let batch = 0; batch < 4; batch += 1) {
      store.append(readings(batch * 10 + 1, batch * 10 + 10));
      store.closeCurrent();
    }
    store.stop();
    const text = gatewayConfig(folder, "[{ topic: 'site/#', value: /v }]", ['mqtt://127.0.0.1:1']);
    const { gateway, queue, stop } = startGateway(folder, text, {}, { start: false });
    gateway.queueAgain();
    queue.update(1, { stage: 'available' });
    gateway.start();
    const isThere = [1, 2].map((batch) => existsSync(join(folder, `batches/${batch}.sqlite`)));
    expect(isThere).toEqual([false, true]);
    await stop();
  });
});
