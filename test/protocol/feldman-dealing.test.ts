/**
 * Dealings under `feldman-25519`, as depositors, holders, contracts and auditors use them: the
 * known bytes, and what each of them sees when another one lies.
 */
import { identityFromRandom, recipientOf } from '@blocktorrent/protocol/age.ts';
import { fromHex, toHex } from '@blocktorrent/protocol/bytes.ts';
import {
  DEALT_SCHEMES,
  DEFAULT_SCHEME,
  dealShards,
  depositIdOf,
  rebuildIdentity,
  verifyDealing,
  verifyShard,
} from '@blocktorrent/protocol/dealing.ts';
import type { Dealing } from '@blocktorrent/protocol/ledger-api.ts';
import { decodeShard, encodeShard } from '@blocktorrent/protocol/shard.ts';
import { sha256 } from '@noble/hashes/sha2.js';
import { describe, expect, it } from 'vitest';
import { dealingOver } from '../support/dealings.ts';
import { codeOf } from '../support/errors.ts';
import { type FeldmanDealing, feldmanVectors } from '../support/feldman-vectors.ts';
import { Seeded } from '../support/seeded.ts';

const random = new Seeded('feldman dealings');
const { dealings, points, order } = feldmanVectors;

function dealOf({ identity, entropy, txId, input }: FeldmanDealing) {
  return { identity: fromHex(identity), entropy: fromHex(entropy), txId, input };
}
const at = <T>(all: readonly T[], index: number): T => {
  const one = all[index];
  if (one === undefined) throw new Error(`nothing at ${index}`);
  return one;
};
const known = at(dealings, 1);
const { dealing, shards } = dealShards(dealOf(known));

/** The dealing as a cheating depositor would publish it for other shards. */
const dealingOf = (bytes: readonly Uint8Array[], change: Partial<Dealing> = {}): Dealing => ({
  ...dealingOver(dealing, bytes),
  ...change,
});
/** The shards with another share in one of them. */
const withShare = (index: number, share: Uint8Array) =>
  shards.map((one, i) => (i === index - 1 ? encodeShard({ ...decodeShard(one), share }) : one));
const shardCode = (index: number, bytes: readonly Uint8Array[], pinned: Dealing) =>
  codeOf(() => verifyShard(at(bytes, index - 1), index, pinned));

describe('a dealing under feldman-25519, the default', () => {
  it('is what a consortium gets that has no reason for another scheme', () => {
    expect(DEFAULT_SCHEME).toBe('feldman-25519');
    expect(DEALT_SCHEMES).toContain('shamir-gf256');
  });

  it.each(dealings)('is the known one, byte for byte: $label', (vector) => {
    const made = dealShards(dealOf(vector));
    expect(made.shards.map(toHex)).toEqual(vector.shards);
    const { input } = vector;
    expect(made.dealing).toEqual({
      version: 1,
      ...input,
      depositTx: vector.txId,
      shardHashes: vector.shardHashes,
      merkleRoot: vector.merkleRoot,
      proofs: vector.proofs,
      commitments: vector.commitments,
    });
    verifyDealing(made.dealing);
    const verified = made.shards.map((one, i) => verifyShard(one, i + 1, made.dealing));
    expect(toHex(rebuildIdentity(verified.slice(-input.k), made.dealing))).toBe(vector.clamped);
  });

  it('has other coefficients than the other scheme, transaction, file or entropy', () => {
    const deal = dealOf(known);
    const others = [
      { ...deal, txId: '11'.repeat(32) },
      { ...deal, entropy: deal.entropy.map((byte) => byte ^ 1) },
      { ...deal, input: { ...deal.input, fileId: '22'.repeat(32) } },
    ].map((one) => dealShards(one).dealing.commitments);
    for (const commitments of others) {
      expect(commitments[0]).toBe(dealing.commitments[0]);
      for (const one of commitments.slice(1)) expect(dealing.commitments).not.toContain(one);
    }
  });

  it('is not made for another recipient', async () => {
    const deal = dealOf(known);
    const recipient = recipientOf(identityFromRandom(random.bytes(32)));
    const code = await codeOf(() => dealShards({ ...deal, input: { ...deal.input, recipient } }));
    expect(code).toBe('bad-key');
  });
});

describe('a dealing under feldman-25519 is refused', () => {
  const other = dealShards({ ...dealOf(known), txId: '33'.repeat(32) }).dealing;
  const [c0 = '', c1 = '', c2 = ''] = dealing.commitments;

  it.each<[string, string, Partial<Dealing>]>([
    ['malformed', 'a commitment too many', { commitments: [c0, c1, c2, points.good] }],
    ['malformed', 'a commitment too few', { commitments: [c0, c1] }],
    ['malformed', 'none', { commitments: [] }],
    ['malformed', 'a short one', { commitments: [c0, c1, c2.slice(2)] }],
    ['malformed', 'one in upper case', { commitments: [c0, c1, c2.toUpperCase()] }],
    ['malformed', 'the other scheme, which has none', { scheme: 'shamir-gf256' }],
    ['bad-commitment', 'torsion in the last', { commitments: [c0, c1, points.order8] }],
    ['bad-commitment', 'the identity', { commitments: [c0, c1, `01${'00'.repeat(31)}`] }],
    ['bad-key', 'C_0 of another key', { commitments: [c1, c1, c2] }],
    [
      'bad-key',
      'another recipient, whose key was not split',
      { recipient: recipientOf(identityFromRandom(new Uint8Array(32).fill(7))) },
    ],
  ])('as %s with %s', async (code, _, change) => {
    expect(await codeOf(() => verifyDealing({ ...dealing, ...change }))).toBe(code);
  });

  it.each(points.bad)('as bad-commitment with $label', async ({ point }) => {
    const commitments = [c0, c1, point];
    expect(await codeOf(() => verifyDealing({ ...dealing, commitments }))).toBe('bad-commitment');
  });

  it('by its holders only, where commitments are good points of another polynomial', async () => {
    const pinned = { ...dealing, commitments: other.commitments };
    verifyDealing(pinned);
    for (let index = 1; index <= 5; index++) {
      expect(await shardCode(index, shards, pinned)).toBe('bad-shard');
    }
  });
});

describe('a holder under feldman-25519', () => {
  it('sees that its own shard is wrong, and the others that theirs are right', async () => {
    const bytes = withShare(4, decodeShard(at(shards, 1)).share);
    const pinned = dealingOf(bytes);
    verifyDealing(pinned);
    for (let index = 1; index <= 5; index++) {
      expect(await shardCode(index, bytes, pinned)).toBe(index === 4 ? 'bad-shard' : null);
    }
  });

  it('sees that its share is not below l, though the number modulo l is right', async () => {
    const share = decodeShard(at(shards, 0)).share;
    let carry = 0;
    const raised = share.map((byte, i) => {
      const sum = byte + (fromHex(order)[i] ?? 0) + carry;
      carry = sum >> 8;
      return sum & 255;
    });
    for (const one of [raised, fromHex(order), new Uint8Array(32).fill(255)]) {
      const bytes = withShare(1, one);
      expect(await shardCode(1, bytes, dealingOf(bytes))).toBe('bad-shard');
    }
  });

  it("sees that it was dealt another holder's shard", async () => {
    const bytes = [at(shards, 1), at(shards, 0), ...shards.slice(2)];
    expect(await shardCode(1, bytes, dealingOf(bytes))).toBe('bad-shard');
  });

  it('cannot show another shard than the one that it was dealt', async () => {
    const swapped = withShare(2, decodeShard(at(shards, 2)).share);
    expect(await shardCode(2, swapped, dealing)).toBe('bad-digest');
    expect(await shardCode(1, shards.toReversed(), dealing)).toBe('bad-digest');
  });
});

describe('an auditor under feldman-25519', () => {
  const verified = shards.map((one, i) => verifyShard(one, i + 1, dealing));

  it('rebuilds from any k, and from nothing less', async () => {
    for (let skip = 0; skip < 5; skip++) {
      const some = verified.filter((_, i) => i !== skip && i !== (skip + 3) % 5).reverse();
      expect(toHex(rebuildIdentity(some, dealing))).toBe(known.clamped);
    }
    const [a, b] = [at(verified, 0), at(verified, 1)];
    expect(await codeOf(() => rebuildIdentity([a, b], dealing))).toBe('bad-shard');
    expect(await codeOf(() => rebuildIdentity([a, b, b], dealing))).toBe('bad-shard');
    expect(await codeOf(() => rebuildIdentity([a, b], { ...dealing, k: 2 }))).toBe('bad-shard');
  });

  it('names the key wrong where one has no clamped form, as no holder can see', async () => {
    for (const vector of feldmanVectors.rebuilt) {
      const dealt = vector.shares.map((share, i) => ({
        ...decodeShard(at(shards, i)),
        ...{ k: 2, n: 3, share: fromHex(share) },
      }));
      const { recipient, commitments } = vector;
      const bytes = dealt.map(encodeShard);
      const change = { k: 2, n: 3, recipient, commitments, holders: dealing.holders.slice(0, 3) };
      const pinned = dealingOf(bytes, change);
      verifyDealing(pinned);
      const all = bytes.map((one, i) => verifyShard(one, i + 1, pinned));
      const code = await codeOf(() => {
        expect(toHex(rebuildIdentity(all.slice(1), pinned))).toBe(vector.identity);
      });
      expect(code).toBe(vector.identity === null ? 'bad-key' : null);
    }
  });
});

describe('the id of a deposit among many', () => {
  it('is known, and another for each transaction and file', async () => {
    const [tx, file] = ['aa'.repeat(32), 'bb'.repeat(32)];
    const domain = Buffer.from('blocktorrent/deposit/v1');
    const cbor = `83${(0x60 + domain.length).toString(16)}${domain.toString('hex')}5820${tx}5820${file}`;
    expect(depositIdOf(tx, file)).toBe(toHex(sha256(fromHex(cbor))));
    expect(new Set([depositIdOf(tx, file), depositIdOf(file, tx), depositIdOf(tx, tx)]).size).toBe(
      3,
    );
    expect(await codeOf(() => depositIdOf('aa', file))).toBe('malformed');
  });
});
