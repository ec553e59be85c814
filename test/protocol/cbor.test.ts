import { fromHex, toHex } from '@blocktorrent/protocol/bytes.ts';
import { decodeCanonical, encodeCanonical } from '@blocktorrent/protocol/cbor.ts';
import { describe, expect, it } from 'vitest';
import { codeOf } from '../support/errors.ts';
import { Seeded, seedOfRun } from '../support/seeded.ts';
import { protocolVectors } from '../support/vectors.ts';

/** RFC 8949, appendix A: hex and value. */
const RFC_8949: readonly (readonly [string, unknown])[] = [
  ['00', 0],
  ['17', 23],
  ['1818', 24],
  ['1903e8', 1000],
  ['1a000f4240', 1_000_000],
  ['1b000000e8d4a51000', 1_000_000_000_000],
  ['20', -1],
  ['3903e7', -1000],
  ['fb3ff199999999999a', 1.1],
  ['f93e00', 1.5],
  ['f90001', 2 ** -24],
  ['fbc010666666666666', -4.1],
  ['f4', false],
  ['f5', true],
  ['f6', null],
  ['4401020304', Uint8Array.of(1, 2, 3, 4)],
  ['62225c', '"\\'],
  ['64f0908591', '𐅑'],
  ['8301820203820405', [1, [2, 3], [4, 5]]],
  ['a26161016162820203', { a: 1, b: [2, 3] }],
];

const REFUSED: readonly (readonly [string, string, string])[] = [
  ['nothing at all', '', 'malformed'],
  ['a trailing byte', '0000', 'malformed'],
  ['an integer in more bytes than it needs', '1817', 'malformed'],
  ['an integer beyond 2^53', '1b0020000000000000', 'malformed'],
  ['a float that is a whole number', 'f93c00', 'not-canonical'],
  ['a float in more bytes than it needs', 'fb3ff8000000000000', 'not-canonical'],
  ['negative zero', 'f98000', 'not-canonical'],
  ['infinity', 'f97c00', 'malformed'],
  ['NaN', 'f97e00', 'malformed'],
  ['undefined', 'f7', 'malformed'],
  ['a simple value', 'f0', 'malformed'],
  ['a tag', 'c11a514b67b0', 'malformed'],
  ['a byte string of indefinite length', '5f42010243030405ff', 'malformed'],
  ['an array of indefinite length', '9fff', 'malformed'],
  ['a map of indefinite length', 'bfff', 'malformed'],
  ['a break', 'ff', 'malformed'],
  ['an integer key', 'a10102', 'malformed'],
  ['a key twice', 'a2616101616102', 'malformed'],
  ['keys in another order', 'a2616201616101', 'not-canonical'],
  ['a longer key before a shorter one', 'a262616101617a02', 'not-canonical'],
  ['text that is not UTF-8', '61ff', 'not-canonical'],
  ['an array that is cut off', '8201', 'malformed'],
  ['a length far past the end', '5affffffff', 'malformed'],
];

describe('canonical CBOR', () => {
  it.each(RFC_8949)('reads and writes %s of RFC 8949', (hex, value) => {
    expect(toHex(encodeCanonical(value))).toBe(hex);
    expect(decodeCanonical(fromHex(hex))).toEqual(value);
  });

  it.each(protocolVectors.cborCanonical)('writes $json as an independent encoder', (vector) => {
    const value: unknown = JSON.parse(vector.json);
    expect(toHex(encodeCanonical(value))).toBe(vector.cbor);
    expect(decodeCanonical(fromHex(vector.cbor))).toEqual(value);
  });

  it.each(REFUSED)('refuses %s', async (_, hex, code) => {
    expect(await codeOf(() => decodeCanonical(fromHex(hex)))).toBe(code);
  });

  it('refuses deep nesting in what it reads and what it writes', async () => {
    expect(await codeOf(() => decodeCanonical(new Uint8Array(60_000).fill(0x81)))).toBe(
      'malformed',
    );
    const seventeen = `${'81'.repeat(17)}00`;
    expect(await codeOf(() => decodeCanonical(fromHex(seventeen)))).toBe('malformed');
    expect(decodeCanonical(fromHex(seventeen.slice(2)))).toBeDefined();
  });

  it.each([undefined, 1n, Number.NaN, 2 ** 53, new Date(0), new Map(), '\ud800', [undefined]])(
    'refuses to write %s',
    async (value) => {
      expect(await codeOf(() => encodeCanonical(value))).toBe('bad-argument');
    },
  );

  it.each(['a0', '80', '60', '01', '40'])(
    'refuses a flood of %s before it makes a value',
    async (one) => {
      const most = encodeCanonical(Array.from({ length: 65_535 }, () => 1));
      expect(decodeCanonical(most)).toHaveLength(65_535);
      const count = 4_000_000;
      const flood = Buffer.alloc(5 + count, Buffer.from(one, 'hex'));
      flood[0] = 0x9a;
      flood.writeUInt32BE(count, 1);
      const startMs = performance.now();
      expect(await codeOf(() => decodeCanonical(flood))).toBe('too-large');
      // Decoded, it took seconds.
      expect(performance.now() - startMs).toBeLessThan(500);
    },
  );

  it('keeps a key named __proto__ an ordinary key', () => {
    const bytes = fromHex('a1695f5f70726f746f5f5fa16161f5');
    const value = decodeCanonical(bytes);
    expect(Object.keys(value as object)).toEqual(['__proto__']);
    expect((value as { a?: unknown }).a).toBeUndefined();
    expect(encodeCanonical(value)).toEqual(bytes);
  });

  it('takes of random bytes only what it would have written itself', () => {
    const seed = seedOfRun();
    const random = new Seeded(seed);
    for (let round = 0; round < 3000; round++) {
      const bytes = random.bytes(random.integer(0, 12));
      let value: unknown;
      try {
        value = decodeCanonical(bytes);
      } catch (error) {
        expect(error, `seed ${seed}`).toHaveProperty('name', 'ProtocolError');
        continue;
      }
      expect(encodeCanonical(value), `seed ${seed}`).toEqual(bytes);
    }
  });
});
