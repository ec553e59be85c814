import type { Clock } from '../../agent/src/runtime/clock.ts';

/** A clock that moves only when told; starts at `startMs`. */
export function manualClock(startMs: number): Clock & { advance(ms: number): void } {
  let passedMs = 0;
  return {
    nowMs: () => startMs + passedMs,
    monotonicMs: () => passedMs,
    advance(ms) {
      if (!(ms >= 0)) throw new RangeError(`a clock advances by >= 0 ms, found ${ms}`);
      passedMs += ms;
    },
  };
}
