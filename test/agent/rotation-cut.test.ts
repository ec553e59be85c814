/** A disk that fails in the middle of closing a batch, and is mended while the agent runs. */
import { startBroker } from '@blocktorrent/broker/broker.ts';
import { connectAsync } from 'mqtt';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { gatewayConfig, startGateway } from '../support/gateway.ts';
import { openStore } from '../support/ingest.ts';
import { aFolder, readings } from '../support/readings.ts';

const disk = vi.hoisted(() => ({ fails: '', failures: 0 }));
vi.mock('node:fs', async (original) => {
  const fs = await original<typeof import('node:fs')>();
  const meet = (call: string) => {
    if (disk.fails !== call) return;
    disk.failures += 1;
    throw Object.assign(new Error(`EROFS: read-only file system, ${call}`), { code: 'EROFS' });
  };
  return {
    ...fs,
    renameSync(from: string, to: string) {
      meet('rename');
      fs.renameSync(from, to);
    },
    fsyncSync(descriptor: number) {
      meet('fsync');
      fs.fsyncSync(descriptor);
    },
  };
});

const cleanUps: (() => unknown)[] = [];
let folder: string;
beforeEach(() => {
  Object.assign(disk, { fails: '', failures: 0 });
  const [path, remove] = aFolder();
  folder = path;
  cleanUps.push(remove);
});
afterEach(async () => {
  disk.fails = '';
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

for (const fails of ['rename', 'fsync']) {
  it(`a batch follows once the disk takes the ${fails} of the one before`, async () => {
    const store = openStore(folder);
    store.write(readings(1, 5));
    await store.sync();
    disk.fails = fails;
    expect(() => store.closeCurrent()).toThrow('EROFS');
    // Its readings are on the disk, and nothing goes into it any more.
    await store.sync();
    expect([store.nextSeq, store.durable.lastSeq, store.due(0)]).toEqual([6, 5, 'age']);
    expect(() => store.write(readings(6, 9))).toThrow('has not taken the name of closed batch 1');
    expect([store.currentBytes > 0, store.owedBytes, store.list()]).toEqual([true, 0, []]);
    disk.fails = '';
    expect(store.closeCurrent()).toMatchObject({ batch: 1, lastSeq: 5 });
    store.write(readings(6, 9));
    await store.sync();
    store.stop();
    const again = openStore(folder);
    cleanUps.push(() => again.stop());
    expect([...again.recent(100)].map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(again.damages).toEqual([]);
  });
}

it('a gateway stays up meanwhile, says so, and goes on', async () => {
  const broker = await startBroker({ port: 0 });
  cleanUps.push(() => broker.stop());
  const url = `mqtt://${broker.address}`;
  const rules = "[{ topic: 'site/#', decoder: number }]";
  const config = gatewayConfig(folder, rules, [url], 'batch: { maxAgeMs: 100, anchorEveryMs: 0 }');
  const { gateway, queue, stop } = startGateway(folder, config);
  cleanUps.push(() => stop());
  await vi.waitFor(() => expect(gateway.counts().brokers[0]?.connected).toBe(true));
  const publisher = await connectAsync(url);
  cleanUps.push(() => publisher.endAsync(true));
  disk.fails = 'rename';
  await publisher.publishAsync('site/a', '1', { qos: 1 });
  await vi.waitFor(() => expect(disk.failures).toBeGreaterThan(1));
  await publisher.publishAsync('site/a', '2', { qos: 1 });
  await vi.waitFor(() => expect(gateway.counts().disk.alarm).toContain('the name of closed batch'));
  expect([gateway.counts().readings, queue.list(10)]).toEqual([1, []]);
  disk.fails = '';
  const times = { timeout: 5000 };
  await vi.waitFor(() => expect(gateway.counts().readings).toBe(2), times);
  await vi.waitFor(() => expect(queue.list(10).map(({ batch }) => batch)).toEqual([2, 1]), times);
  expect(gateway.counts().disk.alarm).toBeNull();
});
