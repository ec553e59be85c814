/**
 * Runs one stage of the pipeline: takes files that wait for it from the queue, does the stage's
 * work, and commits its result with the new stage in one transaction.
 *
 * Always holds: a file is in one runner's hands at a time; a failure is logged, kept with the file
 * and tried again after a back-off that grows to a minute, whatever the wall clock does meanwhile and
 * also where the queue itself cannot be written (a full disk); `wake()` ends every wait.
 */
import {
  type FilePatch,
  type FileQueue,
  type QueuedFile,
  REFUSED,
  type Stage,
} from './file-queue.ts';
import type { Log } from './log.ts';

export interface StageStep {
  readonly name: string;
  readonly from: Stage;
  readonly to: Stage;
  /** Files (or, with `inOrder`, runs of files) worked on at once. */
  readonly concurrency: number;
  /** Keep the order of the gateway's chain: only the oldest unbroken run is taken. */
  readonly inOrder?: boolean;
  /** Whether the next stage has room for what this one makes; looked at before each call. */
  readonly hasRoom?: () => boolean;
  /** Largest run handed to one call; 1 unless the stage can take many at once. */
  readonly runMax?: number;
  /**
   * Does the work for each file. A result that is shorter than `files` leaves the rest as they are;
   * `'wait'` and `Waits` ask to be called again later; a `GivenUp` gives up that one file. Repeating
   * the work must be harmless.
   */
  run(
    files: readonly QueuedFile[],
    signal: AbortSignal,
  ): Promise<readonly (FilePatch | 'wait' | Waits | GivenUp)[]>;
}

/** One file that waits for others, and may do so for long: what for, for `status`. */
export interface Waits {
  readonly waitsFor: string;
}

/** One file of a run that no repetition can help: why. */
export interface GivenUp {
  readonly giveUp: string;
  /** The ledger refuses it for good. */
  readonly byLedger?: true;
}

/** Marks a failure that no repetition can mend: the file is given up and its place made void. */
export class GiveUp extends Error {
  override readonly name = 'GiveUp';
}

export interface StageRunnerOptions {
  readonly queue: FileQueue;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** Called after a file has moved, so that the next stage looks at once. */
  readonly onAdvance: (file: QueuedFile) => void;
  /** A number in [0, 1), for jitter. */
  readonly random: () => number;
  readonly retryMinMs?: number;
  readonly retryMaxMs?: number;
}

const RETRY_MIN_MS = 250;
const RETRY_MAX_MS = 60_000;
/** What the queue could not take is tried again after this long. */
const RETRY_UNWRITTEN_MS = 1_000;
/** `'wait'` without a wake-up is looked at again after this long. */
const POLL_MS = 2_000;

export class StageRunner {
  readonly #step: StageStep;
  readonly #options: StageRunnerOptions;
  readonly #inFlight = new Set<number>();
  /** Queue id -> when it may be tried again (`performance.now()`), and how often it failed in a row. */
  readonly #retry = new Map<number, { atMs: number; failures: number }>();
  /** When the queue was last looked at: what was due by then is in hand, has no room, or is gone. */
  #lookedMs = 0;
  #wakeUp: () => void = () => undefined;
  #woken = false;

  constructor(step: StageStep, options: StageRunnerOptions) {
    this.#step = step;
    this.#options = options;
  }

  /** Something outside has changed (a file moved, a ledger event): look now. */
  wake(): void {
    this.#woken = true;
    this.#wakeUp();
  }

  /** Runs until the signal is aborted and the work in hand has ended. */
  async run(): Promise<void> {
    const { signal } = this.#options;
    const working = new Set<Promise<void>>();
    const onAbort = () => this.wake();
    signal.addEventListener('abort', onAbort);
    while (!signal.aborted) {
      this.#woken = false;
      for (const files of this.#take(this.#step.concurrency - working.size)) {
        const work = this.#work(files).finally(() => {
          working.delete(work);
          this.wake();
        });
        working.add(work);
      }
      await this.#sleep(POLL_MS);
    }
    signal.removeEventListener('abort', onAbort);
    await Promise.all(working);
  }

  #take(free: number): QueuedFile[][] {
    this.#lookedMs = performance.now();
    if (free <= 0) return [];
    const { from, inOrder = false, runMax = 1, hasRoom } = this.#step;
    const { queue } = this.#options;
    if (hasRoom?.() === false) return [];
    const ready = (file: QueuedFile) =>
      !this.#inFlight.has(file.id) && (this.#retry.get(file.id)?.atMs ?? 0) <= this.#lookedMs;
    if (inOrder) {
      const run = queue.oldestRun(from, runMax);
      return run.length > 0 && run.every(ready) ? [run] : [];
    }
    return queue
      .at(from, free + this.#inFlight.size + this.#retry.size)
      .filter(ready)
      .slice(0, free)
      .map((file) => [file]);
  }

  async #work(files: readonly QueuedFile[]): Promise<void> {
    const { queue, log, signal } = this.#options;
    const { name, to } = this.#step;
    for (const { id } of files) {
      this.#inFlight.add(id);
      queue.inHand.add(id);
    }
    try {
      log.debug(`${name}: started`, { stage: name, ids: files.map((file) => file.id) });
      const results = await this.#step.run(files, signal);
      files.forEach((file, index) => {
        if (this.#isGone(file)) return;
        const result = results[index] ?? 'wait';
        if (result === 'wait' || 'waitsFor' in result) {
          this.#retry.set(file.id, { atMs: performance.now() + POLL_MS / 2, failures: 0 });
          const error = result === 'wait' ? null : `${name}: ${result.waitsFor}`;
          if (error !== queue.get(file.id).error) queue.update(file.id, { error });
          return;
        }
        this.#retry.delete(file.id);
        if ('giveUp' in result) {
          const refused = result.byLedger === true ? REFUSED : '';
          this.#giveUp(file, `${refused}${result.giveUp}`);
          return;
        }
        const moved = queue.update(file.id, { stage: to, error: null, ...result });
        log.info(`${name}: done`, {
          stage: name,
          id: file.id,
          batch: file.batch,
          fileId: moved.fileId,
        });
        this.#tell(moved);
      });
    } catch (error) {
      if (!signal.aborted) this.#failedOrUnwritten(files, error);
    } finally {
      for (const { id } of files) {
        this.#inFlight.delete(id);
        queue.inHand.delete(id);
      }
    }
  }

  /** The disk that made the work fail may be the one that the failure should be written to. */
  #failedOrUnwritten(files: readonly QueuedFile[], error: unknown): void {
    const { log } = this.#options;
    try {
      this.#failed(files, error);
    } catch (unwritten) {
      log.error(`${this.#step.name}: the queue cannot be written, will be tried again`, {
        ids: files.map((file) => file.id),
        error: unwritten,
        of: error,
      });
      const atMs = performance.now() + RETRY_UNWRITTEN_MS;
      for (const file of files) this.#retry.set(file.id, { atMs, failures: 0 });
    }
  }

  #failed(files: readonly QueuedFile[], error: unknown): void {
    const { queue, log, random } = this.#options;
    const { retryMinMs = RETRY_MIN_MS, retryMaxMs = RETRY_MAX_MS } = this.#options;
    const message = error instanceof Error ? error.message : String(error);
    const code = (error as { code?: unknown }).code;
    for (const file of files) {
      if (this.#isGone(file)) continue;
      if (error instanceof GiveUp) {
        this.#giveUp(file, message);
        continue;
      }
      const failures = (this.#retry.get(file.id)?.failures ?? 0) + 1;
      const backOffMs = Math.min(retryMaxMs, retryMinMs * 2 ** Math.min(failures - 1, 16));
      const retryInMs = Math.round(backOffMs * (0.5 + random() / 2));
      this.#retry.set(file.id, { atMs: performance.now() + retryInMs, failures });
      queue.update(file.id, { error: `${this.#step.name}: ${message}` });
      log.warn(`${this.#step.name}: failed, will be tried again`, {
        id: file.id,
        batch: file.batch,
        code,
        error: message,
        retryInMs,
      });
    }
  }

  /** Somebody gave the file up while it was in hand. */
  #isGone(file: QueuedFile): boolean {
    return this.#options.queue.get(file.id).stage !== this.#step.from;
  }

  #giveUp(file: QueuedFile, reason: string): void {
    const { queue, log } = this.#options;
    log.error(`${this.#step.name}: given up`, { id: file.id, batch: file.batch, error: reason });
    this.#tell(queue.giveUp(file.id, reason));
  }

  /** The file has moved, whatever the disk says of what is to be tidied after it. */
  #tell(moved: QueuedFile): void {
    const { log, onAdvance } = this.#options;
    try {
      onAdvance(moved);
    } catch (error) {
      log.error(`${this.#step.name}: what follows a file that has moved on failed`, {
        id: moved.id,
        error,
      });
    }
  }

  #sleep(ms: number): Promise<void> {
    if (this.#woken || this.#options.signal.aborted) return Promise.resolve();
    const due = [...this.#retry.values()].filter(({ atMs }) => atMs > this.#lookedMs);
    const soonest = Math.min(...due.map(({ atMs }) => atMs - performance.now()), ms);
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, Math.max(10, soonest));
      this.#wakeUp = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
