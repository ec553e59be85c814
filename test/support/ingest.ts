/**
 * An ingest stage put together for tests: our broker or another, one source, one batch store.
 */
import { join } from 'node:path';
import { type BatchRule, batchRulesOf } from '@blocktorrent/agent/batch/batch-rule.ts';
import { BatchStore, type BatchStoreOptions } from '@blocktorrent/agent/batch/batch-store.ts';
import { createDecode, type DecodeRule } from '@blocktorrent/agent/ingest/decode.ts';
import { Duplicates } from '@blocktorrent/agent/ingest/duplicates.ts';
import {
  Ingest,
  type IngestMetrics,
  type IngestOptions,
  ownReading,
} from '@blocktorrent/agent/ingest/ingest.ts';
import { MqttSource, type MqttSourceOptions } from '@blocktorrent/agent/ingest/mqtt-source.ts';
import { systemClock } from '@blocktorrent/agent/runtime/clock.ts';
import { silentLog } from '@blocktorrent/agent/runtime/log.ts';
import { Quarantine } from '@blocktorrent/agent/runtime/quarantine.ts';
import { openDatabase, openReadOnly } from '@blocktorrent/agent/runtime/sqlite.ts';

/** What the tests' sensors publish: `{ sensor, seq, time, value }` on `site/…`. */
export const RULES: readonly DecodeRule[] = [
  {
    topic: 'site/#',
    decoder: 'json',
    sensor: '/sensor',
    sequence: '/seq',
    time: '/time',
    values: { value: '/value', lat: '/fields/lat', lon: '/fields/lon', x: '/fields/x' },
    unit: 'Cel',
  },
];

export const BATCH_RULES: readonly BatchRule[] = batchRulesOf(RULES);

/** A batch store in `folder` that never rotates by itself unless told. */
export function openStore(folder: string, options: Partial<BatchStoreOptions> = {}): BatchStore {
  return BatchStore.open({
    folder,
    source: 'Org1MSP',
    gateway: 'gateway-1',
    bootId: 'boot-1',
    rules: BATCH_RULES,
    maxAgeMs: 1e9,
    maxReadings: 1e9,
    maxBytes: 1e12,
    nowMs: () => Date.now(),
    openDatabase,
    openReadOnly,
    quarantine: new Quarantine({
      folder: join(folder, 'quarantine'),
      maxBytes: () => 1e9,
      nowMs: () => Date.now(),
    }),
    blank: () => ownReading(systemClock, 'boot-1', true),
    log: silentLog,
    ...options,
  });
}

/** Counts of everything that the stage reports. */
export interface Counts extends IngestMetrics {
  readonly of: Record<
    | 'received'
    | 'committed'
    | 'acknowledged'
    | 'unacknowledged'
    | 'duplicates'
    | 'deadLetters'
    | 'failures',
    number
  >;
}

export function countingMetrics(): Counts {
  const of = {
    received: 0,
    committed: 0,
    acknowledged: 0,
    unacknowledged: 0,
    duplicates: 0,
    deadLetters: 0,
    failures: 0,
  };
  const count =
    (name: keyof typeof of) =>
    (by = 1): void => {
      of[name] += by;
    };
  return {
    of,
    received: count('received'),
    committed: (readings) => count('committed')(readings),
    acknowledged: count('acknowledged'),
    unacknowledged: count('unacknowledged'),
    duplicates: count('duplicates'),
    deadLetters: count('deadLetters'),
    commitFailed: () => count('failures')(),
  };
}

/** A stage over `store`. */
export function createIngest(
  store: IngestOptions['store'],
  options: Partial<IngestOptions> = {},
): Ingest {
  return new Ingest({
    store,
    decode: createDecode(RULES),
    duplicates: new Duplicates(),
    clock: systemClock,
    bootId: 'boot-1',
    clockSynchronised: () => true,
    metrics: countingMetrics(),
    log: silentLog,
    maxReadings: 100,
    maxDelayMs: 2,
    ...options,
  });
}

/** A source that delivers to `sink`, impatient as tests are; `connected` waits for its first connection. */
export function createSource(
  url: string,
  sink: MqttSourceOptions['sink'],
  options: Partial<MqttSourceOptions> = {},
): MqttSource {
  return new MqttSource({
    url,
    clientId: 'blocktorrent-gateway-1',
    filters: ['site/#'],
    version: 'auto',
    backoff: { minMs: 5, maxMs: 50 },
    random: Math.random,
    clock: systemClock,
    log: silentLog,
    sink,
    ...options,
  });
}
