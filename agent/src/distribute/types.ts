/** What the stage `distribute` takes and gives (PROTOCOL §2.5); implemented in `distribute.ts`. */
import type { Epoch, MspId, Policy, SignedReceipt } from '@blocktorrent/protocol/ledger-api.ts';
import type { SignedManifest } from '@blocktorrent/protocol/manifest.ts';
import type { AddressBook, Membership, Overlay } from '../overlay/types.ts';
import type { Log } from '../runtime/log.ts';

export interface DistributeOptions {
  readonly signedManifest: SignedManifest;
  readonly ciphertextPath: string;
  /** The epoch that the manifest names. */
  readonly epoch: Epoch;
  readonly policy: Pick<Policy, 'replicas' | 'receiptsMin'>;
  readonly overlay: Overlay;
  readonly addressBook: AddressBook;
  readonly membership: Membership;
  /** Aborting ends everything, the background too. */
  readonly signal: AbortSignal;
  /** Receipts kept from before a restart; checked again, and not asked for twice. */
  readonly receipts?: readonly SignedReceipt[];
  readonly onProgress?: (progress: DistributeProgress) => void;
  /** Receipts that came after `distribute` had resolved. */
  readonly onLateReceipt?: (receipt: SignedReceipt) => void;
  readonly log?: Log;
  readonly timing?: Partial<DistributeTiming>;
  /** 0 <= random() < 1, spreads the retries. */
  readonly random?: () => number;
}

export interface DistributeTiming {
  /** Wait for the missing owners after `receiptsMin` is reached. */
  readonly graceMs: number;
  /** First and longest pause before an owner is dialled again. */
  readonly retryMs: number;
  readonly retryMsMax: number;
  /** How long the background goes on for missing owners after resolving. */
  readonly lingerMs: number;
}

export const DISTRIBUTE_TIMING: DistributeTiming = {
  graceMs: 10_000,
  retryMs: 250,
  retryMsMax: 30_000,
  lingerMs: 600_000,
};

export interface DistributeProgress {
  /** Owners that have to answer, and those whose receipt covers all their chunks. */
  readonly owners: number;
  readonly ownersDone: number;
  readonly chunkCount: number;
  /** Chunks with receipts from at least `receiptsMin` organisations. */
  readonly chunksCovered: number;
  /** Bytes at the sockets for this file so far. */
  readonly sentBytes: number;
  readonly states: Readonly<Record<MspId, OwnerState>>;
}
export type OwnerState = 'dialing' | 'offered' | 'fetching' | 'done' | 'unreachable' | 'refused';

export interface DistributeResult {
  /** The best receipt of each owner, verified, in order of MSP id. */
  readonly receipts: readonly SignedReceipt[];
  /** True when every chunk has a receipt from each of its owners. */
  readonly complete: boolean;
  readonly missing: readonly MspId[];
  /** Bytes at the sockets for this file, TLS and handshakes included. */
  readonly sentBytes: number;
  /** Ends when the background has: at once if `complete`. Never rejects. */
  readonly background: Promise<void>;
}

export type DistributeErrorCode = 'digest-mismatch' | 'bad-manifest' | 'bad-file' | 'aborted';

export class DistributeError extends Error {
  override readonly name = 'DistributeError';
  readonly code: DistributeErrorCode;
  readonly fileId: string;

  constructor(code: DistributeErrorCode, fileId: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.fileId = fileId;
  }
}
