/**
 * Faults of owners, as they are found while fetching: one for each kind and organisation, with the
 * chunks in its detail, so that a large file cannot make a long list.
 */
import { hasBit } from '@blocktorrent/protocol/bitfield.ts';
import type {
  Fault,
  FaultKind,
  Hex,
  MspId,
  SignedReceipt,
} from '@blocktorrent/protocol/ledger-api.ts';
import { type Receipt, verifyReceipt } from '@blocktorrent/protocol/receipt.ts';
import type { Membership } from '../overlay/types.ts';

/** Chunks named in one fault's detail. */
const CHUNKS_NAMED_MAX = 20;

interface Found {
  readonly kind: FaultKind;
  readonly mspId: MspId;
  readonly detail: string;
  readonly chunks: Set<number>;
}

export interface FaultListOptions {
  readonly fileId: Hex;
  readonly receipts: readonly SignedReceipt[];
  /** When the ledger took them, ms since 1970. */
  readonly recordedAtMs: number;
  readonly membership: Membership;
}

export class FaultList {
  readonly #fileId: Hex;
  readonly #receipts: Receipt[];
  readonly #found = new Map<string, Found>();

  /** Receipts that do not verify are no promise, and count for nothing. */
  constructor({ fileId, receipts, recordedAtMs, membership }: FaultListOptions) {
    this.#fileId = fileId;
    this.#receipts = receipts.flatMap((signed) => {
      try {
        const keys = membership.keysOf(signed.mspId, signed.peer, recordedAtMs);
        const receipt = verifyReceipt(signed, keys);
        return receipt.fileId === fileId ? [receipt] : [];
      } catch (error) {
        if (error instanceof Error && 'code' in error) return [];
        throw error;
      }
    });
  }

  /** Notes a fault; a chunk that was never signed for cannot be missing. */
  add(kind: FaultKind, mspId: MspId, index: number | null, detail: string): void {
    if (kind === 'missing-chunk' && index !== null && !this.#signedFor(mspId, index)) return;
    const name = `${kind} ${mspId}`;
    const found = this.#found.get(name) ?? { kind, mspId, detail, chunks: new Set<number>() };
    if (index !== null) found.chunks.add(index);
    this.#found.set(name, found);
  }

  list(): Fault[] {
    return [...this.#found.values()].map(({ kind, mspId, detail, chunks }) => ({
      kind,
      mspId,
      fileId: this.#fileId,
      detail: chunks.size === 0 ? detail : `${nameChunks([...chunks])}: ${detail}`,
    }));
  }

  #signedFor(mspId: MspId, index: number): boolean {
    return this.#receipts.some(
      (receipt) => receipt.owner === mspId && hasBit(receipt.chunks, index),
    );
  }
}

function nameChunks(chunks: readonly number[]): string {
  const named = [...chunks].sort((a, b) => a - b).slice(0, CHUNKS_NAMED_MAX);
  const more = chunks.length - named.length;
  return `chunk ${named.join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}
