/** Dealings as a source with other software makes them. */
import { createHash } from 'node:crypto';
import { toHex } from '@blocktorrent/protocol/bytes.ts';
import type { Dealing } from '@blocktorrent/protocol/ledger-api.ts';
import { merkleRoot, merkleTree } from '@blocktorrent/protocol/merkle.ts';

/** `dealing` with hashes, root and proofs of these shards in place of the right ones. */
export function dealingOver(dealing: Dealing, shards: readonly Uint8Array[]): Dealing {
  const hashes = shards.map((one) => Uint8Array.from(createHash('sha256').update(one).digest()));
  return {
    ...dealing,
    shardHashes: hashes.map(toHex),
    merkleRoot: toHex(merkleRoot(hashes)),
    proofs: merkleTree(hashes).proofs.map((proof) => proof.map(toHex)),
  };
}
