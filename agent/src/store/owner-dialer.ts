/**
 * Keeps one link to each other owner that may have chunks we miss, dialling with backoff.
 *
 * Either side may dial; of two that both want to, the one with the smaller MSP id goes first, so
 * that there is one connection, not two.
 */
import type { MspId } from '@blocktorrent/protocol/ledger-api.ts';
import type { Link } from '../overlay/types.ts';
import type { StoreTiming } from './types.ts';

export interface OwnerDialerOptions {
  readonly self: MspId;
  readonly timing: Pick<StoreTiming, 'retryMs' | 'retryMsMax' | 'yieldMs'>;
  readonly nowMs: () => number;
  readonly dial: (mspId: MspId) => Promise<Link>;
  readonly onFailure: (mspId: MspId, error: unknown) => void;
  readonly onLink: (link: Link) => void;
  /** Something changed: think again. */
  readonly onSettled: () => void;
}

interface Attempt {
  nextAtMs: number;
  failures: number;
  dialing: boolean;
}

export class OwnerDialer {
  readonly #options: OwnerDialerOptions;
  readonly #attempts = new Map<MspId, Attempt>();

  constructor(options: OwnerDialerOptions) {
    this.#options = options;
  }

  /** Dials those of `wanted` without a link whose time has come; returns when to ask again. */
  ensure(wanted: ReadonlySet<MspId>, links: readonly Link[]): number {
    const { nowMs, self, timing } = this.#options;
    let waitMs = Number.POSITIVE_INFINITY;
    for (const mspId of wanted) {
      const yieldMs = self < mspId ? 0 : timing.yieldMs;
      const attempt = this.#attempts.get(mspId) ?? {
        nextAtMs: nowMs() + yieldMs,
        failures: 0,
        dialing: false,
      };
      this.#attempts.set(mspId, attempt);
      if (links.some((link) => link.mspId === mspId && !link.closed)) {
        attempt.failures = 0;
        attempt.nextAtMs = nowMs() + timing.retryMs;
      } else if (!attempt.dialing) {
        if (nowMs() >= attempt.nextAtMs) void this.#dial(mspId, attempt);
        else waitMs = Math.min(waitMs, attempt.nextAtMs - nowMs());
      }
    }
    return waitMs;
  }

  async #dial(mspId: MspId, attempt: Attempt): Promise<void> {
    const { dial, onLink, onSettled, nowMs, timing } = this.#options;
    attempt.dialing = true;
    try {
      onLink(await dial(mspId));
    } catch (error) {
      // Whatever the reason, the next try is all that can be done.
      this.#options.onFailure(mspId, error);
      attempt.failures += 1;
    }
    const pauseMs = timing.retryMs * 2 ** Math.min(attempt.failures, 20);
    attempt.nextAtMs = nowMs() + Math.min(timing.retryMsMax, pauseMs);
    attempt.dialing = false;
    onSettled();
  }
}
