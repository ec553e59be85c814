import { concatBytes, fromHex, toHex, utf8 } from '@blocktorrent/protocol/bytes.ts';
import {
  chunkBytesFor,
  chunkCountOf,
  chunkLengthOf,
  decodeInfo,
  encodeInfo,
  infoHashOf,
} from '@blocktorrent/protocol/chunking.ts';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import bencode from 'bencode';
import { describe, expect, it } from 'vitest';
import { codeOf } from '../support/errors.ts';
import { Seeded, seedOfRun } from '../support/seeded.ts';
import { protocolVectors } from '../support/vectors.ts';

const KiB = 1024;

describe('chunk sizes', () => {
  it.each([
    [1, 200, 16 * KiB],
    [16 * KiB, 1, 16 * KiB],
    [16 * KiB + 1, 1, 32 * KiB],
    [50 * KiB * KiB, 200, 256 * KiB],
    [50 * KiB * KiB + 1, 200, 272 * KiB],
    [LIMITS.fileBytesMax, 200, LIMITS.chunkBytesMax],
    [LIMITS.fileBytesMax, 1_000_000, LIMITS.chunkBytesMax],
  ])('of %i bytes in at most %i chunks are %i bytes', (fileBytes, target, expected) => {
    expect(chunkBytesFor(fileBytes, target)).toBe(expected);
  });

  it('stay within what a policy allows', () => {
    const bounds = { bytesMin: 64 * KiB, bytesMax: 128 * KiB };
    expect(chunkBytesFor(1_000_000, 200, bounds)).toBe(64 * KiB);
    expect(chunkBytesFor(1_000_000, 10, bounds)).toBe(112 * KiB);
    expect(chunkBytesFor(1_000_000, 1, bounds)).toBe(128 * KiB);
    expect(chunkBytesFor(1, 200, bounds)).toBe(64 * KiB);
  });

  it('are the smallest that do', () => {
    const seed = seedOfRun();
    const random = new Seeded(seed);
    for (let round = 0; round < 300; round++) {
      const fileBytes = random.integer(1, 1e9);
      const target = random.integer(100, 1000);
      const chunkBytes = chunkBytesFor(fileBytes, target);
      expect(chunkBytes % (16 * KiB), `seed ${seed}`).toBe(0);
      expect(chunkCountOf(fileBytes, chunkBytes), `seed ${seed}`).toBeLessThanOrEqual(target);
      const smaller = chunkBytes - 16 * KiB;
      if (smaller > 0) expect(fileBytes / smaller, `seed ${seed}`).toBeGreaterThan(target);
    }
  });

  it('leave a shorter last chunk', async () => {
    expect(chunkLengthOf(40_000, 16_384, 1)).toBe(16_384);
    expect(chunkLengthOf(40_000, 16_384, 2)).toBe(40_000 - 2 * 16_384);
    expect(chunkLengthOf(32_768, 16_384, 1)).toBe(16_384);
    expect(await codeOf(() => chunkLengthOf(32_768, 16_384, 2))).toBe('bad-argument');
  });

  it('are refused past their bounds', async () => {
    expect(await codeOf(() => chunkBytesFor(LIMITS.fileBytesMax + 1, 200))).toBe('too-large');
    expect(await codeOf(() => chunkBytesFor(0, 200))).toBe('malformed');
    expect(await codeOf(() => chunkBytesFor(1, 0))).toBe('bad-argument');
    expect(await codeOf(() => chunkCountOf(1, 1000))).toBe('malformed');
    expect(await codeOf(() => chunkCountOf(LIMITS.fileBytesMax, 16_384))).toBe('too-large');
  });
});

describe('infodict', () => {
  it.each(protocolVectors.infodicts)('of $name is that of an independent encoder', (vector) => {
    const { name, pieceLength, length } = vector;
    const info = encodeInfo({ name, pieceLength, length, pieces: fromHex(vector.pieces) });
    expect(toHex(info)).toBe(vector.info);
    expect(toHex(infoHashOf(info))).toBe(vector.infoHash);
    const decoded = decodeInfo(info);
    expect(decoded).toEqual({ name, pieceLength, length, pieces: fromHex(vector.pieces) });
  });

  it('reads the same to an ordinary bencode decoder', () => {
    const pieces = new Uint8Array(40).fill(0xee);
    const info = encodeInfo({ name: 'x.age', pieceLength: 16_384, length: 20_000, pieces });
    const decoded = bencode.decode(info) as Record<string, unknown>;
    expect(decoded.length).toBe(20_000);
    expect(decoded.private).toBe(1);
    expect(Object.keys(decoded)).toEqual(['length', 'name', 'piece length', 'pieces', 'private']);
  });

  const pieces = '\x01'.repeat(20);
  const good = `d6:lengthi1e4:name1:a12:piece lengthi16384e6:pieces20:${pieces}7:privatei1ee`;
  it('in the form that the next ones spoil is taken', () => {
    expect(decodeInfo(utf8(good)).name).toBe('a');
  });
  it.each([
    ['a trailing byte', `${good}e`],
    ['private missing', good.replace('7:privatei1e', '')],
    ['private off', good.replace('i1ee', 'i0ee')],
    ['a key more', good.replace('7:private', '1:mi1e7:private')],
    ['keys in another order', good.replace('6:lengthi1e4:name1:a', '4:name1:a6:lengthi1e')],
    ['a leading zero', good.replace('i16384e', 'i016384e')],
    ['a negative length', good.replace('lengthi1e', 'lengthi-1e')],
    ['an empty number', good.replace('lengthi1e', 'lengthie')],
    ['an endless number', good.replace('lengthi1e', `lengthi${'9'.repeat(40)}e`)],
    ['a chunk size that is no multiple of 16 KiB', good.replace('16384', '16385')],
    ['a hash too few', good.replace('lengthi1e', 'lengthi16385e')],
    ['a string past the end', good.replace('pieces20:', 'pieces99:')],
    ['a path for a name', good.replace('4:name1:a', '4:name4:a/bc')],
    ['a parent for a name', good.replace('4:name1:a', '4:name2:..')],
    ['no name', good.replace('4:name1:a', '4:name0:')],
    ['a control character in its name', good.replace('4:name1:a', '4:name1:\n')],
    ['nothing', ''],
  ])('with %s is refused', async (_, text) => {
    expect(await codeOf(() => decodeInfo(utf8(text)))).toBe('malformed');
  });

  it('with a name that is not UTF-8 is refused', async () => {
    const [before = '', after = ''] = good.split('1:a');
    const bytes = concatBytes(utf8(`${before}1:`), Uint8Array.of(0xff), utf8(after));
    expect(await codeOf(() => decodeInfo(bytes))).toBe('malformed');
  });

  it('cut off or altered anywhere is refused or says something else', () => {
    const seed = seedOfRun();
    const random = new Seeded(seed);
    const bytes = utf8(good);
    for (let round = 0; round < 2000; round++) {
      const altered = bytes.slice(0, random.integer(0, bytes.length));
      const at = random.integer(0, bytes.length - 1);
      if (at < altered.length) altered[at] = random.integer(0, 255);
      try {
        expect(encodeInfo(decodeInfo(altered)), `seed ${seed}`).toEqual(altered);
      } catch (error) {
        expect(error, `seed ${seed}`).toHaveProperty('name', 'ProtocolError');
      }
    }
  });
});
