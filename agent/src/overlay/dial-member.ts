/**
 * Dialling an organisation instead of an address: its store peers in order of name, each at the
 * address that the address book has, and once more where a fresh look-up finds another address; at
 * last those that only dial out, by a call.
 */

import { fromHex } from '@blocktorrent/protocol/bytes.ts';
import type { Peer } from '@blocktorrent/protocol/ledger-api.ts';
import type { Calls } from './calls.ts';
import {
  type Address,
  type DialMemberOptions,
  type DialOptions,
  type Link,
  LinkError,
  type Membership,
} from './types.ts';

/** @throws LinkError of the last try; 'unreachable' when no address is known. */
export async function dialMember(
  options: DialMemberOptions,
  membership: Membership,
  calls: Pick<Calls, 'reaches' | 'call'>,
  dial: (options: DialOptions) => Promise<Link>,
): Promise<Link> {
  const { mspId, signal } = options;
  const peers = membership
    .peers()
    .filter((peer) => peer.mspId === mspId && peer.roles.includes('store'))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  let failure = new LinkError('unreachable', `no address of ${mspId} is known`);
  for (const peer of peers) {
    let tried: Address | null = null;
    for (const fresh of [false, true]) {
      if (signal?.aborted) throw new LinkError('aborted', 'dialling was aborted');
      const address = await lookup(options, peer, fresh);
      if (address === null) break;
      if (tried?.host === address.host && tried.port === address.port) break;
      tried = address;
      try {
        return await dial({ ...options, address });
      } catch (error) {
        if (!(error instanceof LinkError) || error.code === 'aborted') throw error;
        failure = error;
      }
    }
  }
  if (calls.reaches(mspId)) return calls.call(options);
  throw failure;
}

function lookup(options: DialMemberOptions, peer: Peer, fresh: boolean): Promise<Address | null> {
  return options.addressBook.lookup(fromHex(peer.overlayKey, 32), { fresh });
}
