/**
 * What an owner does for the chunks that it has: repair, recall, counting copies, scrub, challenges.
 * The pieces are made and joined here; main.ts starts and stops the whole.
 */
import type { LedgerEvent } from '../ledger/ledger.ts';
import type { Membership } from '../overlay/types.ts';
import { Answerer } from './answerer.ts';
import { Catalog } from './catalog.ts';
import { ChallengeFaults } from './challenge-faults.ts';
import { type ChallengeOutcome, Challenger, type ChallengeStatus } from './challenger.ts';
import { Copies, type CopiesStatus } from './copies.ts';
import { OwnerLinks } from './owner-links.ts';
import { Recall } from './recall.ts';
import { Repairer } from './repair.ts';
import { Scrub, type ScrubResult, type ScrubStatus } from './scrub.ts';
import type { StoreNode } from './store-node.ts';
import type { StoreEvent, StoreNodeOptions } from './types.ts';
import { UpkeepList } from './upkeep-list.ts';
import { UPKEEP_TIMING, type UpkeepParts, type UpkeepTiming } from './upkeep-types.ts';

export interface UpkeepOptions {
  readonly node: StoreNodeOptions;
  readonly store: StoreNode;
  readonly ledger: UpkeepParts['ledger'];
  readonly timing?: Partial<UpkeepTiming>;
  /** As it is configured now; what changes here counts from then on. */
  readonly config: UpkeepConfig;
}

export interface UpkeepConfig {
  /** A whole round of the scrub takes so long. */
  readonly scrubRoundMs: number;
  /** Time between two challenges; 0: none. */
  readonly challengeEveryMs: number;
  /** So long without a right answer is a fault. */
  readonly silenceMs: number;
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
  readonly scrub: ScrubStatus;
  readonly challenges: ChallengeStatus;
  /** What somebody should look at; null where nothing is. */
  readonly alarm: string | null;
}

export class Upkeep {
  readonly #parts: UpkeepParts;
  readonly #repairer: Repairer;
  readonly #recall: Recall;
  readonly #copies: Copies;
  readonly #scrub: Scrub;
  readonly #faults: ChallengeFaults;
  readonly #challenger: Challenger;
  #endWaiting: () => void = () => undefined;

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
      monotonicMs: node.monotonicMs,
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
    const { config } = options;
    this.#scrub = new Scrub(this.#parts, () => config.scrubRoundMs);
    this.#faults = new ChallengeFaults(this.#parts, node.database, () => config.silenceMs);
    this.#challenger = new Challenger(this.#parts, this.#faults, () => config.challengeEveryMs);
    new Answerer(this.#parts).listen();
  }

  /** Begins as soon as the consortium is known: a gateway may start before its ledger. */
  start(): void {
    const { membership } = this.#parts;
    if (isKnown(membership)) {
      this.#begin();
      return;
    }
    this.#endWaiting = membership.onChange(() => {
      this.#endWaiting();
      this.#begin();
    });
  }

  #begin(): void {
    const { store, links } = this.#parts;
    store.onOwnerLink((link) => links.accept(link));
    this.#repairer.start();
    this.#recall.start();
    this.#copies.start();
    this.#scrub.start();
    this.#faults.start();
    this.#challenger.start();
  }

  async stop(): Promise<void> {
    this.#endWaiting();
    this.#parts.store.onOwnerLink(() => null);
    this.#parts.links.stop();
    await Promise.all([
      this.#repairer.stop(),
      this.#recall.stop(),
      this.#copies.stop(),
      this.#scrub.stop(),
      this.#faults.stop(),
      this.#challenger.stop(),
    ]);
  }

  /** A whole round of the scrub at once, beside the slow one. */
  scrubNow(signal: AbortSignal, onProgress: (sofar: ScrubResult) => void): Promise<ScrubResult> {
    return this.#scrub.now(signal, onProgress);
  }

  /** One challenge now, to an owner and about a file that chance picks. */
  challenge(): Promise<ChallengeOutcome> {
    return this.#challenger.challenge();
  }

  /** What the ledger says to everybody. */
  noteLedger(event: LedgerEvent): void {
    this.#copies.note(event);
  }

  /** What the store says. */
  noteStore(event: StoreEvent): void {
    const { list } = this.#parts;
    if (event.type === 'lost') {
      list.addLost(event.fileId, event.index);
      list.addCount('lost/chunks', 1);
      this.#repairer.wake();
    } else if (event.type === 'stored') {
      this.#repairer.progressed(event.fileId);
      list.endLost(event.fileId, event.index);
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
    const copies = this.#copies.status();
    const scrub = this.#scrub.status();
    return {
      copies,
      scrub,
      repair: {
        ...list.counts(membership.epoch()),
        chunks: list.count('repaired/chunks'),
        bytes: list.count('repaired/bytes'),
        lastError: this.#repairer.lastError ?? this.#recall.lastError,
      },
      challenges: this.#challenger.status(),
      alarm: alarmOf(copies, scrub),
    };
  }
}

function isKnown(membership: Membership): boolean {
  try {
    return membership.epoch() > 0;
  } catch {
    // Never reached yet: there is nothing to go by.
    return false;
  }
}

function alarmOf({ alone }: CopiesStatus, { open }: ScrubStatus): string | null {
  const alarms = [
    ...(open > 0
      ? [
          `${open} chunks are rotten or gone, and not yet replaced: others are asked; is the disk well?`,
        ]
      : []),
    ...(alone > 0
      ? [`${alone} chunks are here alone: no other organisation is known to have them`]
      : []),
  ];
  return alarms.length === 0 ? null : alarms.join('; ');
}
