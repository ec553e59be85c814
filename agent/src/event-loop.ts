/**
 * Ledger events and what they set in motion: the view of the consortium, our duties, the pipeline.
 *
 * Always holds: an event is checkpointed after what it asks of us is noted, and duties that failed are
 * tried again without a new event. After a restart, and after a time in which the disk took nothing,
 * all events since the checkpoint come again.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { Duties } from './consortium/duties.ts';
import type { Ledger, LedgerEvent } from './ledger/ledger.ts';
import type { ConsortiumView } from './ledger/membership.ts';
import { isDiskTrouble } from './runtime/disk-space.ts';
import type { Log } from './runtime/log.ts';

export interface EventLoopOptions {
  readonly ledger: Ledger;
  readonly view: ConsortiumView;
  /** Null for an agent without the role `store`. */
  readonly duties: Duties | null;
  readonly checkpointFile: string;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** Every event, before it counts as dealt with. */
  readonly note: (event: LedgerEvent) => void;
  /** Something on the ledger changed that a stage may be waiting for. */
  readonly wake: () => void;
  /** Duties wait this long for more of their kind, so that many go into one transaction. */
  readonly gatherMs: number;
}

/** Failed duties, and a failed look at the consortium, are tried again after this long. */
const RETRY_MS = 1_000;

/** Runs until the signal is aborted. */
export async function runEventLoop(options: EventLoopOptions): Promise<void> {
  const { duties, signal, log } = options;
  const dutiesLoop = duties === null ? null : new DutiesLoop(duties, options);
  while (!signal.aborted) {
    try {
      await follow(options, dutiesLoop);
    } catch (error) {
      if (!isDiskTrouble(error)) throw error;
      log.error('an event could not be noted on the disk; all since the last one come again', {
        error,
      });
      await pause(RETRY_MS, undefined, { signal }).catch(() => undefined);
    }
  }
  await dutiesLoop?.ended();
}

/** All events from the checkpoint on, until the signal is aborted. */
async function follow(options: EventLoopOptions, dutiesLoop: DutiesLoop | null): Promise<void> {
  const { ledger, view, duties, signal, log, note, wake, checkpointFile } = options;
  for await (const event of ledger.events({ signal, checkpointFile, fromStart: true })) {
    log.debug('ledger event', { event: event.name, txId: event.txId });
    if (event.name === 'consortium-changed') await refresh(view, log, signal);
    duties?.note(event);
    note(event);
    // The checkpoint moves when the next event is asked for: what this one asks for is on the disk by then.
    dutiesLoop?.noted(event);
    wake();
  }
}

/** Until it has been read: who was removed or revoked must not stay because the ledger stuttered. */
async function refresh(view: ConsortiumView, log: Log, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      await view.refresh();
      return;
    } catch (error) {
      log.warn('the consortium could not be read; the last known state stands until it can', {
        error: error instanceof Error ? error.message : String(error),
      });
    }
    // Rejects only when aborted, which the loop sees.
    await pause(RETRY_MS, undefined, { signal }).catch(() => undefined);
  }
}

/** Performs duties one round at a time, soon after an event, and again while any is left. */
class DutiesLoop {
  readonly #duties: Duties;
  readonly #options: EventLoopOptions;
  #round: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | null = null;

  constructor(duties: Duties, options: EventLoopOptions) {
    this.#duties = duties;
    this.#options = options;
    options.signal.addEventListener('abort', () => this.#clear());
  }

  /** An event was noted: a round follows. Audit events are served at once. */
  noted(event: LedgerEvent): void {
    if (!this.#duties.pending) return;
    this.#schedule(event.name === 'recorded' ? this.#options.gatherMs : 0);
  }

  async ended(): Promise<void> {
    this.#clear();
    await this.#round;
  }

  #schedule(afterMs: number): void {
    if (this.#timer !== null && afterMs > 0) return;
    this.#clear();
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#round = this.#round.then(() => this.#perform());
    }, afterMs);
  }

  async #perform(): Promise<void> {
    const { signal } = this.#options;
    if (signal.aborted) return;
    try {
      await this.#duties.perform(signal);
    } catch (error) {
      if (!isDiskTrouble(error)) throw error;
      this.#options.log.error('duties wait until the disk takes what is done', { error });
    }
    if (this.#duties.pending && !signal.aborted && this.#timer === null) this.#schedule(RETRY_MS);
  }

  #clear(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }
}
