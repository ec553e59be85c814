/**
 * The split of a file's key among its holders, and what everybody may know of it (P §3.2.2).
 *
 * `dealShards` runs inside the chaincode `keys`, the same on every endorser: key, entropy and
 * deposit's id in, shards and their public dealing out. The dealing binds each shard by its SHA-256
 * and a Merkle proof, and the key by the file's recipient; under `feldman-25519` its commitments
 * also show that the shards rebuild that key. `verifyShard` is the holder's check and the
 * auditor's, `rebuildIdentity` the auditor's; both refuse with the check that failed.
 */
import { sha256 } from '@noble/hashes/sha2.js';
import { decodeRecipient, encodeRecipient, recipientOf } from './age.ts';
import { equalBytes, fromHex, toHex } from './bytes.ts';
import { encodeCanonical } from './cbor.ts';
import { ProtocolError } from './errors.ts';
import { Fields } from './fields.ts';
import { COMMITMENT_BYTES, type Committed, KEY_SCHEMES } from './key-schemes.ts';
import type { Dealing, DepositInput, Hex, KeyScheme, MspId } from './ledger-api.ts';
import { LIMITS } from './limits.ts';
import { MERKLE_HASH_BYTES, merkleRoot, merkleTree, verifyMerkleProof } from './merkle.ts';
import { decodeShard, encodeShard, type Shard } from './shard.ts';
import { deriveCoefficients, requireThreshold } from './sharing.ts';

/** What a deposit splits: the file's identity (32 bytes), fresh entropy (32 bytes), and for whom. */
export interface DealInput {
  readonly identity: Uint8Array;
  readonly entropy: Uint8Array;
  /** The deposit's id, 64 hex digits: the transaction's, or `depositIdOf` one of many. */
  readonly txId: string;
  readonly input: DepositInput;
}

/** The scheme for a consortium that has no reason for another. */
export const DEFAULT_SCHEME: KeyScheme = 'feldman-25519';

/** Schemes that can be dealt. */
export const DEALT_SCHEMES: readonly KeyScheme[] = [DEFAULT_SCHEME, 'shamir-gf256'];

/** Length of an identity and of a deposit's entropy, in bytes. */
export const IDENTITY_BYTES = 32;
export const ENTROPY_BYTES = 32;

const DEPOSIT_DOMAIN = 'blocktorrent/deposit/v1';
const KEYS = [
  'version',
  'scheme',
  'k',
  'n',
  'fileId',
  'recipient',
  'depositTx',
  'holders',
  'shardHashes',
  'merkleRoot',
  'proofs',
  'commitments',
] as const;

/**
 * Splits an identity: `shards[i]` are the bytes that `dealing.holders[i]` stores.
 * Throws ProtocolError `bad-key` where the identity is not the recipient's, `bad-argument` on
 * anything else that does not fit.
 */
export function dealShards(deal: DealInput): { dealing: Dealing; shards: Uint8Array[] } {
  const { identity, entropy, txId, input } = deal;
  requireDeal(deal);
  const { fileId, scheme, k, n } = input;
  const context = [scheme, fileId, txId, k, n];
  const coefficients = deriveCoefficients(identity, entropy, context);
  const split = KEY_SCHEMES[scheme].split(identity, k, n, coefficients);
  if (encodeRecipient(split.recipient) !== input.recipient) {
    throw new ProtocolError('bad-key', 'the identity is not that of the recipient');
  }
  const shards = split.shares.map((share, i) =>
    encodeShard({ version: 1, scheme, fileId, index: i + 1, k, n, share }),
  );
  const hashes = shards.map((shard) => sha256(shard));
  const tree = merkleTree(hashes);
  const dealing: Dealing = {
    version: 1,
    scheme,
    k,
    n,
    fileId,
    recipient: input.recipient,
    depositTx: txId,
    holders: [...input.holders],
    shardHashes: hashes.map(toHex),
    merkleRoot: toHex(tree.root),
    proofs: tree.proofs.map((proof) => proof.map(toHex)),
    commitments: split.commitments.map(toHex),
  };
  requireShape(dealing);
  return { dealing, shards };
}

/**
 * Id (64 hex digits) of the deposit of `fileId` among the many of one transaction: it stands where
 * a transaction's id does, and can be known no earlier.
 */
export function depositIdOf(txId: string, fileId: Hex): string {
  return toHex(sha256(encodeCanonical([DEPOSIT_DOMAIN, fromHex(txId, 32), fromHex(fileId, 32)])));
}

/**
 * Checks a dealing by itself: shape and bounds (ProtocolError `malformed`, `bad-version`), counts,
 * distinct holders (`bad-argument`), root and proofs against the hashes (`bad-proof`), commitments
 * (`bad-commitment`) and that they are the recipient's (`bad-key`). That it is the right one (file,
 * recipient, holders, policy) is for whoever knows those.
 */
export function verifyDealing(dealing: Dealing): void {
  requireShape(dealing);
  KEY_SCHEMES[dealing.scheme].verifyCommitments(committedOf(dealing));
}

/** Everything about a dealing but what its commitments say. */
function requireShape(dealing: Dealing): void {
  const fields = new Fields('dealing', dealing, KEYS);
  fields.version('version', 1);
  const scheme = fields.oneOf('scheme', DEALT_SCHEMES);
  const n = fields.integer('n', 2, LIMITS.shardsMax);
  const k = fields.integer('k', 2, n);
  requireThreshold(k, n);
  fromHex(fields.text('fileId'), 32);
  decodeRecipient(fields.text('recipient', 128));
  fromHex(fields.text('depositTx'), 32);
  requireHolders(fields.list('holders', n, n));
  const hashes = fields.list('shardHashes', n, n).map((hash) => hashOf(hash, 'shardHashes'));
  const root = fromHex(fields.text('merkleRoot'), MERKLE_HASH_BYTES);
  if (!equalBytes(merkleRoot(hashes), root)) {
    throw new ProtocolError('bad-proof', 'dealing: merkleRoot is not the root of shardHashes');
  }
  for (const [i, proof] of fields.list('proofs', n, n).entries()) {
    const steps = proofOf(proof);
    if (!verifyMerkleProof(hashes[i] ?? new Uint8Array(), i, n, steps, root)) {
      throw new ProtocolError('bad-proof', `dealing: proof of shard ${i + 1} does not hold`);
    }
  }
  const count = KEY_SCHEMES[scheme].commitmentCount(k);
  for (const one of fields.list('commitments', count, count)) hashOf(one, 'commitments');
}

/**
 * The shard in `shardBytes`, if it is shard `index` (from 1) of `dealing`, which is recorded or has
 * passed `verifyDealing`. Throws ProtocolError `bad-digest` where its hash is not the pinned one,
 * `bad-proof` where the tree does not hold it, `bad-shard` where it says it is another's or does
 * not fit the commitments, `bad-commitment` and `bad-key` where these are at fault; index as
 * `bad-argument`.
 */
export function verifyShard(shardBytes: Uint8Array, index: number, dealing: Dealing): Shard {
  const pinned = dealing.shardHashes[index - 1];
  const proof = dealing.proofs[index - 1];
  if (pinned === undefined || proof === undefined) {
    throw new ProtocolError('bad-argument', `shard index ${index} is not in 1..${dealing.n}`);
  }
  const hash = sha256(shardBytes);
  if (toHex(hash) !== pinned) {
    throw new ProtocolError(
      'bad-digest',
      `shard ${index}: expected SHA-256 ${pinned}, got ${toHex(hash)}`,
    );
  }
  const root = fromHex(dealing.merkleRoot, MERKLE_HASH_BYTES);
  if (!verifyMerkleProof(hash, index - 1, dealing.n, proofOf(proof), root)) {
    throw new ProtocolError('bad-proof', `shard ${index}: Merkle proof does not hold`);
  }
  const shard = decodeShard(shardBytes);
  requireShardOf(shard, dealing);
  if (shard.index !== index) {
    throw new ProtocolError('bad-shard', `shard ${index}: says that it is shard ${shard.index}`);
  }
  KEY_SCHEMES[shard.scheme].verifyShare(shard, committedOf(dealing));
  return shard;
}

/**
 * The file's identity (32 bytes) from at least k of its verified shards. Throws ProtocolError
 * `bad-shard` where they are too few, repeated or not this dealing's, and `bad-key` where what
 * they give is not the identity of the dealing's recipient: then the split itself was wrong.
 */
export function rebuildIdentity(shards: readonly Shard[], dealing: Dealing): Uint8Array {
  if (shards.length < dealing.k) {
    throw new ProtocolError('bad-shard', `expected ${dealing.k} shards, got ${shards.length}`);
  }
  for (const shard of shards) requireShardOf(shard, dealing);
  const sorted = [...shards].sort((a, b) => a.index - b.index);
  const repeated = sorted.find((shard, i) => sorted[i + 1]?.index === shard.index);
  if (repeated !== undefined) {
    throw new ProtocolError('bad-shard', `shard ${repeated.index} is there twice`);
  }
  let identity: Uint8Array;
  try {
    identity = KEY_SCHEMES[dealing.scheme].rebuild(sorted.slice(0, dealing.k));
  } catch (cause) {
    throw new ProtocolError('bad-key', 'the shards do not rebuild a key', { cause });
  }
  if (recipientOf(identity) !== dealing.recipient) {
    throw new ProtocolError('bad-key', `the rebuilt key is not that of ${dealing.recipient}`);
  }
  return identity;
}

function requireDeal({ identity, entropy, txId, input }: DealInput): void {
  if (!DEALT_SCHEMES.includes(input.scheme)) {
    throw new ProtocolError(
      'bad-argument',
      `scheme: expected ${DEALT_SCHEMES.join(', ')}, got ${input.scheme}`,
    );
  }
  if (identity.length !== IDENTITY_BYTES || entropy.length !== ENTROPY_BYTES) {
    throw new ProtocolError(
      'bad-argument',
      `expected identity and entropy of 32 bytes, got ${identity.length} and ${entropy.length}`,
    );
  }
  fromHex(txId, 32);
  requireThreshold(input.k, input.n);
  if (input.holders.length !== input.n) {
    throw new ProtocolError(
      'bad-argument',
      `expected ${input.n} holders, got ${input.holders.length}`,
    );
  }
  requireHolders(input.holders);
}

function requireHolders(holders: readonly unknown[]): asserts holders is readonly MspId[] {
  for (const holder of holders) {
    if (typeof holder !== 'string' || holder === '' || holder.length > LIMITS.nameCharsMax) {
      throw new ProtocolError('malformed', 'holders: expected MSP ids');
    }
  }
  if (new Set(holders).size !== holders.length) {
    throw new ProtocolError('bad-argument', `holders must be distinct, got ${holders.join(', ')}`);
  }
}

function requireShardOf(shard: Shard, dealing: Dealing): void {
  const names = ['scheme', 'fileId', 'k', 'n'] as const;
  for (const name of names) {
    if (shard[name] !== dealing[name]) {
      throw new ProtocolError(
        'bad-shard',
        `shard ${shard.index}: expected ${name} ${dealing[name]}, got ${shard[name]}`,
      );
    }
  }
}

function committedOf(dealing: Dealing): Committed {
  return {
    k: dealing.k,
    recipient: decodeRecipient(dealing.recipient),
    commitments: dealing.commitments.map((one) => fromHex(one, COMMITMENT_BYTES)),
  };
}

function hashOf(hash: unknown, name: string): Uint8Array {
  if (typeof hash !== 'string')
    throw new ProtocolError('malformed', `dealing.${name}: expected hex`);
  return fromHex(hash, MERKLE_HASH_BYTES);
}

function proofOf(proof: unknown): Uint8Array[] {
  if (!Array.isArray(proof) || proof.length > LIMITS.shardsMax) {
    throw new ProtocolError('malformed', 'dealing.proofs: expected lists of hashes');
  }
  const steps: readonly unknown[] = proof;
  return steps.map((step) => hashOf(step, 'proofs'));
}
