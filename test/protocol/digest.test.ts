import { toHex } from '@blocktorrent/protocol/bytes.ts';
import {
  DIGEST_BYTES,
  digestChunk,
  digestsEqual,
  packDigests,
  unpackDigests,
} from '@blocktorrent/protocol/digest.ts';
import { describe, expect, it } from 'vitest';
import { codeOf } from '../support/errors.ts';
import { nodeDigests } from '../support/node-digests.ts';
import { pattern, protocolVectors } from '../support/vectors.ts';

describe('digests of a chunk', () => {
  it.each(protocolVectors.digests)('of $bytes bytes are those of hashlib', (vector) => {
    const chunk = pattern(vector.bytes);
    for (const digests of [digestChunk(chunk), nodeDigests(chunk)]) {
      expect(toHex(digests.sha3)).toBe(vector.sha3);
      expect(toHex(digests.sha384)).toBe(vector.sha384);
      expect(toHex(digests.sha512)).toBe(vector.sha512);
    }
  });

  it('pack to 144 bytes and unpack to the same', async () => {
    const digests = digestChunk(Uint8Array.of(1));
    const packed = packDigests(digests);
    expect(packed.length).toBe(DIGEST_BYTES);
    expect(digestsEqual(unpackDigests(packed), digests)).toBe(true);
    expect(await codeOf(() => unpackDigests(packed.subarray(1)))).toBe('malformed');
  });

  it('differ when any one of the three does', () => {
    const digests = digestChunk(Uint8Array.of(1));
    for (const at of [0, 40, 143]) {
      const packed = packDigests(digests);
      packed[at] = (packed[at] ?? 0) ^ 1;
      expect(digestsEqual(unpackDigests(packed), digests)).toBe(false);
    }
  });
});
