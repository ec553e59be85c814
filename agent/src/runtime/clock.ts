/**
 * Time, passed in wherever it is needed, so that a test decides what time it is.
 *
 * `nowMs` may jump (NTP, a flat clock battery); `monotonicMs` never goes back within one boot.
 * Whether the wall clock can be trusted is told by the caller (`clockSynchronised` of a reading).
 */

/** Two clocks, both in milliseconds. */
export interface Clock {
  /** Milliseconds since the Unix epoch, whole. */
  nowMs(): number;
  /** Milliseconds since this boot of the machine: CLOCK_MONOTONIC, the same for every process. */
  monotonicMs(): number;
}

/** The machine's clocks. */
export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => {
    const [seconds, nanoseconds] = process.hrtime();
    return seconds * 1000 + nanoseconds / 1e6;
  },
};
