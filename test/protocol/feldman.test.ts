/**
 * The scheme `feldman-25519` by itself: known answers, every kind of wrong commitment and share,
 * what k - 1 shares say, and the batch check.
 */
import { decodeRecipient, encodeRecipient, recipientOf } from '@blocktorrent/protocol/age.ts';
import { fromHex, toHex } from '@blocktorrent/protocol/bytes.ts';
import {
  type Commitments,
  dealFeldman,
  openCommitments,
  rebuildFeldman,
  verifyFeldmanShare,
} from '@blocktorrent/protocol/feldman.ts';
import { deriveCoefficients } from '@blocktorrent/protocol/sharing.ts';
import { ed25519 } from '@noble/curves/ed25519.js';
import { bytesToNumberLE, numberToBytesLE } from '@noble/curves/utils.js';
import { describe, expect, it } from 'vitest';
import { codeOf } from '../support/errors.ts';
import { type FeldmanDealing, feldmanVectors } from '../support/feldman-vectors.ts';
import { Seeded, seedOfRun } from '../support/seeded.ts';

const { Point } = ed25519;
const { Fn } = Point;
const { dealings, rebuilt, points, order } = feldmanVectors;
const orderNumber = bytesToNumberLE(fromHex(order));

const bytesOf = (all: readonly string[]) => all.map((one) => fromHex(one));
const seed = seedOfRun();
const first = <T>([one]: readonly T[]): T => {
  if (one === undefined) throw new Error('expected one');
  return one;
};
const known = dealings[1] ?? first(dealings);
const opened = (from: FeldmanDealing): Commitments =>
  openCommitments(bytesOf(from.commitments), from.input.k, decodeRecipient(from.input.recipient));
const shareOf = (from: FeldmanDealing, index: number) => ({
  index,
  share: fromHex(from.shares[index - 1] ?? ''),
});
/** Code with which commitments are refused, given or not what a record has shown. */
const openCode = (commitments: readonly string[], recipient: string, recorded = false, k = 3) =>
  codeOf(() => openCommitments(bytesOf(commitments), k, decodeRecipient(recipient), recorded));

/** Commitments and shares of any polynomial, as a dealer with other software would deal them. */
function dealt(polynomial: readonly bigint[], n: number) {
  const shares = Array.from({ length: n }, (_, i) => {
    const x = BigInt(i + 1);
    const value = polynomial.reduceRight((sum, c) => Fn.add(Fn.mul(sum, x), c), 0n);
    return { index: i + 1, share: Fn.toBytes(value) };
  });
  const commitments = polynomial.map((c) => Point.BASE.multiplyUnsafe(c).toBytes());
  const constant = Point.BASE.multiplyUnsafe(first(polynomial));
  const recipient = ed25519.utils.toMontgomery(constant.toBytes());
  return { shares, commitments, recipient };
}

describe('feldman-25519', () => {
  it.each(dealings)('deals the known shares and commitments: $label', (vector) => {
    const { input, txId } = vector;
    const identity = fromHex(vector.identity);
    const context = [input.scheme, input.fileId, txId, input.k, input.n];
    const by = deriveCoefficients(identity, fromHex(vector.entropy), context);
    const { shares, commitments, recipient } = dealFeldman(identity, input.k, input.n, by);
    expect(shares.map(toHex)).toEqual(vector.shares);
    expect(commitments.map(toHex)).toEqual(vector.commitments);
    expect(encodeRecipient(recipient)).toBe(input.recipient);
    expect(recipientOf(identity)).toBe(input.recipient);
  });

  it.each(dealings)('shows each share right, and any k rebuild the key: $label', (vector) => {
    const { k, n, recipient } = vector.input;
    const commitments = opened(vector);
    const all = Array.from({ length: n }, (_, i) => shareOf(vector, i + 1));
    for (const one of all) verifyFeldmanShare({ ...one, commitments });
    for (const some of [all.slice(0, k), all.slice(n - k), all.toReversed().slice(0, k)]) {
      const identity = rebuildFeldman(some);
      expect(toHex(identity)).toBe(vector.clamped);
      expect(recipientOf(identity)).toBe(recipient);
    }
  });

  it('has known dealings with both signs of C_0, which the recipient forgets', async () => {
    expect(new Set(dealings.map((one) => one.signOfC0))).toEqual(new Set([0, 1]));
    for (const { commitments, input, signOfC0 } of dealings) {
      const sign = (fromHex(first(commitments))[31] ?? 0) >> 7;
      expect(sign).toBe(signOfC0);
      const negated = commitments.map((one) => Point.fromHex(one).negate().toHex());
      expect(await openCode(negated, input.recipient, false, input.k)).toBeNull();
    }
  });

  it.each(rebuilt)('rebuilds by the branch $branch: $label', async (vector) => {
    const shares = vector.shares.map((share, i) => ({ index: i + 1, share: fromHex(share) }));
    const commitments = openCommitments(
      bytesOf(vector.commitments),
      2,
      decodeRecipient(vector.recipient),
    );
    for (const share of shares) verifyFeldmanShare({ ...share, commitments });
    for (const skip of [0, 1, 2]) {
      const some = shares.filter((_, i) => i !== skip);
      if (vector.identity === null) {
        expect(await codeOf(() => rebuildFeldman(some))).toBe('bad-key');
      } else {
        expect(toHex(rebuildFeldman(some))).toBe(vector.identity);
        expect(recipientOf(fromHex(vector.identity))).toBe(vector.recipient);
      }
    }
  });

  it('splits no key that is not 32 bytes, and takes no short or zero coefficient', async () => {
    const identity = fromHex(known.identity);
    const by = (bytes: Uint8Array) => () => bytes;
    const code = (key: Uint8Array, k: number, n: number, coefficient: Uint8Array) =>
      codeOf(() => dealFeldman(key, k, n, by(coefficient)));
    const good = new Uint8Array(64).fill(1);
    expect(await code(identity, 2, 3, good)).toBeNull();
    expect(await code(identity.subarray(1), 2, 3, good)).toBe('bad-argument');
    expect(await code(identity, 1, 3, good)).toBe('bad-argument');
    expect(await code(identity, 4, 3, good)).toBe('bad-argument');
    expect(await code(identity, 2, 65, good)).toBe('bad-argument');
    expect(await code(identity, 2, 3, good.subarray(1))).toBe('bad-argument');
    expect(await code(identity, 2, 3, new Uint8Array(64))).toBe('bad-argument');
    const order64 = numberToBytesLE(orderNumber * 3n, 64);
    expect(await code(identity, 2, 3, order64)).toBe('bad-argument');
  });
});

describe('commitments of feldman-25519', () => {
  const { commitments, input } = known;
  const { recipient } = input;

  it('are exactly k', async () => {
    expect(await openCode(commitments, recipient)).toBeNull();
    expect(await openCode([...commitments, points.good], recipient)).toBe('bad-commitment');
    expect(await openCode(commitments.slice(0, 2), recipient)).toBe('bad-commitment');
    expect(await openCode([], recipient)).toBe('bad-commitment');
    expect(await openCode([], recipient, false, 0)).toBe('bad-commitment');
  });

  it.each(points.bad)('are no such encoding, in any place: $label', async ({ point }) => {
    expect(await openCode([first(commitments), point, points.good], recipient)).toBe(
      'bad-commitment',
    );
    for (const recorded of [false, true]) {
      const inFirst = [point, ...commitments.slice(1)];
      expect(await openCode(inFirst, recipient, recorded)).toBe('bad-commitment');
    }
  });

  it('are canonical even where a record has shown the rest', async () => {
    const other = points.bad.filter(({ label }) => !/torsion|low order/.test(label));
    expect(other.length).toBeGreaterThan(20);
    for (const { label, point } of other) {
      const code = await openCode([first(commitments), point, points.good], recipient, true);
      expect(code, label).toBe('bad-commitment');
    }
  });

  it('are 32 bytes each', async () => {
    for (const one of [points.good.slice(2), `${points.good}00`, '']) {
      expect(await openCode([...commitments.slice(0, 2), one], recipient)).toBe('bad-commitment');
    }
  });

  it("are the recipient's: C_0 of another key is refused as bad-key", async () => {
    const other = first(dealings).input.recipient;
    expect(await openCode(commitments, other)).toBe('bad-key');
    expect(await openCode([points.good, ...commitments.slice(1)], recipient)).toBe('bad-key');
    expect(await openCode(commitments, other, true)).toBe('bad-key');
  });

  it('are not those of a recipient in another spelling', async () => {
    const spelled = decodeRecipient(recipient);
    spelled[31] = (spelled[31] ?? 0) | 0x80;
    const code = await codeOf(() => openCommitments(bytesOf(commitments), 3, spelled));
    expect(code).toBe('bad-key');
  });
});

describe('a share of feldman-25519', () => {
  const commitments = opened(known);
  const code = (index: number, share: Uint8Array) =>
    codeOf(() => verifyFeldmanShare({ index, share, commitments }));

  it('fits at its own index only', async () => {
    for (let of = 1; of <= 5; of++) {
      for (let at = 1; at <= 5; at++) {
        expect(await code(at, shareOf(known, of).share)).toBe(of === at ? null : 'bad-shard');
      }
    }
  });

  it('has no index 0, and none past the most there can be', async () => {
    const secret = Fn.create(bytesToNumberLE(fromHex(known.clamped)));
    expect(await code(0, Fn.toBytes(secret))).toBe('bad-shard');
    for (const index of [-1, 1.5, 65, Number.NaN]) {
      expect(await code(index, shareOf(known, 1).share)).toBe('bad-shard');
    }
  });

  it('is a scalar below l of 32 bytes', async () => {
    const { share } = shareOf(known, 1);
    const raised = numberToBytesLE(bytesToNumberLE(share) + orderNumber, 32);
    for (const one of [raised, fromHex(order), new Uint8Array(32).fill(255)]) {
      expect(await code(1, one)).toBe('bad-shard');
      expect(
        await codeOf(() => rebuildFeldman([{ index: 1, share: one }, shareOf(known, 2)])),
      ).toBe('bad-shard');
    }
    for (const one of [share.subarray(1), Uint8Array.of(...share, 0), new Uint8Array()]) {
      expect(await code(1, one)).toBe('bad-shard');
    }
  });

  it('is refused with any bit changed', async () => {
    const { share } = shareOf(known, 2);
    for (let bit = 0; bit < 256; bit += 17) {
      const changed = Uint8Array.from(share);
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(await code(2, changed)).toBe('bad-shard');
    }
  });

  it('may be zero where the polynomial is: then zero fits, and nothing else', async () => {
    const slope = Fn.create(bytesToNumberLE(fromHex(first(dealings).clamped)));
    const { shares, commitments: encoded, recipient } = dealt([Fn.neg(slope), slope], 3);
    const committed = openCommitments(encoded, 2, recipient);
    const [zero, ...others] = shares;
    expect(bytesToNumberLE(zero?.share ?? new Uint8Array(1).fill(1))).toBe(0n);
    for (const one of shares) verifyFeldmanShare({ ...one, commitments: committed });
    const wrong = { index: 1, share: first(others).share, commitments: committed };
    expect(await codeOf(() => verifyFeldmanShare(wrong))).toBe('bad-shard');
  });

  it('does not pass because of torsion in a later commitment', async () => {
    const [c0 = '', c1 = '', c2 = ''] = known.commitments;
    const dirty = Point.fromHex(c1).add(Point.fromHex(points.order8)).toHex();
    expect(await openCode([c0, dirty, c2], known.input.recipient)).toBe('bad-commitment');
    const taken = openCommitments(
      bytesOf([c0, dirty, c2]),
      3,
      decodeRecipient(known.input.recipient),
      true,
    );
    for (let index = 1; index <= 5; index++) {
      const share = { ...shareOf(known, index), commitments: taken };
      expect(await codeOf(() => verifyFeldmanShare(share))).toBe('bad-shard');
    }
  });

  it('counts once when rebuilding, and two are the least', async () => {
    const [a, b] = [shareOf(known, 1), shareOf(known, 2)];
    expect(await codeOf(() => rebuildFeldman([a, b, a]))).toBe('bad-shard');
    expect(await codeOf(() => rebuildFeldman([a]))).toBe('bad-shard');
    expect(await codeOf(() => rebuildFeldman([a, { ...b, index: 0 }]))).toBe('bad-shard');
  });
});

describe(`k - 1 shares of feldman-25519 (seed ${seed})`, () => {
  it('fit every key alike: for each there is one polynomial through them', () => {
    const random = new Seeded(seed);
    const two = [shareOf(known, 2), shareOf(known, 5)];
    for (let turn = 0; turn < 5; turn++) {
      const secret = Fn.create(bytesToNumberLE(random.bytes(64)));
      const x1 = bytesToNumberLE(first(two).share);
      const x2 = bytesToNumberLE(two[1]?.share ?? new Uint8Array(32));
      // c1 and c2 from f(2) and f(5), with f(0) chosen freely.
      const a = Fn.mul(Fn.sub(x1, secret), Fn.inv(2n));
      const b = Fn.mul(Fn.sub(x2, secret), Fn.inv(5n));
      const c2 = Fn.mul(Fn.sub(b, a), Fn.inv(3n));
      const c1 = Fn.sub(a, Fn.mul(c2, 2n));
      const { shares } = dealt([secret, c1, c2], 5);
      expect([shares[1], shares[4]]).toEqual(two);
    }
  });

  it('rebuild another key than the one that was split, if any', async () => {
    const some = [shareOf(known, 1), shareOf(known, 4)];
    const code = await codeOf(() => {
      expect(toHex(rebuildFeldman(some))).not.toBe(known.clamped);
    });
    expect([null, 'bad-key']).toContain(code);
  });

  it('are not their neighbours of another split of the same key', () => {
    const random = new Seeded(seed);
    const identity = fromHex(known.identity);
    const seen = new Set<string>();
    for (let turn = 0; turn < 10; turn++) {
      const by = deriveCoefficients(identity, random.bytes(32), [turn]);
      const { shares, commitments } = dealFeldman(identity, 3, 5, by);
      const all = [...shares, ...commitments.slice(1)].map(toHex);
      for (const one of all) expect(seen.has(one)).toBe(false);
      for (const one of all) seen.add(one);
      expect(toHex(first(commitments))).toBe(first(known.commitments));
    }
  });
});
