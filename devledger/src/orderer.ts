/**
 * Puts transactions into blocks: a block is cut a fixed time after its first transaction, or when
 * it is full. Not a consensus: one queue in one process; what it holds dies with it.
 */
import { EventEmitter } from 'node:events';
import type { CommittedBlock, Committer } from './committer.ts';
import type { ExaminedTransaction } from './transaction.ts';

interface OrdererEvents {
  block: [CommittedBlock];
}

export class Orderer {
  /** Emits `block` after each commit. */
  readonly blocks = new EventEmitter<OrdererEvents>();
  readonly #committer: Committer;
  readonly #intervalMs: number;
  readonly #transactionsMax: number;
  #queue: ExaminedTransaction[] = [];
  #timer: NodeJS.Timeout | null = null;

  constructor(committer: Committer, intervalMs: number, transactionsMax: number) {
    this.#committer = committer;
    this.#intervalMs = intervalMs;
    this.#transactionsMax = transactionsMax;
    // One listener for each waiting client: their number is bounded by the gateways.
    this.blocks.setMaxListeners(0);
  }

  enqueue(transaction: ExaminedTransaction): void {
    this.#queue.push(transaction);
    if (this.#queue.length >= this.#transactionsMax) {
      this.cut();
    } else {
      this.#timer ??= setTimeout(() => this.cut(), this.#intervalMs);
    }
  }

  /** Commits what is queued, now. */
  cut(): void {
    if (this.#timer !== null) {
      clearTimeout(this.#timer);
      this.#timer = null;
    }
    if (this.#queue.length > 0) {
      const transactions = this.#queue;
      this.#queue = [];
      this.blocks.emit('block', this.#committer.commit(transactions));
    }
  }
}
