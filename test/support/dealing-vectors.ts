/** Known answers made by `test/vectors/make-dealing-vectors.py`. */
import type { DepositInput, HashRange } from '@blocktorrent/protocol/ledger-api.ts';
import { readVectors } from './vectors.ts';

/** Shape of dealing.json. */
export interface DealingVectors {
  readonly placement: readonly {
    weights: Record<string, number>;
    ranges: readonly HashRange[];
    source: string;
    replicas: number;
    owners: readonly { bytes: number; owners: readonly string[] }[];
    nonces: readonly string[];
    holders: readonly { fileId: string; holders: readonly string[] }[];
  }[];
  readonly merkle: readonly {
    leaves: readonly string[];
    root: string;
    proofs: readonly (readonly string[])[];
  }[];
  readonly dealing: {
    identity: string;
    entropy: string;
    txId: string;
    input: DepositInput;
    shards: readonly string[];
    shardHashes: readonly string[];
    merkleRoot: string;
    proofs: readonly (readonly string[])[];
  };
  readonly formats: {
    manifest: string;
    fileId: string;
    info: string;
    digests: string;
    recipient: string;
    receipt: string;
    masterTable: string;
  };
}

/** dealing.json, as make-dealing-vectors.py wrote it. */
export const dealingVectors = readVectors('dealing.json') as DealingVectors;
