/**
 * Tells when a broker has sent all that it may before we acknowledge: then no more will come, and
 * waiting for the commit's delay only costs time.
 *
 * Brokers bound what is in flight, many to some tens of messages. Groups that wait 10 ms in vain, again
 * and again, would make 2,000 readings a second of 20 in flight.
 * Enters: how each group came and ended. Leaves: the number of readings at which one is full. Always
 * holds: learnt from two groups of the same size that came at once and after which nothing came;
 * forgotten as soon as more comes than that, or not at once: then waiting saves writing.
 */

/** No broker is content with fewer; a few readings may be of the same number by chance. */
const SIZE_MIN = 8;
/** Messages that were waiting at the broker come within so many milliseconds. */
const AT_ONCE_MS = 5;
/** The part of the delay that has to be silent, for a group to count. */
const SILENT_PART = 0.5;

/** When the readings of a group came, by a clock that never jumps. */
export interface GroupTimes {
  readonly count: number;
  readonly firstMs: number;
  readonly lastMs: number;
}

/** See the header; one for each stage that commits. */
export class InFlightWindow {
  #size = Number.POSITIVE_INFINITY;
  #candidate = 0;
  /** A group was full, and the event loop has not turned since. */
  #ended = false;

  /** Readings at which a group is full. */
  get size(): number {
    return this.#size;
  }

  /** A reading came. */
  taken(): void {
    // It was under way already, so the broker may send more than we thought.
    if (this.#ended) this.#forget();
  }

  /** A group was full, by our size or by another bound. */
  full({ count, firstMs, lastMs }: GroupTimes): void {
    if (count !== this.#size) return;
    if (lastMs - firstMs > AT_ONCE_MS) this.#forget();
    this.#ended = true;
    setImmediate(() => {
      this.#ended = false;
    });
  }

  /** A group has waited for all of `delayMs`. */
  waited({ count, firstMs, lastMs }: GroupTimes, delayMs: number, nowMs: number): void {
    const silent = nowMs - lastMs >= SILENT_PART * delayMs;
    const atOnce = lastMs - firstMs <= AT_ONCE_MS;
    const learns = silent && atOnce && count >= SIZE_MIN;
    if (learns && count === this.#candidate) this.#size = count;
    this.#candidate = learns ? count : 0;
  }

  #forget(): void {
    this.#size = Number.POSITIVE_INFINITY;
    this.#candidate = 0;
  }
}
