import { bitfieldOf, hasBit, indicesOf, requireBitfield } from '@blocktorrent/protocol/bitfield.ts';
import { describe, expect, it } from 'vitest';
import { codeOf } from '../support/errors.ts';
import { Seeded, seedOfRun } from '../support/seeded.ts';

describe('bitfield', () => {
  it('has index 0 in the high bit of the first byte (BEP 3)', () => {
    expect(bitfieldOf([0], 8)).toEqual(Uint8Array.of(0x80));
    expect(bitfieldOf([7, 8, 9], 10)).toEqual(Uint8Array.of(0x01, 0xc0));
    expect(bitfieldOf([], 0)).toEqual(new Uint8Array(0));
  });

  it('gives back the set that went in', () => {
    const seed = seedOfRun();
    const random = new Seeded(seed);
    for (let count = 1; count < 100; count++) {
      const set = new Set(Array.from({ length: 10 }, () => random.integer(0, count - 1)));
      const indices = [...set].sort((a, b) => a - b);
      const bits = bitfieldOf(set, count);
      expect(indicesOf(bits, count), `seed ${seed}`).toEqual(indices);
      expect(hasBit(bits, indices[0] ?? -1)).toBe(true);
    }
  });

  it('refuses spare bits that are set, and another length', async () => {
    expect(await codeOf(() => indicesOf(Uint8Array.of(0xff), 7))).toBe('malformed');
    expect(await codeOf(() => indicesOf(Uint8Array.of(0xfe), 7))).toBeNull();
    expect(await codeOf(() => requireBitfield(Uint8Array.of(0, 0), 8))).toBe('malformed');
    expect(await codeOf(() => requireBitfield(Uint8Array.of(1), 0))).toBe('malformed');
  });

  it('refuses an index out of range', async () => {
    for (const index of [-1, 8, 0.5, Number.NaN]) {
      expect(await codeOf(() => bitfieldOf([index], 8))).toBe('bad-argument');
    }
    expect(hasBit(Uint8Array.of(0xff), 8)).toBe(false);
  });
});
