/**
 * The consortium's peers as this agent sees them: who is registered, and where the DHT says they are.
 * The look-ups run at the same time; one that fails or takes too long counts as not found.
 */
import { setTimeout } from 'node:timers/promises';
import { fromHex } from '@blocktorrent/protocol/bytes.ts';
import type { Peer } from '@blocktorrent/protocol/ledger-api.ts';
import type { Address, AddressBook } from './overlay/types.ts';

/** A registered peer; `address` is `host:port` of its overlay listener, null where none was found. */
export interface PeerLine {
  readonly mspId: string;
  readonly name: string;
  readonly roles: readonly string[];
  /** Whether it is this agent. */
  readonly own: boolean;
  /** Its entrance to the DHT, as the ledger has it. */
  readonly dhtAddress: string;
  readonly address: string | null;
}

/** At most so many look-ups: the consortium has 64 members. */
const PEERS_MAX = 256;
const LOOKUP_MS_MAX = 5_000;

/** Looks every peer up. `own` says whether a peer is ourselves. */
export async function listPeers(
  peers: readonly Peer[],
  addressBook: AddressBook,
  own: (peer: Peer) => boolean,
): Promise<PeerLine[]> {
  return Promise.all(
    peers.slice(0, PEERS_MAX).map(async (peer) => {
      const { mspId, name, roles, dhtAddress } = peer;
      const address = await lookup(addressBook, fromHex(peer.overlayKey, 32));
      return { mspId, name, roles, own: own(peer), dhtAddress, address: addressText(address) };
    }),
  );
}

async function lookup(addressBook: AddressBook, overlayKey: Uint8Array): Promise<Address | null> {
  const late = new AbortController();
  const { signal } = late;
  try {
    return await Promise.race([
      addressBook.lookup(overlayKey).catch(() => null),
      setTimeout(LOOKUP_MS_MAX, null, { signal }).catch(() => null),
    ]);
  } finally {
    late.abort();
  }
}

/** `host:port`, an IPv6 host in brackets; null for null. */
function addressText(address: Address | null): string | null {
  if (address === null) return null;
  const { host, port } = address;
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}
