import { encodeInfo } from '@blocktorrent/protocol/chunking.ts';
import { encodeTorrent } from '@blocktorrent/protocol/torrent-file.ts';
import bencode from 'bencode';
import { describe, expect, it } from 'vitest';
import { codeOf } from '../support/errors.ts';

const info = encodeInfo({
  name: 'sealed.age',
  pieceLength: 16_384,
  length: 20_000,
  pieces: new Uint8Array(40).fill(7),
});
const trackers = ['http://127.0.0.1:6969/announce', 'http://[::1]:6970/announce'];

describe('a .torrent file', () => {
  it('holds the infodict byte for byte, and every tracker in a tier of its own', () => {
    const bytes = encodeTorrent(info, trackers);
    const read = bencode.decode(bytes) as Record<string, unknown>;
    const text = (value: unknown) => Buffer.from(value as Uint8Array).toString();
    expect(text(read.announce)).toBe(trackers[0]);
    expect((read['announce-list'] as unknown[][]).map((tier) => tier.map(text))).toEqual(
      trackers.map((tracker) => [tracker]),
    );
    expect(Object.keys(read)).toEqual(['announce', 'announce-list', 'info']);
    const whole = Buffer.from(bytes);
    const at = whole.indexOf('4:info', whole.indexOf('ee')) + '4:info'.length;
    expect(whole.subarray(at, -1)).toEqual(Buffer.from(info));
  });

  it.each([
    ['no tracker', []],
    ['too many trackers', Array.from({ length: 65 }, () => 'http://a/')],
    ['an address that is not http', ['udp://127.0.0.1:1']],
    ['an address with a line break', ['http://a/\nb']],
  ])('is not made with %s', async (_, wrong) => {
    expect(await codeOf(() => encodeTorrent(info, wrong))).toBe('bad-argument');
  });

  it('is not made around a wrong infodict', async () => {
    expect(await codeOf(() => encodeTorrent(info.subarray(1), trackers))).toBe('malformed');
  });
});
