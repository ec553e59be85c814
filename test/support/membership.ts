/**
 * An in-memory consortium for overlay tests: trial certificates from createPki, equal ranges, one
 * peer an organisation, and changes at run time.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fromHex, toHex } from '@blocktorrent/protocol/bytes.ts';
import type { Epoch, MspId, Peer, Policy } from '@blocktorrent/protocol/ledger-api.ts';
import { keysOf } from '@blocktorrent/protocol/peer-keys.ts';
import { rangesOf } from '@blocktorrent/protocol/placement.ts';
import { publicKeyOf } from '@blocktorrent/protocol/signing.ts';
import type { Membership, OverlayIdentity, OverlayRoot } from '../../agent/src/overlay/types.ts';
import { AUDITOR_MSP, createPki } from '../../devledger/src/pki.ts';

export const CHANNEL = 'blocktorrent';

export const POLICY: Policy = {
  k: 2,
  n: 3,
  replicas: 3,
  receiptsMin: 2,
  approvals: 2,
  auditExpiryMsMax: 86_400_000,
  scheme: 'shamir-gf256',
};

/** One peer of the trial consortium: its identity and what the ledger says about it. */
export interface TrialPeer {
  readonly mspId: MspId;
  readonly identity: OverlayIdentity;
  readonly root: OverlayRoot;
  readonly peer: Peer;
}

/** Membership that tests change; every change calls the listeners. */
export class TrialMembership implements Membership {
  readonly channel = CHANNEL;
  roots: OverlayRoot[];
  registered: Peer[];
  epochs: Epoch[];
  trialPolicy: Policy = POLICY;
  /** `MSP_ID serial` of each certificate that was taken back. */
  readonly revoked = new Set<string>();
  readonly #listeners = new Set<() => void>();

  constructor(peers: readonly TrialPeer[]) {
    this.roots = peers.map(({ root }) => root);
    this.registered = peers.map(({ peer }) => peer);
    const members = peers.filter(({ mspId }) => mspId !== AUDITOR_MSP);
    this.epochs = [
      rangesOf(
        members.map(({ mspId }) => ({ mspId, weight: 1 })),
        1,
        1_000,
      ),
    ];
  }

  rootsOf(): readonly OverlayRoot[] {
    return this.roots;
  }
  isRevoked(mspId: MspId, serial: string): boolean {
    return this.revoked.has(`${mspId} ${serial}`);
  }
  overlayKeyOf(mspId: MspId, name: string): Uint8Array | null {
    const found = this.registered.find((peer) => peer.mspId === mspId && peer.name === name);
    return found === undefined ? null : fromHex(found.overlayKey, 32);
  }
  keysOf(mspId: MspId, name: string, takenAtMs: number | null = null): readonly Uint8Array[] {
    return keysOf({ peers: this.registered, formerPeers: [] }, mspId, name, takenAtMs);
  }
  peers(): readonly Peer[] {
    return this.registered;
  }
  epoch(): number {
    return this.epochs.at(-1)?.epoch ?? 0;
  }
  epochOf(epoch: number): Epoch | null {
    return this.epochs.find((known) => known.epoch === epoch) ?? null;
  }
  policy(): Policy {
    return this.trialPolicy;
  }
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
  changed(): void {
    for (const listener of this.#listeners) listener();
  }
}

/** Certificates and keys of `organisations` members and the auditor under `dir`. */
export async function createTrialPeers(dir: string, organisations: number): Promise<TrialPeer[]> {
  await createPki(dir, organisations);
  return readTrialPeers(dir, organisations);
}

/** The same peers again, from what `createTrialPeers` or `createPki` left under `dir`. */
export function readTrialPeers(dir: string, organisations: number): Promise<TrialPeer[]> {
  const names = Array.from({ length: organisations }, (_, at) => `Org${at + 1}MSP`);
  return Promise.all([...names, AUDITOR_MSP].map((mspId) => readTrialPeer(dir, mspId)));
}

async function readTrialPeer(dir: string, mspId: MspId): Promise<TrialPeer> {
  const read = (name: string) => readFile(join(dir, mspId, name), 'utf8');
  const overlaySeed = fromHex((await read('overlay-ed25519.key')).trim(), 32);
  const name = mspId === AUDITOR_MSP ? 'auditor' : 'admin';
  const overlayKey = toHex(publicKeyOf(overlaySeed));
  return {
    mspId,
    identity: {
      mspId,
      peer: name,
      tlsCertificate: await read('overlay.pem'),
      tlsKey: await read('overlay.key'),
      overlaySeed,
    },
    root: { mspId, pem: await read('tlsca.pem') },
    peer: {
      mspId,
      name,
      roles: ['store', 'ingest'],
      overlayKey,
      dhtAddress: '',
      keys: [{ overlayKey, fromMs: 1_000, txId: '00'.repeat(32), revokedAtMs: null }],
    },
  };
}
