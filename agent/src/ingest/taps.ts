/**
 * Taps: somebody who wants to see readings of some topics as they are committed.
 *
 * Always holds: what is shown is durable; nobody is waited for; a tap that throws is taken off, and
 * ingestion goes on.
 */
import type { Reading } from '@blocktorrent/protocol/reading.ts';
import { matchesFilter } from '@blocktorrent/protocol/topic-filter.ts';

/** Sees each reading once, after it is durable. */
export type TapListener = (reading: Reading) => void;

export class Taps {
  readonly #taps = new Map<TapListener, string>();

  /** Shows readings whose topic fits `filter` to `listener`; returns how to stop that. */
  add(filter: string, listener: TapListener): () => void {
    this.#taps.set(listener, filter);
    return () => void this.#taps.delete(listener);
  }

  /** Keeps those of committed readings that concern somebody; returns how to show them. */
  keep(readings: readonly Reading[]): () => void {
    const kept = new Map<TapListener, readonly Reading[]>();
    for (const [listener, filter] of this.#taps) kept.set(listener, concerned(readings, filter));
    return () => {
      for (const [listener, shown] of kept) this.#show(listener, shown);
    };
  }

  #show(listener: TapListener, readings: readonly Reading[]): void {
    // Taken off since.
    if (!this.#taps.has(listener)) return;
    try {
      for (const reading of readings) listener(reading);
    } catch {
      this.#taps.delete(listener);
    }
  }
}

// Within `keep` a function over `readings` would keep all of them.
function concerned(readings: readonly Reading[], filter: string): readonly Reading[] {
  return readings.filter(({ topic }) => matchesFilter(filter, topic));
}
