/**
 * What decoders must still know after a restart, in `decoders.sqlite` of the agent's folder.
 *
 * Always holds: `put` is synced when it returns, if the disk takes anything at all; what it does not
 * take is kept in mind and put with the next one. There is an end to how much is kept.
 */
import type { Database } from 'better-sqlite3';
import type { Log } from '../runtime/log.ts';
import type { DecoderMemory } from './finding.ts';

/** Values kept at most; beyond that the ones that were put longest ago go. */
const VALUES_MAX = 10_000;
/** The same for what the disk does not take. */
const UNWRITTEN_MAX = 100;

/** A memory in an open database. */
export function createDecoderMemory(database: Database, log: Log): DecoderMemory {
  database.exec(
    `CREATE TABLE IF NOT EXISTS memory
       (key TEXT NOT NULL UNIQUE, value TEXT NOT NULL, id INTEGER PRIMARY KEY) STRICT`,
  );
  const get = database.prepare('SELECT value FROM memory WHERE key = ?').pluck();
  const put = database.prepare('INSERT OR REPLACE INTO memory (key, value) VALUES (?, ?)');
  const trim = database.prepare(
    'DELETE FROM memory WHERE id <= (SELECT id FROM memory ORDER BY id DESC LIMIT 1 OFFSET ?)',
  );
  /** What the disk did not take yet. */
  const unwritten = new Map<string, string>();
  const write = database.transaction(() => {
    for (const [key, value] of unwritten) put.run(key, value);
    trim.run(VALUES_MAX);
  });
  return {
    get: (key) => unwritten.get(key) ?? (get.get(key) as string | undefined) ?? null,
    put: (key, value) => {
      unwritten.delete(key);
      unwritten.set(key, value);
      try {
        write();
        unwritten.clear();
      } catch (error) {
        log.warn('decoders cannot write down what they know, it stays in memory', { error });
        for (const oldest of unwritten.keys()) {
          if (unwritten.size <= UNWRITTEN_MAX) break;
          unwritten.delete(oldest);
        }
      }
    },
  };
}
