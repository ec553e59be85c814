import { fromHex, toBase64, toHex, utf8 } from '@blocktorrent/protocol/bytes.ts';
import { decodeCanonical, encodeCanonical } from '@blocktorrent/protocol/cbor.ts';
import { unpackDigests } from '@blocktorrent/protocol/digest.ts';
import {
  CHAIN_ROOT,
  decodeManifest,
  encodeManifest,
  fileIdOf,
  type Manifest,
  manifestChunkCount,
  manifestChunkDigests,
  signManifest,
  verifyManifest,
} from '@blocktorrent/protocol/manifest.ts';
import { decodeMasterTable, encodeMasterTable } from '@blocktorrent/protocol/master-table.ts';
import {
  coverage,
  decodeReceipt,
  encodeReceipt,
  type Receipt,
  signReceipt,
  verifyReceipt,
} from '@blocktorrent/protocol/receipt.ts';
import { publicKeyOf } from '@blocktorrent/protocol/signing.ts';
import { sha256 } from '@noble/hashes/sha2.js';
import { describe, expect, it } from 'vitest';
import { dealingVectors } from '../support/dealing-vectors.ts';
import { codeOf } from '../support/errors.ts';
import { Seeded, seedOfRun } from '../support/seeded.ts';
import { pattern } from '../support/vectors.ts';

const known = dealingVectors.formats;
const manifestBytes = fromHex(known.manifest);
const receiptBytes = fromHex(known.receipt);
const tableBytes = fromHex(known.masterTable);
const manifest = decodeManifest(manifestBytes);
const receipt = decodeReceipt(receiptBytes);
const seed = new Uint8Array(32).fill(5);
const key = publicKeyOf(seed);
const other = publicKeyOf(new Uint8Array(32).fill(6));
const run = seedOfRun();

/** Canonical CBOR of what `bytes` hold, with some fields changed. */
const changed = (bytes: Uint8Array, change: Record<string, unknown>) =>
  encodeCanonical({ ...(decodeCanonical(bytes) as Record<string, unknown>), ...change });

/** Every single-bit change of some bytes must be refused or read back to those very bytes. */
async function survivesFlips(
  bytes: Uint8Array,
  again: (flipped: Uint8Array) => Uint8Array,
): Promise<void> {
  const random = new Seeded(run);
  for (let i = 0; i < 300; i++) {
    const flipped = Uint8Array.from(bytes);
    const at = random.integer(0, bytes.length - 1);
    flipped[at] = (flipped[at] ?? 0) ^ (1 << random.integer(0, 7));
    const label = `seed ${run}, byte ${at}`;
    const code = await codeOf(() => expect(toHex(again(flipped)), label).toBe(toHex(flipped)));
    expect([null, 'malformed', 'not-canonical', 'bad-version', 'too-large'], label).toContain(code);
  }
}

describe('a manifest', () => {
  it('is the known one, byte for byte, and names its file', () => {
    const expected: Manifest = {
      version: 1,
      channel: 'blocktorrent',
      source: 'Org1MSP',
      gateway: 'gateway-1',
      seq: 7,
      previous: toHex(sha256(utf8('six'))),
      kind: 'batch',
      epoch: 2,
      timeMs: 1_800_000_000_123,
      recipient: known.recipient,
      ciphertextBytes: 32_773,
      ciphertextSha256: sha256(pattern(32_773)),
      info: fromHex(known.info),
      digests: fromHex(known.digests),
    };
    expect(manifest).toEqual(expected);
    expect(toHex(encodeManifest(expected))).toBe(known.manifest);
    expect(fileIdOf(manifestBytes)).toBe(known.fileId);
    expect(manifestChunkCount(manifest)).toBe(3);
    expect(manifestChunkDigests(manifest, 2)).toEqual(
      unpackDigests(fromHex(known.digests).slice(288)),
    );
  });

  it.each<[string, string, Record<string, unknown>]>([
    ['bad-version', 'another version', { version: 2 }],
    ['malformed', 'an unknown field', { more: 1 }],
    ['malformed', 'a size that the infodict does not have', { ciphertextBytes: 32_772 }],
    ['malformed', 'digests of fewer chunks', { digests: pattern(288) }],
    ['malformed', 'a part of a digest', { digests: pattern(433) }],
    ['malformed', 'zeros as previous of a later file', { previous: new Uint8Array(32) }],
    ['malformed', 'a previous of the first file', { seq: 1 }],
    ['malformed', 'seq 0', { seq: 0 }],
    ['malformed', 'a broken number', { epoch: 1.5 }],
    ['malformed', 'an infodict that is none', { info: pattern(100) }],
    ['malformed', 'a recipient that is none', { recipient: 'age1' }],
    ['malformed', 'another kind', { kind: 'other' }],
    ['malformed', 'an empty source', { source: '' }],
    ['malformed', 'text where bytes belong', { ciphertextSha256: 'x' }],
    ['too-large', 'more digests than chunks can be', { digests: new Uint8Array(144 * 16_385) }],
  ])('is refused as %s with %s', async (code, _, change) => {
    expect(await codeOf(() => decodeManifest(changed(manifestBytes, change)))).toBe(code);
  });

  it('needs zeros as previous exactly at seq 1', () => {
    const first = encodeManifest({ ...manifest, seq: 1, previous: CHAIN_ROOT });
    expect(decodeManifest(first).previous).toBe(CHAIN_ROOT);
  });

  it('decodes from exactly its own bytes, whatever bit is flipped', async () => {
    expect(await codeOf(() => decodeManifest(Uint8Array.of(...manifestBytes, 0)))).toBe(
      'malformed',
    );
    await survivesFlips(manifestBytes, (bytes) => encodeManifest(decodeManifest(bytes)));
  });

  it('is taken from the gateway that signed it, and from nobody else', async () => {
    const signed = signManifest(manifestBytes, seed);
    expect(verifyManifest(signed, [key])).toEqual(manifest);
    const code = (change: Partial<typeof signed>, by = key) =>
      codeOf(() => verifyManifest({ ...signed, ...change }, [by]));
    expect(await code({}, other)).toBe('bad-signature');
    expect(await code({ signature: signed.signature.slice(1) })).toBe('bad-signature');
    expect(await code({ mspId: 'Org2MSP' })).toBe('bad-signature');
    expect(await code({ peer: 'gateway-2' })).toBe('bad-signature');
    expect(await code({ manifest: encodeManifest({ ...manifest, epoch: 3 }) })).toBe(
      'bad-signature',
    );
    expect(await code({ manifest: encodeManifest({ ...manifest, channel: 'x' }) })).toBe(
      'bad-signature',
    );
  });

  it('has no digests past its chunks', async () => {
    for (const index of [-1, 3, 0.5]) {
      expect(await codeOf(() => manifestChunkDigests(manifest, index))).toBe('bad-argument');
    }
  });
});

describe('a receipt', () => {
  it('is the known one, byte for byte', () => {
    const expected: Receipt = {
      version: 1,
      channel: 'blocktorrent',
      fileId: known.fileId,
      source: 'Org1MSP',
      owner: 'Org2MSP',
      peer: 'admin',
      epoch: 2,
      chunkCount: 3,
      chunks: Uint8Array.of(0b10100000),
      nonce: pattern(16),
      timeMs: 1_800_000_000_456,
    };
    expect(receipt).toEqual(expected);
    expect(toHex(encodeReceipt(expected))).toBe(known.receipt);
  });

  it.each<[string, string, Record<string, unknown>]>([
    ['bad-version', 'another version', { version: 0 }],
    ['malformed', 'a spare bit that is set', { chunks: Uint8Array.of(0b10010000) }],
    ['malformed', 'no chunk at all', { chunks: Uint8Array.of(0) }],
    ['malformed', 'a bitfield of another length', { chunkCount: 9 }],
    ['malformed', 'a short nonce', { nonce: pattern(15) }],
    ['too-large', 'a long nonce', { nonce: pattern(17) }],
    ['malformed', 'no chunks in the file', { chunkCount: 0 }],
  ])('is refused as %s with %s', async (code, _, change) => {
    expect(await codeOf(() => decodeReceipt(changed(receiptBytes, change)))).toBe(code);
  });

  it('decodes from exactly its own bytes, whatever bit is flipped', async () => {
    await survivesFlips(receiptBytes, (bytes) => encodeReceipt(decodeReceipt(bytes)));
    expect(await codeOf(() => decodeReceipt(new Uint8Array(16_385)))).toBe('too-large');
  });

  it('is taken from the peer that signed it, and from nobody else', async () => {
    const signed = signReceipt(receipt, seed);
    expect(verifyReceipt(signed, [key])).toEqual(receipt);
    const code = (change: Partial<typeof signed>, by = key) =>
      codeOf(() => verifyReceipt({ ...signed, ...change }, [by]));
    expect(await code({}, other)).toBe('bad-signature');
    expect(await code({ mspId: 'Org3MSP' })).toBe('bad-signature');
    expect(await code({ peer: 'other' })).toBe('bad-signature');
    expect(await code({ signature: '00' })).toBe('malformed');
    const more = encodeReceipt({ ...receipt, chunks: Uint8Array.of(0b11100000) });
    expect(await code({ receipt: toBase64(more) })).toBe('bad-signature');
    expect(await code({ receipt: 'A'.repeat(30_000) })).toBe('too-large');
  });

  it('counts an organisation once for each chunk, however many peers of it signed', async () => {
    const of = (owner: string, bits: number, peer = 'admin'): Receipt => ({
      ...receipt,
      owner,
      peer,
      chunks: Uint8Array.of(bits),
    });
    const receipts = [of('A', 0x80), of('A', 0xa0, 'two'), of('B', 0xc0)];
    expect(coverage(receipts, 3)).toEqual([2, 1, 1]);
    expect(coverage([], 2)).toEqual([0, 0]);
    expect(await codeOf(() => coverage(receipts, 4))).toBe('bad-argument');
  });
});

describe('a master table', () => {
  it('is the known one, byte for byte', () => {
    const table = decodeMasterTable(tableBytes);
    expect(table).toEqual({
      version: 1,
      manifest: {
        manifest: manifestBytes,
        signature: pattern(64),
        mspId: 'Org1MSP',
        peer: 'gateway-1',
      },
      owners: [
        ['Org4MSP', 'Org2MSP', 'Org3MSP'],
        ['Org3MSP', 'Org4MSP', 'Org2MSP'],
        ['Org2MSP', 'Org3MSP'],
      ],
      receipts: [
        {
          receipt: toBase64(receiptBytes),
          signature: toHex(pattern(64)),
          mspId: 'Org2MSP',
          peer: 'admin',
        },
      ],
      timeMs: 1_800_000_000_789,
    });
    expect(toHex(encodeMasterTable(table))).toBe(known.masterTable);
  });

  it('is refused where its parts are not of one file', async () => {
    const table = decodeMasterTable(tableBytes);
    const code = (change: Partial<typeof table>) =>
      codeOf(() => encodeMasterTable({ ...table, ...change }));
    expect(await code({ owners: table.owners.slice(1) })).toBe('malformed');
    expect(await code({ owners: [['A', 'A'], ['B'], ['C']] })).toBe('malformed');
    expect(await code({ owners: [[], ['B'], ['C']] })).toBe('malformed');
    const foreign = signReceipt({ ...receipt, fileId: '11'.repeat(32) }, seed);
    expect(await code({ receipts: [foreign] })).toBe('malformed');
    const names = ['Org2MSP', 'Org3MSP', 'Org4MSP', 'Org5MSP'];
    const spare = changed(tableBytes, { names });
    expect(await codeOf(() => decodeMasterTable(spare))).toBe('not-canonical');
    const unsorted = changed(tableBytes, { names: ['Org3MSP', 'Org2MSP', 'Org4MSP'] });
    expect(await codeOf(() => decodeMasterTable(unsorted))).toBe('malformed');
  });

  it('decodes from exactly its own bytes, whatever bit is flipped', async () => {
    await survivesFlips(tableBytes, (bytes) => {
      try {
        return encodeMasterTable(decodeMasterTable(bytes));
      } catch (error) {
        // A receipt in another peer's name is refused as a signature is.
        if (error instanceof Error && 'code' in error && error.code === 'bad-signature')
          return bytes;
        throw error;
      }
    });
  });
});
