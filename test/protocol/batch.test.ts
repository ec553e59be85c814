import {
  addReadingsSql,
  BATCH_APPLICATION_ID,
  BATCH_SCHEMA,
  BATCH_SQL,
  BATCH_VERSION,
  type BatchValues,
  type NamedBatchRow,
  type NamedSampleRow,
  putBatchRow,
  readingsOf,
  rowShapeOf,
  sampleRowOf,
} from '@blocktorrent/protocol/batch.ts';
import { utf8 } from '@blocktorrent/protocol/bytes.ts';
import {
  CHAIN_START,
  chainHash,
  type Reading,
  type Sample,
} from '@blocktorrent/protocol/reading.ts';
import Sqlite from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { codeOf } from '../support/errors.ts';

const HOUR_MS = 3_600_000;
const START_MS = Date.UTC(2026, 0, 1);

function reading(seq: number, change: Partial<Reading> = {}): Reading {
  return {
    seq,
    receivedMs: START_MS + seq * 1000,
    monotonicMs: 5000 + seq * 1000,
    bootId: 'boot-1',
    clockSynchronised: true,
    topic: 'cold/room-1',
    qos: 1,
    dup: false,
    retain: false,
    payload: utf8(JSON.stringify({ t: -18 + seq, door: 'shut' })),
    sensor: 'room-1',
    deviceSeq: seq,
    deviceMs: START_MS + seq * 1000 - 20,
    duplicateOf: null,
    refusal: null,
    historical: false,
    samples: [],
    ...change,
  };
}

const READINGS: readonly Reading[] = [
  reading(1),
  reading(2, { deviceMs: START_MS + HOUR_MS }),
  reading(3, { dup: true, qos: 2, duplicateOf: 2, deviceSeq: 2 }),
  reading(4, {
    topic: 'tür/❄',
    retain: true,
    clockSynchronised: false,
    bootId: 'boot-2',
    monotonicMs: 3,
    payload: Uint8Array.of(0, 0xff, 0x7b),
    sensor: null,
    deviceSeq: null,
    deviceMs: null,
    refusal: 'no rule for this topic',
  }),
  reading(5, { payload: utf8('{"t": 1e400'), qos: 0 }),
  reading(6, { payload: utf8('{"t":20.5}'), sensor: 'room-2' }),
  reading(7, {
    topic: 'lab',
    sensor: 'lab',
    samples: [
      { sensor: null, name: 'p', unit: 'Pa', timeMs: null, value: 1e300 },
      { sensor: 'room-2', name: 'door', unit: '', timeMs: START_MS, value: 'open' },
      { sensor: null, name: 'p', unit: 'Pa', timeMs: START_MS + 7001, value: 2 },
    ],
  }),
  reading(8, {
    topic: 'lab',
    sensor: 'lab',
    historical: true,
    deviceMs: START_MS,
    samples: [{ sensor: null, name: 'p', unit: 'Pa', timeMs: null, value: 3 }],
  }),
];

/** An id that a statement with RETURNING gives back. */
function idOf(row: unknown): number {
  return (row as { id: number }).id;
}

function addSample(db: Sqlite.Database, one: Reading, place: number, sample: Sample): void {
  const { sensor: name, unit } = sample;
  const metric = idOf(db.prepare(BATCH_SQL.addMetric).get({ name: sample.name, unit }));
  const sensor = name === null ? null : idOf(db.prepare(BATCH_SQL.addSensor).get({ name }));
  db.prepare(BATCH_SQL.addSample).run(sampleRowOf(one, place, sample, { metric, sensor }));
}

/** Rows of all readings, and of their samples. */
function rowsOf(db: Sqlite.Database) {
  return {
    rows: db.prepare(BATCH_SQL.readingsAfter).all({ seq: 0, limit: 100 }) as NamedBatchRow[],
    samples: db.prepare(BATCH_SQL.samplesAfter).all({ seq: 0 }) as NamedSampleRow[],
  };
}

function filled() {
  const db = new Sqlite(':memory:');
  db.exec(BATCH_SCHEMA);
  db.prepare(BATCH_SQL.addRule).run({ name: 'cold', decoder: 'json' });
  db.prepare(BATCH_SQL.addRule).run({ name: 'lab', decoder: 'cbor' });
  const addField = db.prepare(BATCH_SQL.addField);
  addField.run({ rule: 'cold', name: 'temperature', path: '$.t', unit: '°C', unitPath: null });
  addField.run({ rule: 'cold', name: 'door', path: '$.door', unit: '', unitPath: null });
  for (const one of READINGS) {
    const named = one.topic === 'lab' ? 'lab' : 'cold';
    const rule = one.refusal === null ? named : null;
    const ids = {
      topic: idOf(db.prepare(BATCH_SQL.addTopic).get({ name: one.topic, rule })),
      sensor:
        one.sensor === null
          ? null
          : idOf(db.prepare(BATCH_SQL.addSensor).get({ name: one.sensor })),
      boot: idOf(db.prepare(BATCH_SQL.addBoot).get({ name: one.bootId })),
    };
    const values: BatchValues = [];
    putBatchRow(values, 0, one, ids, rowShapeOf(one));
    db.prepare(addReadingsSql(1, rowShapeOf(one))).run(values);
    for (const [place, sample] of one.samples.entries()) addSample(db, one, place, sample);
  }
  return db;
}

describe('batch file', () => {
  it('gives every reading back as it went in, so that the chain can be checked', () => {
    const db = filled();
    const { rows, samples } = rowsOf(db);
    const found = [...readingsOf(rows, samples)];
    const back = found.map((one) => ({ ...one, payload: Uint8Array.from(one.payload) }));
    expect(back).toEqual(READINGS);
    let [stored, kept] = [CHAIN_START, CHAIN_START];
    for (const [index, one] of READINGS.entries()) {
      kept = chainHash(kept, one);
      const again = found[index];
      if (again !== undefined) stored = chainHash(stored, again);
    }
    expect(stored).toEqual(kept);
    expect(found.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(db.prepare(BATCH_SQL.readingsAfter).all({ seq: 6, limit: 1 })).toHaveLength(1);
  });

  it('says what it is and in which version', () => {
    const db = filled();
    expect(db.pragma('application_id', { simple: true })).toBe(BATCH_APPLICATION_ID);
    expect(db.pragma('user_version', { simple: true })).toBe(BATCH_VERSION);
  });

  it('keeps its meta values and chain points', () => {
    const db = filled();
    const put = db.prepare(BATCH_SQL.putMeta);
    put.run({ key: 'gateway', value: 'a' });
    put.run({ key: 'gateway', value: 'b' });
    expect(db.prepare(BATCH_SQL.getMeta).get({ key: 'gateway' })).toEqual({ value: 'b' });
    const putChain = db.prepare(BATCH_SQL.putChain);
    for (const seq of [2, 6]) putChain.run({ seq, hash: CHAIN_START });
    expect(db.prepare(BATCH_SQL.lastChain).get()).toHaveProperty('seq', 6);
  });

  it('shows readings and dead letters apart', () => {
    const db = filled();
    expect(db.prepare('SELECT seq FROM readings').pluck().all()).toEqual([1, 2, 3, 5, 6, 7, 8]);
    expect(db.prepare('SELECT * FROM readings WHERE seq = 1').get()).toEqual({
      seq: 1,
      received_ms: START_MS + 1000,
      received_at: '2026-01-01T00:00:01.000Z',
      monotonic_ms: 6000,
      boot_id: 'boot-1',
      clock_synchronised: 1,
      topic: 'cold/room-1',
      qos: 1,
      dup: 0,
      retain: 0,
      sensor: 'room-1',
      device_seq: 1,
      device_ms: START_MS + 980,
      historical: 0,
      duplicate_of: null,
      payload: '{"t":-17,"door":"shut"}',
    });
    const dead = db.prepare('SELECT seq, topic, refusal, payload FROM dead_letters').all();
    expect(dead).toEqual([
      {
        seq: 4,
        topic: 'tür/❄',
        refusal: 'no rule for this topic',
        payload: Buffer.from([0, 255, 123]),
      },
    ]);
  });

  it('decodes values by the paths of their rule, without duplicates, and survives bad JSON', () => {
    const db = filled();
    const sql = "SELECT seq, value FROM samples WHERE name = 'temperature' ORDER BY seq";
    expect(db.prepare(sql).all()).toEqual([
      { seq: 1, value: -17 },
      { seq: 2, value: -16 },
      { seq: 6, value: 20.5 },
    ]);
    const latest =
      "SELECT sensor, name, value, seq FROM latest WHERE sensor <> 'lab' ORDER BY 1, 2";
    expect(db.prepare(latest).all()).toEqual([
      { sensor: 'room-1', name: 'door', value: 'shut', seq: 2 },
      { sensor: 'room-1', name: 'temperature', value: -16, seq: 2 },
      { sensor: 'room-2', name: 'door', value: 'open', seq: 7 },
      { sensor: 'room-2', name: 'temperature', value: 20.5, seq: 6 },
    ]);
    const hourly = db.prepare(
      "SELECT hour, count, min, mean, max FROM hourly WHERE sensor = 'room-1'",
    );
    expect(hourly.all()).toEqual([
      { hour: '2026-01-01T00:00:00Z', count: 1, min: -17, mean: -17, max: -17 },
      { hour: '2026-01-01T01:00:00Z', count: 1, min: -16, mean: -16, max: -16 },
    ]);
  });

  it('shows what is not JSON by its samples, the latest that is not from a buffer', () => {
    const db = filled();
    const sql =
      "SELECT seq, time_ms, value, historical FROM samples WHERE name = 'p' ORDER BY 1, 2";
    expect(db.prepare(sql).all()).toEqual([
      { seq: 7, time_ms: START_MS + 6980, value: 1e300, historical: 0 },
      { seq: 7, time_ms: START_MS + 7001, value: 2, historical: 0 },
      { seq: 8, time_ms: START_MS, value: 3, historical: 1 },
    ]);
    expect(db.prepare("SELECT value, unit, seq FROM latest WHERE sensor = 'lab'").all()).toEqual([
      { value: 2, unit: 'Pa', seq: 7 },
    ]);
    const kind = db.prepare('SELECT typeof(payload) FROM readings WHERE seq IN (6, 7)').pluck();
    expect(kind.all()).toEqual(['text', 'blob']);
  });

  it('refuses rows that are no reading', async () => {
    const { rows, samples } = rowsOf(filled());
    const [row] = rows;
    const [sample] = samples;
    if (row === undefined || sample === undefined) throw new Error('a row');
    for (const flags of [3, 64, -1]) {
      expect(await codeOf(() => [...readingsOf([{ ...row, flags }], [])])).toBe('malformed');
    }
    const wrong = [
      { seq: 1, value: null, text: null },
      { seq: 1, text: 'a' },
      { seq: 0 },
      { seq: 2 },
    ];
    for (const change of wrong) {
      expect(await codeOf(() => [...readingsOf([row], [{ ...sample, ...change }])])).toBe(
        'malformed',
      );
    }
  });
});
