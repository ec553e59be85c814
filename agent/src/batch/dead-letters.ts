/**
 * Dead letters: the readings that no decoder took, of the open batch and the closed ones.
 *
 * Enters: batches, newest first. Leaves: dead letters, newest first. Between two batches the event
 * loop has its turn, so that looking back far does not keep readings from their acknowledgement.
 */
import { setImmediate } from 'node:timers/promises';
import { BATCH_SQL, type DeadLetterRow } from '@blocktorrent/protocol/batch.ts';
import { matchesFilter } from '@blocktorrent/protocol/topic-filter.ts';
import type { Database } from 'better-sqlite3';

export interface DeadLetterQuery {
  /** How many at most. */
  readonly limit: number;
  /** MQTT topic filter; null for all topics. */
  readonly filter: string | null;
  /** Bytes of each payload to give, at most. */
  readonly headBytes: number;
}

export interface DeadLetter {
  readonly batch: number;
  readonly seq: number;
  /** Milliseconds since the Unix epoch. */
  readonly receivedMs: number;
  readonly topic: string;
  /** Why no decoder took it. */
  readonly refusal: string;
  /** Size of the payload, and its first bytes. */
  readonly bytes: number;
  readonly head: Uint8Array;
}

/** Looks through `batches` until there are enough. */
export async function findDeadLetters(
  batches: Iterable<{ readonly batch: number; readonly database: Database }>,
  { limit, filter, headBytes }: DeadLetterQuery,
): Promise<DeadLetter[]> {
  const found: DeadLetter[] = [];
  for (const { batch, database } of batches) {
    const rows = database.prepare(BATCH_SQL.deadLetters).iterate({ bytes: headBytes });
    for (const row of rows as Iterable<DeadLetterRow>) {
      const { seq, received_ms: receivedMs, topic, refusal, bytes, head } = row;
      if (filter !== null && !matchesFilter(filter, topic)) continue;
      found.push({ batch, seq, receivedMs, topic, refusal, bytes, head });
      if (found.length >= limit) return found;
    }
    await setImmediate();
  }
  return found;
}
