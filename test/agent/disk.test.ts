/** The budget of the disk: what goes first, what is recorded, what still comes in. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { verifyBatch } from '@blocktorrent/agent/audit/verify-batch.ts';
import { BatchStore } from '@blocktorrent/agent/batch/batch-store.ts';
import { DiskKeeper, DROPPED_TOPIC } from '@blocktorrent/agent/batch/disk-keeper.ts';
import {
  type BatchOnDisk,
  type BatchSafety,
  type DiskLimits,
  planDisk,
} from '@blocktorrent/agent/batch/disk-plan.ts';
import type { House } from '@blocktorrent/agent/house.ts';
import { ownReading } from '@blocktorrent/agent/ingest/ingest.ts';
import { pipeline } from '@blocktorrent/agent/pipeline.ts';
import type { QueuedFile } from '@blocktorrent/agent/runtime/file-queue.ts';
import { silentLog } from '@blocktorrent/agent/runtime/log.ts';
import { openReadOnly } from '@blocktorrent/agent/runtime/sqlite.ts';
import { startBroker } from '@blocktorrent/broker/broker.ts';
import { connectAsync } from 'mqtt';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { gatewayConfig, startGateway } from '../support/gateway.ts';
import { createIngest, openStore } from '../support/ingest.ts';
import { manualClock } from '../support/manual-clock.ts';
import { aFolder, readings } from '../support/readings.ts';

const LIMITS: DiskLimits = { maxBytes: 100, reserveBytes: 10, policy: 'keep-newest' };
const of = (batch: number, change: Partial<BatchOnDisk> = {}): BatchOnDisk => {
  return { batch, bytes: 30, safety: 'unsealed', priority: 5, ...change };
};

describe('a full budget', () => {
  const dropped = (batches: BatchOnDisk[], limits = LIMITS, freeBytes = 1000, otherBytes = 0) => {
    const plan = planDisk(limits, { batches, otherBytes, freeBytes });
    return [...plan.drop.map(({ batch }) => batch), plan.admission];
  };

  it('costs nothing while there is room', () => {
    expect(dropped([of(1), of(2), of(3)])).toEqual(['all']);
  });

  it('costs what is available on the ledger first, then what is sealed, then the oldest', () => {
    const safe = [of(4, { safety: 'available' }), of(3, { safety: 'sealed' }), of(1), of(2)];
    expect(dropped(safe)).toEqual([4, 'all']);
    expect(dropped([...safe, of(5)])).toEqual([4, 3, 'all']);
    expect(dropped([...safe, of(5), of(6)])).toEqual([4, 3, 1, 'all']);
  });

  it('costs the least important before the oldest', () => {
    expect(dropped([of(1, { priority: 9 }), of(2), of(3, { priority: 1 }), of(4)])).toEqual([
      3,
      'all',
    ]);
  });

  it('does not cost what is being sealed, nor another in its place', () => {
    const sealing = of(1, { safety: 'sealing' });
    expect(dropped([sealing, of(2), of(3), of(4)])).toEqual(['all']);
    expect(dropped([sealing, of(2), of(3), of(4), of(5)])).toEqual([2, 'all']);
  });

  it('with keep-oldest costs nothing that is not sealed, and takes nothing new', () => {
    const oldest = { ...LIMITS, policy: 'keep-oldest' } as const;
    expect(dropped([of(1), of(2), of(3), of(4)], oldest)).toEqual(['none']);
    expect(dropped([of(1), of(2), of(3), of(4, { safety: 'sealed' })], oldest)).toEqual([
      4,
      'important',
    ]);
    expect(dropped([of(1), of(2)], oldest)).toEqual(['all']);
  });

  it('of the file system costs no reading: new ones are not taken', () => {
    const batches = [of(1), of(2, { safety: 'available', bytes: 4 })];
    expect(dropped(batches, LIMITS, 5)).toEqual([2, 'none']);
    expect(dropped(batches, LIMITS, 6)).toEqual([2, 'all']);
  });

  it('that the spool alone uses up takes nothing new, and costs nothing that is not sealed', () => {
    const batches = [of(1), of(2, { safety: 'available' })];
    expect(dropped(batches, LIMITS, 1000, 101)).toEqual([2, 'none']);
  });
});

let folder = '';
const cleanUps: (() => unknown)[] = [];
beforeEach(() => {
  const [path, remove] = aFolder();
  folder = path;
  cleanUps.push(remove);
});
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

/** A keeper over a real store, with what the test says of the rest. */
function keeperOf(store: BatchStore, limits: DiskLimits, safe: readonly number[] = []) {
  const world = { limits, lost: 0, freeBytes: 1e9, safety: 'unsealed' as BatchSafety };
  const keeper = new DiskKeeper({
    store,
    limits: () => world.limits,
    safetyOf: (batch) => (safe.includes(batch) ? 'available' : world.safety),
    priorityOfRule: (rule) => (rule === null ? 0 : 5),
    priorityOfTopic: (topic) => (topic.startsWith('alarm') ? 9 : 5),
    priorityMax: 9,
    spoolBytes: () => 0,
    freeBytes: () => world.freeBytes,
    nowMs: () => 1.8e12,
    blank: () => ownReading(manualClock(1.8e12), 'boot-1', true),
    onDropped: (count) => {
      world.lost += count;
    },
    log: silentLog,
  });
  return { keeper, world };
}

/** What is recorded as dropped. */
const records = (store: BatchStore): Record<string, unknown>[] =>
  [...store.recent(1e6)]
    .filter(({ topic }) => topic === DROPPED_TOPIC)
    .map(({ payload }) => JSON.parse(Buffer.from(payload).toString()) as Record<string, unknown>);

const EMPTY_BATCHES = { nextSeq: 1, currentBytes: 1, owedBytes: 0, append: () => undefined };

describe('the keeper', () => {
  function filled(batches: number): BatchStore {
    const store = openStore(folder);
    cleanUps.push(() => store.stop());
    for (let batch = 0; batch < batches; batch += 1) {
      store.append(readings(batch * 10 + 1, batch * 10 + 10));
      store.closeCurrent();
    }
    return store;
  }
  const sizeOf = (store: BatchStore) => store.list()[0]?.bytes ?? 0;

  it('unlinks whole files, oldest first, and records each in the next batch before', () => {
    const store = filled(4);
    const { keeper, world } = keeperOf(store, {
      ...LIMITS,
      reserveBytes: 0,
      maxBytes: 2.5 * sizeOf(store),
    });
    const [first] = store.list();
    keeper.check();
    expect(existsSync(join(folder, '1.sqlite'))).toBe(false);
    expect(store.list().map(({ batch }) => batch)).toEqual([3, 4]);
    expect(records(store)).toMatchObject([
      { what: 'batch', batch: 1, firstSeq: 1, lastSeq: 10, readings: 10, sealed: false },
      { batch: 2, firstSeq: 11, lastSeq: 20 },
    ]);
    expect(records(store)[0]).toHaveProperty(
      'chainEnd',
      Buffer.from(first?.chainEnd ?? []).toString('hex'),
    );
    expect(world.lost).toBe(20);
    const loss = { droppedReadings: 20, droppedMs: 1.8e12, alarm: null };
    expect(keeper.status).toMatchObject(loss);
    const { keeper: next, world: later } = keeperOf(store, { ...LIMITS, maxBytes: 1e9 });
    expect([...next.learn(store.recent(1e6))].length).toBe(22);
    next.check();
    expect([next.status, later.lost]).toMatchObject([loss, 0]);
  });

  it('drops what is available without a record and without an alarm', () => {
    const store = filled(4);
    const { keeper } = keeperOf(
      store,
      { ...LIMITS, reserveBytes: 0, maxBytes: 2.5 * sizeOf(store) },
      [3, 4],
    );
    keeper.check();
    // The next batch has to follow the newest one, so that one stays until there is a next batch.
    expect(store.list().map(({ batch }) => batch)).toEqual([1, 2, 4]);
    expect([records(store), keeper.status.alarm]).toEqual([[], null]);
    expect(keeper.status.usedBytes).toBe(3 * sizeOf(store));
  });

  it('says nothing of the newest one, however often it looks, where that cannot go yet', () => {
    const store = filled(2);
    const { keeper, world } = keeperOf(store, { ...LIMITS, maxBytes: 1e9 }, [1, 2]);
    const error = vi.spyOn(silentLog, 'error');
    cleanUps.push(() => error.mockRestore());
    world.freeBytes = 1;
    for (let look = 0; look < 3; look += 1) keeper.check();
    expect(store.list().map(({ batch }) => batch)).toEqual([2]);
    expect(error).not.toHaveBeenCalled();
  });

  it('records a loss where what was sealed, and could not be unlinked, has been given up since', () => {
    const store = filled(2);
    const { keeper, world } = keeperOf(store, {
      ...{ ...LIMITS, reserveBytes: 0, maxBytes: 1.5 * sizeOf(store) },
    });
    world.safety = 'sealed';
    const drop = vi.spyOn(store, 'drop').mockImplementation(() => {
      throw new Error('EIO');
    });
    for (let look = 0; look < 2; look += 1) keeper.check();
    drop.mockRestore();
    world.safety = 'unsealed';
    for (let look = 0; look < 2; look += 1) keeper.check();
    expect(store.list()).toEqual([]);
    const sealed = records(store).map((record) => [record.batch, record.sealed]);
    expect(sealed).toEqual([
      [1, true],
      [2, true],
      [1, false],
      [2, false],
    ]);
    expect(world.lost).toBe(20);
  });

  it('drops the newest one where it is available before any that is not', () => {
    const store = filled(3);
    const limits = { ...LIMITS, reserveBytes: 0, maxBytes: 1.5 * sizeOf(store) };
    const { keeper } = keeperOf(store, limits, [3]);
    const dropped = vi.spyOn(store, 'drop');
    keeper.check();
    expect(dropped.mock.calls).toEqual([[3], [1]]);
    expect(store.list().map(({ batch }) => batch)).toEqual([2]);
  });

  it('drops so many at once that readings do not wait for long', () => {
    const store = filled(1);
    const [one] = store.list();
    const left = new Map(Array.from({ length: 40 }, (_, n) => [n, { ...one, batch: n }]));
    const kept = {
      ...EMPTY_BATCHES,
      list: () => [...left.values()],
      drop: (n: number) => left.delete(n),
    };
    const { keeper } = keeperOf(kept as never, { ...LIMITS, reserveBytes: 0, maxBytes: 1 });
    keeper.check();
    expect(left.size).toBe(8);
    keeper.check();
    expect(left.size).toBe(0);
  });

  it('leaves a store that goes on with seq and chain after a restart, whatever was dropped', () => {
    const store = filled(3);
    const { keeper } = keeperOf(store, { ...LIMITS, reserveBytes: 0, maxBytes: 1 });
    keeper.check();
    expect(store.list()).toEqual([]);
    const head = store.current.chainEnd;
    store.stop();
    cleanUps.pop();
    const again = openStore(folder);
    cleanUps.push(() => again.stop());
    expect([again.nextSeq, Buffer.from(again.current.chainEnd)]).toEqual([34, Buffer.from(head)]);
    again.append(readings(34, 40));
    expect(verifyBatch(again.closeCurrent()?.path ?? '')).toMatchObject({
      firstSeq: 31,
      readings: 10,
    });
  });

  it('takes only what is most important when little is left, and records what it left out', () => {
    const store = filled(2);
    const used = store.list().reduce((sum, { bytes }) => sum + bytes, 0);
    const limits = {
      ...LIMITS,
      policy: 'keep-oldest',
      reserveBytes: 0,
      maxBytes: used * 1.02,
    } as const;
    const { keeper, world } = keeperOf(store, limits);
    keeper.check();
    expect(keeper.status).toMatchObject({
      admission: 'important',
      alarm: expect.stringMatching(/^little room/),
    });
    const acknowledged: number[] = [];
    const delivery = {
      acknowledge: (ids: readonly number[]) => acknowledged.push(...ids),
      abandon: () => undefined,
    };
    const ingest = createIngest(store, { admits: (topic, nowMs) => keeper.admits(topic, nowMs) });
    for (const [index, topic] of ['site/a', 'alarm/fire', 'site/a', 'site/b'].entries()) {
      const payload = Buffer.from('{"value":1}');
      ingest.take(
        { topic, payload, qos: 1, dup: false, retain: false, messageId: index + 1 },
        delivery,
      );
    }
    ingest.stop();
    expect(acknowledged).toEqual([1, 2, 3, 4]);
    world.limits = { ...limits, maxBytes: 1e9 };
    keeper.check();
    expect([...store.recent(2)].map(({ topic }) => topic)).toEqual(['alarm/fire', DROPPED_TOPIC]);
    expect(records(store)).toMatchObject([
      { what: 'arrivals', readings: 3, topics: { 'site/a': 2, 'site/b': 1 } },
    ]);
    expect([world.lost, keeper.status.admission]).toEqual([3, 'all']);
  });

  it('lets nothing in, and nothing be acknowledged, while there is no room', () => {
    const store = filled(1);
    const { keeper, world } = keeperOf(store, { ...LIMITS, maxBytes: 1e9 });
    world.freeBytes = 1;
    keeper.check();
    expect(() => keeper.requireRoom()).toThrow('no room: readings are not taken');
    world.freeBytes = 1e9;
    keeper.check();
    expect(() => keeper.requireRoom()).not.toThrow();
    expect([store.list().length, world.lost]).toEqual([1, 0]);
  });

  it('records later what no batch could take now', () => {
    const store = filled(3);
    let broken = true;
    const kept = {
      get nextSeq() {
        return store.nextSeq;
      },
      get currentBytes() {
        return store.currentBytes;
      },
      owedBytes: 0,
      list: () => store.list(),
      drop: (batch: number) => store.drop(batch),
      append: (given: Parameters<BatchStore['append']>[0]) => {
        if (broken) throw new Error('disk full');
        store.append(given);
      },
    };
    const used = store.list().reduce((sum, { bytes }) => sum + bytes, 0);
    const limits = { ...LIMITS, policy: 'keep-oldest', reserveBytes: 0 } as const;
    const { keeper, world } = keeperOf(kept as unknown as BatchStore, {
      ...limits,
      maxBytes: used * 1.02,
    });
    for (let look = 1; look <= 3; look += 1) {
      keeper.check();
      expect(keeper.admits('site/a', 1_000 * look)).toBe(false);
    }
    world.limits = { ...limits, policy: 'keep-newest', maxBytes: 1 };
    for (let look = 0; look < 3; look += 1) keeper.check();
    expect([store.list().length, records(store)]).toEqual([1, []]);
    broken = false;
    keeper.check();
    // However long the disk takes nothing, there is one record of arrivals.
    const arrivals = { what: 'arrivals', readings: 3, fromMs: 1_000, toMs: 3_000 };
    expect(records(store)).toMatchObject([{ batch: 1 }, { batch: 2 }, { batch: 3 }, arrivals]);
    keeper.check();
    expect(records(store)).toHaveLength(4);
  });
});

describe('sealing', () => {
  it('waits while what is sealed takes its part of the budget', async () => {
    const config = { distribute: { filesInFlight: 1 } };
    const [seal] = pipeline({ config, spool: { isFull: () => true } } as unknown as House);
    const file = { inputPath: join(folder, 'gone'), identity: null } as QueuedFile;
    const { signal } = new AbortController();
    const waits = [{ waitsFor: expect.stringMatching(/^what is sealed, .* takes its half of/) }];
    expect([seal?.name, await seal?.run([file], signal)]).toEqual(['seal', waits]);
    const [other] = pipeline({ config, spool: { isFull: () => false } } as unknown as House);
    await expect(other?.run([file], signal)).rejects.toThrow('is not there any more');
    const pipe = { ...file, inputPath: folder };
    await expect(other?.run([pipe], signal)).rejects.toThrow('is no file');
  });
});

describe('a gateway with small batches and a small budget', () => {
  async function running(more: string) {
    const broker = await startBroker({ port: 0 });
    cleanUps.push(() => broker.stop());
    const url = `mqtt://${broker.address}`;
    const rules = `[{ topic: 'site/#', value: /v }]`;
    const test = startGateway(folder, gatewayConfig(folder, rules, [url], more));
    cleanUps.push(test.stop);
    const client = await connectAsync(url);
    cleanUps.push(() => client.endAsync(true));
    await vi.waitFor(() => expect(test.gateway.counts().brokers[0]?.connected).toBe(true));
    const payload = JSON.stringify({ v: 1, pad: 'x'.repeat(4000) });
    const publish = (count: number) =>
      Promise.all(
        Array.from({ length: count }, () => client.publishAsync('site/a', payload, { qos: 1 })),
      );
    return { test, publish };
  }

  it('closes a batch with the commit that fills it, in the middle of a burst', async () => {
    const { test, publish } = await running('batch: { maxReadings: 40, commitMaxReadings: 20 }');
    await publish(400);
    await vi.waitFor(() => expect(test.gateway.counts().readings).toBe(400));
    const counts = readdirSync(join(folder, 'batches'))
      .filter((name) => /^\d+\.sqlite$/.test(name))
      .map((name) => verifyBatch(join(folder, 'batches', name)).readings);
    expect(Math.max(...counts)).toBeLessThan(60);
    expect(Math.min(...counts)).toBeGreaterThanOrEqual(40);
  });

  it('says once that somebody reads the batch that is to be closed', async () => {
    const { test, publish } = await running('batch: { maxReadings: 10 }');
    const warn = vi.spyOn(silentLog, 'warn');
    cleanUps.push(() => warn.mockRestore());
    await publish(1);
    await vi.waitFor(() => expect(test.gateway.counts().openReadings).toBe(1));
    const reader = openReadOnly(join(folder, 'batches/1.open.sqlite'));
    reader.prepare('SELECT count(*) FROM reading').get();
    for (let burst = 0; burst < 5; burst += 1) await publish(10);
    await vi.waitFor(() => expect(test.gateway.counts().openReadings).toBe(51));
    expect(warn.mock.calls.map(([text]) => text)).toEqual([
      'the batch could not be closed, will be tried again',
    ]);
    reader.close();
    await vi.waitFor(() => expect(test.gateway.counts().openReadings).toBe(0));
  });

  it('does not drop, nor say that it has, what a stage has in hand', async () => {
    const { test, publish } = await running(
      'batch: { maxBytes: 524288, maxReadings: 40, disk: { maxBytes: 1048576, reserveBytes: 0 } }',
    );
    test.queue.inHand.add(1);
    await vi.waitFor(async () => {
      await publish(100);
      expect(test.gateway.counts().disk.droppedReadings).toBeGreaterThan(100);
    });
    expect(existsSync(join(folder, 'batches/1.sqlite'))).toBe(true);
    expect(existsSync(join(folder, 'batches/2.sqlite'))).toBe(false);
    const { droppedReadings } = test.gateway.counts().disk;
    expect(await test.metrics.total('batchDroppedReadings')).toBe(droppedReadings);
    // And says so still after a restart.
    await test.stop();
    cleanUps.splice(cleanUps.indexOf(test.stop), 1);
    const again = startGateway(
      folder,
      test.configText.replace('maxBytes: 1048576', 'maxBytes: 9e7'),
    );
    cleanUps.push(() => again.stop());
    expect(again.gateway.counts().disk.droppedReadings).toBeGreaterThan(100);
    expect(Date.now() - (again.gateway.counts().disk.droppedMs ?? 0)).toBeLessThan(60_000);
  });

  it('stays within it, records its losses, and says so in its status', async () => {
    const { test, publish } = await running(
      'batch: { maxBytes: 524288, maxReadings: 40, disk: { maxBytes: 1048576, reserveBytes: 0 } }',
    );
    await vi.waitFor(async () => {
      await publish(100);
      expect(test.gateway.counts().disk.droppedReadings).toBeGreaterThan(100);
    });
    const { disk } = test.gateway.counts();
    expect(Date.now() - (disk.droppedMs ?? 0)).toBeLessThan(60_000);
    expect(disk.usedBytes).toBeLessThanOrEqual(1_048_576);
    const files = readdirSync(join(folder, 'batches')).filter((name) => /^\d+\.sqlite$/.test(name));
    expect(files.length).toBeLessThan(6);
    const write = vi.spyOn(BatchStore.prototype, 'write').mockImplementation(() => {
      throw new Error('disk is full');
    });
    cleanUps.push(() => write.mockRestore());
    void publish(1).catch(() => undefined);
    await vi.waitFor(() =>
      expect(test.gateway.counts().disk).toMatchObject({
        admission: 'none',
        alarm: expect.stringMatching(/cannot be committed.*disk is full$/),
        droppedReadings: disk.droppedReadings,
      }),
    );
  });
});
