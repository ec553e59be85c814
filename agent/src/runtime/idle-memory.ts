/**
 * Gives memory back when there is nothing to do.
 *
 * Enters: how much processor time this process takes. Leaves: a full collection of garbage, which
 * also makes V8's young generation small again. It exists because V8 collects when memory is asked
 * for: what a start or a burst of readings has left would stay for hours on a machine with little.
 * Always holds: no collection while there is work, nor for the little that an idle agent does.
 */

/** How often the process is looked at. */
const LOOK_MS = 5_000;
/** Of one processor; less than that is idle. */
const IDLE_SHARE_MAX = 0.05;
/** Processor time since the last collection that makes another one worth its pause. */
const WORK_MS_MIN = 1_000;

export interface IdleMemoryOptions {
  /** Collects all garbage; about 30 ms for an agent on a PC, and ten times that on a small one. */
  readonly collect: () => void;
  /** Processor time of this process so far, milliseconds. */
  readonly cpuMs: () => number;
  readonly monotonicMs: () => number;
}

/** See the header. */
export class IdleMemory {
  readonly #options: IdleMemoryOptions;
  #timer: NodeJS.Timeout | null = null;
  #lookedMs = 0;
  #lookedCpuMs = 0;
  /** Processor time at the last collection; what the start took is always worth one. */
  #collectedCpuMs = Number.NEGATIVE_INFINITY;

  constructor(options: IdleMemoryOptions) {
    this.#options = options;
  }

  start(): void {
    this.#note();
    this.#timer = setInterval(() => this.look(), LOOK_MS);
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
  }

  /** Collects if the time since the last look was idle, and there was work before it. */
  look(): void {
    const { collect, cpuMs, monotonicMs } = this.#options;
    const now = cpuMs();
    const share = (now - this.#lookedCpuMs) / (monotonicMs() - this.#lookedMs);
    if (share < IDLE_SHARE_MAX && now - this.#collectedCpuMs >= WORK_MS_MIN) {
      collect();
      this.#collectedCpuMs = cpuMs();
    }
    this.#note();
  }

  #note(): void {
    this.#lookedMs = this.#options.monotonicMs();
    this.#lookedCpuMs = this.#options.cpuMs();
  }
}

/** The options of this process; null where V8 was not told to let itself be asked (`--expose-gc`). */
export function ownMemory(monotonicMs: () => number): IdleMemoryOptions | null {
  const { gc } = globalThis;
  if (gc === undefined) return null;
  return {
    collect: () => gc({ type: 'major', execution: 'sync', flavor: 'last-resort' }),
    cpuMs: () => {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1_000;
    },
    monotonicMs,
  };
}
