/**
 * Listeners whose address may come later: that of a modem, or of a tunnel, which is not up yet.
 *
 * Enters: how to start each listener. Leaves: the listener started, now or when this machine has its
 * address. Always holds: what no waiting can mend (a port in use, no such name, a port that we may
 * not have) is thrown; what waits is named in `waiting`, with the reason, and ends with `stop`.
 */
import { setTimeout } from 'node:timers/promises';
import type { Log } from './log.ts';

export interface DoorsOptions {
  readonly log: Log;
  /** First and longest wait between attempts, ms. */
  readonly retryMs?: number;
  readonly retryMsMax?: number;
}

/** A listener that waits for its address. */
export interface WaitingDoor {
  readonly name: string;
  readonly reason: string;
}

/** No such address here (yet); no name server (yet). */
const NOT_THERE: readonly unknown[] = ['EADDRNOTAVAIL', 'EAI_AGAIN'];
const RETRY_MS = 500;
const RETRY_MS_MAX = 10_000;

/** All listeners of one agent. */
export class Doors {
  readonly #options: DoorsOptions;
  readonly #waiting = new Map<string, string>();
  readonly #stopping = new AbortController();
  readonly #work = new Set<Promise<void>>();

  constructor(options: DoorsOptions) {
    this.#options = options;
  }

  /** Those that wait for their address. */
  get waiting(): readonly WaitingDoor[] {
    return [...this.#waiting].map(([name, reason]) => ({ name, reason }));
  }

  /**
   * Resolves when the listener is started, or has to wait; then `start`, which must bear that, is
   * called until it works, and `later` after that. @throws what waiting cannot mend
   */
  async open(name: string, start: () => Promise<unknown>, later?: () => void): Promise<void> {
    try {
      await start();
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (!NOT_THERE.includes(code)) throw error;
      this.#waiting.set(name, message);
      this.#options.log.warn('the address to listen on is not there yet; the agent goes on', {
        listener: name,
        reason: message,
      });
      const work = this.#keepTrying(name, start, later).finally(() => this.#work.delete(work));
      this.#work.add(work);
    }
  }

  /** Nothing starts any more; what has started is not stopped. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await Promise.all(this.#work);
  }

  async #keepTrying(name: string, start: () => Promise<unknown>, later?: () => void) {
    const { log, retryMs = RETRY_MS, retryMsMax = RETRY_MS_MAX } = this.#options;
    const { signal } = this.#stopping;
    for (let waitMs = retryMs; ; waitMs = Math.min(2 * waitMs, retryMsMax)) {
      await setTimeout(waitMs, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) return;
      try {
        await start();
        break;
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        if (reason === this.#waiting.get(name)) continue;
        this.#waiting.set(name, reason);
        log.warn('it still cannot listen', { listener: name, reason });
      }
    }
    this.#waiting.delete(name);
    log.info('listens now', { listener: name });
    later?.();
  }
}
