/**
 * The two key schemes behind one shape (P §3.2.2): what `dealing.ts` and `shard.ts` need of each.
 *
 * `shamir-gf256` is the paper's: nothing about a share can be checked before the key is rebuilt.
 * `feldman-25519` commits to the polynomial, so that each share can.
 */
import { recipientBytesOf } from './age-keys.ts';
import {
  COMMITMENT_BYTES,
  type Commitments,
  dealFeldman,
  FELDMAN_SHARE_BYTES,
  openCommitments,
  rebuildFeldman,
  verifyFeldmanShare,
} from './feldman.ts';
import type { KeyScheme } from './ledger-api.ts';
import { combineShares, SHARE_BYTES, splitSecret } from './shamir.ts';
import type { Coefficients, IndexedShare } from './sharing.ts';

export { COMMITMENT_BYTES };

/** A split identity; `recipient` (32 bytes) is its recipient. */
export interface Split {
  readonly shares: readonly Uint8Array[];
  readonly commitments: readonly Uint8Array[];
  readonly recipient: Uint8Array;
}

/** What a share must fit. */
export interface Committed {
  readonly k: number;
  /** 32 bytes. */
  readonly recipient: Uint8Array;
  readonly commitments: readonly Uint8Array[];
}

/** One way to split an identity of 32 bytes. */
export interface SharingScheme {
  /** Exact length of a share, in bytes. */
  readonly shareBytes: number;
  /** Exact number of commitments for threshold k. */
  readonly commitmentCount: (k: number) => number;
  readonly split: (identity: Uint8Array, k: number, n: number, by: Coefficients) => Split;
  /** Throws ProtocolError `bad-commitment`, or `bad-key` where they are another recipient's. */
  readonly verifyCommitments: (committed: Committed) => void;
  /** For a recorded dealing: errors of `verifyCommitments`, and `bad-shard` where it does not fit. */
  readonly verifyShare: (share: IndexedShare, committed: Committed) => void;
  /** The identity behind exactly k shares; compare its recipient. Throws on shares that are none. */
  readonly rebuild: (shares: readonly IndexedShare[]) => Uint8Array;
}

/** Every scheme, by its name on the ledger. */
export const KEY_SCHEMES: { readonly [S in KeyScheme]: SharingScheme } = {
  'feldman-25519': {
    shareBytes: FELDMAN_SHARE_BYTES,
    commitmentCount: (k) => k,
    split: dealFeldman,
    verifyCommitments: ({ commitments, k, recipient }) => {
      openCommitments(commitments, k, recipient);
    },
    verifyShare: (share, committed) =>
      verifyFeldmanShare({ ...share, commitments: reopened(committed) }),
    rebuild: rebuildFeldman,
  },
  'shamir-gf256': {
    shareBytes: SHARE_BYTES,
    commitmentCount: () => 0,
    split: (identity, k, n, by) => ({
      shares: splitSecret(identity, k, n, by),
      commitments: [],
      recipient: recipientBytesOf(identity),
    }),
    verifyCommitments: () => undefined,
    verifyShare: () => undefined,
    rebuild: combineShares,
  },
};

function reopened({ commitments, k, recipient }: Committed): Commitments {
  return openCommitments(commitments, k, recipient, true);
}
