import { toHex } from '@blocktorrent/protocol/bytes.ts';
import { encodeCanonical } from '@blocktorrent/protocol/cbor.ts';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import {
  decodeOwnerMessage,
  encodeOwnerMessage,
  type OwnerMessage,
  ownersHash,
} from '@blocktorrent/protocol/owner-messages.ts';
import { describe, expect, it } from 'vitest';
import { codeOf } from '../support/errors.ts';
import { Seeded, seedOfRun } from '../support/seeded.ts';

const fileId = 'ab'.repeat(32);
const commitment = new Uint8Array(32).fill(2);
const signature = new Uint8Array(64).fill(1);
const messages: readonly OwnerMessage[] = [
  { t: 'keep', manifest: Uint8Array.of(0xa0), signature, mspId: 'Org1MSP', peer: 'gateway' },
  { t: 'want', fileId },
  { t: 'held', fileId, have: Uint8Array.of(0x80) },
  { t: 'decline', fileId, code: 'unknown-file', reason: 'no such file is kept here' },
  { t: 'challenge', fileId, chunks: Uint8Array.of(0x80), commitment },
  { t: 'nonce', commitment, nonce: new Uint8Array(32) },
  { t: 'reveal', commitment, nonce: new Uint8Array(32) },
  { t: 'answer', commitment, answer: Uint8Array.of(1), signature },
];

describe('bt_owner', () => {
  it.each(messages)('$t comes back as it went', (message) => {
    expect(decodeOwnerMessage(encodeOwnerMessage(message))).toEqual(message);
  });

  it('has the bytes that CBOR asks for', () => {
    const want = `a26174647761${'6e74'}6666696c6549645820${fileId}`;
    expect(toHex(encodeOwnerMessage({ t: 'want', fileId }))).toBe(want);
  });

  it('goes over links whose info-hash is of the channel alone', () => {
    expect(ownersHash('blocktorrent')).toMatch(/^[0-9a-f]{40}$/);
    expect(ownersHash('blocktorrent')).not.toBe(ownersHash('other'));
  });

  it.each([
    ['no map', [1]],
    ['another kind', { t: 'other' }],
    ['a field more', { t: 'want', fileId: new Uint8Array(32), more: 1 }],
    ['a short file id', { t: 'want', fileId: new Uint8Array(31) }],
    ['a short nonce', { t: 'nonce', commitment, nonce: new Uint8Array(31) }],
    ['an empty bitfield', { t: 'held', fileId: new Uint8Array(32), have: new Uint8Array(0) }],
  ])('with %s is refused', async (_, value) => {
    expect(await codeOf(() => decodeOwnerMessage(encodeCanonical(value)))).toBe('malformed');
  });

  it('over its bounds is refused before it is decoded', async () => {
    const big = new Uint8Array(LIMITS.overlayMessageBytesMax + 1);
    expect(await codeOf(() => decodeOwnerMessage(big))).toBe('too-large');
  });

  it('cut off or with any byte altered is refused or says so', async () => {
    const seed = seedOfRun();
    const random = new Seeded(seed);
    for (const message of messages) {
      const bytes = encodeOwnerMessage(message);
      for (let end = 0; end < bytes.length; end++) {
        expect(await codeOf(() => decodeOwnerMessage(bytes.subarray(0, end)))).not.toBeNull();
      }
      for (let round = 0; round < 200; round++) {
        const altered = bytes.slice();
        altered[random.integer(0, bytes.length - 1)] = random.integer(0, 255);
        if ((await codeOf(() => decodeOwnerMessage(altered))) !== null) continue;
        const again = encodeOwnerMessage(decodeOwnerMessage(altered));
        expect(toHex(again), `seed ${seed}`).toBe(toHex(altered));
      }
    }
  });
});
