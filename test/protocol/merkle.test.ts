import { concatBytes, fromHex, toHex } from '@blocktorrent/protocol/bytes.ts';
import { merkleRoot, merkleTree, verifyMerkleProof } from '@blocktorrent/protocol/merkle.ts';
import { sha256 } from '@noble/hashes/sha2.js';
import { describe, expect, it } from 'vitest';
import { dealingVectors } from '../support/dealing-vectors.ts';
import { codeOf } from '../support/errors.ts';

const leavesOf = (count: number) =>
  Array.from({ length: count }, (_, i) => sha256(Uint8Array.of(i)));

const merkleProof = (leaves: readonly Uint8Array[], index: number) =>
  merkleTree(leaves).proofs[index] ?? [];

describe('Merkle trees', () => {
  it.each(dealingVectors.merkle)('of $leaves.length leaves are those of RFC 6962', (one) => {
    const leaves = one.leaves.map((leaf) => fromHex(leaf));
    expect(toHex(merkleRoot(leaves))).toBe(one.root);
    const tree = merkleTree(leaves);
    expect(toHex(tree.root)).toBe(one.root);
    expect(tree.proofs.map((proof) => proof.map(toHex))).toEqual(one.proofs);
    for (const [i, proof] of one.proofs.entries()) {
      expect(merkleProof(leaves, i).map(toHex)).toEqual(proof);
    }
  });

  it('take a proof at its own index only, and only with its own leaf', () => {
    for (let count = 1; count <= 9; count++) {
      const leaves = leavesOf(count);
      const root = merkleRoot(leaves);
      for (let of = 0; of < count; of++) {
        const proof = merkleProof(leaves, of);
        for (let at = 0; at < count; at++) {
          const leaf = leaves[at] ?? new Uint8Array();
          expect(verifyMerkleProof(leaf, of, count, proof, root)).toBe(at === of);
          const own = leaves[of] ?? new Uint8Array();
          expect(verifyMerkleProof(own, at, count, proof, root)).toBe(at === of);
        }
      }
    }
  });

  it('do not take a node for a leaf (second preimage)', () => {
    const leaves = leavesOf(4);
    const root = merkleRoot(leaves);
    const hash = (leaf: Uint8Array | undefined) =>
      sha256(concatBytes(Uint8Array.of(0), leaf ?? new Uint8Array()));
    const pair = concatBytes(hash(leaves[0]), hash(leaves[1]));
    const uncle = merkleProof(leaves, 0).slice(1);
    for (const fake of [pair, concatBytes(Uint8Array.of(1), pair)]) {
      expect(verifyMerkleProof(fake, 0, 2, uncle, root)).toBe(false);
    }
    const halves = [concatBytes(...leaves.slice(0, 2)), concatBytes(...leaves.slice(2))];
    expect(toHex(merkleRoot(halves))).not.toBe(toHex(root));
  });

  it('do not double an odd leaf', () => {
    const leaves = leavesOf(3);
    const last = leaves[2] ?? new Uint8Array();
    expect(toHex(merkleRoot([...leaves, last]))).not.toBe(toHex(merkleRoot(leaves)));
  });

  it('refuse proofs that are too long, too short, or have steps of another size', () => {
    const leaves = leavesOf(5);
    const root = merkleRoot(leaves);
    const leaf = leaves[1] ?? new Uint8Array();
    const proof = merkleProof(leaves, 1);
    const check = (given: Uint8Array[], count = 5) =>
      verifyMerkleProof(leaf, 1, count, given, root);
    expect(check(proof)).toBe(true);
    expect(check([...proof, new Uint8Array(32)])).toBe(false);
    expect(check(proof.slice(0, -1))).toBe(false);
    expect(check(proof.slice(1))).toBe(false);
    expect(check(proof.map((step) => step.subarray(1)))).toBe(false);
    expect(check(proof, 4)).toBe(false);
    expect(check(proof, 9)).toBe(false);
    expect(check([], 1)).toBe(false);
  });

  it('refuse a place outside the tree', async () => {
    const leaves = leavesOf(2);
    const leaf = leaves[0] ?? new Uint8Array();
    const [proof, root] = [merkleProof(leaves, 0), merkleRoot(leaves)];
    for (const index of [-1, 2, 0.5, Number.NaN]) {
      expect(verifyMerkleProof(leaf, index, 2, proof, root)).toBe(false);
    }
    expect(await codeOf(() => merkleRoot([]))).toBe('bad-argument');
  });
});
