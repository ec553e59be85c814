import { fromHex, toBase64, toHex } from '@blocktorrent/protocol/bytes.ts';
import { decodeCanonical, encodeCanonical } from '@blocktorrent/protocol/cbor.ts';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import {
  type AddressItem,
  decodeAddressItem,
  decodeCallMessage,
  decodeManifestMessage,
  decodeReceiptMessage,
  encodeAddressItem,
  encodeCallMessage,
  encodeManifestMessage,
  encodeReceiptMessage,
  type ManifestMessage,
  standingHash,
} from '@blocktorrent/protocol/overlay-messages.ts';
import { describe, expect, it } from 'vitest';
import { codeOf } from '../support/errors.ts';
import { Seeded, seedOfRun } from '../support/seeded.ts';
import { messageOf, protocolVectors } from '../support/vectors.ts';

const signature = new Uint8Array(64).fill(1);
const offer = {
  t: 'offer',
  manifest: Uint8Array.of(0xa0),
  signature,
  mspId: 'Org1MSP',
  peer: 'gateway',
} as const;
const address: AddressItem = {
  name: 'admin',
  mspId: 'Org2MSP',
  host: '127.0.0.1',
  port: 6881,
  timeMs: 1_700_000_000_000,
};

describe('bt_manifest', () => {
  it.each(protocolVectors.manifestMessages)('$value.t is as an independent encoder', (vector) => {
    const message = decodeManifestMessage(fromHex(vector.cbor));
    expect(message).toEqual(messageOf(vector));
    expect(toHex(encodeManifestMessage(message))).toBe(vector.cbor);
  });

  it('leaves out what does not belong to a message', () => {
    const more = { t: 'refuse', code: 'quota', reason: 'x', secret: 1 } as ManifestMessage;
    expect(decodeManifestMessage(encodeManifestMessage(more))).not.toHaveProperty('secret');
  });

  it.each([
    ['no map', [1]],
    ['no type', { have: signature }],
    ['another type', { t: 'other' }],
    ['a field more', { ...offer, more: 1 }],
    ['a field less', { t: 'offer', manifest: signature }],
    ['a short signature', { ...offer, signature: signature.subarray(1) }],
    ['text for bytes', { ...offer, manifest: 'x' }],
    ['an empty manifest', { ...offer, manifest: new Uint8Array(0) }],
    ['a long name', { ...offer, mspId: 'x'.repeat(65) }],
    ['a long reason', { t: 'refuse', code: 'x', reason: 'x'.repeat(1001) }],
  ])('with %s is refused', async (_, value) => {
    expect(await codeOf(() => decodeManifestMessage(encodeCanonical(value)))).toBe('malformed');
  });

  it('over its bounds is refused before it is decoded', async () => {
    const big = new Uint8Array(LIMITS.overlayMessageBytesMax + 1);
    expect(await codeOf(() => decodeManifestMessage(big))).toBe('too-large');
    const have = new Uint8Array(LIMITS.chunksPerFileMax / 8 + 1);
    const accept = encodeCanonical({ t: 'accept', have });
    expect(await codeOf(() => decodeManifestMessage(accept))).toBe('too-large');
    const manifest = new Uint8Array(LIMITS.manifestBytesMax + 1);
    const bytes = encodeCanonical({ ...offer, manifest });
    expect(await codeOf(() => decodeManifestMessage(bytes))).toBe('too-large');
  });

  it('cut off, with a byte behind, or with any byte altered is refused or says so', async () => {
    const seed = seedOfRun();
    const random = new Seeded(seed);
    const bytes = encodeManifestMessage(offer);
    for (let end = 0; end < bytes.length; end++) {
      expect(await codeOf(() => decodeManifestMessage(bytes.subarray(0, end)))).not.toBeNull();
    }
    expect(await codeOf(() => decodeManifestMessage(Uint8Array.of(...bytes, 0)))).toBe('malformed');
    for (let round = 0; round < 500; round++) {
      const altered = bytes.slice();
      altered[random.integer(0, bytes.length - 1)] = random.integer(0, 255);
      if ((await codeOf(() => decodeManifestMessage(altered))) !== null) continue;
      const again = encodeManifestMessage(decodeManifestMessage(altered));
      expect(toHex(again), `seed ${seed}`).toBe(toHex(altered));
    }
  });
});

describe('bt_receipt', () => {
  it('is as an independent encoder', () => {
    const { receiptMessage } = protocolVectors;
    const receipt = decodeReceiptMessage(fromHex(receiptMessage.cbor));
    expect(receipt.mspId).toBe('Org2MSP');
    expect(receipt.receipt).toBe('AQID');
    expect(toHex(encodeReceiptMessage(receipt))).toBe(receiptMessage.cbor);
  });

  it('is refused with a wrong signature length, in size, or not canonical', async () => {
    const bytes = encodeReceiptMessage({
      receipt: toBase64(Uint8Array.of(1)),
      signature: toHex(signature),
      mspId: 'Org1MSP',
      peer: 'a',
    });
    const value = decodeCanonical(bytes) as Record<string, unknown>;
    const short = encodeCanonical({ ...value, signature: signature.subarray(1) });
    expect(await codeOf(() => decodeReceiptMessage(short))).toBe('malformed');
    const big = encodeCanonical({ ...value, receipt: new Uint8Array(LIMITS.receiptBytesMax + 1) });
    expect(await codeOf(() => decodeReceiptMessage(big))).toBe('too-large');
    const huge = new Uint8Array(LIMITS.overlayMessageBytesMax);
    expect(await codeOf(() => decodeReceiptMessage(huge))).toBe('too-large');
  });
});

describe('address item', () => {
  it.each(['address', 'addressWithDoors'] as const)('%s is as an independent encoder', (name) => {
    const vector = protocolVectors[name];
    const item = decodeAddressItem(fromHex(vector.cbor));
    expect(item).toEqual(vector.value);
    expect(toHex(encodeAddressItem(item))).toBe(vector.cbor);
  });

  it('fits into a DHT item at its largest', () => {
    const most = {
      ...address,
      name: 'n'.repeat(64),
      mspId: 'm'.repeat(64),
      host: 'h'.repeat(253),
      timeMs: Number.MAX_SAFE_INTEGER,
      plain: { host: 'p'.repeat(100), port: 65_535 },
      tracker: { host: 't'.repeat(100), port: 65_535 },
    };
    expect(encodeAddressItem(most).length).toBeLessThan(996);
    expect(decodeAddressItem(encodeAddressItem(most))).toEqual(most);
  });

  it.each([
    { host: 'a b' },
    { host: '' },
    { host: 'h'.repeat(254) },
    { host: 'evil/../path' },
    { port: 0 },
    { port: 65_536 },
    { timeMs: -1 },
    { name: '' },
    { plain: { host: 'a b', port: 1 } },
    { plain: { host: 'h'.repeat(101), port: 1 } },
    { tracker: { host: 'h', port: 0 } },
  ])('with %o is neither written nor read', async (change) => {
    const item = { ...address, ...change };
    expect(await codeOf(() => encodeAddressItem(item))).toBe('bad-argument');
    expect(await codeOf(() => decodeAddressItem(encodeCanonical(item)))).toBe('malformed');
  });

  it('over 996 bytes is refused', async () => {
    expect(await codeOf(() => decodeAddressItem(new Uint8Array(997)))).toBe('too-large');
  });
});

describe('bt_call', () => {
  it('is as an independent encoder', () => {
    const vector = protocolVectors.callMessage;
    const message = decodeCallMessage(fromHex(vector.cbor));
    expect(message).toEqual(messageOf(vector));
    expect(toHex(encodeCallMessage(message))).toBe(vector.cbor);
    expect(toHex(standingHash('blocktorrent'))).toBe(protocolVectors.standingHash);
  });

  it('names one info-hash and nothing else', async () => {
    const short = encodeCanonical({ infoHash: new Uint8Array(19) });
    expect(await codeOf(() => decodeCallMessage(short))).toBe('malformed');
    expect(await codeOf(() => decodeCallMessage(new Uint8Array(65)))).toBe('too-large');
  });
});
