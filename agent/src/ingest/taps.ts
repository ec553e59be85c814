/**
 * Taps: somebody who wants to see readings of some topics as they are committed.
 *
 * Always holds: nobody is waited for; a tap that throws is taken off, and ingestion goes on.
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

  /** Shows committed readings to whom they concern. */
  publish(readings: readonly Reading[]): void {
    for (const [listener, filter] of this.#taps) {
      try {
        for (const reading of readings) {
          if (matchesFilter(filter, reading.topic)) listener(reading);
        }
      } catch {
        this.#taps.delete(listener);
      }
    }
  }
}
