import { zstdDecompressSync } from 'node:zlib';
import { equalBytes } from '@blocktorrent/protocol/bytes.ts';
import { framesOf } from '@blocktorrent/protocol/zstd-frame.ts';
import { describe, expect, it } from 'vitest';
import { zstdFrames } from '../../agent/src/seal/zstd-frames.ts';
import { gather } from '../support/pieces.ts';
import { Seeded } from '../support/seeded.ts';

const MiB = 1024 * 1024;

const random = new Seeded('zstd-frames');
const contents = Array.from({ length: 9 }, () => random.bytes(2 * MiB));

/** The first contents, each spoilt once the third after it is asked for; then a failure, if there is one. */
async function* spoilt(count: number, failure: Error | null = null) {
  const pieces = contents.slice(0, count).map((bytes) => bytes.slice());
  for (const [index, piece] of pieces.entries()) {
    pieces[index - 3]?.fill(0);
    yield piece;
  }
  if (failure !== null) throw failure;
}

async function contentsOf(source: AsyncIterable<Uint8Array>): Promise<Uint8Array[]> {
  const found: Uint8Array[] = [];
  for await (const frame of framesOf(source)) {
    found.push(Uint8Array.from(zstdDecompressSync(await gather(frame))));
  }
  return found;
}

describe('frames compressed side by side', () => {
  it('come in the order of their pieces, each as it was while it could be read', async () => {
    const frames = await contentsOf(zstdFrames(spoilt(9)));
    expect(frames.map((frame, index) => equalBytes(frame, contents[index] ?? frame))).toEqual(
      contents.map(() => true),
    );
  });

  it('have a checksum each, and say how much they hold', async () => {
    for await (const frame of framesOf(zstdFrames(spoilt(2)))) {
      const header = await gather(frame);
      // Frame header descriptor (RFC 8878 §3.1.1.1.1): 4 bytes of content size, one segment, checksum.
      expect(header[4]).toBe(0b1010_0100);
      expect(new DataView(header.buffer).getUint32(5, true)).toBe(2 * MiB);
    }
  });

  it('are one of nothing where there are no pieces', async () => {
    expect(await contentsOf(zstdFrames(spoilt(0)))).toEqual([new Uint8Array(0)]);
  });

  it('end as the pieces do', async () => {
    for (const count of [0, 1, 5]) {
      const failing = gather(zstdFrames(spoilt(count, new Error('the disk is gone'))));
      await expect(failing).rejects.toThrow('the disk is gone');
    }
  });
});
