import { constants, zstdCompressSync } from 'node:zlib';
import { concatBytes, equalBytes, fromHex } from '@blocktorrent/protocol/bytes.ts';
import { paddingFrameHeader } from '@blocktorrent/protocol/padding.ts';
import { framesOf } from '@blocktorrent/protocol/zstd-frame.ts';
import { describe, expect, it } from 'vitest';
import { codeOf } from '../support/errors.ts';
import { gather, piecesOf } from '../support/pieces.ts';
import { Seeded, seedOfRun } from '../support/seeded.ts';
import { requireTool, runTool } from '../support/tools.ts';

const random = new Seeded('zstd');
const EMPTY = new Uint8Array(0);

function compressed(plain: Uint8Array, params: Record<number, number> = {}): Uint8Array {
  return Uint8Array.from(zstdCompressSync(plain, { params }));
}
async function framesIn(bytes: Uint8Array, pieceBytes = 1000): Promise<Uint8Array[]> {
  const frames: Uint8Array[] = [];
  for await (const frame of framesOf(piecesOf(bytes, pieceBytes))) frames.push(await gather(frame));
  return frames;
}
function check(bytes: Uint8Array, pieceBytes?: number) {
  return codeOf(() => framesIn(bytes, pieceBytes));
}

describe('zstd frames', () => {
  const MiB = 1024 * 1024;
  const large = compressed(new Uint8Array(MiB));
  const small = compressed(random.bytes(100));

  it('are told apart, however they are cut', async () => {
    for (const pieceBytes of [1, 7, 100_000]) {
      const frames = await framesIn(concatBytes(large, large, small), pieceBytes);
      expect(frames).toEqual([large, large, small]);
    }
  });

  it('are refused where one before another holds little, or does not say how much', async () => {
    const little = compressed(new Uint8Array(MiB - 1));
    const silent = compressed(new Uint8Array(MiB), { [constants.ZSTD_c_contentSizeFlag]: 0 });
    for (const first of [little, silent, compressed(EMPTY)]) {
      expect(await check(concatBytes(first, small))).toBe('malformed');
      expect(await check(concatBytes(large, first))).toBeNull();
    }
  });

  it('cut off in the second one are refused', async () => {
    for (const cut of [1, 4, 5, 10, small.length - 1]) {
      expect(await check(concatBytes(large, small.subarray(0, cut)))).toBe('truncated');
    }
  });

  it('with anything else behind or between are refused', async () => {
    for (const more of [Uint8Array.of(0, 0, 0, 0, 0), paddingFrameHeader(8)]) {
      expect(await check(concatBytes(large, more))).toBe('malformed');
      expect(await check(concatBytes(large, more, small))).toBe('malformed');
    }
  });
});

describe('one zstd frame', () => {
  it.each([
    ['empty', compressed(EMPTY)],
    ['of one byte', compressed(Uint8Array.of(1))],
    ['of 300 bytes', compressed(random.bytes(300))],
    ['of random bytes, stored raw', compressed(random.bytes(300_000))],
    ['of zeros, as runs', compressed(new Uint8Array(1_000_000))],
    ['with a checksum', compressed(random.bytes(1000), { [constants.ZSTD_c_checksumFlag]: 1 })],
    ['without its size', compressed(random.bytes(10), { [constants.ZSTD_c_contentSizeFlag]: 0 })],
    ['of level 19', compressed(random.bytes(70_000), { [constants.ZSTD_c_compressionLevel]: 19 })],
  ])('%s passes unchanged, however it is cut', async (_, frame) => {
    for (const pieceBytes of [1, 3, 100_000]) {
      if (pieceBytes === 1 && frame.length > 100_000) continue;
      const [passed = EMPTY, ...more] = await framesIn(frame, pieceBytes);
      expect(equalBytes(passed, frame)).toBe(true);
      expect(more).toEqual([]);
    }
  });

  it('made by the zstd tool passes', async (context) => {
    requireTool('zstd', context);
    for (const level of ['-1', '-3', '-19']) {
      const frame = await runTool('zstd', ['-q', '-c', level], random.bytes(200_000));
      expect(await check(frame)).toBeNull();
    }
  });

  it('cut off anywhere is refused', async () => {
    const frame = compressed(random.bytes(100), { [constants.ZSTD_c_checksumFlag]: 1 });
    for (let end = 0; end < frame.length; end++) {
      expect(await check(frame.subarray(0, end)), `cut at ${end}`).toBe('truncated');
    }
  });

  it.each([
    ['a skippable frame', '502a4d1800000000', 'malformed'],
    ['the reserved bit', '28b52ffd0800010000', 'malformed'],
    ['a dictionary', '28b52ffd01000701000000', 'malformed'],
    ['a reserved block type', '28b52ffd0000070000', 'malformed'],
    ['a block over 128 KiB', '28b52ffd0000090010', 'malformed'],
    ['a window of 16 MiB', '28b52ffd0070010000', 'too-large'],
    ['a content of 4 GiB in one segment', '28b52ffda0ffffffff010000', 'too-large'],
  ])('with %s is refused', async (_, hex, code) => {
    expect(await check(fromHex(hex))).toBe(code);
  });

  it('in the form that the last ones spoil is taken', async () => {
    expect(await check(fromHex('28b52ffd0000010000'))).toBeNull();
    expect(await check(fromHex('28b52ffd0068010000'))).toBeNull();
  });

  it('of random headers never does more than throw a ProtocolError', async () => {
    const seed = seedOfRun();
    const seeded = new Seeded(seed);
    for (let round = 0; round < 500; round++) {
      const bytes = concatBytes(fromHex('28b52ffd'), seeded.bytes(seeded.integer(0, 30)));
      const code = await check(bytes, 7);
      expect(['malformed', 'truncated', 'too-large', null], `seed ${seed}`).toContain(code);
    }
  });
});
