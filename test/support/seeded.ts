/**
 * Randomness that a failing test can be repeated with: everything follows from one seed.
 */
import { createHash } from 'node:crypto';

/** The seed of this run: `SEED` of the environment, or a new one. Print it in what may fail. */
export function seedOfRun(): number {
  const given = process.env.SEED;
  return given === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(given);
}

/** A stream of bytes that looks random and is the same for the same seed. */
export class Seeded {
  readonly #seed: string;
  #block = 0;
  #buffer: Buffer = Buffer.alloc(0);

  constructor(seed: number | string) {
    this.#seed = String(seed);
  }

  /** The next `byteCount` bytes; has the shape of protocol's `Random`. */
  readonly bytes = (byteCount: number): Uint8Array => {
    while (this.#buffer.length < byteCount) {
      const more = Math.min(65_536, byteCount - this.#buffer.length);
      const hash = createHash('shake256', { outputLength: Math.max(64, more) });
      this.#buffer = Buffer.concat([
        this.#buffer,
        hash.update(`${this.#seed}/${this.#block++}`).digest(),
      ]);
    }
    const bytes = Uint8Array.from(this.#buffer.subarray(0, byteCount));
    this.#buffer = this.#buffer.subarray(byteCount);
    return bytes;
  };

  /** A whole number min..max, both included. */
  integer(min: number, max: number): number {
    const word = new DataView(this.bytes(6).buffer);
    const value = word.getUint32(0) * 2 ** 16 + word.getUint16(4);
    return min + (value % (max - min + 1));
  }

  /** One of the items. */
  pick<T>(items: readonly T[]): T {
    const item = items[this.integer(0, items.length - 1)];
    if (item === undefined) throw new Error('pick: expected at least one item');
    return item;
  }
}
