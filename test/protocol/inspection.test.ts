import { createHash } from 'node:crypto';
import { isDrawn } from '@blocktorrent/protocol/inspection.ts';
import { describe, expect, it } from 'vitest';
import { codeOf } from '../support/errors.ts';

const DOMAIN = 'blocktorrent/inspection/v1';

/** Where a file stands in a draw, 0..999.99, from the definition: SHA-256 over CBOR by hand. */
function placeOf(inspectionId: string, fileId: string): number {
  const bytes = (hex: string) => Buffer.concat([Buffer.of(0x58, 32), Buffer.from(hex, 'hex')]);
  const name = Buffer.concat([Buffer.of(0x78, DOMAIN.length), Buffer.from(DOMAIN)]);
  const input = Buffer.concat([Buffer.of(0x83), name, bytes(inspectionId), bytes(fileId)]);
  return (createHash('sha256').update(input).digest().readUInt32BE() * 1000) / 2 ** 32;
}

describe('an inspection', () => {
  it('draws a file from the rate on that its place is below', () => {
    for (let i = 0; i < 200; i++) {
      const inspectionId = createHash('sha256').update(`draw ${i}`).digest('hex');
      const fileId = createHash('sha256').update(`file ${i}`).digest('hex');
      const place = placeOf(inspectionId, fileId);
      expect(isDrawn(inspectionId, fileId, Math.floor(place))).toBe(false);
      expect(isDrawn(inspectionId, fileId, Math.floor(place) + 1)).toBe(true);
    }
  });

  it('takes ids of 32 bytes only', async () => {
    const id = '00'.repeat(32);
    expect(await codeOf(() => isDrawn(id, '00', 1))).toBe('malformed');
    expect(await codeOf(() => isDrawn(`${id}00`, id, 1))).toBe('malformed');
  });
});
