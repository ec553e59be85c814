/**
 * Whether the ledger answers: for `status`, which would otherwise look well for hours without it.
 *
 * Enters: what became of calls, and of the stream of events, which is open while nothing is called. Leaves:
 * since when the ledger has been in trouble, and why. Always holds: a refusal by a contract is an answer;
 * trouble ends with the first answer of its kind, or when nothing has failed for longer than any retry waits.
 */
import { type Ledger, LedgerError, type LedgerErrorCode } from './ledger.ts';

/** What is wrong with the ledger now. */
export interface LedgerTrouble {
  /** ms since 1970. */
  readonly sinceMs: number;
  readonly reason: string;
}

export interface LedgerWatchOptions {
  readonly nowMs: () => number;
  readonly monotonicMs: () => number;
}

type Way = 'events' | 'evaluate' | 'submit';

interface Failure extends LedgerTrouble {
  /** Last failed at this monotonic time. */
  readonly atMs: number;
}

/** A stream that a peer refuses is open for a moment. */
const STEADY_MS = 3_000;
/** A call that nobody repeated for so long is no sign of how things are. */
const CALLS_MS = 150_000;
/** The others say that the ledger works, and what it thinks of one transaction. */
const TROUBLE: ReadonlySet<LedgerErrorCode> = new Set([
  'unavailable',
  'timeout',
  'endorse',
  'submit',
]);

/** See the header. */
export class LedgerWatch {
  readonly #options: LedgerWatchOptions;
  readonly #failures = new Map<Way, Failure>();
  /** When the stream of events was opened; null while there is none. */
  #openedMs: number | null = null;

  constructor(options: LedgerWatchOptions) {
    this.#options = options;
  }

  /** Null while it answers. */
  get trouble(): LedgerTrouble | null {
    this.#endWhatIsOver();
    const [first] = [...this.#failures.values()].sort((a, b) => a.sinceMs - b.sinceMs);
    return first === undefined ? null : { sinceMs: first.sinceMs, reason: first.reason };
  }

  /** A peer gives events. */
  streamOpened(): void {
    this.#openedMs = this.#options.monotonicMs();
  }

  /** No peer does, for this reason; null: it was left for a better one. */
  streamEnded(reason: string | null): void {
    this.#endWhatIsOver();
    this.#openedMs = null;
    if (reason !== null) this.#failed('events', reason);
  }

  /** The same ledger; what becomes of each call is noted. */
  watch(ledger: Ledger): Ledger {
    const noted = async <R>(way: Way, call: () => Promise<R>): Promise<R> => {
      try {
        const result = await call();
        this.#failures.delete(way);
        return result;
      } catch (error) {
        if (error instanceof LedgerError) {
          if (TROUBLE.has(error.code)) this.#failed(way, error.message);
          else this.#failures.delete(way);
        }
        throw error;
      }
    };
    return {
      mspId: ledger.mspId,
      evaluate: (name, argument) => noted('evaluate', () => ledger.evaluate(name, argument)),
      submit: (name, argument, more) => noted('submit', () => ledger.submit(name, argument, more)),
      events: (options) => ledger.events(options),
      close: () => ledger.close(),
    };
  }

  #failed(way: Way, reason: string): void {
    const { nowMs, monotonicMs } = this.#options;
    const sinceMs = this.#failures.get(way)?.sinceMs ?? nowMs();
    this.#failures.set(way, { sinceMs, reason, atMs: monotonicMs() });
  }

  #endWhatIsOver(): void {
    const atMs = this.#options.monotonicMs();
    if (this.#openedMs !== null && atMs - this.#openedMs >= STEADY_MS) {
      this.#failures.delete('events');
    }
    for (const [way, failure] of this.#failures) {
      if (way !== 'events' && atMs - failure.atMs > CALLS_MS) this.#failures.delete(way);
    }
  }
}
