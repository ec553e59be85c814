/**
 * How long to wait before the next attempt: doubling, jittered, and patient with a flapping peer.
 *
 * Enters: how long the last connection was up. Leaves: a wait in milliseconds. Always holds: the
 * wait starts small again only after a connection that lasted.
 */

export interface BackoffOptions {
  readonly minMs: number;
  readonly maxMs: number;
  /** A connection that was up so long counts as good. */
  readonly stableMs: number;
  /** Uniform in [0, 1). */
  readonly random: () => number;
}

export const BACKOFF_DEFAULTS = { minMs: 250, maxMs: 30_000, stableMs: 10_000 } as const;

/** Waits between attempts; one for each peer. */
export class Backoff {
  readonly #options: BackoffOptions;
  #attempts = 0;

  constructor(options: BackoffOptions) {
    this.#options = options;
  }

  /** The wait after a connection that was up for `uptimeMs` (0: it never came about). */
  next(uptimeMs: number): number {
    const { minMs, maxMs, stableMs, random } = this.#options;
    if (uptimeMs >= stableMs) this.#attempts = 0;
    const ceilingMs = Math.min(maxMs, minMs * 2 ** Math.min(this.#attempts, 30));
    this.#attempts += 1;
    return ceilingMs * (0.5 + random() / 2);
  }
}
