import { createHash } from 'node:crypto';
import { concatBytes, equalBytes } from '@blocktorrent/protocol/bytes.ts';
import { chunkLengthOf } from '@blocktorrent/protocol/chunking.ts';
import { packDigests } from '@blocktorrent/protocol/digest.ts';
import { describe, expect, it } from 'vitest';
import { digestPartInThread, newFileNumber } from '../../agent/src/crypto/chunk-thread.ts';
import { ChunkHasher } from '../../agent/src/seal/chunk-hasher.ts';
import { nodeDigests } from '../support/node-digests.ts';
import { Seeded } from '../support/seeded.ts';

const random = new Seeded('chunk-hasher');
const MiB = 1024 * 1024;

function expectedOf(file: Uint8Array, hasher: ChunkHasher) {
  const pieces: Uint8Array[] = [];
  const digests: Uint8Array[] = [];
  for (let index = 0, start = 0; index < hasher.chunkCount; index++) {
    const end = start + chunkLengthOf(file.length, hasher.chunkBytes, index);
    const chunk = file.subarray(start, end);
    pieces.push(createHash('sha1').update(chunk).digest());
    digests.push(packDigests(nodeDigests(chunk)));
    start = end;
  }
  return { pieces: concatBytes(...pieces), digests: concatBytes(...digests) };
}

describe('the hasher of a ciphertext', () => {
  it.each([
    ['chunks of many parts, more than wait at once', 11 * MiB + 77, 2],
    ['many chunks in a part', 3 * MiB + 1, 150],
    ['parts that end where chunks do', 4 * MiB, 4],
    ['a few bytes', 5, 200],
  ])('gives what the bytes have, in order: %s', async (_, size, chunksTarget) => {
    const file = random.bytes(size);
    const hasher = new ChunkHasher(size, chunksTarget);
    for (let start = 0; start < size; start += 65_552) {
      const piece = file.slice(start, start + 65_552);
      await hasher.update(piece);
      piece.fill(0);
    }
    const whole = await hasher.finish();
    expect(equalBytes(whole, createHash('sha256').update(file).digest())).toBe(true);
    const { pieces, digests } = expectedOf(file, hasher);
    expect(equalBytes(hasher.pieces, pieces)).toBe(true);
    expect(equalBytes(hasher.digests, digests)).toBe(true);
  });

  it('refuses a file that is shorter than it was said to be', async () => {
    const hasher = new ChunkHasher(3 * MiB, 3);
    await hasher.update(random.bytes(MiB));
    await expect(hasher.finish()).rejects.toThrow('expected 3 chunks, got 1');
  });

  it('never hashes a part whose forerunners the thread does not know', async () => {
    const part = { file: newFileNumber(), chunkBytes: MiB };
    const bytes = random.bytes(100);
    const unknown = digestPartInThread(bytes, { ...part, fileOffset: MiB, last: true });
    await expect(unknown).rejects.toThrow('of which 0 are known');
    expect(await digestPartInThread(bytes, { ...part, fileOffset: 0, last: false })).toEqual([]);
    const [digests] = await digestPartInThread(bytes, { ...part, fileOffset: 100, last: true });
    const expected = nodeDigests(concatBytes(bytes, bytes));
    expect(equalBytes(digests?.sha3 ?? bytes, expected.sha3)).toBe(true);
  });
});
