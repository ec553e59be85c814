/**
 * The batch file: a SQLite database with the readings of one interval (P §3.2.3, "private database").
 *
 * SQL text and the mapping between rows and `Reading`; no SQLite here. A payload is stored once,
 * verbatim; what repeats (topics, sensors, boots) is a number, and times are kept as differences
 * that compress to little. The values in JSON payloads come from views, by the paths in table
 * `field`; of payloads that SQLite cannot read they are in table `sample`, and in the chain.
 * Anybody with `sqlite3` can use the views `readings`, `samples`, `dead_letters`, `latest`, `hourly`.
 */
import { ProtocolError } from './errors.ts';
import { LIMITS } from './limits.ts';
import type { Reading, Sample } from './reading.ts';

/** Version of the schema, `PRAGMA user_version`; older ones stay readable. */
export const BATCH_VERSION = 1;
/** `BTRB` as `PRAGMA application_id`, so that `file` can tell. */
export const BATCH_APPLICATION_ID = 0x42545242;

/** Keys of table `meta`; every value is text, numbers in decimal and hashes in lower-case hex. */
export const BATCH_META = {
  source: 'source',
  gateway: 'gateway',
  /** Number of the batch within its gateway, from 1. */
  batch: 'batch',
  openedMs: 'openedMs',
  /** Set when the batch is closed. */
  closedMs: 'closedMs',
  /** Boot in which the batch was opened. */
  bootId: 'bootId',
  /** Seq of the first reading that the batch may hold. */
  firstSeq: 'firstSeq',
  /** Set when the batch is closed: seq of the last reading. */
  lastSeq: 'lastSeq',
  /** Chain hash before the first reading. */
  chainStart: 'chainStart',
  /** Set when the batch is closed: chain hash after the last reading, and how many there are. */
  chainEnd: 'chainEnd',
  count: 'count',
  /** Only where damaged batches were found: their numbers, with commas; it holds their readings. */
  salvaged: 'salvaged',
} as const;
/** A key of table `meta`. */
export type BatchMetaKey = (typeof BATCH_META)[keyof typeof BATCH_META];

/** Decoders of payloads that are no text: the views leave them as they are. */
const BINARY_DECODERS = ['cbor', 'msgpack', 'senml-cbor', 'sparkplug'] as const;

/** Creates an empty batch. Run once, in one transaction, on an empty database. */
export const BATCH_SCHEMA = `
PRAGMA application_id = ${BATCH_APPLICATION_ID};
PRAGMA user_version = ${BATCH_VERSION};

CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

-- How a decoder reads a kind of payload; field.path and unit_path are SQLite JSON paths.
CREATE TABLE rule (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  decoder TEXT NOT NULL
) STRICT;
CREATE TABLE field (
  rule INTEGER NOT NULL REFERENCES rule (id),
  name TEXT NOT NULL,
  path TEXT NOT NULL,
  -- Where the payload does not say it at unit_path.
  unit TEXT NOT NULL,
  unit_path TEXT,
  PRIMARY KEY (rule, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE topic (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  rule INTEGER REFERENCES rule (id)
) STRICT;
CREATE TABLE sensor (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE boot (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;

CREATE TABLE reading (
  seq INTEGER PRIMARY KEY,
  received_ms INTEGER NOT NULL,
  -- received_ms - monotonic_ms: the same for a whole boot, as long as the clock is not set.
  boot_ms INTEGER NOT NULL,
  boot INTEGER NOT NULL REFERENCES boot (id),
  -- qos + 4 * dup + 8 * retain + 16 * clock_synchronised + 32 * historical
  flags INTEGER NOT NULL,
  topic INTEGER NOT NULL REFERENCES topic (id),
  sensor INTEGER REFERENCES sensor (id),
  device_seq INTEGER,
  -- received_ms - device_ms
  device_lag_ms INTEGER,
  duplicate_of INTEGER,
  refusal TEXT,
  payload BLOB NOT NULL
) STRICT;

-- Next to nothing where there are no dead letters.
CREATE INDEX reading_refused ON reading (seq) WHERE refusal IS NOT NULL;

-- Values of payloads that are not JSON, in their order within the reading.
CREATE TABLE metric (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  unit TEXT NOT NULL,
  UNIQUE (name, unit)
) STRICT;
CREATE TABLE sample (
  seq INTEGER NOT NULL REFERENCES reading (seq),
  place INTEGER NOT NULL,
  metric INTEGER NOT NULL REFERENCES metric (id),
  -- Null: the reading's own.
  sensor INTEGER REFERENCES sensor (id),
  -- received_ms - time_ms; null: the reading's own time.
  lag_ms INTEGER,
  -- One of the two.
  value REAL,
  text TEXT,
  PRIMARY KEY (seq, place)
) STRICT, WITHOUT ROWID;

-- Chain hash after some of the readings; the last one's is always there.
CREATE TABLE chain (seq INTEGER PRIMARY KEY, hash BLOB NOT NULL) STRICT;

CREATE VIEW readings AS
SELECT r.seq, r.received_ms,
  strftime('%Y-%m-%dT%H:%M:%fZ', r.received_ms / 1000.0, 'unixepoch') AS received_at,
  r.received_ms - r.boot_ms AS monotonic_ms, b.name AS boot_id,
  r.flags >> 4 & 1 AS clock_synchronised, t.name AS topic,
  r.flags & 3 AS qos, r.flags >> 2 & 1 AS dup, r.flags >> 3 & 1 AS retain,
  s.name AS sensor, r.device_seq, r.received_ms - r.device_lag_ms AS device_ms,
  r.flags >> 5 & 1 AS historical, r.duplicate_of,
  CASE WHEN u.decoder IN (${BINARY_DECODERS.map((name) => `'${name}'`).join(', ')})
    THEN r.payload ELSE CAST(r.payload AS TEXT) END AS payload
FROM reading r JOIN topic t ON t.id = r.topic JOIN boot b ON b.id = r.boot
LEFT JOIN sensor s ON s.id = r.sensor LEFT JOIN rule u ON u.id = t.rule
WHERE r.refusal IS NULL;

CREATE VIEW dead_letters AS
SELECT r.seq, r.received_ms,
  strftime('%Y-%m-%dT%H:%M:%fZ', r.received_ms / 1000.0, 'unixepoch') AS received_at,
  t.name AS topic, r.refusal, r.payload
FROM reading r JOIN topic t ON t.id = r.topic
WHERE r.refusal IS NOT NULL;

CREATE VIEW samples AS
SELECT r.seq, r.received_ms, COALESCE(r.received_ms - r.device_lag_ms, r.received_ms) AS time_ms,
  s.name AS sensor, f.name AS name,
  COALESCE(CASE WHEN f.unit_path IS NOT NULL AND json_valid(CAST(r.payload AS TEXT))
    THEN NULLIF(json_extract(CAST(r.payload AS TEXT), f.unit_path), '') END, f.unit) AS unit,
  CASE WHEN json_valid(CAST(r.payload AS TEXT))
    THEN NULLIF(json_extract(CAST(r.payload AS TEXT), f.path), '') END AS value,
  r.flags >> 5 & 1 AS historical
FROM reading r JOIN topic t ON t.id = r.topic JOIN field f ON f.rule = t.rule
LEFT JOIN sensor s ON s.id = r.sensor
WHERE r.refusal IS NULL AND r.duplicate_of IS NULL AND value IS NOT NULL
UNION ALL
SELECT r.seq, r.received_ms, r.received_ms - COALESCE(p.lag_ms, r.device_lag_ms, 0),
  s.name, m.name, m.unit, COALESCE(p.value, p.text), r.flags >> 5 & 1
FROM sample p JOIN reading r ON r.seq = p.seq JOIN metric m ON m.id = p.metric
LEFT JOIN sensor s ON s.id = COALESCE(p.sensor, r.sensor)
WHERE r.refusal IS NULL AND r.duplicate_of IS NULL;

-- What a sensor sent again from its buffer is the latest only where there is nothing else.
CREATE VIEW latest AS
SELECT sensor, name, value, unit, time_ms, seq FROM (
  SELECT sensor, name, value, unit, time_ms, seq,
    max(printf('%d %016d %016d', NOT historical, seq, time_ms))
  FROM samples GROUP BY sensor, name
);

CREATE VIEW hourly AS
SELECT sensor, name, unit,
  strftime('%Y-%m-%dT%H:00:00Z', time_ms / 1000.0, 'unixepoch') AS hour,
  count(*) AS count, min(value) AS min, avg(value) AS mean, max(value) AS max
FROM samples WHERE typeof(value) IN ('integer', 'real')
GROUP BY sensor, name, unit, hour;
`;

/** Statements on a batch; named parameters are those of the row types below. */
export const BATCH_SQL = {
  putMeta: 'INSERT INTO meta VALUES (@key, @value) ON CONFLICT DO UPDATE SET value = @value',
  getMeta: 'SELECT value FROM meta WHERE key = @key',
  addRule: 'INSERT INTO rule (name, decoder) VALUES (@name, @decoder) ON CONFLICT DO NOTHING',
  addField: `INSERT INTO field SELECT id, @name, @path, @unit, @unitPath FROM rule
    WHERE name = @rule`,
  /** `rule` is a rule's name or null. */
  addTopic: `INSERT INTO topic (name, rule) VALUES (@name, (SELECT id FROM rule WHERE name = @rule))
    ON CONFLICT DO UPDATE SET name = name RETURNING id`,
  addSensor:
    'INSERT INTO sensor (name) VALUES (@name) ON CONFLICT DO UPDATE SET name = name RETURNING id',
  addBoot:
    'INSERT INTO boot (name) VALUES (@name) ON CONFLICT DO UPDATE SET name = name RETURNING id',
  addMetric: `INSERT INTO metric (name, unit) VALUES (@name, @unit)
    ON CONFLICT DO UPDATE SET name = name RETURNING id`,
  /** Parameters: `SampleRow`. */
  addSample: 'INSERT INTO sample VALUES (@seq, @place, @metric, @sensor, @lag_ms, @value, @text)',
  putChain: 'INSERT OR REPLACE INTO chain VALUES (@seq, @hash)',
  /** Hashes do not compress: a batch need not keep more than the last one. */
  dropChainBefore: 'DELETE FROM chain WHERE seq < @seq',
  lastChain: 'SELECT seq, hash FROM chain ORDER BY seq DESC LIMIT 1',
  /** Rows: `NamedBatchRow`, all readings after `seq` in order, dead letters too. */
  readingsAfter: `SELECT r.seq, r.received_ms, r.boot_ms, b.name AS boot, r.flags, t.name AS topic,
    s.name AS sensor, r.device_seq, r.device_lag_ms, r.duplicate_of, r.refusal, r.payload
    FROM reading r JOIN topic t ON t.id = r.topic JOIN boot b ON b.id = r.boot
    LEFT JOIN sensor s ON s.id = r.sensor WHERE r.seq > @seq ORDER BY r.seq LIMIT @limit`,
  /** Rows: `NamedSampleRow`, all samples of readings after `seq` in order. */
  samplesAfter: `SELECT p.seq, p.lag_ms, p.value, p.text, m.name, m.unit, s.name AS sensor
    FROM sample p JOIN metric m ON m.id = p.metric LEFT JOIN sensor s ON s.id = p.sensor
    WHERE p.seq > @seq ORDER BY p.seq, p.place`,
  /** Rows: `DeadLetterRow`, the newest first. */
  deadLetters: `SELECT r.seq, r.received_ms, t.name AS topic, r.refusal,
    length(r.payload) AS bytes, COALESCE(substr(r.payload, 1, @bytes), x'') AS head
    FROM reading r JOIN topic t ON t.id = r.topic WHERE r.refusal IS NOT NULL ORDER BY r.seq DESC`,
} as const;

/** Numbers of what a reading names, from `addTopic`, `addSensor` and `addBoot`. */
export interface BatchIds {
  readonly topic: number;
  readonly sensor: number | null;
  readonly boot: number;
}

/** A row of table `reading`. */
export interface BatchRow {
  readonly seq: number;
  readonly received_ms: number;
  readonly boot_ms: number;
  readonly boot: number;
  readonly flags: number;
  readonly topic: number;
  readonly sensor: number | null;
  readonly device_seq: number | null;
  readonly device_lag_ms: number | null;
  readonly duplicate_of: number | null;
  readonly refusal: string | null;
  readonly payload: Uint8Array;
}

/** A row of `readingsAfter`: with names in the place of their numbers. */
export interface NamedBatchRow extends Omit<BatchRow, 'boot' | 'topic' | 'sensor'> {
  readonly boot: string;
  readonly topic: string;
  readonly sensor: string | null;
}

/** A row of table `sample`. */
export interface SampleRow {
  readonly seq: number;
  readonly place: number;
  readonly metric: number;
  readonly sensor: number | null;
  readonly lag_ms: number | null;
  readonly value: number | null;
  readonly text: string | null;
}

/** A row of `samplesAfter`. */
export interface NamedSampleRow extends Omit<SampleRow, 'place' | 'metric' | 'sensor'> {
  readonly name: string;
  readonly unit: string;
  readonly sensor: string | null;
}

/** A row of `deadLetters`. */
export interface DeadLetterRow {
  readonly seq: number;
  readonly received_ms: number;
  readonly topic: string;
  readonly refusal: string;
  /** Size of the payload, and its first bytes. */
  readonly bytes: number;
  readonly head: Uint8Array;
}

/** The row that holds the sample at `place` of `reading`. */
export function sampleRowOf(
  reading: Reading,
  place: number,
  sample: Sample,
  ids: Pick<SampleRow, 'metric' | 'sensor'>,
): SampleRow {
  const { timeMs, value } = sample;
  return {
    seq: reading.seq,
    place,
    ...ids,
    lag_ms: timeMs === null ? null : reading.receivedMs - timeMs,
    value: typeof value === 'number' ? value : null,
    text: typeof value === 'string' ? value : null,
  };
}

/** Parameters of `addReadingsSql`, row after row: binding by place is faster. */
export type BatchValues = (number | string | Uint8Array | null)[];
/**
 * What is bound for a row. `plain` holds no repetition and no dead letter: binding their two nulls
 * takes a sixth of the time that storing a row does.
 */
export type RowShape = 'plain' | 'whole';
/** Values of a row. */
export const ROW_VALUES: Readonly<Record<RowShape, number>> = { plain: 10, whole: 12 };

/** A statement that adds so many readings; its parameters are what `putBatchRow` puts for each. */
export function addReadingsSql(rows: number, shape: RowShape): string {
  const places = Array(ROW_VALUES[shape]).fill('?');
  const row = `(${[...places, ...(shape === 'plain' ? ['NULL', 'NULL'] : [])].join(', ')})`;
  return `INSERT INTO reading (seq, received_ms, boot_ms, boot, flags, topic, sensor, device_seq,
    device_lag_ms, payload, duplicate_of, refusal) VALUES ${Array(rows).fill(row).join(', ')}`;
}

/** The shape of a row that holds `reading`. */
export function rowShapeOf({ duplicateOf, refusal }: Reading): RowShape {
  return duplicateOf === null && refusal === null ? 'plain' : 'whole';
}

/** Puts the row that holds `reading` into `values`, from `at` on; `shape` must be able to hold it. */
export function putBatchRow(
  values: BatchValues,
  at: number,
  reading: Reading,
  ids: BatchIds,
  shape: RowShape,
): void {
  const { receivedMs, deviceMs } = reading;
  values[at] = reading.seq;
  values[at + 1] = receivedMs;
  values[at + 2] = receivedMs - reading.monotonicMs;
  values[at + 3] = ids.boot;
  values[at + 4] =
    reading.qos +
    4 * Number(reading.dup) +
    8 * Number(reading.retain) +
    16 * Number(reading.clockSynchronised) +
    32 * Number(reading.historical);
  values[at + 5] = ids.topic;
  values[at + 6] = ids.sensor;
  values[at + 7] = reading.deviceSeq;
  values[at + 8] = deviceMs === null ? null : receivedMs - deviceMs;
  values[at + 9] = reading.payload;
  if (shape === 'plain') return;
  values[at + 10] = reading.duplicateOf;
  values[at + 11] = reading.refusal;
}

/**
 * The readings of `readingsAfter` with their samples of `samplesAfter`, exactly as they were put in.
 * Throws ProtocolError `malformed` on odd flags, and on samples of no reading.
 */
export function* readingsOf(
  rows: Iterable<NamedBatchRow>,
  sampleRows: Iterable<NamedSampleRow>,
): Generator<Reading> {
  const samples = sampleRows[Symbol.iterator]();
  try {
    let next = samples.next();
    for (const row of rows) {
      const own: Sample[] = [];
      for (; next.done !== true && next.value.seq === row.seq; next = samples.next()) {
        if (own.length === LIMITS.samplesPerReadingMax) {
          throw new ProtocolError('too-large', `batch: reading ${row.seq} has too many samples`);
        }
        own.push(sampleOf(next.value, row));
      }
      yield readingOf(row, own);
    }
    if (next.done !== true) {
      throw new ProtocolError('malformed', `batch: a sample of no reading, ${next.value.seq}`);
    }
  } finally {
    samples.return?.();
  }
}

function sampleOf(row: NamedSampleRow, reading: NamedBatchRow): Sample {
  const { sensor, name, unit, lag_ms: lagMs, value, text } = row;
  const found = value ?? text;
  if (found === null || (value !== null && text !== null)) {
    throw new ProtocolError('malformed', `batch: a sample of reading ${row.seq} without one value`);
  }
  const timeMs = lagMs === null ? null : reading.received_ms - lagMs;
  return { sensor, name, unit, timeMs, value: found };
}

/** The reading in a row; `samples` are its rows of the other table. */
function readingOf(row: NamedBatchRow, samples: readonly Sample[]): Reading {
  return {
    seq: row.seq,
    receivedMs: row.received_ms,
    monotonicMs: row.received_ms - row.boot_ms,
    bootId: row.boot,
    clockSynchronised: (row.flags & 16) !== 0,
    topic: row.topic,
    qos: qosOf(row.flags),
    dup: (row.flags & 4) !== 0,
    retain: (row.flags & 8) !== 0,
    payload: row.payload,
    sensor: row.sensor,
    deviceSeq: row.device_seq,
    deviceMs: row.device_lag_ms === null ? null : row.received_ms - row.device_lag_ms,
    duplicateOf: row.duplicate_of,
    refusal: row.refusal,
    historical: (row.flags & 32) !== 0,
    samples,
  };
}

function qosOf(flags: number): 0 | 1 | 2 {
  const qos = flags & 3;
  if (flags < 0 || flags > 63 || (qos !== 0 && qos !== 1 && qos !== 2)) {
    throw new ProtocolError('malformed', `batch: flags ${flags} of a reading`);
  }
  return qos;
}
