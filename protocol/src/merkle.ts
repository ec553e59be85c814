/**
 * Merkle tree of RFC 6962 §2.1 over SHA-256, built by merkletreejs.
 *
 * Leaves are hashed with the prefix 0x00 and nodes with 0x01, so that no node passes as a leaf;
 * an odd node moves up unhashed, never doubled; a proof must have exactly the length that the
 * leaf's place asks for. merkletreejs alone is open to second preimages: these three close that.
 */
import { sha256 } from '@noble/hashes/sha2.js';
import { MerkleTree } from 'merkletreejs/MerkleTree';
import { concatBytes, equalBytes } from './bytes.ts';
import { ProtocolError } from './errors.ts';

/** Length of a root and of each step of a proof, in bytes. */
export const MERKLE_HASH_BYTES = 32;

const LEAF = Uint8Array.of(0x00);
const NODE = Uint8Array.of(0x01);

/** Root (32 bytes) over `leaves`, in order. Throws ProtocolError `bad-argument` on none. */
export function merkleRoot(leaves: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(treeOf(leaves).getRoot());
}

/**
 * Root over `leaves` and the inclusion proof of each, from one tree: siblings, the leaf's first, 32 bytes
 * each. Throws ProtocolError `bad-argument` on none.
 */
export function merkleTree(leaves: readonly Uint8Array[]): {
  root: Uint8Array;
  proofs: Uint8Array[][];
} {
  const tree = treeOf(leaves);
  return {
    root: Uint8Array.from(tree.getRoot()),
    proofs: leaves.map((_, index) => proofIn(tree, index)),
  };
}

/**
 * Whether `leaf` is leaf `index` (from 0) of the `count` leaves under `root`
 * (RFC 9162 §2.1.3.2). A proof that is too short, too long or has a step that is not 32 bytes is
 * simply no proof.
 */
export function verifyMerkleProof(
  leaf: Uint8Array,
  index: number,
  count: number,
  proof: readonly Uint8Array[],
  root: Uint8Array,
): boolean {
  if (!Number.isInteger(index) || !Number.isInteger(count)) return false;
  if (index < 0 || index >= count || root.length !== MERKLE_HASH_BYTES) return false;
  let hash = leafHash(leaf);
  let used = 0;
  let place = index;
  for (let last = count - 1; last > 0; last = Math.floor(last / 2)) {
    if (place % 2 === 1 || place !== last) {
      const step = proof[used++];
      if (step?.length !== MERKLE_HASH_BYTES) return false;
      hash = place % 2 === 1 ? nodeHash(step, hash) : nodeHash(hash, step);
    }
    place = Math.floor(place / 2);
  }
  return used === proof.length && equalBytes(hash, root);
}

function proofIn(tree: MerkleTree, index: number): Uint8Array[] {
  return tree.getProof(tree.getLeaf(index), index).map((step) => Uint8Array.from(step.data));
}

function treeOf(leaves: readonly Uint8Array[]): MerkleTree {
  if (leaves.length === 0) throw new ProtocolError('bad-argument', 'a Merkle tree needs a leaf');
  return new MerkleTree(leaves.map(leafHash), (pair: Uint8Array) =>
    sha256(concatBytes(NODE, pair)),
  );
}

function leafHash(leaf: Uint8Array): Uint8Array {
  return sha256(concatBytes(LEAF, leaf));
}

function nodeHash(left: Uint8Array, right: Uint8Array): Uint8Array {
  return sha256(concatBytes(NODE, left, right));
}
