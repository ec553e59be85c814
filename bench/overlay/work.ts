/**
 * What the benchmark's processes are told and what they answer, over Node's IPC channel.
 *
 * One order at a time gets one answer with its number. Byte arrays travel as they are
 * (`serialization: 'advanced'`). Times are measured where the work is done.
 */
import type { MspId, SignedReceipt } from '@blocktorrent/protocol/ledger-api.ts';
import type { SignedManifest } from '@blocktorrent/protocol/manifest.ts';
import type { Address } from '../../agent/src/overlay/types.ts';

/** The environment variable that holds a `PeerSettings` as JSON. */
export const SETTINGS = 'BLOCKTORRENT_BENCH_PEER';

/** Who a process is. */
export interface PeerSettings {
  /** Certificates and keys of the consortium, made by `createPki`. */
  readonly pkiDir: string;
  readonly organisations: number;
  readonly mspId: MspId;
  /** Where its store is; null for a peer that keeps nothing. */
  readonly storeDir: string | null;
  /** What it may send, bytes a second; null: as much as it can. */
  readonly uploadBytesPerSecond: number | null;
}

/** A ciphertext that was cut, named and signed for. */
export interface SplitFile {
  readonly path: string;
  readonly fileId: string;
  readonly signed: SignedManifest;
  readonly chunkBytes: number;
  readonly ciphertextBytes: number;
  /** Owners of each chunk, by chunk index. */
  readonly owners: readonly (readonly MspId[])[];
}

/** Name of an order -> what goes with it, and what comes back. */
export interface Orders {
  /** Where every owner listens, by MSP id. */
  readonly meet: { input: Readonly<Record<MspId, Address>>; output: null };
  readonly split: {
    input: { readonly path: string; readonly chunksTarget: number };
    output: { readonly file: SplitFile; readonly seconds: number };
  };
  readonly distribute: {
    /** `graceMs`: patience with the last owners once each chunk has enough; null: minutes. */
    input: { readonly files: readonly SplitFile[]; readonly graceMs: number | null };
    output: Distributed;
  };
  readonly fetch: {
    input: { readonly files: readonly Stored[]; readonly dir: string };
    output: { readonly seconds: number };
  };
  /** Deletes what is kept of a file. */
  readonly forget: { input: { readonly fileId: string }; output: null };
  /** From here on the process ends as by a crash in the moment in which it has stored so many more. */
  readonly dieAfter: { input: { readonly chunks: number }; output: null };
  readonly stop: { input: null; output: null };
}

/** A distribution of one or more files at once. */
export interface Distributed {
  /** Until the last owner's receipt for its last chunk of the last file. */
  readonly seconds: number;
  /** At this process's sockets meanwhile, everything included. */
  readonly sentBytes: number;
  /** Of those, for these files alone: not what is relayed as an owner of others' files. */
  readonly sentForFiles: number;
  /** For each file. */
  readonly receipts: readonly (readonly SignedReceipt[])[];
  readonly complete: boolean;
}

/** A file with the receipts that were given for it. */
export interface Stored {
  readonly file: SplitFile;
  readonly receipts: readonly SignedReceipt[];
}

export type OrderName = keyof Orders;

export interface Order<N extends OrderName = OrderName> {
  readonly id: number;
  readonly name: N;
  readonly input: Orders[N]['input'];
}

/** `error` is set when the work failed; `output` otherwise. */
export interface Answer {
  readonly id: number;
  readonly error?: string;
  readonly output?: unknown;
}
