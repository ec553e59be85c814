/**
 * Load on a ledger: so many calls in flight (what it can do at most), or so many a second whether it
 * keeps up or not (what a user of a busy ledger waits for). In: one call. Out: rates in calls a
 * second, and latencies in milliseconds.
 */

/** One call; resolves with how many units (keys, shards) it brought. */
export type Operation = (turn: number) => Promise<number>;

/**
 * Keeps `inFlight` calls running for `windowMs`, lets the last ones end, and returns units a second
 * over the whole time. So a slow machine gives a low rate and not none.
 */
export async function rateInFlight(
  operation: Operation,
  inFlight: number,
  windowMs: number,
): Promise<number> {
  const startMs = performance.now();
  let turn = 0;
  let units = 0;
  const worker = async () => {
    while (performance.now() < startMs + windowMs) {
      const brought = await operation(turn++);
      units += brought;
    }
  };
  await Promise.all(Array.from({ length: inFlight }, worker));
  return (units * 1000) / (performance.now() - startMs);
}

/** What came of a load at a fixed rate. */
export interface Sent {
  /** Units a second, from the first call to the last answer. */
  readonly rate: number;
  readonly latenciesMs: readonly number[];
}

/** Sends `perSecond` calls a second for `windowMs`, however slow the answers are. */
export async function sendAtRate(
  operation: Operation,
  perSecond: number,
  windowMs: number,
): Promise<Sent> {
  const count = Math.max(1, Math.round((perSecond * windowMs) / 1000));
  const latenciesMs: number[] = [];
  const startMs = performance.now();
  let units = 0;
  const one = async (turn: number) => {
    const sentMs = performance.now();
    const brought = await operation(turn);
    units += brought;
    latenciesMs.push(performance.now() - sentMs);
  };
  const running: Promise<void>[] = [];
  while (running.length < count) {
    const due = Math.min(count, 1 + Math.floor(((performance.now() - startMs) * perSecond) / 1000));
    while (running.length < due) running.push(one(running.length));
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  await Promise.all(running);
  return { rate: (units * 1000) / (performance.now() - startMs), latenciesMs };
}
