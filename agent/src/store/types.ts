/** What the admin node's store takes and tells; implemented by `store-node.ts`. */
import type { Hex, MspId } from '@blocktorrent/protocol/ledger-api.ts';
import type { Database } from 'better-sqlite3';
import type { AddressBook, Membership, Overlay } from '../overlay/types.ts';
import type { Log } from '../runtime/log.ts';
import type { ChunkStore } from './chunk-store.ts';

export interface StoreNodeOptions {
  readonly overlay: Overlay;
  readonly addressBook: AddressBook;
  readonly membership: Membership;
  readonly chunks: ChunkStore;
  /** `store.sqlite`, open for writing. */
  readonly database: Database;
  /** Ed25519 seed of our overlay key, 32 bytes: signs receipts. */
  readonly overlaySeed: Uint8Array;
  readonly random: (bytes: number) => Uint8Array;
  readonly nowMs: () => number;
  /** Never goes back: all waits are measured by it. */
  readonly monotonicMs: () => number;
  readonly log: Log;
  readonly timing?: Partial<StoreTiming>;
  readonly onEvent?: (event: StoreEvent) => void;
  /** What the chunks' disk has left, bytes; absent: never asked. */
  readonly freeBytes?: () => number;
  /** Last word on an offer: a reason refuses it. */
  readonly admit?: (offer: OfferSummary) => string | null;
}

/** An offer that has passed every check. */
export interface OfferSummary {
  readonly fileId: Hex;
  readonly source: MspId;
  /** Bytes of the chunks that would be ours. */
  readonly ownedBytes: number;
}

export interface StoreTiming {
  /** No news from a chunk's primary for this long: turn to the source (times our rank). */
  readonly lateMs: number;
  /** A receipt over what is there so far is sent when nothing came for this long. */
  readonly partialMs: number;
  /** First and longest pause before another owner is dialled again. */
  readonly retryMs: number;
  readonly retryMsMax: number;
  /** Of two owners, the one with the greater MSP id waits this long for the other to dial. */
  readonly yieldMs: number;
}

export const STORE_TIMING: StoreTiming = {
  lateMs: 5_000,
  partialMs: 5_000,
  retryMs: 250,
  retryMsMax: 15_000,
  yieldMs: 300,
};

/** For metrics, the console and fault reports. */
export type StoreEvent =
  | { readonly type: 'offered'; readonly fileId: Hex; readonly source: MspId }
  | {
      readonly type: 'stored';
      readonly fileId: Hex;
      readonly index: number;
      readonly bytes: number;
      /** It came from another owner while no link to the source was open. */
      readonly repair: boolean;
    }
  | {
      /** A chunk that was durable here is rotten or gone. */
      readonly type: 'lost';
      readonly fileId: Hex;
      readonly index: number;
      readonly reason: string;
    }
  | {
      /** Every chunk of the file that is ours is durable here. */
      readonly type: 'complete';
      readonly fileId: Hex;
    }
  | {
      readonly type: 'receipt';
      readonly fileId: Hex;
      readonly chunks: number;
      readonly complete: boolean;
    }
  | {
      readonly type: 'refused';
      readonly fileId: Hex | null;
      readonly mspId: MspId;
      readonly reason: string;
    }
  | {
      readonly type: 'evidence';
      readonly fileId: Hex;
      readonly mspId: MspId;
      readonly detail: string;
    };

/** One kept proof of somebody's bad chunk. */
export interface Evidence {
  readonly fileId: Hex;
  readonly mspId: MspId;
  readonly kind: 'bad-chunk';
  readonly detail: string;
  readonly atMs: number;
}

export interface StoreStatus {
  readonly files: number;
  readonly complete: number;
  readonly chunks: number;
  readonly bytes: number;
}
