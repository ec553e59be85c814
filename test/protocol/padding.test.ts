import { concatBytes, equalBytes, toHex } from '@blocktorrent/protocol/bytes.ts';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import {
  paddingFor,
  paddingFrameHeader,
  padmeSize,
  skipPadding,
} from '@blocktorrent/protocol/padding.ts';
import { describe, expect, it } from 'vitest';
import { codeOf } from '../support/errors.ts';
import { gather, piecesOf } from '../support/pieces.ts';
import { Seeded, seedOfRun } from '../support/seeded.ts';
import { protocolVectors } from '../support/vectors.ts';

const DATA = Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 1, 2, 3);

function framed(frameBytes: number, data: Uint8Array): Uint8Array {
  return concatBytes(paddingFrameHeader(frameBytes), new Uint8Array(frameBytes - 8), data);
}

describe('Padmé', () => {
  it.each(protocolVectors.padme)('rounds %i up to %i', (size, expected) => {
    expect(padmeSize(size)).toBe(expected);
  });

  it('never shrinks, wastes at most 12 %, is monotonic, and keeps its own sizes', () => {
    const seed = seedOfRun();
    const random = new Seeded(seed);
    for (let round = 0; round < 2000; round++) {
      const size = random.integer(1, 2 ** random.integer(1, 40));
      const padded = padmeSize(size);
      expect(padded, `seed ${seed}`).toBeGreaterThanOrEqual(size);
      expect(padded / size, `seed ${seed}`).toBeLessThanOrEqual(1.12);
      expect(padmeSize(size + 1), `seed ${seed}`).toBeGreaterThanOrEqual(padded);
      expect(padmeSize(padded), `seed ${seed}`).toBe(padded);
    }
  });

  it('refuses what is no size', async () => {
    for (const size of [-1, 0.5, Number.NaN, 2 ** 53]) {
      expect(await codeOf(() => padmeSize(size))).toBe('bad-argument');
    }
  });
});

describe('padding', () => {
  it('is nothing, or a frame that its header fits into, up to a Padmé size', () => {
    for (let size = 0; size < 5000; size++) {
      const { totalBytes, frameBytes } = paddingFor(size);
      expect(totalBytes).toBe(size + frameBytes);
      expect(padmeSize(totalBytes)).toBe(totalBytes);
      expect(frameBytes === 0 || frameBytes >= 8, `${size}`).toBe(true);
      if (padmeSize(size) === size) expect(frameBytes).toBe(0);
    }
  });

  it('fits into one frame even for the largest file, and is refused beyond', async () => {
    for (const size of [LIMITS.fileBytesMax, 2 ** 37 + 1, 2 ** 37 + 2 ** 31 + 1]) {
      const { frameBytes } = paddingFor(size);
      expect(frameBytes === 0 || paddingFrameHeader(frameBytes).length === 8).toBe(true);
    }
    expect(await codeOf(() => paddingFor(LIMITS.fileBytesMax + 1))).toBe('too-large');
  });

  it('begins with the magic and the length of a skippable frame (RFC 8878 §3.1.2)', async () => {
    expect(toHex(paddingFrameHeader(8))).toBe('502a4d1800000000');
    expect(toHex(paddingFrameHeader(8 + 0x01020304))).toBe('502a4d1804030201');
    expect(await codeOf(() => paddingFrameHeader(7))).toBe('bad-argument');
    expect(await codeOf(() => paddingFrameHeader(2 ** 32 + 8))).toBe('bad-argument');
  });

  it.each([8, 9, 100, 70_000, 200_000])(
    'of %i bytes is skipped, in pieces of any size',
    async (size) => {
      const file = framed(size, DATA);
      for (const pieceBytes of [1, 7, 8, 9, 65_536, file.length]) {
        const data = await gather(skipPadding(piecesOf(file, pieceBytes)));
        expect(equalBytes(data, DATA)).toBe(true);
      }
    },
  );

  it('is not needed: other bytes pass as they are, however few', async () => {
    for (let size = 0; size <= DATA.length; size++) {
      const data = DATA.subarray(0, size);
      expect(await gather(skipPadding(piecesOf(data, 3)))).toEqual(data);
    }
  });

  it('is skipped once only', async () => {
    const two = framed(10, framed(10, DATA));
    expect(await gather(skipPadding(piecesOf(two, 100)))).toEqual(framed(10, DATA));
  });

  it('that is cut off, or not zeros, is refused', async () => {
    const file = framed(100, new Uint8Array(0));
    for (const end of [4, 7, 8, 99]) {
      const cut = file.subarray(0, end);
      expect(await codeOf(() => gather(skipPadding(piecesOf(cut, 5))))).toBe('truncated');
    }
    file[99] = 1;
    expect(await codeOf(() => gather(skipPadding(piecesOf(file, 5))))).toBe('bad-padding');
  });
});
