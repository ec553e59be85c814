/**
 * Numbers by key, for as many keys as a gateway sees in minutes, in a few bytes each.
 *
 * Enters: keys, 64 bits each, in two halves; numbers above 0. Leaves: the number last set. Always
 * holds: the newest `capacity` keys are known, and less than twice as many; the memory is taken once,
 * 64 bytes for each of `capacity`. A Map of strings took ten times as much.
 */

/** One generation: open addressing, a power of two of slots, at most 4/5 of them in use. */
class Generation {
  readonly #low: Uint32Array;
  readonly #high: Uint32Array;
  /** 0: free. */
  readonly #numbers: Float64Array;
  readonly #mask: number;
  used = 0;

  constructor(capacity: number) {
    const slots = 2 ** Math.ceil(Math.log2((capacity * 5) / 4 + 1));
    this.#low = new Uint32Array(slots);
    this.#high = new Uint32Array(slots);
    this.#numbers = new Float64Array(slots);
    this.#mask = slots - 1;
  }

  /** Where the key is, or would be. */
  #slotOf(low: number, high: number): number {
    let slot = low & this.#mask;
    while (this.#numbers[slot] !== 0 && (this.#low[slot] !== low || this.#high[slot] !== high)) {
      slot = (slot + 1) & this.#mask;
    }
    return slot;
  }

  /** The key's number; negative where it was deleted, 0 where it never was. */
  get(low: number, high: number): number {
    return this.#numbers[this.#slotOf(low, high)] ?? 0;
  }

  set(low: number, high: number, number: number): void {
    const slot = this.#slotOf(low, high);
    if (this.#numbers[slot] === 0) this.used += 1;
    this.#low[slot] = low;
    this.#high[slot] = high;
    this.#numbers[slot] = number;
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
