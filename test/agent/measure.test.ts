/** Every metric moves by what it says, and by nothing else. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectAsync } from 'mqtt';
import { afterEach, expect, it, vi } from 'vitest';
import { BatchStore } from '../../agent/src/batch/batch-store.ts';
import type { House } from '../../agent/src/house.ts';
import { type Ledger, LedgerError } from '../../agent/src/ledger/ledger.ts';
import {
  awaitedOwners,
  countDuty,
  countFile,
  countStore,
  gaugeHost,
  gaugeHouse,
  gaugeUpkeep,
  measuredLedger,
} from '../../agent/src/measure.ts';
import type { QueuedFile } from '../../agent/src/runtime/file-queue.ts';
import { createMetrics, type Metrics } from '../../agent/src/runtime/metrics.ts';
import type { StoreStatus } from '../../agent/src/store/types.ts';
import type { UpkeepStatus } from '../../agent/src/store/upkeep.ts';
import { startBroker } from '../../broker/src/broker.ts';
import { gatewayConfig, startGateway } from '../support/gateway.ts';

const cleanUps: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

/** What is not 0: name without `blocktorrent_`, with its labels, and value. */
async function moved(metrics: Metrics, but = /_(bucket|sum)$/): Promise<Record<string, number>> {
  const lines = (await metrics.text()).split('\n');
  return Object.fromEntries(
    lines.flatMap((line) => {
      const [, name = '', labels = '', value] = /^blocktorrent_(\w+)({.*})? (.*)$/.exec(line) ?? [];
      return name === '' || but.test(name) || Number(value) === 0
        ? []
        : [[name + labels, Number(value)]];
    }),
  );
}

it('the ledger: transactions by outcome, their time, events', async () => {
  const metrics = createMetrics();
  const ledger = measuredLedger(
    {
      evaluate: async () => null,
      submit: async () => {
        throw new LedgerError('unavailable', 'away');
      },
      async *events() {
        yield { name: 'recorded', blockNumber: 7n };
      },
    } as unknown as Ledger,
    metrics,
  );
  await ledger.evaluate('ledger/consortium:GetConsortium', {});
  await expect(ledger.submit('ledger/audits:Confirm', { fileIds: [] })).rejects.toThrow('away');
  for await (const event of ledger.events({ signal: new AbortController().signal }))
    expect(event.name).toBe('recorded');
  const [query, transaction] = ['ledger/consortium:GetConsortium', 'ledger/audits:Confirm'];
  expect(await moved(metrics)).toEqual({
    [`ledger_transactions_total{transaction="${query}",outcome="ok"}`]: 1,
    [`ledger_transactions_total{transaction="${transaction}",outcome="unavailable"}`]: 1,
    [`ledger_seconds_count{transaction="${query}"}`]: 1,
    [`ledger_seconds_count{transaction="${transaction}"}`]: 1,
    'ledger_events_total{event="recorded"}': 1,
    ledger_block: 7,
  });
});

it('the store, files that move, duties', async () => {
  const metrics = createMetrics();
  const stored = { type: 'stored', fileId: 'f', index: 0, bytes: 100 } as const;
  countStore({ ...stored, repair: false }, metrics);
  countStore({ ...stored, repair: true }, metrics);
  countStore({ type: 'lost', fileId: 'f', index: 0, reason: 'rotten' }, metrics);
  countStore({ type: 'receipt', fileId: 'f', chunks: 1 } as never, metrics);
  countStore({ type: 'refused', mspId: 'Org2MSP' } as never, metrics);
  const receipts = [{ mspId: 'Org2MSP' }, { mspId: 'Org3MSP' }];
  const file = { kind: 'batch', uplinkBytes: 110, ciphertextBytes: 100, receipts };
  for (const stage of ['sealed', 'distributed', 'deposited', 'recorded', 'available', 'void']) {
    countFile({ ...file, stage } as unknown as QueuedFile, metrics);
  }
  countDuty('confirmed', 4, metrics);
  countDuty('voted', 1, metrics);
  countDuty('released', 9, metrics);
  expect(await moved(metrics)).toEqual({
    store_chunks_accepted_total: 2,
    repair_chunks_total: 1,
    repair_bytes_total: 100,
    scrub_lost_total: 1,
    store_receipts_total: 1,
    'store_refused_total{msp="Org2MSP"}': 1,
    'record_files_total{kind="batch"}': 1,
    record_voided_total: 1,
    'distribute_files_total{kind="batch"}': 1,
    distribute_uplink_bytes_total: 110,
    distribute_ciphertext_bytes_total: 100,
    'distribute_receipts_total{msp="Org2MSP"}': 1,
    'distribute_receipts_total{msp="Org3MSP"}': 1,
    consortium_shards_confirmed_total: 4,
    'consortium_votes_total{vote="approve"}': 1,
    consortium_releases_total: 1,
  });
});

it('owners that files wait for', () => {
  const states = { Org2MSP: 'done', Org3MSP: 'unreachable', Org4MSP: 'fetching' };
  const stages: Record<number, string> = { 1: 'named', 2: 'named', 3: 'deposited' };
  const house = {
    queue: { has: (id: number) => id in stages, get: (id: number) => ({ stage: stages[id] }) },
    progress: new Map([1, 2, 3, 4].map((id) => [id, { states }])),
  } as unknown as House;
  expect(awaitedOwners(house)).toEqual([
    { mspId: 'Org3MSP', state: 'unreachable', files: 2 },
    { mspId: 'Org4MSP', state: 'fetching', files: 2 },
  ]);
});

it('gauges of queue, sockets, store, upkeep and machine', async () => {
  const metrics = createMetrics();
  const house = {
    ...{ config: { distribute: { availableWithinMs: 1 } }, metrics },
    queue: {
      counts: () => ({ queued: 1, recorded: 2, available: 3, void: 4 }),
      overdue: () => ({ count: 5 }),
    },
    overlay: { accounts: { total: () => ({ sentBytes: 6, receivedBytes: 7 }) } },
  } as unknown as House;
  gaugeHouse(house, { files: 8, chunks: 9, bytes: 10 } as StoreStatus);
  gaugeUpkeep(
    {
      repair: { workingOut: 11, handovers: 12, wanted: 13, unfinished: 14, unrecorded: 15 },
      copies: { wanted: 2, chunksByHolders: { 1: 16, 2: 17 } },
      scrub: { open: 18, rounds: 19 },
      challenges: { right: 20, wrong: 21, lost: 22, silent: 23 },
    } as unknown as UpkeepStatus,
    metrics,
  );
  const [memoryBytes, memoryAvailableBytes, diskBytes, diskFreeBytes] = [24, 25, 26, 27];
  const known = { temperatureCelsius: 28, throttled: true, flashWear: 0.5 };
  gaugeHost({ memoryBytes, memoryAvailableBytes, diskBytes, diskFreeBytes, ...known }, metrics);
  expect(await moved(metrics)).toEqual({
    ...{ 'pipeline_files{step="queued"}': 1, 'pipeline_files{step="recorded"}': 2 },
    ...{ pipeline_files_overdue: 5, overlay_sent_bytes: 6, overlay_received_bytes: 7 },
    ...{ store_files: 8, store_chunks: 9, store_bytes: 10 },
    ...{ 'repair_files{step="workingOut"}': 11, 'repair_files{step="handovers"}': 12 },
    ...{ 'repair_files{step="wanted"}': 13, 'repair_files{step="unfinished"}': 14 },
    ...{ 'repair_files{step="unrecorded"}': 15, 'copies_chunks{holders="1"}': 16 },
    ...{ 'copies_chunks{holders="2"}': 17, scrub_open: 18, scrub_rounds: 19 },
    ...{ 'challenges{outcome="right"}': 20, 'challenges{outcome="wrong"}': 21 },
    ...{ 'challenges{outcome="lost"}': 22, 'challenges{outcome="silent"}': 23 },
    ...{ host_memory_bytes: 24, host_memory_available_bytes: 25, host_disk_bytes: 26 },
    ...{ host_disk_free_bytes: 27, host_temperature_celsius: 28, host_throttled: 1 },
    host_flash_wear_ratio: 0.5,
  });
});

it('a gateway: readings, batches, disk, anchors, broker', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'bt-measure-'));
  cleanUps.push(() => rmSync(folder, { recursive: true, force: true }));
  const broker = await startBroker({ port: 0 });
  cleanUps.push(() => broker.stop());
  const url = `mqtt://${broker.address}`;
  const rules = "[{ topic: 'site/#', decoder: json, sensor: /s, sequence: /n, value: /v }]";
  const text = gatewayConfig(folder, rules, [url], 'batch: { anchorEveryMs: 20 }');
  let away = true;
  const submit = async () => {
    if (away) throw new LedgerError('unavailable', 'away');
    return { result: null, txId: 'x' };
  };
  const ledger = { evaluate: async () => null, submit } as unknown as Ledger;
  const { gateway, metrics, stop } = startGateway(folder, text, ledger);
  cleanUps.push(stop);
  const connected = () => gateway.counts().brokers[0]?.connected === true;
  await expect.poll(connected).toBe(true);
  const client = await connectAsync(url);
  cleanUps.push(() => client.endAsync(true));
  const say = (payload: string, qos: 0 | 1 = 1) => client.publishAsync('site/a', payload, { qos });
  await say('{"s":"a","n":1,"v":1}');
  await say('{"s":"a","n":1,"v":1}');
  await say('no JSON');
  await say('{"s":"a","n":2,"v":1}', 0);
  const total = (name: Parameters<Metrics['total']>[0]) => () => metrics.total(name);
  await expect.poll(total('ingestReadingsUnacknowledged')).toBe(1);
  await expect.poll(total('batchOpenReadings'), { timeout: 5_000 }).toBe(4);
  expect(await metrics.total('batchOpenBytes')).toBeGreaterThan(0);
  await expect.poll(total('batchAnchors')).toBeGreaterThan(0);
  expect(await moved(metrics)).toHaveProperty('batch_anchors_total{outcome="failed"}');
  away = false;
  const anchored = async () => (await moved(metrics))['batch_anchors_total{outcome="anchored"}'];
  await expect.poll(anchored).toBe(1);
  gateway.closeBatch();
  const write = vi.spyOn(BatchStore.prototype, 'write').mockImplementation(() => {
    throw new Error('disk is full');
  });
  void say('{"s":"a","n":3,"v":1}');
  await expect.poll(total('ingestCommitFailures')).toBeGreaterThan(0);
  write.mockRestore();
  await expect.poll(total('ingestReconnects'), { timeout: 10_000 }).toBeGreaterThan(0);
  await expect.poll(total('ingestReadingsAcknowledged'), { timeout: 10_000 }).toBe(4);
  const { ingest_readings_received_total: received, ...others } = await moved(
    metrics,
    /_bucket$|_sum$|anchors|commit_|open|held|reconnects|disk_used/,
  );
  expect(received).toBeGreaterThan(5);
  expect(others).toEqual({
    ingest_readings_committed_total: 5,
    ingest_readings_acknowledged_total: 4,
    ingest_readings_unacknowledged_total: 1,
    ingest_duplicates_total: 1,
    'ingest_dead_letters_total{reason="decoder"}': 1,
    ingest_brokers_connected: 1,
    'batches_closed_total{reason="asked"}': 1,
    batch_disk_max_bytes: 4 * 2 ** 30,
  });
  const all = await moved(metrics);
  expect(all.ingest_commit_seconds_count).toBeGreaterThan(0);
  expect(all.batch_disk_used_bytes).toBeGreaterThan(0);
}, 30_000);
