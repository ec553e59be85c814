/**
 * Marks repetitions: a reading that came before, sent again by its sensor or by the broker.
 *
 * Enters: readings in order. Leaves: the seq of the reading that one repeats, or null. A sensor's
 * own sequence decides where there is one, together with the topic and its time, so that a sensor
 * which counts from 1 again after a restart, or counts each of its topics, repeats nothing. One that
 * says no time repeats itself only where the payload is the same, too. Without a sequence only what
 * the broker flags as sent again (DUP), or as retained, which comes with each subscription, can be a
 * repetition, if the same payload came on the same topic before.
 * Always holds: nothing is forgotten before `capacity` newer readings, nor kept for more than twice as
 * many (`seen-table.ts`); after a crash `learn` builds the knowledge again from the newest batches.
 * What is known of a reading is 64 bits of a hash with a secret seed: one new reading of 10^14 is taken for a repetition.
 */
import { hash, randomBytes } from 'node:crypto';
import type { Reading } from '@blocktorrent/protocol/reading.ts';
import { SeenTable } from './seen-table.ts';

/**
 * Readings remembered by default. A connection has 65,535 packet identifiers, and PUBACKs are sent
 * in order of receipt, so no broker can send again what is older than its last 65,535 messages.
 */
export const DUPLICATES_REMEMBERED = 65_536;

/** The part of a reading that tells whether it was here before. */
export type Identity = Pick<
  Reading,
  'topic' | 'payload' | 'sensor' | 'deviceSeq' | 'deviceMs' | 'dup' | 'retain'
>;

/** Knowledge of the newest readings, by their identity. */
export class Duplicates {
  /** seq of the first reading with this key. */
  readonly #seqs: SeenTable;
  readonly #key: Key;

  constructor(capacity: number = DUPLICATES_REMEMBERED, random = randomBytes) {
    this.#seqs = new SeenTable(capacity);
    this.#key = new Key(random(8));
  }

  /** seq of the reading that this one repeats; null if it is new, and then it is remembered. */
  check(identity: Identity, seq: number): number | null {
    const { low, high } = this.#key.of(identity);
    const earlier = this.#seqs.get(low, high);
    const counts = identity.deviceSeq !== null && identity.sensor !== null;
    if (earlier !== undefined && (counts || identity.dup || identity.retain)) return earlier;
    // Without a sequence equal payloads are usual; the newest stands for them.
    this.#seqs.set(low, high, seq);
    return null;
  }

  /** Takes back `check` of readings that could not be committed: `fromSeq` and later. */
  forget(identities: readonly Identity[], fromSeq: number): void {
    for (const identity of identities) {
      const { low, high } = this.#key.of(identity);
      if ((this.#seqs.get(low, high) ?? 0) >= fromSeq) this.#seqs.delete(low, high);
    }
  }

  /**
   * Remembers what is in the batches already, oldest first. Also by its repetitions: what came again and
   * again while an agent was killed time after time may have come first in a batch that is gone.
   */
  learn(readings: Iterable<Reading>): void {
    for (const reading of readings) {
      const { duplicateOf, seq } = reading;
      if (duplicateOf === null) this.check({ ...reading, dup: false, retain: false }, seq);
      else {
        const { low, high } = this.#key.of(reading);
        this.#seqs.set(low, high, duplicateOf);
      }
    }
  }
}

/** Works out 64 bits of an identity; one for all, so that nothing is allocated for a reading. */
class Key {
  low = 0;
  high = 0;
  readonly #seeds: DataView;
  readonly #number = new Float64Array(1);
  readonly #halves = new Uint32Array(this.#number.buffer);

  /** @param seed 8 bytes that nobody who sends readings knows */
  constructor(seed: Uint8Array) {
    this.#seeds = new DataView(seed.buffer, seed.byteOffset, seed.byteLength);
  }

  of({ topic, payload, sensor, deviceSeq, deviceMs }: Identity): this {
    this.low = this.#seeds.getUint32(0);
    this.high = this.#seeds.getUint32(4);
    this.#text(topic);
    if (sensor === null || deviceSeq === null) this.#text(digestOf(payload));
    else {
      this.#text(sensor);
      this.#count(deviceSeq);
      if (deviceMs === null) this.#text(digestOf(payload));
      else this.#count(deviceMs);
    }
    this.low = finished(this.low, this.high);
    this.high = finished(this.high, this.low);
    return this;
  }

  #text(text: string): void {
    this.#mix(text.length);
    for (let at = 0; at < text.length; at += 1) this.#mix(text.charCodeAt(at));
  }

  #count(value: number): void {
    this.#number[0] = value;
    this.#mix(this.#halves[0] ?? 0);
    this.#mix(this.#halves[1] ?? 0);
  }

  #mix(word: number): void {
    this.low = Math.imul(this.low ^ word, 0x9e3779b1);
    this.low ^= this.low >>> 15;
    this.high = Math.imul(this.high ^ word, 0x85ebca77);
    this.high ^= this.high >>> 13;
  }
}

/** Every bit of `half` and some of `other` into every bit (MurmurHash3's last step). */
function finished(half: number, other: number): number {
  let bits = half ^ (other >>> 16);
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return (bits ^ (bits >>> 16)) >>> 0;
}

function digestOf(payload: Uint8Array): string {
  return hash('sha256', payload, 'base64');
}
