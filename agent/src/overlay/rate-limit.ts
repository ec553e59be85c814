/**
 * A limit in bytes a second over everything that asks it: one for what an agent's links send, one
 * for what they receive; and, counted in requests, one for each organisation.
 *
 * Enters: byte counts. Leaves: how long to wait. Always holds: over any time, no more was let
 * through than `bytesPerSecond` allows, plus one burst; whoever asked first goes first.
 */
import { setTimeout as pause } from 'node:timers/promises';

/**
 * What may go at once after a pause: so many milliseconds' worth. On a busy machine timers come
 * late; what they miss by more than this is lost.
 */
const BURST_MS = 500;
/** One turn of a link, so that links take turns: so many milliseconds' worth. */
const TURN_MS = 20;

export class RateLimit {
  #bytesPerSecond: number;
  readonly #nowMs: () => number;
  /** When everything that was let through so far is paid for. */
  #paidAtMs = 0;

  /**
   * @param bytesPerSecond above 0; Infinity: no limit.
   * @param nowMs a clock that never goes back.
   */
  constructor(bytesPerSecond: number, nowMs: () => number = () => performance.now()) {
    this.#bytesPerSecond = required(bytesPerSecond);
    this.#nowMs = nowMs;
  }

  /** Another limit from now on; what was let through is not forgotten. */
  set(bytesPerSecond: number): void {
    this.#bytesPerSecond = required(bytesPerSecond);
  }

  /** Bytes that one link should ask for at once. */
  get turnBytes(): number {
    return (this.#bytesPerSecond * TURN_MS) / 1000;
  }

  /** Counts `bytes` and returns how many milliseconds must pass before they may go; 0: now. */
  charge(bytes: number): number {
    const nowMs = this.#nowMs();
    const fromMs = Math.max(this.#paidAtMs, nowMs - BURST_MS);
    this.#paidAtMs = fromMs + (bytes * 1000) / this.#bytesPerSecond;
    return Math.max(0, fromMs - nowMs);
  }

  /** Resolves when `bytes` may go. */
  async take(bytes: number): Promise<void> {
    const waitMs = this.charge(bytes);
    if (waitMs > 0) await pause(waitMs);
  }
}

function required(bytesPerSecond: number): number {
  if (bytesPerSecond > 0) return bytesPerSecond;
  throw new RangeError(`a limit of ${bytesPerSecond} bytes a second`);
}
