import { toHex } from '@blocktorrent/protocol/bytes.ts';
import type { Peer } from '@blocktorrent/protocol/ledger-api.ts';
import { countingKeys, keysOf } from '@blocktorrent/protocol/peer-keys.ts';
import { describe, expect, it } from 'vitest';

const hex = (byte: number) => byte.toString(16).padStart(2, '0').repeat(32);
const key = (byte: number, fromMs: number, revokedAtMs: number | null = null) => ({
  ...{ overlayKey: hex(byte), fromMs, txId: hex(0xff), revokedAtMs },
});
const peer: Peer = {
  ...{ mspId: 'Org1MSP', name: 'admin', roles: ['store'], dhtAddress: '' },
  overlayKey: hex(1),
  keys: [key(1, 100), key(2, 200, 500), key(3, 300)],
};
const found = (takenAtMs: number | null) => countingKeys(peer, takenAtMs).map(toHex);

describe('the keys of a peer that count', () => {
  it('are all that were not revoked, the present one first, then the newest', () => {
    expect(found(null)).toEqual([1, 3].map(hex));
  });

  it('for what the ledger took before a revocation, are the revoked one too', () => {
    expect(found(499)).toEqual([1, 3, 2].map(hex));
    expect(found(500)).toEqual([1, 3].map(hex));
  });

  it('are found by name among members and former members, and none of a stranger', () => {
    const former = { ...peer, mspId: 'Org2MSP' };
    const consortium = { peers: [peer], formerPeers: [former] };
    expect(keysOf(consortium, 'Org2MSP', 'admin', null).map(toHex)).toEqual([1, 3].map(hex));
    expect(keysOf(consortium, 'Org2MSP', 'other', null)).toEqual([]);
    expect(keysOf(consortium, 'Org3MSP', 'admin', null)).toEqual([]);
  });
});
