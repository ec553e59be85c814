import { bitfieldOf } from '@blocktorrent/protocol/bitfield.ts';
import { digestChunk } from '@blocktorrent/protocol/digest.ts';
import type { Epoch } from '@blocktorrent/protocol/ledger-api.ts';
import { ownersOf, rangesOf } from '@blocktorrent/protocol/placement.ts';
import { ownersNow } from '@blocktorrent/protocol/replacement.ts';
import {
  decodeReplacementDetail,
  encodeReplacementDetail,
} from '@blocktorrent/protocol/replacement-detail.ts';
import { describe, expect, it } from 'vitest';
import { codeOf } from '../support/errors.ts';
import { Seeded, seedOfRun } from '../support/seeded.ts';

const seed = seedOfRun();
const SOURCE = 'Org1MSP';
const epochOf = (epoch: number, members: readonly number[]): Epoch =>
  rangesOf(
    members.map((number) => ({ mspId: `Org${number}MSP`, weight: 1 })),
    epoch,
    epoch,
  );

describe('owners after members came and went', () => {
  it('are those of the placement while nobody has gone, whoever joins', () => {
    const random = new Seeded(seed);
    for (let round = 0; round < 100; round++) {
      const digests = digestChunk(random.bytes(8));
      const placed = epochOf(1, [1, 2, 3, 4, 5]);
      const grown = epochOf(2, [1, 2, 3, 4, 5, 6, 7]);
      expect(ownersNow(digests, [placed, grown], SOURCE, 3), `seed ${seed}`).toEqual(
        ownersOf(digests, placed, SOURCE, 3),
      );
    }
  });

  it('keep every survivor, in its place, and are three distinct others through any history', () => {
    const random = new Seeded(seed);
    for (let round = 0; round < 300; round++) {
      const digests = digestChunk(random.bytes(8));
      const epochs = [epochOf(1, [1, 2, 3, 4, 5, 6, 7])];
      for (let epoch = 2; epoch <= 5; epoch++) {
        const before = ownersNow(digests, epochs, SOURCE, 3);
        const members = [2, 3, 4, 5, 6, 7].filter(() => random.integer(0, 3) > 0);
        while (members.length < 3) members.push(10 + members.length);
        const next = epochOf(epoch, [1, ...members]);
        epochs.push(next);
        const after = ownersNow(digests, epochs, SOURCE, 3);
        const present = next.ranges.map((range) => range.mspId);
        expect(new Set(after).size, `seed ${seed}`).toBe(3);
        expect(after).not.toContain(SOURCE);
        for (const [place, owner] of before.entries()) {
          if (present.includes(owner)) expect(after[place], `seed ${seed}`).toBe(owner);
        }
      }
    }
  });

  it('spread the places of one that has gone over all that remain', () => {
    const random = new Seeded(seed);
    const epochs = [epochOf(1, [1, 2, 3, 4, 5, 6, 7]), epochOf(2, [1, 2, 3, 4, 5, 6])];
    const gained = new Map<string, number>();
    for (let chunk = 0; chunk < 4000; chunk++) {
      const digests = digestChunk(random.bytes(8));
      const before = ownersNow(digests, epochs.slice(0, 1), SOURCE, 3);
      for (const owner of ownersNow(digests, epochs, SOURCE, 3)) {
        if (!before.includes(owner)) gained.set(owner, (gained.get(owner) ?? 0) + 1);
      }
    }
    expect([...gained.keys()].sort()).toEqual([2, 3, 4, 5, 6].map((number) => `Org${number}MSP`));
    const total = [...gained.values()].reduce((sum, count) => sum + count, 0);
    for (const count of gained.values()) {
      expect(count / total, `seed ${seed}`).toBeGreaterThan(0.1);
      expect(count / total, `seed ${seed}`).toBeLessThan(0.4);
    }
  });

  it('take in the source only where there are too few others, and let it go again', () => {
    const digests = digestChunk(Uint8Array.of(7));
    const few = [epochOf(1, [1, 2, 3, 4]), epochOf(2, [1, 2, 3])];
    expect(ownersNow(digests, few, SOURCE, 3).toSorted()).toEqual([
      'Org1MSP',
      'Org2MSP',
      'Org3MSP',
    ]);
    const again = ownersNow(digests, [...few, epochOf(3, [1, 2, 3, 5])], SOURCE, 3);
    expect(again.toSorted()).toEqual(['Org2MSP', 'Org3MSP', 'Org5MSP']);
  });

  it('follow a policy with more copies', () => {
    const digests = digestChunk(Uint8Array.of(9));
    const epochs = [epochOf(1, [1, 2, 3, 4, 5, 6]), epochOf(2, [1, 2, 3, 4, 5])];
    expect(new Set(ownersNow(digests, epochs, SOURCE, 4)).size).toBe(4);
  });

  it('refuse epochs that do not ascend, and none', async () => {
    const digests = digestChunk(Uint8Array.of(1));
    const [one, two] = [epochOf(1, [1, 2, 3, 4]), epochOf(2, [1, 2, 3, 4])];
    expect(await codeOf(() => ownersNow(digests, [two, one], SOURCE, 3))).toBe('bad-argument');
    expect(await codeOf(() => ownersNow(digests, [], SOURCE, 3))).toBe('bad-argument');
  });
});

describe('the detail of a re-placement', () => {
  const detail = {
    version: 1,
    fileId: 'ab'.repeat(32),
    epoch: 2,
    owner: 'Org2MSP',
    chunkCount: 10,
    chunks: bitfieldOf([1, 9], 10),
  } as const;

  it('comes back as it went', () => {
    expect(decodeReplacementDetail(encodeReplacementDetail(detail))).toEqual(detail);
  });

  it('with another length of its bitfield, or a spare bit, is refused', async () => {
    const codes = [Uint8Array.of(1), Uint8Array.of(0, 1), Uint8Array.of(0, 0, 0)].map((chunks) =>
      codeOf(() => decodeReplacementDetail(encodeReplacementDetail({ ...detail, chunks }))),
    );
    expect(await Promise.all(codes)).toEqual(['malformed', 'malformed', 'too-large']);
  });
});
