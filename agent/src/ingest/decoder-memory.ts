/**
 * What decoders must still know after a restart, in `decoders.sqlite` of the agent's folder.
 *
 * Always holds: `put` is synced when it returns, that of `later` when `flush` does, if the disk takes
 * anything at all; what it does not take is kept in mind and put with the next one. There is an end to
 * how much is kept.
 */
import type { Database } from 'better-sqlite3';
import type { Log } from '../runtime/log.ts';
import type { DecoderMemory } from './finding.ts';

/** Kept at most; beyond that go births (the only values that others can make more) put longest ago. */
const VALUES_MAX = 100_000;
const BYTES_MAX = 64 * 1024 * 1024;
/** Keys of the births, a GLOB pattern. */
const BIRTHS = 'spb/*';
/** The same for what the disk does not take. */
const UNWRITTEN_MAX = 100;

/** A memory on the disk. */
export interface StoredMemory extends DecoderMemory {
  /** The same memory, for many values in a row: they share one sync, that of `flush`. */
  readonly later: DecoderMemory;
  /** Never throws for what the disk says. */
  flush(): void;
}

/** A memory in an open database. */
export function createDecoderMemory(database: Database, log: Log): StoredMemory {
  database.exec(
    `CREATE TABLE IF NOT EXISTS memory
       (key TEXT NOT NULL UNIQUE, value TEXT NOT NULL, id INTEGER PRIMARY KEY) STRICT`,
  );
  const get = database.prepare('SELECT value FROM memory WHERE key = ?').pluck();
  const insert = database.prepare('INSERT OR REPLACE INTO memory (key, value) VALUES (?, ?)');
  const oldestBirth = database
    .prepare('SELECT id FROM memory WHERE key GLOB ? ORDER BY id LIMIT 1')
    .pluck();
  const remove = database.prepare('DELETE FROM memory WHERE id = ?');
  const size = database.prepare('SELECT octet_length(value) FROM memory WHERE key = ?').pluck();
  const sizeOf = database.prepare('SELECT octet_length(value) FROM memory WHERE id = ?').pluck();
  const all = database.prepare('SELECT count(*) AS n, total(octet_length(value)) AS b FROM memory');
  let { n: values, b: bytes } = all.get() as { n: number; b: number };
  /** What the disk did not take yet. */
  const unwritten = new Map<string, string>();
  const write = database.transaction(() => {
    const after = { values, bytes };
    for (const [key, value] of unwritten) {
      const before = size.get(key) as number | undefined;
      insert.run(key, value);
      after.values += before === undefined ? 1 : 0;
      after.bytes += Buffer.byteLength(value) - (before ?? 0);
    }
    while (after.values > VALUES_MAX || after.bytes > BYTES_MAX) {
      const id = oldestBirth.get(BIRTHS) as number | undefined;
      if (id === undefined) break;
      after.bytes -= sizeOf.get(id) as number;
      remove.run(id);
      after.values -= 1;
    }
    return after;
  });
  const flush = () => {
    if (unwritten.size === 0) return;
    try {
      ({ values, bytes } = write());
      unwritten.clear();
    } catch (error) {
      log.warn('decoders cannot write down what they know, it stays in memory', { error });
      for (const oldest of unwritten.keys()) {
        if (unwritten.size <= UNWRITTEN_MAX) break;
        unwritten.delete(oldest);
      }
    }
  };
  const later: DecoderMemory = {
    get: (key) => unwritten.get(key) ?? (get.get(key) as string | undefined) ?? null,
    put: (key, value) => {
      unwritten.delete(key);
      unwritten.set(key, value);
    },
  };
  const put = (key: string, value: string) => {
    later.put(key, value);
    flush();
  };
  return { get: later.get, put, later, flush };
}
