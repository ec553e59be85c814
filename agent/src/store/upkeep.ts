/**
 * What an owner does for the chunks that it has: repair, recall, counting copies. The pieces are made
 * and joined here; main.ts starts and stops the whole.
 */
import type { LedgerEvent } from '../ledger/ledger.ts';
import { Catalog } from './catalog.ts';
import { Copies, type CopiesStatus } from './copies.ts';
import { OwnerLinks } from './owner-links.ts';
import { Recall } from './recall.ts';
import { Repairer } from './repair.ts';
import type { StoreNode } from './store-node.ts';
import type { StoreEvent, StoreNodeOptions } from './types.ts';
import { UpkeepList } from './upkeep-list.ts';
import { UPKEEP_TIMING, type UpkeepParts, type UpkeepTiming } from './upkeep-types.ts';

export interface UpkeepOptions {
  readonly node: StoreNodeOptions;
  readonly store: StoreNode;
  readonly ledger: UpkeepParts['ledger'];
  readonly timing?: Partial<UpkeepTiming>;
}

export interface RepairStatus {
  /** Files whose part in the epoch in force is not yet worked out. */
  readonly workingOut: number;
  /** Files that new owners have still to be told of, counted for each of them. */
  readonly handovers: number;
  /** Files of which chunks are missing here. */
  readonly unfinished: number;
  /** Re-placements that are not yet on the ledger; those of unfinished files among them. */
  readonly unrecorded: number;
  /** Files that we signed for, and have nothing of. */
  readonly wanted: number;
  /** Chunks and bytes that came from other owners without the source, since ever. */
  readonly chunks: number;
  readonly bytes: number;
  readonly lastError: string | null;
}

export interface UpkeepStatus {
  readonly copies: CopiesStatus;
  readonly repair: RepairStatus;
}

export class Upkeep {
  readonly #parts: UpkeepParts;
  readonly #repairer: Repairer;
  readonly #recall: Recall;
  readonly #copies: Copies;

  constructor(options: UpkeepOptions) {
    const { node, store, ledger } = options;
    const { overlay, membership, log } = node;
    this.#parts = {
      self: overlay.mspId,
      peer: overlay.peer,
      overlaySeed: node.overlaySeed,
      catalog: new Catalog(node.database),
      list: new UpkeepList(node.database),
      chunks: node.chunks,
      links: new OwnerLinks({ overlay, membership, log, addressBook: node.addressBook }),
      random: node.random,
      nowMs: node.nowMs,
      timing: { ...UPKEEP_TIMING, ...options.timing },
      onWorkedOut: (fileId) => this.#copies.recount(fileId),
      store,
      overlay,
      membership,
      ledger,
      log,
    };
    this.#repairer = new Repairer(this.#parts);
    this.#recall = new Recall(this.#parts, this.#repairer);
    this.#copies = new Copies(this.#parts, node.database);
  }

  start(): void {
    const { store, links } = this.#parts;
    store.onOwnerLink((link) => links.accept(link));
    this.#repairer.start();
    this.#recall.start();
    this.#copies.start();
  }

  async stop(): Promise<void> {
    this.#parts.store.onOwnerLink(() => null);
    this.#parts.links.stop();
    await Promise.all([this.#repairer.stop(), this.#recall.stop(), this.#copies.stop()]);
  }

  /** What the ledger says to everybody. */
  noteLedger(event: LedgerEvent): void {
    this.#copies.note(event);
  }

  /** What the store says. */
  noteStore(event: StoreEvent): void {
    const { list } = this.#parts;
    if (event.type === 'stored') {
      this.#repairer.progressed(event.fileId);
      if (!event.repair) return;
      list.addCount('repaired/chunks', 1);
      list.addCount('repaired/bytes', event.bytes);
    } else if (event.type === 'complete') {
      this.#copies.completed(event.fileId);
      this.#repairer.wake();
    }
  }

  status(): UpkeepStatus {
    const { list, membership } = this.#parts;
    return {
      copies: this.#copies.status(),
      repair: {
        ...list.counts(membership.epoch()),
        chunks: list.count('repaired/chunks'),
        bytes: list.count('repaired/bytes'),
        lastError: this.#repairer.lastError ?? this.#recall.lastError,
      },
    };
  }
}
