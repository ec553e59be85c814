/** Known answers made by `test/vectors/make-feldman-vectors.py`. */
import type { DepositInput } from '@blocktorrent/protocol/ledger-api.ts';
import { readVectors } from './vectors.ts';

/** One split: what it was made of, and every byte that comes out. */
export interface FeldmanDealing {
  readonly label: string;
  readonly identity: string;
  readonly clamped: string;
  readonly entropy: string;
  readonly txId: string;
  readonly input: DepositInput;
  /** Lowest bit of the x of C_0, which the recipient forgets. */
  readonly signOfC0: 0 | 1;
  readonly commitments: readonly string[];
  readonly shares: readonly string[];
  readonly shards: readonly string[];
  readonly shardHashes: readonly string[];
  readonly merkleRoot: string;
  readonly proofs: readonly (readonly string[])[];
}

/** Shape of feldman.json. */
export interface FeldmanVectors {
  /** l, little-endian. */
  readonly order: string;
  readonly dealings: readonly FeldmanDealing[];
  /** 2 of 3 of a chosen secret, and what it rebuilds. */
  readonly rebuilt: readonly {
    label: string;
    branch: 'a' | '8l - a' | null;
    recipient: string;
    identity: string | null;
    commitments: readonly string[];
    shares: readonly string[];
  }[];
  readonly points: {
    good: string;
    order8: string;
    bad: readonly { label: string; point: string }[];
  };
}

/** feldman.json, as make-feldman-vectors.py wrote it. */
export const feldmanVectors = readVectors('feldman.json') as FeldmanVectors;
