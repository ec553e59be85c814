import { identityFromRandom, recipientOf } from '@blocktorrent/protocol/age.ts';
import { fromHex, toHex } from '@blocktorrent/protocol/bytes.ts';
import {
  dealShards,
  rebuildIdentity,
  verifyDealing,
  verifyShard,
} from '@blocktorrent/protocol/dealing.ts';
import type { Dealing, KeyScheme } from '@blocktorrent/protocol/ledger-api.ts';
import { decodeShard, encodeShard } from '@blocktorrent/protocol/shard.ts';
import { describe, expect, it } from 'vitest';
import { dealingVectors } from '../support/dealing-vectors.ts';
import { dealingOver } from '../support/dealings.ts';
import { codeOf } from '../support/errors.ts';

const known = dealingVectors.dealing;
const deal = {
  identity: fromHex(known.identity),
  entropy: fromHex(known.entropy),
  txId: known.txId,
  input: known.input,
};
const { dealing, shards } = dealShards(deal);
const shardOf = (index: number) => shards[index - 1] ?? new Uint8Array();

describe('a dealing', () => {
  it('is the known one, byte for byte', () => {
    expect(shards.map(toHex)).toEqual(known.shards);
    expect(dealing).toEqual({
      version: 1,
      scheme: 'shamir-gf256',
      k: 3,
      n: 5,
      fileId: known.input.fileId,
      recipient: known.input.recipient,
      depositTx: known.txId,
      holders: known.input.holders,
      shardHashes: known.shardHashes,
      merkleRoot: known.merkleRoot,
      proofs: known.proofs,
      commitments: [],
    });
    expect(dealShards(deal)).toEqual({ dealing, shards });
  });

  it('is another for another transaction or other entropy', () => {
    const other = dealShards({ ...deal, txId: '00'.repeat(32) });
    const entropy = deal.entropy.map((byte) => byte ^ 1);
    for (const { dealing: one } of [other, dealShards({ ...deal, entropy })]) {
      for (const hash of one.shardHashes) expect(dealing.shardHashes).not.toContain(hash);
    }
  });

  it('gives shards that each verify at their own index only', async () => {
    for (let of = 1; of <= 5; of++) {
      for (let at = 1; at <= 5; at++) {
        const code = await codeOf(() => verifyShard(shardOf(of), at, dealing));
        expect(code).toBe(of === at ? null : 'bad-digest');
      }
    }
    expect(await codeOf(() => verifyShard(shardOf(1), 0, dealing))).toBe('bad-argument');
    expect(await codeOf(() => verifyShard(shardOf(1), 6, dealing))).toBe('bad-argument');
  });

  it('names the check that a wrong shard fails', async () => {
    const changed = Uint8Array.from(shardOf(2));
    changed[changed.length - 1] = (changed.at(-1) ?? 0) ^ 1;
    expect(await codeOf(() => verifyShard(changed, 2, dealing))).toBe('bad-digest');
    const proofs = dealing.proofs.map((proof, i) => (i === 1 ? (dealing.proofs[2] ?? []) : proof));
    expect(await codeOf(() => verifyShard(shardOf(2), 2, { ...dealing, proofs }))).toBe(
      'bad-proof',
    );
    const longer = dealing.proofs.map((proof) => [...proof, '00'.repeat(32)]);
    expect(await codeOf(() => verifyShard(shardOf(2), 2, { ...dealing, proofs: longer }))).toBe(
      'bad-proof',
    );
    const foreign = shards.map((shard) =>
      encodeShard({ ...decodeShard(shard), fileId: '11'.repeat(32) }),
    );
    const pinned = dealingOver(dealing, foreign);
    expect(await codeOf(() => verifyShard(foreign[0] ?? new Uint8Array(), 1, pinned))).toBe(
      'bad-shard',
    );
    const swapped = [shardOf(2), shardOf(1), ...shards.slice(2)];
    expect(await codeOf(() => verifyShard(shardOf(2), 1, dealingOver(dealing, swapped)))).toBe(
      'bad-shard',
    );
  });

  it('rebuilds the identity from any three of five shards', () => {
    const all = shards.map((shard, i) => verifyShard(shard, i + 1, dealing));
    for (let skip = 0; skip < 5; skip++) {
      const some = all.filter((_, i) => i !== skip && i !== (skip + 2) % 5).reverse();
      expect(rebuildIdentity(some, dealing)).toEqual(deal.identity);
    }
    expect(rebuildIdentity(all, dealing)).toEqual(deal.identity);
  });

  it('rebuilds nothing from too few, repeated or foreign shards', async () => {
    const all = shards.map((shard) => decodeShard(shard));
    const [a, b, c] = all;
    if (a === undefined || b === undefined || c === undefined) throw new Error('no shards');
    expect(await codeOf(() => rebuildIdentity([a, b], dealing))).toBe('bad-shard');
    expect(await codeOf(() => rebuildIdentity([a, b, b], dealing))).toBe('bad-shard');
    const foreign = { ...c, fileId: '11'.repeat(32) };
    expect(await codeOf(() => rebuildIdentity([a, b, foreign], dealing))).toBe('bad-shard');
  });

  it('says that the key is wrong where the split was (the depositor lied)', async () => {
    const other = identityFromRandom(new Uint8Array(32).fill(3));
    const lie = dealShards({
      ...deal,
      identity: other,
      input: { ...deal.input, recipient: recipientOf(other) },
    });
    const pinned = { ...lie.dealing, recipient: dealing.recipient };
    verifyDealing(pinned);
    const verified = lie.shards.map((shard, i) => verifyShard(shard, i + 1, pinned));
    expect(await codeOf(() => rebuildIdentity(verified, pinned))).toBe('bad-key');
    const noise = shards.map((shard) => {
      const read = decodeShard(shard);
      return { ...read, share: read.share.map((byte, i) => byte ^ (read.index * 31 + i)) };
    });
    expect(await codeOf(() => rebuildIdentity(noise, dealing))).toBe('bad-key');
  });

  it.each<[string, string, Partial<Dealing>]>([
    ['bad-version', 'another version', { version: 2 } as unknown as Partial<Dealing>],
    ['malformed', 'a scheme that nobody knows', { scheme: 'plain' } as unknown as Partial<Dealing>],
    ['malformed', 'the other scheme, which it has no commitments for', { scheme: 'feldman-25519' }],
    ['malformed', 'k above n', { k: 6 }],
    ['malformed', 'fewer holders than n', { holders: known.input.holders.slice(1) }],
    ['bad-argument', 'a holder twice', { holders: [2, 2, 3, 4, 5].map((i) => `Org${i}MSP`) }],
    ['malformed', 'a recipient that is none', { recipient: 'age1' }],
    ['bad-proof', 'another root', { merkleRoot: '00'.repeat(32) }],
    ['bad-proof', 'proofs in another order', { proofs: known.proofs.toReversed() }],
    ['bad-proof', 'another hash', { shardHashes: known.shardHashes.map(() => '00'.repeat(32)) }],
    ['malformed', 'a hash of another size', { shardHashes: known.shardHashes.map(() => '00') }],
    ['malformed', 'commitments, which its scheme has not', { commitments: ['00'.repeat(32)] }],
    ['malformed', 'a field that nobody knows', { more: 1 } as unknown as Partial<Dealing>],
  ])('is refused as %s with %s', async (code, _, change) => {
    expect(await codeOf(() => verifyDealing({ ...dealing, ...change }))).toBe(code);
  });

  it('is not made for another recipient, with short entropy, or an unknown scheme', async () => {
    const recipient = recipientOf(identityFromRandom(new Uint8Array(32).fill(3)));
    const code = (change: Partial<typeof deal>) => codeOf(() => dealShards({ ...deal, ...change }));
    expect(await code({ input: { ...deal.input, recipient } })).toBe('bad-key');
    expect(await code({ entropy: new Uint8Array(31) })).toBe('bad-argument');
    expect(await code({ identity: new Uint8Array(31) })).toBe('bad-argument');
    const scheme = 'plain' as KeyScheme;
    expect(await code({ input: { ...deal.input, scheme } })).toBe('bad-argument');
    expect(await code({ input: { ...deal.input, n: 4 } })).toBe('bad-argument');
    expect(await code({ txId: 'x' })).toBe('malformed');
  });
});

describe('a shard', () => {
  it('decodes from exactly its own bytes', async () => {
    for (const one of known.shards) {
      expect(toHex(encodeShard(decodeShard(fromHex(one))))).toBe(one);
    }
    expect(await codeOf(() => decodeShard(Uint8Array.of(...shardOf(1), 0)))).toBe('malformed');
    expect(await codeOf(() => decodeShard(shardOf(1).slice(0, -1)))).toBe('malformed');
    expect(await codeOf(() => decodeShard(new Uint8Array(1025)))).toBe('too-large');
    const read = decodeShard(shardOf(1));
    expect(await codeOf(() => encodeShard({ ...read, scheme: 'feldman-25519' }))).toBe('too-large');
    const share = read.share.subarray(0, 32);
    expect(await codeOf(() => encodeShard({ ...read, share }))).toBe('malformed');
    expect(await codeOf(() => encodeShard({ ...read, scheme: 'feldman-25519', share }))).toBeNull();
    expect(await codeOf(() => encodeShard({ ...read, index: 6 }))).toBe('malformed');
    expect(await codeOf(() => encodeShard({ ...read, k: 6 }))).toBe('malformed');
  });
});
