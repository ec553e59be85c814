/** Finds what the newest reading of a topic says under a name, in the newest batches. */
import type { Database } from 'better-sqlite3';

/** Batches that are looked through. */
const BATCHES_MAX = 3;

/** The value of sample `name` in the newest reading of `topic` that has it; null if there is none. */
export function newestSample(
  batches: Iterable<{ readonly database: Database }>,
  topic: string,
  name: string,
): number | string | null {
  let looked = 0;
  for (const { database } of batches) {
    const row = database
      .prepare(
        `SELECT p.value, p.text FROM reading r JOIN topic t ON t.id = r.topic AND t.name = @topic
         JOIN sample p ON p.seq = r.seq JOIN metric m ON m.id = p.metric AND m.name = @name
         ORDER BY r.seq DESC LIMIT 1`,
      )
      .get({ topic, name }) as { value: number | null; text: string | null } | undefined;
    if (row !== undefined) return row.value ?? row.text;
    looked += 1;
    if (looked === BATCHES_MAX) return null;
  }
  return null;
}
