import { equalBytes, toHex } from '@blocktorrent/protocol/bytes.ts';
import { combineShares, SHARE_BYTES, splitSecret } from '@blocktorrent/protocol/shamir.ts';
import { deriveCoefficients } from '@blocktorrent/protocol/sharing.ts';
import secrets from 'secrets.js-grempe';
import { describe, expect, it } from 'vitest';
import { codeOf } from '../support/errors.ts';
import { Seeded, seedOfRun } from '../support/seeded.ts';

const seed = seedOfRun();

const indexed = (shares: readonly Uint8Array[], indices: readonly number[]) =>
  indices.map((index) => ({ index, share: shares[index - 1] ?? new Uint8Array() }));

/** Every set of `size` numbers 1..n. */
function subsets(n: number, size: number, from = 1): number[][] {
  if (size === 0) return [[]];
  return Array.from({ length: Math.max(0, n - from + 1) }, (_, i) => from + i).flatMap((first) =>
    subsets(n, size - 1, first + 1).map((rest) => [first, ...rest]),
  );
}

describe("Shamir's scheme", () => {
  it('rebuilds the secret from every set of k shares, in any order', () => {
    const random = new Seeded(seed);
    for (const [k, n] of [
      [2, 2],
      [2, 3],
      [3, 5],
      [5, 6],
    ] as const) {
      const secret = random.bytes(32);
      const shares = splitSecret(
        secret,
        k,
        n,
        deriveCoefficients(secret, random.bytes(32), [k, n]),
      );
      for (const indices of subsets(n, k)) {
        const label = `seed ${seed}: ${indices} of ${n}`;
        expect(combineShares(indexed(shares, indices.reverse())), label).toEqual(secret);
      }
    }
  });

  it('keeps leading zeros, and a secret of zeros only', () => {
    const random = new Seeded(seed);
    for (const secret of [new Uint8Array(32), new Uint8Array(32).fill(1, 31)]) {
      const shares = splitSecret(secret, 2, 3, deriveCoefficients(secret, random.bytes(32), []));
      expect(combineShares(indexed(shares, [3, 1]))).toEqual(secret);
    }
  });

  it('takes coefficients as given, zeros too: then a share is the padded secret itself', () => {
    const secret = new Uint8Array(32).fill(0xab);
    const shares = splitSecret(secret, 2, 3, () => new Uint8Array(64));
    const padded = `${'00'.repeat(15)}01${toHex(secret)}`;
    expect(shares.map(toHex)).toEqual([padded, padded, padded]);
  });

  it('makes one share consistent with every secret: k - 1 shares tell nothing', () => {
    const random = new Seeded(seed);
    const share = random.bytes(SHARE_BYTES);
    for (const secret of [random.bytes(32), random.bytes(32)]) {
      // The coefficient that leads from this secret to that very share at x = 1.
      const padded = new Uint8Array(SHARE_BYTES);
      padded[15] = 1;
      padded.set(secret, 16);
      const row = share.map((byte, i) => byte ^ (padded[i] ?? 0)).reverse();
      expect(splitSecret(secret, 2, 2, () => row)[0]).toEqual(share);
    }
  });

  it('spreads the bytes of a share evenly over 0..255, zero among them', () => {
    const random = new Seeded(seed);
    const secret = random.bytes(32);
    const counts = new Array<number>(256).fill(0);
    for (let round = 0; round < 400; round++) {
      const coefficients = deriveCoefficients(secret, random.bytes(32), [round]);
      for (const byte of splitSecret(secret, 2, 2, coefficients)[0] ?? []) {
        counts[byte] = (counts[byte] ?? 0) + 1;
      }
    }
    const expected = (400 * SHARE_BYTES) / 256;
    const chiSquare = counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
    expect(chiSquare, `seed ${seed}`).toBeLessThan(400);
    expect(counts[0], `seed ${seed}`).toBeGreaterThan(0);
  });

  it('gives another secret, or none, from too few shares', () => {
    const random = new Seeded(seed);
    const secret = random.bytes(32);
    const shares = splitSecret(secret, 3, 4, deriveCoefficients(secret, random.bytes(32), []));
    for (const indices of subsets(4, 2)) {
      let found: Uint8Array = new Uint8Array();
      try {
        found = combineShares(indexed(shares, indices));
      } catch (error) {
        expect(error).toMatchObject({ code: 'bad-shard' });
      }
      expect(equalBytes(found, secret)).toBe(false);
    }
  });

  it('is that of secrets.js: its own combine takes our shares', () => {
    const secret = new Seeded(seed).bytes(32);
    const shares = splitSecret(secret, 2, 3, deriveCoefficients(secret, secret, []));
    const texts = shares.map((share, i) => `80${i + 1}${toHex(share)}`);
    expect(secrets.combine(texts.slice(1))).toBe(toHex(secret));
  });

  it('is the same each time, and another for other entropy or another place', () => {
    const secret = new Uint8Array(32).fill(7);
    const split = (entropy: number, context: string) =>
      splitSecret(
        secret,
        2,
        2,
        deriveCoefficients(secret, new Uint8Array(32).fill(entropy), [context]),
      ).map(toHex);
    expect(split(1, 'a')).toEqual(split(1, 'a'));
    expect(split(1, 'a')).not.toEqual(split(2, 'a'));
    expect(split(1, 'a')).not.toEqual(split(1, 'b'));
  });

  it.each([
    [1, 3],
    [4, 3],
    [2, 65],
    [2.5, 3],
  ])('refuses k = %s of n = %s', async (k, n) => {
    const secret = new Uint8Array(32);
    expect(await codeOf(() => splitSecret(secret, k, n, () => new Uint8Array(64)))).toBe(
      'bad-argument',
    );
  });

  it('refuses shares that repeat, are alone, of another size or at an impossible index', async () => {
    const share = new Uint8Array(48);
    const code = (...shares: { index: number; share: Uint8Array }[]) =>
      codeOf(() => combineShares(shares));
    expect(await code({ index: 1, share }, { index: 1, share })).toBe('bad-shard');
    expect(await code({ index: 1, share })).toBe('bad-shard');
    expect(await code({ index: 1, share }, { index: 256, share })).toBe('bad-shard');
    expect(await code({ index: 1, share }, { index: 0, share })).toBe('bad-shard');
    const short = share.subarray(1);
    expect(await code({ index: 1, share }, { index: 2, share: short })).toBe('bad-shard');
  });
});
