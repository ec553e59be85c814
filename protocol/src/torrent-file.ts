/**
 * The .torrent file of a kept file (BEP 3, BEP 12): with it any BitTorrent client fetches the
 * ciphertext from the owners' plain listeners. It holds no key, and names no one but trackers.
 *
 * In: the manifest's bencoded infodict, whose SHA-1 is the torrent's name, and announce addresses.
 * Out: canonical bencode around the very same infodict.
 */
import { concatBytes, utf8 } from './bytes.ts';
import { decodeInfo } from './chunking.ts';
import { ProtocolError } from './errors.ts';

/** Announce addresses in one file. */
export const TRACKERS_MAX = 64;

/**
 * The bytes of the file. Each tracker is a tier of its own (BEP 12): clients ask all of them, or the
 * next one where one does not answer. Throws ProtocolError `bad-argument` without a tracker or with
 * one that is no http address, `malformed` for a wrong infodict.
 */
export function encodeTorrent(info: Uint8Array, trackers: readonly string[]): Uint8Array {
  decodeInfo(info);
  const [first] = trackers;
  if (first === undefined || trackers.length > TRACKERS_MAX) {
    throw new ProtocolError(
      'bad-argument',
      `torrent: expected 1..${TRACKERS_MAX} trackers, got ${trackers.length}`,
    );
  }
  const wrong = trackers.find((tracker) => !/^https?:\/\/[!-~]{1,300}$/.test(tracker));
  if (wrong !== undefined) {
    throw new ProtocolError('bad-argument', `torrent: expected an http address, got "${wrong}"`);
  }
  const tiers = trackers.map((tracker) => `l${text(tracker)}e`).join('');
  return concatBytes(
    utf8(`d${text('announce')}${text(first)}${text('announce-list')}l${tiers}e${text('info')}`),
    info,
    utf8('e'),
  );
}

/** Bencoded ASCII text. */
function text(value: string): string {
  return `${value.length}:${value}`;
}
