/**
 * Saves what can be read of damaged batch files.
 *
 * Enters: a batch file that SQLite or its chain calls broken. Leaves: its readings that are still
 * whole, in order. Always holds: never throws for what is in the file; the work is bounded. Rows on
 * a page that is gone are skipped; whether the others are what they were, only the chain could say.
 */
import {
  BATCH_SQL,
  type NamedBatchRow,
  type NamedSampleRow,
  readingsOf,
} from '@blocktorrent/protocol/batch.ts';
import { type Reading, requireReading } from '@blocktorrent/protocol/reading.ts';
import type { Database } from 'better-sqlite3';

const PAGE_ROWS = 200;
/** Rows that cannot be read, one after the other, before the rest is given up. */
const FAILURES_MAX = 20_000;
const SAMPLES_OF = `SELECT p.seq, p.lag_ms, p.value, p.text, m.name, m.unit, s.name AS sensor
  FROM sample p JOIN metric m ON m.id = p.metric LEFT JOIN sensor s ON s.id = p.sensor
  WHERE p.seq = @seq ORDER BY p.place`;

/** Readings of `database` after `afterSeq` that can still be read, by growing seq. */
export function* salvageReadings(database: Database, afterSeq = 0): Generator<Reading> {
  const next = prepared(database, BATCH_SQL.readingsAfter);
  const samplesOf = prepared(database, SAMPLES_OF);
  if (next === null) return;
  let after = Math.max(0, afterSeq);
  let failures = 0;
  while (failures < FAILURES_MAX) {
    const limit = failures === 0 ? PAGE_ROWS : 1;
    const rows = attempt(() => next.all({ seq: after, limit }) as NamedBatchRow[]);
    if (rows === null) {
      // A page of rows is lost if one of them is; then row by row, past those that are gone.
      if (failures > 0) after += 1;
      failures += 1;
      continue;
    }
    if (rows.length === 0) return;
    failures = limit === PAGE_ROWS ? 0 : failures - 1;
    for (const row of rows) {
      if (typeof row.seq === 'number') after = Math.max(after + 1, row.seq);
      const samples = attempt(
        () => samplesOf?.all({ seq: row.seq }) as NamedSampleRow[] | undefined,
      );
      const reading = attempt(() => [...readingsOf([row], samples ?? [])][0]);
      if (reading !== null && isSound(reading)) yield reading;
    }
  }
}

function isSound(reading: Reading | undefined): reading is Reading {
  if (reading === undefined) return false;
  const sound = attempt(() => {
    requireReading(reading);
    return true;
  });
  return sound === true;
}

function prepared(database: Database, sql: string) {
  return attempt(() => database.prepare(sql));
}

/** Null where it throws: the file is damaged, that is known already. */
function attempt<T>(work: () => T): T | null {
  try {
    return work();
  } catch {
    return null;
  }
}
