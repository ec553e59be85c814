/**
 * Load on a ledger: so many calls in flight (what it can do at most), or so many a second whether it
 * keeps up or not (what a user of a busy ledger waits for). In: one call. Out: rates in calls a
 * second, latencies in milliseconds, and how many calls failed.
 * Always holds: it ends. What has not been answered `GRACE_MS` after the last call counts as failed.
 */
import { setTimeout as pause } from 'node:timers/promises';

/** One call; resolves with how many units (keys, shards) it brought. */
export type Operation = (turn: number) => Promise<number>;

/** What came of a load. */
export interface Outcome {
  /** Units a second, from the first call to the last answer. */
  readonly rate: number;
  /** Of each call that was answered. */
  readonly latenciesMs: readonly number[];
  /** Calls that failed or were not answered in time. */
  readonly failed: number;
  /** Why the first of them failed; null where it was only late. */
  readonly failure: unknown;
}

/** How long answers are waited for after the last call. */
const GRACE_MS = 20_000;
/** A caller that was refused waits so long: a ledger that refuses at once is not asked in a circle. */
const REFUSED_PAUSE_MS = 100;
const TICK_MS = 2;

/** Keeps `inFlight` calls running for `windowMs`, and lets the last ones end. */
export async function rateInFlight(
  operation: Operation,
  inFlight: number,
  windowMs: number,
): Promise<Outcome> {
  const tally = new Tally(operation);
  const worker = async () => {
    while (performance.now() < tally.startMs + windowMs) {
      if (!(await tally.call())) await pause(REFUSED_PAUSE_MS);
    }
  };
  return await tally.outcome(windowMs, Array.from({ length: inFlight }, worker));
}

/** Sends `perSecond` calls a second for `windowMs`, however slow the answers are. */
export async function sendAtRate(
  operation: Operation,
  perSecond: number,
  windowMs: number,
): Promise<Outcome> {
  const count = Math.max(1, Math.round((perSecond * windowMs) / 1000));
  const tally = new Tally(operation);
  const running: Promise<unknown>[] = [];
  while (running.length < count) {
    const sinceMs = performance.now() - tally.startMs;
    const due = Math.min(count, 1 + Math.floor((sinceMs * perSecond) / 1000));
    while (running.length < due) running.push(tally.call());
    await pause(TICK_MS);
  }
  return await tally.outcome(windowMs, running);
}

/** Counts calls and answers. */
class Tally {
  readonly startMs = performance.now();
  readonly #operation: Operation;
  readonly #latenciesMs: number[] = [];
  #calls = 0;
  #units = 0;
  #failure: unknown = null;

  constructor(operation: Operation) {
    this.#operation = operation;
  }

  /** Resolves with whether it was answered; never throws. */
  async call(): Promise<boolean> {
    const sentMs = performance.now();
    try {
      const brought = await this.#operation(this.#calls++);
      this.#units += brought;
      this.#latenciesMs.push(performance.now() - sentMs);
      return true;
    } catch (error) {
      this.#failure ??= error;
      return false;
    }
  }

  /** When all of `running` have ended, or the grace is over. Throws where nothing was answered. */
  async outcome(windowMs: number, running: readonly Promise<unknown>[]): Promise<Outcome> {
    const leftMs = this.startMs + windowMs + GRACE_MS - performance.now();
    const ended = new AbortController();
    const late = pause(Math.max(0, leftMs), undefined, { signal: ended.signal }).catch(() => null);
    await Promise.race([Promise.all(running), late]);
    ended.abort();
    const latenciesMs = [...this.#latenciesMs];
    if (latenciesMs.length === 0) {
      throw new Error(`none of ${this.#calls} calls was answered`, { cause: this.#failure });
    }
    return {
      rate: (this.#units * 1000) / (performance.now() - this.startMs),
      latenciesMs,
      failed: this.#calls - latenciesMs.length,
      failure: this.#failure,
    };
  }
}
