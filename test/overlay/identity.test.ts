/** Who may stay connected: certificates that expire, are revoked or replaced, and removed members. */
import { randomBytes, X509Certificate } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Consortium } from '@blocktorrent/protocol/ledger-api.ts';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { runEventLoop } from '../../agent/src/event-loop.ts';
import type { Ledger, LedgerEvent } from '../../agent/src/ledger/ledger.ts';
import { ConsortiumView } from '../../agent/src/ledger/membership.ts';
import { serialOf } from '../../agent/src/overlay/peer-identity.ts';
import { TlsOverlay, type TlsOverlayOptions } from '../../agent/src/overlay/tls-overlay.ts';
import type { Link, OverlayIdentity } from '../../agent/src/overlay/types.ts';
import { silentLog } from '../../agent/src/runtime/log.ts';
import { issueCertificate, organisationPki } from '../../devledger/src/pki.ts';
import { certificateSeenAt } from '../support/certificate-seen.ts';
import {
  createTrialPeers,
  POLICY,
  TrialMembership,
  type TrialPeer,
} from '../support/membership.ts';

const INFO_HASH = '5b'.repeat(20);
let dir: string;
let peers: TrialPeer[];
let opened: TlsOverlay[] = [];

async function overlay(
  at: number,
  options: Partial<TlsOverlayOptions> & Pick<TlsOverlayOptions, 'membership'>,
): Promise<TlsOverlay> {
  const made = new TlsOverlay({
    identity: peerAt(at).identity,
    listen: { host: '127.0.0.1', port: 0 },
    random: (bytes) => new Uint8Array(randomBytes(bytes)),
    log: silentLog,
    limits: { handshakeMs: 2_000 },
    expiryCheckMs: 50,
    ...options,
  });
  opened.push(made);
  made.onIncoming(() => ({}));
  await made.start();
  return made;
}

function peerAt(at: number): TrialPeer {
  const peer = peers[at];
  if (peer === undefined) throw new Error('no such peer');
  return peer;
}

/** An identity of the peer's organisation with a certificate of its own. */
async function certified(at: number, notAfter?: Date): Promise<OverlayIdentity> {
  const { mspId, identity } = peerAt(at);
  const issued = await issueCertificate(organisationPki(dir, mspId), {
    commonName: 'agent',
    use: 'tls',
    ...(notAfter === undefined ? {} : { notAfter }),
  });
  return { ...identity, tlsCertificate: issued.certificate, tlsKey: issued.key };
}

function dial(from: TlsOverlay, to: TlsOverlay, onClose?: (reason: string) => void): Promise<Link> {
  const { address } = to;
  if (address === null) throw new Error('not listening');
  return from.dial({
    address,
    mspId: to.mspId,
    infoHash: INFO_HASH,
    handler: onClose === undefined ? {} : { onClose: (_, reason) => onClose(reason) },
  });
}

const serial = ({ tlsCertificate }: OverlayIdentity) =>
  serialOf(new X509Certificate(tlsCertificate));

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'blocktorrent-identity-'));
  peers = await createTrialPeers(dir, 3);
});
afterEach(async () => {
  await Promise.all(opened.map((one) => one.stop()));
  opened = [];
});
afterAll(() => rm(dir, { recursive: true, force: true }));

describe('a revoked certificate', () => {
  it('is refused by listener and dialler, and an open link of it ends with the ledger’s word', async () => {
    const membership = new TrialMembership(peers);
    const listener = await overlay(0, { membership });
    const identity = await certified(1);
    const dialler = await overlay(1, { membership, identity });
    const ended = Promise.withResolvers<string>();
    await dial(listener, dialler, ended.resolve);
    membership.revoked.add(`Org2MSP ${serial(identity)}`);
    membership.changed();
    expect(await ended.promise).toMatch('revoked');
    await expect.poll(() => [listener.linkCount, dialler.linkCount]).toEqual([0, 0]);
    await expect(dial(listener, dialler)).rejects.toMatchObject({ code: 'untrusted' });
    await expect(dial(dialler, listener)).rejects.toMatchObject({ name: 'LinkError' });
    expect(listener.linkCount).toBe(0);
    // The organisation's other certificates stay good, and nobody else's number is meant.
    dialler.setIdentity(await certified(1));
    membership.revoked.add(`Org1MSP ${serial(await certified(1))}`);
    expect((await dial(dialler, listener)).closed).toBe(false);
  });
});

describe('an expired certificate', () => {
  it('is refused at the handshake, from either side', async () => {
    const membership = new TrialMembership(peers);
    const expired = await certified(1, new Date(Date.now() - 5_000));
    const listener = await overlay(0, { membership });
    const other = await overlay(1, { membership, identity: expired });
    await expect(dial(other, listener)).rejects.toMatchObject({ name: 'LinkError' });
    await expect(dial(listener, other)).rejects.toMatchObject({ code: 'untrusted' });
    expect(listener.linkCount).toBe(0);
  });

  it('ends the links that were opened while it was good', async () => {
    const membership = new TrialMembership(peers);
    let aheadMs = 0;
    const nowMs = () => Date.now() + aheadMs;
    const listener = await overlay(0, { membership, nowMs });
    const identity = await certified(1, new Date(Date.now() + 60_000));
    const dialler = await overlay(1, { membership, identity });
    const ended = Promise.withResolvers<string>();
    const link = await dial(listener, dialler, ended.resolve);
    aheadMs = 30_000;
    await expect.poll(() => listener.linkCount).toBe(1);
    aheadMs = 61_000;
    expect(await ended.promise).toMatch('expired');
    expect(link.closed).toBe(true);
  });
});

describe('a replaced certificate', () => {
  it('is shown on new links, while open ones go on', async () => {
    const membership = new TrialMembership(peers);
    const listener = await overlay(0, { membership });
    const dialler = await overlay(1, { membership });
    const link = await dial(dialler, listener);
    const identity = await certified(0);
    listener.setIdentity(identity);
    expect(await certificateSeenAt(listener.address, peerAt(1))).toBe(serial(identity));
    expect(link.closed).toBe(false);
    const misfit = { ...identity, tlsKey: peerAt(2).identity.tlsKey };
    expect(() => listener.setIdentity(misfit)).toThrow();
    expect(await certificateSeenAt(listener.address, peerAt(1))).toBe(serial(identity));
  });
});

describe('a removed organisation', () => {
  it('is cut off with the first ledger event that says so, though the ledger stutters', async () => {
    const events = Promise.withResolvers<void>();
    let members = peers.slice(0, 3);
    let failures = 0;
    const consortium = (): Consortium => ({
      channel: 'c',
      members: members.map(({ mspId, root }) => ({
        mspId,
        name: mspId,
        weight: 1,
        overlayRoots: [root.pem],
      })),
      auditors: [],
      policy: POLICY,
      epochs: [],
      peers: members.map(({ peer }) => peer),
      formerPeers: [],
    });
    const ledger = {
      mspId: 'Org1MSP',
      evaluate: async () => {
        if (failures > 0) {
          failures -= 1;
          throw new Error('not now');
        }
        return consortium();
      },
      async *events({ signal }: { signal: AbortSignal }) {
        await events.promise;
        yield {
          name: 'consortium-changed',
          payload: { what: 'member' },
          txId: '',
          blockNumber: 1n,
        };
        await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
      },
    } as unknown as Ledger & { events(): AsyncIterable<LedgerEvent> };
    const view = new ConsortiumView(ledger, 'c', null);
    await view.refresh();
    const stopping = new AbortController();
    const running = runEventLoop({
      ledger,
      view,
      duties: null,
      checkpointFile: '',
      log: silentLog,
      signal: stopping.signal,
      note: () => undefined,
      wake: () => undefined,
      gatherMs: 0,
    });
    const own = await overlay(0, { membership: view });
    const staying = await overlay(1, { membership: view });
    const removed = await overlay(2, { membership: new TrialMembership(peers) });
    const ended = Promise.withResolvers<string>();
    await dial(own, removed, ended.resolve);
    await dial(removed, own);
    const kept = await dial(own, staying);
    members = members.filter(({ mspId }) => mspId !== 'Org3MSP');
    failures = 1;
    events.resolve();
    expect(await ended.promise).toMatch('no root on the ledger');
    await expect.poll(() => removed.linkCount).toBe(0);
    await expect(dial(removed, own)).rejects.toMatchObject({ name: 'LinkError' });
    expect(kept.closed).toBe(false);
    stopping.abort();
    await running;
  });
});
