/**
 * Which of a peer's overlay keys count for a signature.
 *
 * A peer that changes its key keeps what it has signed. So every key that it ever registered counts,
 * but for what the ledger had not taken when the key was revoked. The time that matters is the
 * ledger's (when it took the record), not the one in the signed document: whoever steals an old key
 * could write any time into that.
 */
import { fromHex } from './bytes.ts';
import type { Consortium, MspId, Peer } from './ledger-consortium.ts';
import { KEY_BYTES } from './signing.ts';

/**
 * Keys (32 bytes each, the present one first) under which what the ledger took at `takenAtMs`
 * counts; null: what it has not taken yet, for which a revoked key never counts.
 */
export function countingKeys(
  { overlayKey, keys }: Pick<Peer, 'overlayKey' | 'keys'>,
  takenAtMs: number | null,
): Uint8Array[] {
  const counting = keys.filter(
    ({ revokedAtMs }) => revokedAtMs === null || (takenAtMs !== null && takenAtMs < revokedAtMs),
  );
  const newestFirst = counting.toReversed();
  return [
    ...newestFirst.filter((key) => key.overlayKey === overlayKey),
    ...newestFirst.filter((key) => key.overlayKey !== overlayKey),
  ].map((key) => fromHex(key.overlayKey, KEY_BYTES));
}

/** As `countingKeys`, of a peer by name, of members and former members; none for a stranger. */
export function keysOf(
  { peers, formerPeers }: Pick<Consortium, 'peers' | 'formerPeers'>,
  mspId: MspId,
  name: string,
  takenAtMs: number | null,
): Uint8Array[] {
  const isIt = (peer: Peer) => peer.mspId === mspId && peer.name === name;
  const peer = peers.find(isIt) ?? formerPeers.find(isIt);
  return peer === undefined ? [] : countingKeys(peer, takenAtMs);
}
