/**
 * Numbers by key, for as many keys as a gateway sees in minutes, in a few bytes each.
 *
 * Enters: keys, 64 bits each, in two halves; numbers above 0. Leaves: the number last set. Always
 * holds: the newest `capacity` keys are known, and less than twice as many; the memory is taken once,
 * 64 bytes for each of `capacity`. A Map of strings took ten times as much.
 */

/** Bytes of a slot: two halves of a key, and its number, side by side for the processor's cache. */
const SLOT_BYTES = 16;

/** One generation: open addressing, a power of two of slots, at most 4/5 of them in use. */
class Generation {
  /** Four for each slot: low and high half, and two that are its number. */
  readonly #words: Uint32Array;
  /** Two for each slot: the second is its number, 0 where it is free. */
  readonly #numbers: Float64Array;
  readonly #mask: number;
  used = 0;

  constructor(capacity: number) {
    const slots = 2 ** Math.ceil(Math.log2((capacity * 5) / 4 + 1));
    const memory = new ArrayBuffer(slots * SLOT_BYTES);
    this.#words = new Uint32Array(memory);
    this.#numbers = new Float64Array(memory);
    this.#mask = slots - 1;
  }

  /** Where the key is, or would be. */
  #slotOf(low: number, high: number): number {
    let slot = low & this.#mask;
    while (
      this.#numbers[2 * slot + 1] !== 0 &&
      (this.#words[4 * slot] !== low || this.#words[4 * slot + 1] !== high)
    ) {
      slot = (slot + 1) & this.#mask;
    }
    return slot;
  }

  /** The key's number; negative where it was deleted, 0 where it never was. */
  get(low: number, high: number): number {
    return this.#numbers[2 * this.#slotOf(low, high) + 1] ?? 0;
  }

  set(low: number, high: number, number: number): void {
    const slot = this.#slotOf(low, high);
    if (this.#numbers[2 * slot + 1] === 0) this.used += 1;
    this.#words[4 * slot] = low;
    this.#words[4 * slot + 1] = high;
    this.#numbers[2 * slot + 1] = number;
  }

  clear(): void {
    this.#numbers.fill(0);
    this.used = 0;
  }
}

/** See the header. */
export class SeenTable {
  readonly #capacity: number;
  #newer: Generation;
  #older: Generation;

  constructor(capacity: number) {
    if (!(capacity >= 1)) throw new RangeError(`capacity: expected 1 or more, found ${capacity}`);
    this.#capacity = capacity;
    this.#newer = new Generation(capacity);
    this.#older = new Generation(capacity);
  }

  /** Halves are unsigned 32-bit numbers. */
  get(low: number, high: number): number | undefined {
    const number = this.#newer.get(low, high) || this.#older.get(low, high);
    return number > 0 ? number : undefined;
  }

  /** @param number above 0 */
  set(low: number, high: number, number: number): void {
    this.#newer.set(low, high, number);
    if (this.#newer.used < this.#capacity) return;
    [this.#newer, this.#older] = [this.#older, this.#newer];
    this.#newer.clear();
  }

  delete(low: number, high: number): void {
    if (this.get(low, high) !== undefined) this.set(low, high, -1);
  }
}
