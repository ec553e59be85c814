/** Load on a ledger ends, and says how much of it came to nothing. */
import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { rateInFlight, sendAtRate } from '../../bench/ledger/load.ts';

describe('load on a ledger', () => {
  it('keeps so many calls in flight and counts what they bring', async () => {
    let now = 0;
    let most = 0;
    const { rate, latenciesMs, failed } = await rateInFlight(
      async () => {
        most = Math.max(most, ++now);
        await pause(5);
        now -= 1;
        return 10;
      },
      4,
      50,
    );
    expect(most).toBe(4);
    expect(failed).toBe(0);
    // Never more than four at a time of 5 ms each, with a timer's inexactness.
    expect(rate).toBeLessThan((4 * 10 * 1000) / 4);
    expect(latenciesMs.length).toBeGreaterThanOrEqual(4);
  });

  it('tells failed calls from answered ones, and the first reason', async () => {
    const refused = new Error('refused');
    const one = async (turn: number) => {
      if (turn % 5 === 0) throw refused;
      return 1;
    };
    const { latenciesMs, failed, failure } = await sendAtRate(one, 500, 100);
    expect(failed).toBe(10);
    expect(latenciesMs.length).toBe(40);
    expect(failure).toBe(refused);
  });

  it('is an error where nothing at all was answered', async () => {
    const refused = new Error('refused');
    const none = rateInFlight(() => Promise.reject(refused), 2, 20);
    await expect(none).rejects.toMatchObject({ cause: refused });
  });
});

describe('an answer that never comes', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('does not hold up the measurement for ever', async () => {
    const measured = sendAtRate(
      (turn) => (turn === 1 ? new Promise<number>(() => undefined) : Promise.resolve(1)),
      10,
      300,
    );
    await vi.advanceTimersByTimeAsync(60_000);
    expect(await measured).toMatchObject({ failed: 1, failure: null });
  });
});
