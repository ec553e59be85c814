/**
 * Whether the agent is alive: fed to systemd's watchdog, and shown by `/healthz`.
 *
 * A frozen event loop feeds nothing by itself: its timers stand still. A pipeline that has work and
 * does not touch it, or is lost in local work, is found by `stuckStages`. Waiting for others (owners
 * without a link, a ledger that is away) is no fault: restarting would not help.
 */
import type { FileQueue, Stage } from './file-queue.ts';
import type { Health } from './http.ts';
import type { Log } from './log.ts';
import type { Notify } from './notify.ts';
import type { StageStep } from './stage-runner.ts';

/** What is known of one stage; times are monotonic, in ms. */
export interface StagePulse {
  readonly name: string;
  /** A file stands before this stage, and nothing keeps the stage from taking it. */
  readonly hasWork: boolean;
  /** When the stage last took a file, or the agent started. */
  readonly takenMs: number;
  /** When the oldest work in hand began; null where none is in hand. */
  readonly inHandSinceMs: number | null;
  /** Longest that one piece of work may take; null where it may wait for others without end. */
  readonly workMsMax: number | null;
}

/** A stage tries a file again after a minute at most: five times that without a try is a fault. */
export const UNTOUCHED_MS_MAX = 300_000;

/** Each stage that is stuck, as a reason for people; empty while all is well. */
export function stuckStages(pulses: readonly StagePulse[], nowMs: number): string[] {
  return pulses.flatMap(({ name, hasWork, takenMs, inHandSinceMs, workMsMax }) => {
    if (inHandSinceMs === null) {
      const untouchedMs = nowMs - takenMs;
      if (!hasWork || untouchedMs <= UNTOUCHED_MS_MAX) return [];
      return [`${name}: files wait, none was taken for ${seconds(untouchedMs)}`];
    }
    const workMs = nowMs - inHandSinceMs;
    if (workMsMax === null || workMs <= workMsMax) return [];
    return [
      `${name}: one file is in hand for ${seconds(workMs)}, expected ${seconds(workMsMax)} at most`,
    ];
  });
}

function seconds(ms: number): string {
  return `${Math.round(ms / 1_000)} s`;
}

export interface WatchdogOptions {
  readonly notify: Notify;
  /** From `watchdogIntervalMs`; null where nobody watches. */
  readonly intervalMs: number | null;
  readonly queue: Pick<FileQueue, 'counts' | 'oldestRun'>;
  readonly monotonicMs: () => number;
  /** Longest that one call of a stage may take, ms; null: it waits for others, without end. */
  readonly workMsMax: (stage: string) => number | null;
  readonly log: Log;
}

interface Watched {
  readonly step: StageStep;
  takenMs: number;
  readonly inHand: Set<{ readonly sinceMs: number }>;
}

/** Watches the stages that were given to `watch`, and feeds the service manager while all is well. */
export class Watchdog {
  readonly #options: WatchdogOptions;
  readonly #watched: Watched[] = [];
  #timer: NodeJS.Timeout | null = null;
  #reasons = '';

  constructor(options: WatchdogOptions) {
    this.#options = options;
  }

  /** The same step, with a note of when its work begins and ends. */
  watch(step: StageStep): StageStep {
    const { monotonicMs } = this.#options;
    const watched: Watched = { step, takenMs: monotonicMs(), inHand: new Set() };
    this.#watched.push(watched);
    const run: StageStep['run'] = async (files, signal) => {
      const call = { sinceMs: monotonicMs() };
      watched.takenMs = call.sinceMs;
      watched.inHand.add(call);
      try {
        return await step.run(files, signal);
      } finally {
        watched.takenMs = monotonicMs();
        watched.inHand.delete(call);
      }
    };
    return { ...step, run };
  }

  /** Feeds now, and from then on twice in each interval of the service manager. */
  start(): void {
    const { intervalMs } = this.#options;
    if (intervalMs === null) return;
    this.feed();
    this.#timer = setInterval(() => this.feed(), intervalMs);
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }

  /** `WATCHDOG=1`, unless a stage is stuck. */
  feed(): void {
    const { notify, log } = this.#options;
    const { ok, reasons } = this.health();
    if (ok) notify('WATCHDOG=1');
    const text = reasons.join('; ');
    if (!ok && text !== this.#reasons) log.error('stuck, the watchdog is not fed', { reasons });
    this.#reasons = text;
  }

  /** For `/healthz`. */
  health(): Health {
    const { monotonicMs, workMsMax } = this.#options;
    const counts = this.#options.queue.counts();
    const pulses = this.#watched.map(({ step, takenMs, inHand }): StagePulse => {
      const sinceMs = [...inHand].map((call) => call.sinceMs);
      return {
        name: step.name,
        hasWork: this.#hasWork(step, counts),
        takenMs,
        inHandSinceMs: sinceMs.length === 0 ? null : Math.min(...sinceMs),
        workMsMax: workMsMax(step.name),
      };
    });
    const reasons = stuckStages(pulses, monotonicMs());
    return { ok: reasons.length === 0, reasons };
  }

  #hasWork(
    { from, inOrder = false, hasRoom }: StageStep,
    counts: Readonly<Record<Stage, number>>,
  ): boolean {
    if (counts[from] === 0 || hasRoom?.() === false) return false;
    // In the chain's order an older file that is not yet there keeps the younger ones waiting.
    return !inOrder || this.#options.queue.oldestRun(from, 1).length > 0;
  }
}
