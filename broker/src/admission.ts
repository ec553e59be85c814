/**
 * How many connections, and how fast: before a byte of a client is read.
 *
 * Enters: addresses of those who connect. Leaves: null, or why this one must go. Always holds: at
 * most `connectionsMax` at once; an address gets `perSecond` connections a second and saves up to
 * `BURST_SECONDS` of them; a wrong password costs as much as `FAILURE_COST` connections. Not more
 * than `ADDRESSES_MAX` addresses are remembered; the one longest unseen is forgotten first.
 */

export interface AdmissionLimits {
  readonly connectionsMax: number;
  /** Connections a second for one address. */
  readonly connectionsPerSecond: number;
}

const BURST_SECONDS = 10;
const FAILURE_COST = 10;
const ADDRESSES_MAX = 10_000;

/** One for all listeners. */
export class Admission {
  readonly #limits: AdmissionLimits;
  readonly #monotonicMs: () => number;
  readonly #buckets = new Map<string, { tokens: number; atMs: number }>();
  #open = 0;
  #refused = 0;

  constructor(limits: AdmissionLimits, monotonicMs: () => number) {
    this.#limits = limits;
    this.#monotonicMs = monotonicMs;
  }

  get open(): number {
    return this.#open;
  }

  get refused(): number {
    return this.#refused;
  }

  /** Counts a connection in, until `left`; or says why not. */
  enter(address: string): string | null {
    const { connectionsMax, connectionsPerSecond } = this.#limits;
    const bucket = this.#bucketOf(address);
    if (bucket.tokens < 1) {
      this.#refused += 1;
      return `more than ${connectionsPerSecond} connections a second from one address`;
    }
    bucket.tokens -= 1;
    if (this.#open >= connectionsMax) {
      this.#refused += 1;
      return `more than ${connectionsMax} connections`;
    }
    this.#open += 1;
    return null;
  }

  /** A connection that was counted in has ended. */
  left(): void {
    this.#open -= 1;
  }

  /** Somebody at this address gave a wrong name or password. */
  failed(address: string): void {
    this.#bucketOf(address).tokens -= FAILURE_COST;
  }

  #bucketOf(address: string): { tokens: number; atMs: number } {
    const { connectionsPerSecond } = this.#limits;
    const nowMs = this.#monotonicMs();
    const full = connectionsPerSecond * BURST_SECONDS;
    const known = this.#buckets.get(address) ?? { tokens: full, atMs: nowMs };
    const earned = ((nowMs - known.atMs) / 1000) * connectionsPerSecond;
    const bucket = { tokens: Math.min(full, known.tokens + earned), atMs: nowMs };
    this.#buckets.delete(address);
    this.#buckets.set(address, bucket);
    for (const oldest of this.#buckets.keys()) {
      if (this.#buckets.size <= ADDRESSES_MAX) break;
      this.#buckets.delete(oldest);
    }
    return bucket;
  }
}
