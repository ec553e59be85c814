import { constants, zstdCompressSync } from 'node:zlib';
import { concatBytes, equalBytes, fromHex } from '@blocktorrent/protocol/bytes.ts';
import { paddingFrameHeader } from '@blocktorrent/protocol/padding.ts';
import { requireSingleFrame } from '@blocktorrent/protocol/zstd-frame.ts';
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
function check(bytes: Uint8Array, pieceBytes = 1000) {
  return codeOf(() => gather(requireSingleFrame(piecesOf(bytes, pieceBytes))));
}

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
      const passed = await gather(requireSingleFrame(piecesOf(frame, pieceBytes)));
      expect(equalBytes(passed, frame)).toBe(true);
    }
  });

  it('made by the zstd tool passes', async (context) => {
    requireTool('zstd', context);
    for (const level of ['-1', '-3', '-19']) {
      const frame = await runTool('zstd', ['-q', '-c', level], random.bytes(200_000));
      expect(await check(frame)).toBeNull();
    }
  });

  it('followed by anything is refused', async () => {
    const frame = compressed(random.bytes(100));
    for (const more of [Uint8Array.of(0), frame, paddingFrameHeader(8)]) {
      expect(await check(concatBytes(frame, more))).toBe('malformed');
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
