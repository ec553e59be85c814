/**
 * Closed batches between the batch store and the queue of files.
 *
 * Enters: batches that were closed, and how far the queue has them. Leaves: each in the queue, and how
 * safe it is without its file. Always holds: every closed batch on the disk is in the queue, also after
 * a crash between the two, and after the disk took nothing for a while; one goes only when it is
 * available on the ledger and no longer needed to know repetitions by.
 */
import { existsSync } from 'node:fs';
import type { BatchStore, ClosedBatch } from './batch/batch-store.ts';
import type { BatchSafety } from './batch/disk-plan.ts';
import type { FileQueue, Stage } from './runtime/file-queue.ts';
import type { Log } from './runtime/log.ts';

export interface ClosedBatchesOptions {
  readonly store: Pick<BatchStore, 'list' | 'deletable' | 'delete'>;
  readonly queue: Pick<FileQueue, 'add' | 'batchStage' | 'isBatchInHand'>;
  readonly log: Log;
}

/** After weeks without a link there are thousands: none of this looks at all of them for one file. */
export class ClosedBatches {
  readonly #options: ClosedBatchesOptions;
  /** Some may be missing in the queue, for what the disk said. */
  #isUnqueued = false;

  constructor(options: ClosedBatchesOptions) {
    this.#options = options;
  }

  /** One more is closed. */
  add(closed: ClosedBatch): void {
    if (!this.#enqueue([closed])) this.#isUnqueued = true;
    this.deleteAvailable();
  }

  /** All are in the queue: new ones, and those whose last try was given up. */
  queueAgain(): void {
    this.#isUnqueued = !this.#enqueue(this.#options.store.list());
  }

  /** Whether that did not help the last time. */
  get isUnqueued(): boolean {
    return this.#isUnqueued;
  }

  /** A batch is available on the ledger: our copy may go, unless it is one of the newest. */
  becameAvailable(batch: number): void {
    const { store, queue, log } = this.#options;
    if (queue.batchStage(batch) !== 'available' || !store.deletable(batch)) return;
    store.delete(batch);
    log.debug('batch deleted: it is available on the ledger', { batch });
  }

  /** Those that became available while they were the newest, or before a crash. */
  deleteAvailable(): void {
    const { store, log } = this.#options;
    try {
      for (const { batch } of store.list()) this.becameAvailable(batch);
    } catch (error) {
      log.warn('batches that are available could not be deleted', { error });
    }
  }

  safetyOf(batch: number): BatchSafety {
    const { queue } = this.#options;
    const stage = queue.batchStage(batch);
    return stage === 'queued' && queue.isBatchInHand(batch) ? 'sealing' : safetyAt(stage);
  }

  /** Whether the disk took it. */
  #enqueue(batches: readonly ClosedBatch[]): boolean {
    const { queue, log } = this.#options;
    try {
      for (const { batch, path: inputPath } of batches) {
        const stage = queue.batchStage(batch);
        if (stage !== null && stage !== 'void') continue;
        // Somebody has made room by hand: it is known to be lost, and no try helps.
        if (stage === 'void' && !existsSync(inputPath)) continue;
        queue.add({ kind: 'batch', inputPath, batch, recipients: [] });
      }
      return true;
    } catch (error) {
      if (!this.#isUnqueued) log.error('closed batches cannot be queued yet', { error });
      return false;
    }
  }
}

/** What would be lost with a batch at this stage of the pipeline. */
export function safetyAt(stage: Stage | null): BatchSafety {
  if (stage === null || stage === 'queued' || stage === 'void') return 'unsealed';
  return stage === 'available' ? 'available' : 'sealed';
}
