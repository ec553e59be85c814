/**
 * Validates a block's transactions against the state and commits them, all in one database
 * transaction. First the endorsement policies, as they stood before the block; then, one by one,
 * read versions and ranges; valid ones are applied, with private data to those who hold it.
 */
import type { ChaincodeDefinition } from './config.ts';
import { policyChangeIds, requiredPolicies, writtenKeyIds } from './endorsement-policy.ts';
import type { Peer } from './peer.ts';
import { type ReadWriteSet, sameVersion } from './rwset.ts';
import type { Store } from './store.ts';
import { type ExaminedTransaction, VALIDATION } from './transaction.ts';

/** What a committed block did. */
export interface CommittedBlock {
  readonly number: number;
  readonly outcomes: readonly { readonly txId: string; readonly code: number }[];
}

export class Committer {
  readonly #store: Store;
  readonly #chaincodes: ReadonlyMap<string, ChaincodeDefinition>;
  readonly #peers: readonly Peer[];
  readonly #nowMs: () => number;

  constructor(
    store: Store,
    chaincodes: readonly ChaincodeDefinition[],
    peers: readonly Peer[],
    nowMs: () => number,
  ) {
    this.#store = store;
    this.#chaincodes = new Map(chaincodes.map((each) => [each.name, each]));
    this.#peers = peers;
    this.#nowMs = nowMs;
  }

  commit(transactions: readonly ExaminedTransaction[]): CommittedBlock {
    return this.#store.atomically(() => {
      const block = this.#store.height();
      const endorsed = this.#checkPolicies(transactions);
      const codes = transactions.map((transaction, tx) => {
        const code = endorsed[tx] ?? VALIDATION.INVALID_OTHER_REASON;
        return code === VALIDATION.VALID ? this.#apply(transaction, { block, tx }) : code;
      });
      const stored = transactions.map(({ txId, chaincode, event, envelope }, tx) => {
        const code = codes[tx] ?? VALIDATION.INVALID_OTHER_REASON;
        return { txId, code, chaincode, event, envelope };
      });
      this.#store.appendBlock(stored, this.#nowMs());
      for (const chaincode of this.#chaincodes.values()) {
        for (const collection of chaincode.collections) {
          this.#store.expire(chaincode.name, collection, block);
        }
      }
      // A duplicate says nothing about the transaction whose id it repeats.
      const outcomes = stored.filter(({ code }) => code !== VALIDATION.DUPLICATE_TXID);
      return { number: block, outcomes };
    });
  }

  /**
   * Codes after duplicates and endorsement policies. A transaction that uses a key whose policy an
   * earlier one of this block changes is refused: nobody could know which policy holds.
   */
  #checkPolicies(transactions: readonly ExaminedTransaction[]): number[] {
    const seen = new Set<string>();
    const changed = new Set<string>();
    return transactions.map(({ txId, code, chaincode, set, endorsers }) => {
      if (seen.has(txId) || this.#store.transaction(txId) !== null) {
        return VALIDATION.DUPLICATE_TXID;
      }
      seen.add(txId);
      if (code !== VALIDATION.VALID || set === null) {
        return code;
      }
      const definition = this.#chaincodes.get(chaincode);
      if (definition === undefined) {
        return VALIDATION.INVALID_CHAINCODE;
      }
      const policies = requiredPolicies(set, definition, this.#store.view);
      const satisfied =
        policies.every((policy) => policy(endorsers)) &&
        !writtenKeyIds(set).some((id) => changed.has(id));
      if (!satisfied) {
        return VALIDATION.ENDORSEMENT_POLICY_FAILURE;
      }
      for (const id of policyChangeIds(set)) {
        changed.add(id);
      }
      return VALIDATION.VALID;
    });
  }

  #apply(transaction: ExaminedTransaction, at: { block: number; tx: number }): number {
    const { set, txId } = transaction;
    if (set === null) {
      return VALIDATION.INVALID_OTHER_REASON;
    }
    if (!this.#readsStillHold(set)) {
      return VALIDATION.MVCC_READ_CONFLICT;
    }
    if (!this.#rangesStillHold(set)) {
      return VALIDATION.PHANTOM_READ_CONFLICT;
    }
    this.#store.apply(set, at);
    for (const { collection, privateHash } of set.collections) {
      if (privateHash.length > 0) {
        this.#deliverPrivate(txId, set.namespace, collection, privateHash, at);
      }
    }
    this.#store.dropTransient(txId);
    return VALIDATION.VALID;
  }

  #readsStillHold(set: ReadWriteSet): boolean {
    const { view } = this.#store;
    const ns = set.namespace;
    return (
      set.reads.every(({ key, version }) =>
        sameVersion(view.state(ns, key)?.version ?? null, version),
      ) &&
      set.collections.every(({ collection, reads }) =>
        reads.every(({ keyHash, version }) =>
          sameVersion(view.hashed(ns, collection, keyHash)?.version ?? null, version),
        ),
      )
    );
  }

  /** A range must give the same keys in the same versions; an unfinished one up to its last key. */
  #rangesStillHold(set: ReadWriteSet): boolean {
    return set.ranges.every(({ start, end, exhausted, reads }) => {
      const after = exhausted ? end : `${end}\u0000`;
      const now = this.#store.view.range(set.namespace, start, after, reads.length + 1);
      return (
        now.length === reads.length &&
        now.every((row, index) => {
          const read = reads[index];
          return read?.key === row.key && sameVersion(read.version, row.version);
        })
      );
    });
  }

  /** To those who got it at endorsement; peers that are up may also fetch it from a member. */
  #deliverPrivate(
    txId: string,
    ns: string,
    collection: string,
    hash: Uint8Array,
    at: { block: number; tx: number },
  ): void {
    const kept = this.#store.transient(txId, ns, collection, hash);
    const config = this.#chaincodes.get(ns)?.collections.find((each) => each.name === collection);
    if (kept === null || config === undefined) {
      return;
    }
    const members = this.#peers.filter((each) => config.memberOrgs.includes(each.mspId));
    const someMemberHasIt = members.some((each) => kept.mspIds.includes(each.mspId));
    for (const member of members) {
      if (kept.mspIds.includes(member.mspId) || (someMemberHasIt && member.isUp)) {
        this.#store.applyPrivate(member.mspId, ns, collection, kept.writes, at);
      }
    }
  }
}
