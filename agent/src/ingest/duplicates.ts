/**
 * Marks repetitions: a reading that came before, sent again by its sensor or by the broker.
 *
 * Enters: readings in order. Leaves: the seq of the reading that one repeats, or null. A sensor's
 * own sequence decides where there is one, together with the topic and its time, so that a sensor
 * which counts from 1 again after a restart, or counts each of its topics, repeats nothing. One that
 * says no time repeats itself only where the payload is the same, too. Without a sequence only what
 * the broker flags as sent again (DUP) can be a repetition, if the same payload came on the same
 * topic before.
 * Always holds: nothing is forgotten before `capacity` newer readings, nor kept for more than twice as
 * many; after a crash `learn` builds the knowledge again from the newest batches. Two generations, of
 * which the older is dropped as a whole: taking the oldest key out of one full Map costs 30 us.
 */
import { hash } from 'node:crypto';
import type { Reading } from '@blocktorrent/protocol/reading.ts';

/**
 * Readings remembered by default. A connection has 65,535 packet identifiers, and PUBACKs are sent
 * in order of receipt, so no broker can send again what is older than its last 65,535 messages.
 */
export const DUPLICATES_REMEMBERED = 65_536;

/** The part of a reading that tells whether it was here before. */
export type Identity = Pick<
  Reading,
  'topic' | 'payload' | 'sensor' | 'deviceSeq' | 'deviceMs' | 'dup'
>;

/** Knowledge of the newest readings, by their identity. */
export class Duplicates {
  readonly #capacity: number;
  /** seq of the first reading with a key, in order of receipt. */
  #newer = new Map<string, number>();
  #older = new Map<string, number>();

  constructor(capacity: number = DUPLICATES_REMEMBERED) {
    this.#capacity = capacity;
  }

  /** seq of the reading that this one repeats; null if it is new, and then it is remembered. */
  check(identity: Identity, seq: number): number | null {
    const key = keyOf(identity);
    const earlier = this.#newer.get(key) ?? this.#older.get(key);
    const counts = identity.deviceSeq !== null && identity.sensor !== null;
    if (earlier !== undefined && (counts || identity.dup)) return earlier;
    // Without a sequence equal payloads are usual; the newest stands for them.
    this.#newer.set(key, seq);
    if (this.#newer.size >= this.#capacity) {
      this.#older = this.#newer;
      this.#newer = new Map();
    }
    return null;
  }

  /** Takes back `check` of readings that could not be committed: `fromSeq` and later. */
  forget(identities: readonly Identity[], fromSeq: number): void {
    for (const identity of identities) {
      const key = keyOf(identity);
      for (const seqs of [this.#newer, this.#older]) {
        if ((seqs.get(key) ?? 0) >= fromSeq) seqs.delete(key);
      }
    }
  }

  /** Remembers what is in the batches already, oldest first. */
  learn(readings: Iterable<Reading>): void {
    for (const reading of readings) {
      if (reading.duplicateOf === null) this.check({ ...reading, dup: false }, reading.seq);
    }
  }
}

function keyOf({ topic, payload, sensor, deviceSeq, deviceMs }: Identity): string {
  if (sensor === null || deviceSeq === null) return `p\0${topic}\0${digestOf(payload)}`;
  return `s\0${topic}\0${sensor}\0${deviceSeq}\0${deviceMs ?? digestOf(payload)}`;
}

function digestOf(payload: Uint8Array): string {
  return hash('sha256', payload, 'base64');
}
