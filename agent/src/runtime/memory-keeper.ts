/**
 * Keeps the memory of this process small: V8 and libc have the machine's memory in mind, we the gateway's.
 *
 * Enters: how much processor time this process takes. Leaves: a full collection of garbage when there
 * is nothing to do, which also makes V8's young generation small again; ten seconds after the start, a
 * bound on how far V8 lets its heap grow between two collections; at every look, libc's free pages back
 * to the system. Without the first, what a burst of readings has left would stay for hours; without the
 * second, an agent that never rests would take 25 MiB more; without the third, 10 MiB more, by chance
 * of what lies between the pages. Always holds: but for the one that puts the bound into effect, no
 * collection is asked for while there is work, nor for the little that an idle agent does.
 */
import { setFlagsFromString } from 'node:v8';
import { mallocTrim } from './malloc-trim.ts';

/** How often the process is looked at. */
const LOOK_MS = 5_000;
/** Of one processor; less than that is idle. */
const IDLE_SHARE_MAX = 0.05;
/** Processor time since the last collection that makes another one worth its pause. */
const WORK_MS_MIN = 1_000;
/** Until then modules are loaded and code is compiled: the heap has reason to grow. */
const START_MS = 10_000;
/** Of what lives, in percent: how far the heap grows before V8 collects; by itself up to 300. */
const GROWTH_PERCENT = 30;

export interface MemoryKeeperOptions {
  /** Collects all garbage; about 30 ms for an agent on a PC, and ten times that on a small one. */
  readonly collect: () => void;
  /** Has V8 collect whenever its heap has grown by so much. */
  readonly boundGrowth: (percent: number) => void;
  /** Gives what malloc holds and nobody uses back to the system; 0.2 to 2 ms for an agent on a PC. */
  readonly trim: () => void;
  /** Processor time of this process so far, milliseconds. */
  readonly cpuMs: () => number;
  readonly monotonicMs: () => number;
}

/** See the header. */
export class MemoryKeeper {
  readonly #options: MemoryKeeperOptions;
  #timer: NodeJS.Timeout | null = null;
  #startedMs = 0;
  #bounded = false;
  #lookedMs = 0;
  #lookedCpuMs = 0;
  /** Processor time at the last collection; what the start took is always worth one. */
  #collectedCpuMs = Number.NEGATIVE_INFINITY;

  constructor(options: MemoryKeeperOptions) {
    this.#options = options;
  }

  start(): void {
    this.#startedMs = this.#options.monotonicMs();
    this.#note();
    this.#timer = setInterval(() => this.look(), LOOK_MS);
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
  }

  /** Collects if the time since the last look was idle, after work, and once with the bound; trims each time. */
  look(): void {
    const { collect, boundGrowth, trim, cpuMs, monotonicMs } = this.#options;
    const bounds = !this.#bounded && monotonicMs() - this.#startedMs >= START_MS;
    if (bounds) {
      boundGrowth(GROWTH_PERCENT);
      this.#bounded = true;
    }
    const now = cpuMs();
    const idle = (now - this.#lookedCpuMs) / (monotonicMs() - this.#lookedMs) < IDLE_SHARE_MAX;
    // V8 reckons the next collection at the end of the last one: without one now, minutes would pass.
    if (bounds || (idle && now - this.#collectedCpuMs >= WORK_MS_MIN)) {
      collect();
      this.#collectedCpuMs = cpuMs();
    }
    trim();
    this.#note();
  }

  #note(): void {
    this.#lookedMs = this.#options.monotonicMs();
    this.#lookedCpuMs = this.#options.cpuMs();
  }
}

/** The options of this process; null where V8 was not told to let itself be asked (`--expose-gc`). */
export function ownMemory(monotonicMs: () => number): MemoryKeeperOptions | null {
  const { gc } = globalThis;
  if (gc === undefined) return null;
  return {
    collect: () => gc({ type: 'major', execution: 'sync', flavor: 'last-resort' }),
    boundGrowth: (percent) => setFlagsFromString(`--heap-growing-percent=${percent}`),
    trim: mallocTrim(),
    cpuMs: () => {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1_000;
    },
    monotonicMs,
  };
}
