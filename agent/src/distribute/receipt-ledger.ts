/**
 * The receipts of one file: whose count, which chunks they cover, who is missing.
 *
 * Always holds: only receipts that verify against the ledger's keys are in it, one an owner: the one
 * that covers most.
 */
import { hasBit, indicesOf } from '@blocktorrent/protocol/bitfield.ts';
import { ProtocolError } from '@blocktorrent/protocol/errors.ts';
import type { Hex, MspId, SignedReceipt } from '@blocktorrent/protocol/ledger-api.ts';
import { coverage, type Receipt, verifyReceipt } from '@blocktorrent/protocol/receipt.ts';
import type { Membership } from '../overlay/types.ts';

export interface ReceiptLedgerOptions {
  readonly fileId: Hex;
  readonly source: MspId;
  readonly channel: string;
  readonly epoch: number;
  /** Owners of each chunk, by chunk index. */
  readonly owners: readonly (readonly MspId[])[];
  readonly membership: Pick<Membership, 'keysOf'>;
}

export class ReceiptLedger {
  readonly #options: ReceiptLedgerOptions;
  /** Chunk indices of each owner. */
  readonly #owned = new Map<MspId, number[]>();
  readonly #best = new Map<MspId, { receipt: Receipt; signed: SignedReceipt; count: number }>();

  constructor(options: ReceiptLedgerOptions) {
    this.#options = options;
    options.owners.forEach((owners, index) => {
      for (const mspId of owners) {
        const owned = this.#owned.get(mspId) ?? [];
        owned.push(index);
        this.#owned.set(mspId, owned);
      }
    });
  }

  get chunkCount(): number {
    return this.#options.owners.length;
  }

  /** Ascending. */
  ownerIds(): MspId[] {
    return [...this.#owned.keys()].sort();
  }

  /** Takes a receipt; returns what is wrong with it, or null. */
  add(signed: SignedReceipt): string | null {
    const { membership, fileId, source, epoch, channel } = this.#options;
    const owned = this.#owned.get(signed.mspId);
    if (owned === undefined) return `${signed.mspId} owns no chunk of this file`;
    const keys = membership.keysOf(signed.mspId, signed.peer);
    if (keys.length === 0) return `${signed.mspId}/${signed.peer} has no key on the ledger`;
    let receipt: Receipt;
    try {
      receipt = verifyReceipt(signed, keys);
    } catch (error) {
      if (error instanceof ProtocolError) return `${error.code}: ${error.message}`;
      throw error;
    }
    if (receipt.fileId !== fileId) return `it is for file ${receipt.fileId}`;
    if (receipt.source !== source) return `it is for a file of ${receipt.source}`;
    if (receipt.channel !== channel) return `it is for channel ${receipt.channel}`;
    if (receipt.epoch !== epoch) return `it is for epoch ${receipt.epoch}, expected ${epoch}`;
    if (receipt.chunkCount !== this.chunkCount) return `it counts ${receipt.chunkCount} chunks`;
    const own = new Set(owned);
    const strange = indicesOf(receipt.chunks, this.chunkCount).find((index) => !own.has(index));
    if (strange !== undefined) return `chunk ${strange} is not ${signed.mspId}'s`;
    const count = owned.filter((index) => hasBit(receipt.chunks, index)).length;
    const known = this.#best.get(signed.mspId);
    if (known === undefined || count > known.count) {
      this.#best.set(signed.mspId, { receipt, signed, count });
    }
    return null;
  }

  /** Whether an owner has signed for all its chunks. */
  isDone(mspId: MspId): boolean {
    return (this.#best.get(mspId)?.count ?? 0) === (this.#owned.get(mspId)?.length ?? 0);
  }

  get complete(): boolean {
    return this.missing().length === 0;
  }

  missing(): MspId[] {
    return this.ownerIds().filter((mspId) => !this.isDone(mspId));
  }

  /** Chunks with receipts from at least `receiptsMin` organisations. */
  covered(receiptsMin: number): number {
    const receipts = [...this.#best.values()].map(({ receipt }) => receipt);
    return coverage(receipts, this.chunkCount).filter((count) => count >= receiptsMin).length;
  }

  /** Each owner's best receipt, by MSP id. */
  best(): SignedReceipt[] {
    return this.ownerIds().flatMap((mspId) => {
      const best = this.#best.get(mspId);
      return best === undefined ? [] : [best.signed];
    });
  }
}
