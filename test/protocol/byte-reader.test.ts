import { ByteReader } from '@blocktorrent/protocol/byte-reader.ts';
import { equalBytes, utf8 } from '@blocktorrent/protocol/bytes.ts';
import { describe, expect, it } from 'vitest';
import { codeOf } from '../support/errors.ts';
import { gather, piecesOf } from '../support/pieces.ts';
import { Seeded, seedOfRun } from '../support/seeded.ts';

/** Pieces of random sizes, empty ones too. */
async function* raggedly(bytes: Uint8Array, random: Seeded) {
  for (let start = 0; start < bytes.length; ) {
    const size = random.integer(0, 9);
    yield bytes.subarray(start, start + size);
    start += size;
  }
  yield new Uint8Array(0);
}

describe('byte reader', () => {
  it('gives the same bytes whatever the pieces and the sizes asked for', async () => {
    const seed = seedOfRun();
    const random = new Seeded(seed);
    for (let round = 0; round < 50; round++) {
      const bytes = random.bytes(random.integer(0, 300));
      const reader = new ByteReader(raggedly(bytes, random));
      const taken: Uint8Array[] = [];
      for (let left = bytes.length; left > 0; ) {
        const piece = await reader.take(random.integer(1, 40));
        taken.push(piece.slice());
        left -= piece.length;
      }
      expect(await reader.atEnd(), `seed ${seed}`).toBe(true);
      expect((await reader.take(1)).length).toBe(0);
      expect(equalBytes(Buffer.concat(taken), bytes), `seed ${seed}`).toBe(true);
    }
  });

  it('takes lines with their newline, then the rest', async () => {
    const reader = new ByteReader(piecesOf(utf8('one\ntwo\n\nrest'), 2));
    for (const line of ['one\n', 'two\n', '\n']) {
      expect(await reader.takeLine(10, 'text')).toEqual(utf8(line));
    }
    expect(await gather(reader.rest())).toEqual(utf8('rest'));
  });

  it('takes of the piece at hand as much as it is told to', async () => {
    const reader = new ByteReader(piecesOf(utf8('abcdefg'), 3));
    const taken: string[] = [];
    for (let piece = await reader.take(1); piece.length > 0; ) {
      taken.push(String.fromCharCode(...piece));
      piece = await reader.takePiece(({ length }) => Math.min(length, 2));
    }
    expect(taken).toEqual(['a', 'bc', 'de', 'f', 'g']);
  });

  it('says when a line or a field is cut off or too long', async () => {
    const reader = () => new ByteReader(piecesOf(utf8('no newline'), 3));
    expect(await codeOf(() => reader().takeLine(100, 'text'))).toBe('truncated');
    expect(await codeOf(() => reader().takeLine(5, 'text'))).toBe('too-large');
    expect(await codeOf(() => reader().takeExactly(11, 'text'))).toBe('truncated');
    expect(await codeOf(() => reader().takeExactly(10, 'text'))).toBeNull();
  });

  it('asks its source for nothing beyond what it was asked for', async () => {
    let pieces = 0;
    async function* source() {
      for (;;) {
        pieces++;
        yield new Uint8Array(10);
      }
    }
    const reader = new ByteReader(source());
    await reader.take(25);
    expect(pieces).toBe(3);
    await reader.close();
    await reader.close();
    expect(await reader.atEnd()).toBe(true);
  });
});
