/**
 * Long work of the agent, all of which ends with the lifecycle's signal.
 *
 * Enters: promises. Leaves: one that resolves when all have ended. Always holds: work that fails by
 * itself is a bug, and ends the process.
 */
import type { Lifecycle } from './lifecycle.ts';

/** See the header. */
export class Work {
  readonly #all: Promise<void>[] = [];
  readonly #lifecycle: Lifecycle;

  constructor(lifecycle: Lifecycle) {
    this.#lifecycle = lifecycle;
  }

  add(work: Promise<void>): void {
    const guarded = work.catch((error: unknown) => {
      if (this.#lifecycle.signal.aborted) return;
      // Out of every promise: the process ends with the stack, and the service manager restarts it.
      setImmediate(() => {
        throw error;
      });
    });
    this.#all.push(guarded);
  }

  async ended(): Promise<void> {
    await Promise.all(this.#all);
  }
}
