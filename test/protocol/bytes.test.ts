import {
  concatBytes,
  equalBytes,
  fromBase64,
  fromHex,
  fromUtf8,
  toBase64,
  toHex,
  utf8,
} from '@blocktorrent/protocol/bytes.ts';
import { describe, expect, it } from 'vitest';
import { codeOf } from '../support/errors.ts';
import { Seeded, seedOfRun } from '../support/seeded.ts';

describe('bytes as text', () => {
  it('agrees with Buffer on any bytes, there and back', () => {
    const seed = seedOfRun();
    const random = new Seeded(seed);
    for (let size = 0; size < 200; size++) {
      const bytes = random.bytes(size);
      const buffer = Buffer.from(bytes);
      expect(toHex(bytes), `seed ${seed}`).toBe(buffer.toString('hex'));
      expect(toBase64(bytes), `seed ${seed}`).toBe(buffer.toString('base64'));
      expect(fromHex(toHex(bytes))).toEqual(bytes);
      expect(fromBase64(toBase64(bytes))).toEqual(bytes);
    }
  });

  it.each(['0', 'AB', '0g', 'a b', ' 00', '0x00', '00\n'])('refuses the hex %j', async (text) => {
    expect(await codeOf(() => fromHex(text))).toBe('malformed');
  });

  it('refuses hex of another length than asked for', async () => {
    expect(await codeOf(() => fromHex('00ff', 1))).toBe('malformed');
    expect(fromHex('00ff', 2)).toEqual(Uint8Array.of(0, 255));
  });

  it.each(['AA', 'AA=', 'AB==', 'A A=', 'AA==\n', 'AA-_', '===='])(
    'refuses the base64 %j',
    async (text) => {
      expect(await codeOf(() => fromBase64(text))).toBe('malformed');
    },
  );

  it('refuses text that is not UTF-8, and keeps a byte order mark', async () => {
    expect(await codeOf(() => fromUtf8(Uint8Array.of(0xc0, 0x80)))).toBe('malformed');
    expect(fromUtf8(utf8('\ufeffä'))).toBe('\ufeffä');
  });

  it('joins and compares byte by byte', () => {
    const whole = concatBytes(Uint8Array.of(1), new Uint8Array(0), Uint8Array.of(2, 3));
    expect(whole).toEqual(Uint8Array.of(1, 2, 3));
    expect(equalBytes(whole, Uint8Array.of(1, 2, 3))).toBe(true);
    expect(equalBytes(whole, Uint8Array.of(1, 2, 4))).toBe(false);
    expect(equalBytes(whole, Uint8Array.of(1, 2))).toBe(false);
  });
});
