import { fromHex } from '@blocktorrent/protocol/bytes.ts';
import { digestChunk } from '@blocktorrent/protocol/digest.ts';
import {
  holdersOf,
  ownersOf,
  rangeIndexOf,
  rangesOf,
  type Weight,
} from '@blocktorrent/protocol/placement.ts';
import { describe, expect, it } from 'vitest';
import { dealingVectors } from '../support/dealing-vectors.ts';
import { codeOf } from '../support/errors.ts';
import { Seeded, seedOfRun } from '../support/seeded.ts';
import { pattern } from '../support/vectors.ts';

const seed = seedOfRun();
const equal = (count: number): Weight[] =>
  Array.from({ length: count }, (_, i) => ({ mspId: `Org${i + 1}MSP`, weight: 1 }));

describe('hash ranges', () => {
  it.each(dealingVectors.placement)(
    'of $weights start where an independent sum puts them',
    (one) => {
      const weights = Object.entries(one.weights).map(([mspId, weight]) => ({ mspId, weight }));
      expect(rangesOf(weights.toReversed(), 1, 0).ranges).toEqual(one.ranges);
    },
  );

  it('take digests in proportion to the weights', () => {
    const random = new Seeded(seed);
    const weights = [1, 2, 5].map((weight, i) => ({ mspId: `O${i}`, weight }));
    const epoch = rangesOf(weights, 1, 0);
    const hits = [0, 0, 0];
    for (let i = 0; i < 8000; i++) {
      const index = rangeIndexOf(epoch, random.bytes(32));
      hits[index] = (hits[index] ?? 0) + 1;
    }
    for (const [i, weight] of [1, 2, 5].entries()) {
      expect(Math.abs((hits[i] ?? 0) - weight * 1000), `seed ${seed}, ${hits}`).toBeLessThan(250);
    }
  });

  it('hold their first value and the one before belongs to the range before', () => {
    const epoch = rangesOf(equal(7), 1, 0);
    for (const [i, range] of epoch.ranges.entries()) {
      const start = fromHex(range.start);
      expect(rangeIndexOf(epoch, start)).toBe(i);
      const before = (BigInt(`0x${range.start}`) + (1n << 64n) - 1n) % (1n << 64n);
      const bytes = fromHex(before.toString(16).padStart(16, '0'));
      expect(rangeIndexOf(epoch, bytes)).toBe((i + 6) % 7);
    }
  });

  it.each([
    ['no members', []],
    ['a member twice', [...equal(2), ...equal(1)]],
    ['a weight of 0', [{ mspId: 'A', weight: 0 }]],
    ['a weight past the bound', [{ mspId: 'A', weight: 1001 }]],
    ['a broken weight', [{ mspId: 'A', weight: 1.5 }]],
    ['an empty name', [{ mspId: '', weight: 1 }]],
  ])('refuse %s', async (_, weights) => {
    expect(await codeOf(() => rangesOf(weights, 1, 0))).toBe('bad-argument');
  });

  it('refuse a digest that is too short, and a table without a start', async () => {
    const epoch = rangesOf(equal(3), 1, 0);
    expect(await codeOf(() => rangeIndexOf(epoch, new Uint8Array(7)))).toBe('bad-argument');
    const ranges = epoch.ranges.slice(1);
    expect(await codeOf(() => rangeIndexOf({ ...epoch, ranges }, new Uint8Array(8)))).toBe(
      'bad-argument',
    );
  });
});

describe('owners and holders', () => {
  it.each(dealingVectors.placement)('of $source among $weights are the known ones', (one) => {
    const weights = Object.entries(one.weights).map(([mspId, weight]) => ({ mspId, weight }));
    const epoch = rangesOf(weights, 1, 0);
    for (const { bytes, owners } of one.owners) {
      const digests = digestChunk(pattern(bytes));
      expect(ownersOf(digests, epoch, one.source, one.replicas)).toEqual(owners);
    }
    const nonces = one.nonces.map((nonce) => fromHex(nonce));
    for (const { fileId, holders } of one.holders) {
      expect(holdersOf(fileId, nonces, epoch, one.source, 3)).toEqual(holders);
      expect(holdersOf(fileId, nonces.toReversed(), epoch, one.source, 3)).toEqual(holders);
    }
  });

  it('are distinct, as many as possible, and the source only where it must be, then last', () => {
    const random = new Seeded(seed);
    for (let round = 0; round < 500; round++) {
      const count = random.integer(1, 9);
      const weights = equal(count).map((one) => ({ ...one, weight: random.integer(1, 1000) }));
      const epoch = rangesOf(weights, 1, 0);
      const source = random.pick([...weights.map(({ mspId }) => mspId), 'OutsiderMSP']);
      const wanted = random.integer(1, 6);
      const inside = weights.some(({ mspId }) => mspId === source);
      const others = inside ? count - 1 : count;
      const fileId = Buffer.from(random.bytes(32)).toString('hex');
      for (const chosen of [
        ownersOf(digestChunk(random.bytes(16)), epoch, source, wanted),
        holdersOf(fileId, [random.bytes(16)], epoch, source, wanted),
      ]) {
        const label = `seed ${seed}, round ${round}: ${chosen} of ${count}, source ${source}`;
        expect(new Set(chosen).size, label).toBe(chosen.length);
        expect(chosen.length, label).toBe(Math.min(wanted, count));
        expect(chosen.indexOf(source), label).toBe(inside && others < wanted ? others : -1);
      }
    }
  });

  it('leave no chunk with fewer than 3 owners among 4 equal organisations', () => {
    const epoch = rangesOf(equal(4), 1, 0);
    for (let chunk = 0; chunk < 200; chunk++) {
      expect(ownersOf(digestChunk(pattern(chunk)), epoch, 'Org1MSP', 3)).toHaveLength(3);
    }
  });

  it('load equal organisations equally, within a tenth', () => {
    const random = new Seeded(seed);
    const epoch = rangesOf(equal(10), 1, 0);
    const load = new Map<string, number>();
    for (let chunk = 0; chunk < 3000; chunk++) {
      const digests = {
        sha3: random.bytes(32),
        sha384: random.bytes(48),
        sha512: random.bytes(64),
      };
      for (const owner of ownersOf(digests, epoch, 'OutsiderMSP', 3)) {
        load.set(owner, (load.get(owner) ?? 0) + 1);
      }
    }
    for (const [owner, chunks] of load) {
      expect(Math.abs(chunks - 900), `seed ${seed}: ${owner} has ${chunks}`).toBeLessThan(135);
    }
  });

  it('change with the nonces, so that the source alone cannot choose its holders', () => {
    const epoch = rangesOf(equal(10), 1, 0);
    const seen = new Set<string>();
    for (let i = 0; i < 50; i++) {
      const nonce = new Uint8Array(16).fill(i);
      seen.add(holdersOf('00'.repeat(32), [nonce], epoch, 'Org1MSP', 3).join());
    }
    expect(seen.size).toBeGreaterThan(40);
  });

  it.each([0, 13, 1.5, Number.NaN])('refuse %s replicas', async (replicas) => {
    const epoch = rangesOf(equal(4), 1, 0);
    const digests = digestChunk(pattern(1));
    expect(await codeOf(() => ownersOf(digests, epoch, 'Org1MSP', replicas))).toBe('bad-argument');
  });
});
