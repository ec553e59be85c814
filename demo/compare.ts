/**
 * The demo's proof: what the audit rebuilt, reading by reading, against the simulator's own log.
 *
 * Enters: the simulator's log (JSON lines, one for each message that the broker acknowledged) and the
 * rebuilt SQLite files. Leaves: counts. Always holds: only rows that are no duplicates count.
 */
import { readFileSync } from 'node:fs';
import Database from 'better-sqlite3';

export interface Comparison {
  readonly sent: number;
  readonly recovered: number;
  /** Sent, and in no file. */
  readonly missing: number;
  /** In a file with another payload, or more than once, or never sent. */
  readonly altered: number;
}

interface LoggedReading {
  readonly topic: string;
  readonly payload: string;
}

/** Compares every logged message with the rows of all rebuilt batches. */
export function compare(logPath: string, sqlitePaths: readonly string[]): Comparison {
  const sent = readFileSync(logPath, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as LoggedReading);
  const recovered = new Map<string, number>();
  let rows = 0;
  for (const path of sqlitePaths) {
    for (const key of keysOf(path)) {
      recovered.set(key, (recovered.get(key) ?? 0) + 1);
      rows += 1;
    }
  }
  let missing = 0;
  for (const { topic, payload } of sent) {
    const key = keyOf(topic, payload);
    const count = recovered.get(key) ?? 0;
    if (count === 0) missing += 1;
    else recovered.set(key, count - 1);
  }
  const altered = [...recovered.values()].reduce((sum, count) => sum + count, 0);
  return { sent: sent.length, recovered: rows - altered, missing, altered };
}

/** Topic and payload of every row that is no duplicate, dead letters included. */
function keysOf(path: string): string[] {
  const db = new Database(path, { readonly: true });
  try {
    const rows = db
      .prepare(
        `SELECT topic.name AS topic, CAST(reading.payload AS TEXT) AS payload
         FROM reading JOIN topic ON topic.id = reading.topic
         WHERE reading.duplicate_of IS NULL`,
      )
      .all() as { topic: string; payload: string }[];
    return rows.map((row) => keyOf(row.topic, row.payload));
  } finally {
    db.close();
  }
}

function keyOf(topic: string, payload: string): string {
  return `${topic}\n${payload}`;
}
