/**
 * Whether the wall clock can be trusted: what systemd-timesyncd says, and whether it is obviously off.
 *
 * Enters: the folder in /run that timesyncd makes when it runs and marks when it has synchronised.
 * Leaves: a state, and why nothing should be signed with this clock now. Always holds: looked at no
 * more than once a second; where nobody can tell, only a clock that cannot be right is mistrusted.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from './clock.ts';

/** `unknown`: no timesyncd runs here; another daemon may keep the clock. */
export type ClockState = 'synchronised' | 'unsynchronised' | 'unknown';

export interface ClockWatchOptions {
  readonly clock: Clock;
  /** `plausible`: a clock that is not synchronised will do if it is not obviously off. */
  readonly need: 'synchronised' | 'plausible';
  /** It cannot be earlier than this, ms since 1970: something is known that happened then. */
  readonly notBeforeMs?: () => number;
  /** Made by timesyncd when it runs; inside, `synchronized` once it has done its work. */
  readonly timesyncDir?: string;
}

const LOOK_EVERY_MS = 1_000;
/** These sources were written then: a clock that starts at 1970 or at a firmware's date is earlier. */
const WRITTEN_AT_MS = Date.UTC(2026, 9, 1);
/** The ledger itself takes times that are off by so much. */
const TOLERANCE_MS = 120_000;

export class ClockWatch {
  readonly #options: ClockWatchOptions;
  #state: ClockState = 'unknown';
  #lookAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: ClockWatchOptions) {
    this.#options = options;
  }

  get state(): ClockState {
    const { clock, timesyncDir = '/run/systemd/timesync' } = this.#options;
    const nowMs = clock.monotonicMs();
    if (nowMs < this.#lookAtMs) return this.#state;
    this.#lookAtMs = nowMs + LOOK_EVERY_MS;
    if (existsSync(join(timesyncDir, 'synchronized'))) this.#state = 'synchronised';
    else this.#state = existsSync(timesyncDir) ? 'unsynchronised' : 'unknown';
    return this.#state;
  }

  /** Why nothing may be submitted with this clock now; null if it may. */
  get mistrust(): string | null {
    const { clock, need, notBeforeMs } = this.#options;
    const { state } = this;
    if (state === 'synchronised') return null;
    if (state === 'unsynchronised' && need === 'synchronised') {
      return 'systemd-timesyncd runs and has not synchronised the clock yet';
    }
    const floorMs = Math.max(WRITTEN_AT_MS, (notBeforeMs?.() ?? 0) - TOLERANCE_MS);
    if (clock.nowMs() >= floorMs) return null;
    const [now, floor] = [clock.nowMs(), floorMs].map((ms) => new Date(ms).toISOString());
    return `the clock is off: it says ${now}, and it cannot be before ${floor}`;
  }
}
