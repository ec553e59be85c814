import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { MspId } from '@blocktorrent/protocol/ledger-api.ts';
import type { SignedManifest } from '@blocktorrent/protocol/manifest.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Link } from '../../agent/src/overlay/types.ts';
import { chooseSource, turnOrder } from '../../agent/src/store/chunk-source.ts';
import { judgeOffer } from '../../agent/src/store/offer.ts';
import { createTrialPeers, TrialMembership, type TrialPeer } from '../support/membership.ts';
import { createTrialFile, type TrialFile } from '../support/sealed-file.ts';

let dir: string;
let peers: TrialPeer[];
let membership: TrialMembership;
let source: TrialPeer;
let file: TrialFile;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'blocktorrent-offer-'));
  peers = await createTrialPeers(dir, 5);
  membership = new TrialMembership(peers);
  const [first] = peers;
  if (first === undefined) throw new Error('no peers');
  source = first;
  file = await createTrialFile(join(dir, 'file'), 400_000, source);
});
afterAll(() => rm(dir, { recursive: true, force: true }));

describe('judging an offer', () => {
  const judge = (signed: SignedManifest, self: MspId = 'Org2MSP') =>
    judgeOffer(signed, self, membership);
  const changed = (change: Parameters<typeof createTrialFile>[3]) =>
    createTrialFile(join(dir, 'changed'), 100_000, source, change);

  it('plans exactly the chunks that placement gives to us', () => {
    const plans = ['Org2MSP', 'Org3MSP', 'Org4MSP', 'Org5MSP'].map((self) =>
      judge(file.signed, self),
    );
    const owners = plans[0]?.owners ?? [];
    expect(owners.every((names) => new Set(names).size === 3)).toBe(true);
    const kept = plans.reduce((sum, plan) => sum + plan.owned.length, 0);
    expect(kept).toBe(3 * owners.length);
  });

  it('refuses the source, which owns nothing of its own', () => {
    expect(() => judge(file.signed, source.mspId)).toThrow(
      expect.objectContaining({ code: 'not-responsible' }),
    );
  });

  it('refuses a peer that the ledger does not have', () => {
    expect(() => judge({ ...file.signed, peer: 'nobody' })).toThrow(
      expect.objectContaining({ code: 'not-a-member' }),
    );
  });

  it('refuses a signature by another key', () => {
    const signature = Uint8Array.from(file.signed.signature);
    signature[5] = (signature[5] ?? 0) ^ 1;
    expect(() => judge({ ...file.signed, signature })).toThrow(
      expect.objectContaining({ code: 'bad-signature' }),
    );
  });

  it('refuses an epoch that is not known, and another channel', async () => {
    const later = await changed({ change: (manifest) => ({ ...manifest, epoch: 9 }) });
    expect(() => judge(later.signed)).toThrow(expect.objectContaining({ code: 'unknown-epoch' }));
    const other = await changed({ change: (manifest) => ({ ...manifest, channel: 'other' }) });
    expect(() => judge(other.signed)).toThrow(expect.objectContaining({ code: 'wrong-channel' }));
  });
});

describe('choosing where a chunk comes from', () => {
  const owners = ['Org2MSP', 'Org3MSP', 'Org4MSP'];
  const link = (mspId: MspId, has = true, queuedBytes = 0) =>
    ({ mspId, queuedBytes, closed: false, has: () => has }) as unknown as Link;
  const ask = (self: MspId, links: Link[], change: { nowMs?: number; distrusted?: MspId[] } = {}) =>
    chooseSource({
      links,
      owners,
      self,
      index: 1,
      source: 'Org1MSP',
      isBarred: () => false,
      distrusted: new Set(change.distrusted ?? []),
      newsAtMs: () => 0,
      nowMs: change.nowMs ?? 10,
      lateMs: 100,
    });
  const fromSource = link('Org1MSP');

  it('lets each of the owners be first for a third of the chunks', () => {
    expect([0, 1, 2, 3].map((index) => turnOrder(owners, index)[0])).toEqual([
      'Org2MSP',
      'Org3MSP',
      'Org4MSP',
      'Org2MSP',
    ]);
  });

  it('sends the primary to the source at once, and nobody else', () => {
    expect(ask('Org3MSP', [fromSource])).toEqual({ link: fromSource });
    expect(ask('Org4MSP', [fromSource])).toEqual({ link: null, waitMs: 90 });
    expect(ask('Org2MSP', [fromSource])).toEqual({ link: null, waitMs: 190 });
  });

  it('prefers an owner that has the chunk, the less busy one', () => {
    const busy = link('Org3MSP', true, 1000);
    const idle = link('Org4MSP');
    expect(ask('Org2MSP', [fromSource, busy, idle])).toEqual({ link: idle });
    expect(ask('Org3MSP', [fromSource, idle])).toEqual({ link: idle });
  });

  it('turns to the source in turn when the owners before are late', () => {
    expect(ask('Org4MSP', [fromSource, link('Org3MSP', false)], { nowMs: 100 })).toEqual({
      link: fromSource,
    });
    expect(ask('Org2MSP', [fromSource], { nowMs: 100 })).toEqual({ link: null, waitMs: 100 });
    expect(ask('Org2MSP', [fromSource], { nowMs: 200 })).toEqual({ link: fromSource });
  });

  it('does not wait for, or ask, an owner that gave a bad chunk', () => {
    const distrusted = ['Org3MSP'];
    expect(ask('Org4MSP', [fromSource, link('Org3MSP')], { distrusted })).toEqual({
      link: fromSource,
    });
  });
});
