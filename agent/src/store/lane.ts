/**
 * One kind of background work: done again and again, one round at a time, sooner when woken.
 *
 * A round says when it wants the next one. What a round throws is logged, and the next one comes
 * after a pause: upkeep never ends an agent.
 */
import type { Log } from '../runtime/log.ts';

/** After a round that failed. */
const FAILED_PAUSE_MS = 5_000;

export class Lane {
  readonly #name: string;
  readonly #round: () => Promise<number>;
  readonly #log: Log;
  #timer: NodeJS.Timeout | null = null;
  #running: Promise<void> | null = null;
  #again = false;
  #stopped = true;
  #lastError: string | null = null;

  /** @param round does what is due and returns after how many ms it wants to be called again. */
  constructor(name: string, round: () => Promise<number>, log: Log) {
    this.#name = name;
    this.#round = round;
    this.#log = log;
  }

  /** Why the last round failed; null after one that did not. */
  get lastError(): string | null {
    return this.#lastError;
  }

  start(): void {
    this.#stopped = false;
    this.wake();
  }

  /** A round soon; another one after it if one is running. */
  wake(): void {
    if (this.#stopped) return;
    if (this.#running !== null) this.#again = true;
    else this.#schedule(0);
  }

  /** No more rounds; waits for the one that is running. */
  async stop(): Promise<void> {
    this.#stopped = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    await this.#running;
  }

  #schedule(afterMs: number): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    if (this.#stopped) return;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#running = this.#run();
    }, afterMs);
  }

  async #run(): Promise<void> {
    let nextMs = FAILED_PAUSE_MS;
    try {
      nextMs = await this.#round();
      this.#lastError = null;
    } catch (error) {
      this.#lastError = error instanceof Error ? error.message : String(error);
      if (!this.#stopped) this.#log.warn(`${this.#name}: a round failed`, { error });
    }
    this.#running = null;
    const afterMs = this.#again ? 0 : nextMs;
    this.#again = false;
    this.#schedule(afterMs);
  }
}
