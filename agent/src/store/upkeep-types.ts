/** What the parts of upkeep share: repair, recall, copies, scrub, challenges. */
import type { Hex, MspId } from '@blocktorrent/protocol/ledger-api.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { Membership, Overlay } from '../overlay/types.ts';
import type { Log } from '../runtime/log.ts';
import type { Catalog } from './catalog.ts';
import type { ChunkStore } from './chunk-store.ts';
import type { OwnerLinks } from './owner-links.ts';
import type { StoreNode } from './store-node.ts';
import type { UpkeepList } from './upkeep-list.ts';

export interface UpkeepTiming {
  /** Survivors tell a new owner one after the other, this far apart. */
  readonly rankMs: number;
  /** How often what is due is looked for. */
  readonly tickMs: number;
  /** No chunk of a file came for this long: another file has its turn. */
  readonly stallMs: number;
  /** Patience with one answer of another owner. */
  readonly askMs: number;
  /** First and longest pause before something is tried again. */
  readonly retryMs: number;
  readonly retryMsMax: number;
}

export const UPKEEP_TIMING: UpkeepTiming = {
  rankMs: 30_000,
  tickMs: 1_000,
  stallMs: 60_000,
  askMs: 20_000,
  retryMs: 2_000,
  retryMsMax: 900_000,
};

export interface UpkeepParts {
  readonly self: MspId;
  /** Name of this peer. */
  readonly peer: string;
  /** Ed25519 seed of our overlay key, 32 bytes. */
  readonly overlaySeed: Uint8Array;
  readonly store: StoreNode;
  readonly catalog: Catalog;
  readonly list: UpkeepList;
  readonly chunks: ChunkStore;
  readonly links: OwnerLinks;
  readonly overlay: Overlay;
  readonly membership: Membership;
  readonly ledger: Pick<Ledger, 'evaluate' | 'submit'>;
  readonly random: (bytes: number) => Uint8Array;
  readonly nowMs: () => number;
  /** Never goes back: all waits are measured by it. */
  readonly monotonicMs: () => number;
  readonly log: Log;
  readonly timing: UpkeepTiming;
  /** A file's owners are those of another epoch now. */
  readonly onWorkedOut: (fileId: Hex) => void;
}
