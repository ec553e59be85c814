/**
 * One payload through the rules, into a batch in memory, and out by the batch's own view: exactly
 * what a real batch would show of it. Nothing is kept.
 */
import { CHAIN_START, type Reading } from '@blocktorrent/protocol/reading.ts';
import { type BatchMeta, BatchWriter, beginBatch } from './batch/batch-file.ts';
import { batchRulesOf } from './batch/batch-rule.ts';
import { createDecode, type DecodeRule } from './ingest/decode.ts';
import { openDatabase } from './runtime/sqlite.ts';

/** What would be stored, and what the view `samples` would show. */
export interface DecodeTrial {
  /** Topic filter of the rule that decided; null where it is a dead letter. */
  readonly rule: string | null;
  readonly refusal: string | null;
  readonly sensor: string | null;
  readonly deviceSeq: number | null;
  readonly deviceMs: number | null;
  readonly historical: boolean;
  readonly values: readonly {
    readonly sensor: string | null;
    readonly name: string;
    readonly value: number | string | null;
    readonly unit: string;
    readonly timeMs: number;
  }[];
}

/** Decodes `payload` as if it came by `topic` at `nowMs`. Throws RangeError on a rule that is none. */
export function tryDecode(
  rules: readonly DecodeRule[],
  topic: string,
  payload: Uint8Array,
  nowMs: number,
): DecodeTrial {
  const decoded = createDecode(rules)(topic, payload, nowMs);
  if (decoded.refusal !== null) return { ...NOTHING, refusal: decoded.refusal };
  const { rule, ...finding } = decoded;
  const reading: Reading = {
    ...finding,
    seq: 1,
    receivedMs: nowMs,
    monotonicMs: 0,
    bootId: 'trial',
    clockSynchronised: false,
    topic,
    qos: 1,
    dup: false,
    retain: false,
    payload,
    duplicateOf: null,
  };
  const { sensor, deviceSeq, deviceMs, historical } = reading;
  return {
    rule,
    refusal: null,
    sensor,
    deviceSeq,
    deviceMs,
    historical,
    values: valuesOf(rules, reading),
  };
}

const NOTHING = {
  rule: null,
  sensor: null,
  deviceSeq: null,
  deviceMs: null,
  historical: false,
  values: [],
} as const;

const META: BatchMeta = {
  source: 'trial',
  gateway: 'trial',
  batch: 1,
  bootId: 'trial',
  openedMs: 0,
  closedMs: null,
  chainStart: CHAIN_START,
  chainEnd: CHAIN_START,
  firstSeq: 1,
  lastSeq: 0,
  count: 0,
};

function valuesOf(rules: readonly DecodeRule[], reading: Reading): DecodeTrial['values'] {
  const database = openDatabase(':memory:');
  try {
    const batchRules = batchRulesOf(rules);
    beginBatch(database, META, batchRules);
    new BatchWriter(database, META, batchRules).append([reading]);
    const rows = database.prepare(
      `SELECT sensor, name, value, unit, time_ms AS timeMs FROM samples`,
    );
    return rows.all() as DecodeTrial['values'];
  } finally {
    database.close();
  }
}
