import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromHex } from '@blocktorrent/protocol/bytes.ts';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { DhtAddressBook, type DhtTiming } from '../../agent/src/overlay/dht.ts';
import { whatIsWrong } from '../../agent/src/overlay/dht-socket.ts';
import {
  privateKeyOf,
  rawPublicKeyOf,
  signRaw,
  verifyRaw,
} from '../../agent/src/overlay/ed25519.ts';
import { silentLog } from '../../agent/src/runtime/log.ts';
import { createTrialPeers, TrialMembership, type TrialPeer } from '../support/membership.ts';

let dir: string;
let peers: TrialPeer[];
let membership: TrialMembership;
let books: DhtAddressBook[] = [];

async function startBook(at: number, timing: Partial<DhtTiming> = {}): Promise<DhtAddressBook> {
  const peer = peers[at];
  if (peer === undefined) throw new Error('no such peer');
  const book = new DhtAddressBook({
    membership,
    identity: peer.identity,
    listen: { host: '127.0.0.1', port: 0 },
    nowMs: () => Date.now(),
    monotonicMs: () => performance.now(),
    log: silentLog,
    timing: { retryMs: 50, joinMs: 20, queryMs: 300, maxAgeMs: 60_000, freshAgeMs: 0, ...timing },
  });
  await book.start();
  books.push(book);
  const { address } = book;
  membership.registered = membership.registered.map((known) =>
    known.mspId === peer.mspId && address !== null
      ? { ...known, dhtAddress: `${address.host}:${address.port}` }
      : known,
  );
  membership.changed();
  return book;
}

const keyOf = (at: number) => fromHex(peers[at]?.peer.overlayKey ?? '', 32);

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'blocktorrent-dht-'));
  peers = await createTrialPeers(dir, 4);
});
afterEach(async () => {
  await Promise.all(books.map((book) => book.stop()));
  books = [];
});
afterAll(() => rm(dir, { recursive: true, force: true }));

describe('the address book', () => {
  it('finds every peer from every peer, and follows one that moves', async () => {
    membership = new TrialMembership(peers);
    for (const at of [0, 1, 2]) await startBook(at);
    await Promise.all(
      books.map((book, at) => book.announce({ host: '127.0.0.1', port: 1000 + at })),
    );
    for (const book of books) {
      for (const at of [0, 1, 2]) {
        await expect
          .poll(() => book.lookup(keyOf(at), { fresh: true }))
          .toEqual({ host: '127.0.0.1', port: 1000 + at });
      }
    }
    await books[1]?.announce({ host: '127.0.0.1', port: 2001 });
    await expect
      .poll(() => books[2]?.lookup(keyOf(1), { fresh: true }))
      .toEqual({ host: '127.0.0.1', port: 2001 });
    // The cached answer of the other node is still believed until it is asked for a fresh one.
    expect(await books[0]?.lookup(keyOf(1))).toEqual({ host: '127.0.0.1', port: 1001 });
  });

  it.each([0, 1, 2])(
    'survives the loss of bootstrap node %i, for old and new nodes',
    async (lost) => {
      membership = new TrialMembership(peers);
      for (const at of [0, 1, 2]) await startBook(at);
      await Promise.all(
        books.map((book, at) => book.announce({ host: '127.0.0.1', port: 1000 + at })),
      );
      const [asking = 0, sought = 0] = [0, 1, 2].filter((at) => at !== lost);
      await expect.poll(() => books[asking]?.lookup(keyOf(sought), { fresh: true })).not.toBeNull();
      await books[lost]?.stop();
      // One that starts now has the lost node among its bootstrap addresses.
      const late = await startBook(3);
      await late.announce({ host: '127.0.0.1', port: 1003 });
      for (const book of [books[asking], late]) {
        await expect
          .poll(() => book?.lookup(keyOf(sought), { fresh: true }))
          .toEqual({ host: '127.0.0.1', port: 1000 + sought });
      }
      await expect
        .poll(() => books[asking]?.lookup(keyOf(3), { fresh: true }))
        .toEqual({ host: '127.0.0.1', port: 1003 });
    },
  );

  it('keeps an item as long as its peer puts it again, and lets it go after', async () => {
    membership = new TrialMembership(peers);
    const timing = { expireMs: 1_000, queryMs: 600 };
    await startBook(0, timing);
    await startBook(1, timing);
    const refreshing = await startBook(2, { ...timing, refreshMs: 100 });
    await refreshing.announce({ host: '2001:db8::2', port: 1002 });
    const found = () => books[0]?.lookup(keyOf(2), { fresh: true });
    await expect.poll(found).toEqual({ host: '2001:db8::2', port: 1002 });
    const untilMs = performance.now() + 2 * timing.expireMs;
    while (performance.now() < untilMs) {
      expect(await found()).not.toBeNull();
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    await refreshing.stop();
    await expect.poll(found).toBeNull();
  });

  it('names a peer’s doors for ordinary clients', async () => {
    membership = new TrialMembership(peers);
    const [first, second] = [await startBook(0), await startBook(1)];
    const told = {
      ...{ host: '127.0.0.1', port: 1000 },
      plain: { host: '127.0.0.1', port: 1001 },
      tracker: { host: '127.0.0.1', port: 1002 },
    };
    await first.announce(told);
    await expect.poll(() => second.lookup(keyOf(0), { fresh: true })).toEqual(told);
  });

  it('keeps no item under a key that the ledger does not have', async () => {
    membership = new TrialMembership(peers);
    await startBook(0);
    await startBook(1);
    const outsider = await startBook(2);
    membership.registered = membership.registered.filter(({ mspId }) => mspId !== 'Org3MSP');
    await outsider.announce({ host: '127.0.0.1', port: 1002 });
    expect(await books[0]?.lookup(keyOf(2), { fresh: true })).toBeNull();
  });

  it('asks no host but those that the ledger names: alone, it asks nobody', async () => {
    membership = new TrialMembership(peers);
    const silentPeer = createSocket('udp4').bind(0, '127.0.0.1');
    await once(silentPeer, 'listening');
    const heard: number[] = [];
    silentPeer.on('message', (bytes) => heard.push(bytes.length));
    const { Client } = await import('bittorrent-dht');
    const alone = new Client({ bootstrap: [], verify: () => false });
    const bootstrap: unknown = Reflect.get(Reflect.get(alone, '_rpc'), 'bootstrap');
    expect(bootstrap).toEqual([]);
    await new Promise<void>((resolve) => alone.destroy(() => resolve()));

    const named = `127.0.0.1:${silentPeer.address().port}`;
    membership.registered = membership.registered.map((peer) =>
      peer.mspId === 'Org2MSP' ? { ...peer, dhtAddress: named } : { ...peer, dhtAddress: '' },
    );
    const book = await startBook(0);
    expect(await book.lookup(keyOf(3))).toBeNull();
    expect(heard.length).toBeGreaterThan(0);
    silentPeer.close();
  });

  it('shrugs at packets that are wrong, and goes on answering', async () => {
    membership = new TrialMembership(peers);
    const book = await startBook(0);
    const socket = createSocket('udp4').bind(0, '127.0.0.1');
    await once(socket, 'listening');
    const { port } = book.address ?? { port: 0 };
    const bad = [
      'd1:ad2:id20:aaaaaaaaaaaaaaaaaaaa6:targeti5ee1:q9:find_node1:t2:aa1:y1:qe',
      'd1:ad2:id20:aaaaaaaaaaaaaaaaaaaa6:target3:abce1:q3:get1:t2:aa1:y1:qe',
      'd1:ad2:idi1ee1:q4:ping1:t2:aa1:y1:qe',
      'd1:rd2:id20:aaaaaaaaaaaaaaaaaaaae1:t1:a1:y1:re',
      'd1:q4:ping1:t2:aa1:y1:qe',
      'de',
      'i1e',
      'l'.repeat(4000),
    ];
    for (const text of bad) socket.send(text, port, '127.0.0.1');
    for (let n = 0; n < 200; n++) socket.send(randomBytes(n + 1), port, '127.0.0.1');
    const answered = once(socket, 'message');
    socket.send('d1:ad2:id20:bbbbbbbbbbbbbbbbbbbbe1:q4:ping1:t2:zz1:y1:qe', port, '127.0.0.1');
    const [answer] = (await answered) as [Buffer];
    expect(answer.toString('latin1')).toContain('1:t2:zz');
    socket.close();
  });
});

describe('the guard under the DHT', () => {
  it('takes signed puts only, and no word about who has what', () => {
    const query = (name: string, extra: string) =>
      Buffer.from(
        `d1:ad2:id20:aaaaaaaaaaaaaaaaaaaa${extra}e1:q${name.length}:${name}1:t2:aa1:y1:qe`,
      );
    expect(whatIsWrong(query('ping', ''))).toBeNull();
    expect(whatIsWrong(query('announce_peer', '5:token1:x'))).toMatch('announce_peer');
    expect(whatIsWrong(query('put', '5:token1:x1:v1:y'))).toMatch('signed');
    const key = `1:k32:${'k'.repeat(32)}3:seqi1e`;
    expect(whatIsWrong(query('put', `${key}3:sig64:${'s'.repeat(64)}5:token1:x1:v1:y`))).toBeNull();
    expect(whatIsWrong(query('put', `${key}3:sig3:abc5:token1:x1:v1:y`))).toMatch('sig has 3');
    expect(whatIsWrong(query('put', `${key}5:token1:x1:v1:y`))).toMatch('half');
  });
});

describe('Ed25519 over raw keys', () => {
  it('agrees with RFC 8032, test 2', () => {
    const seed = fromHex('4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb', 32);
    const key = privateKeyOf(seed);
    const publicKey = rawPublicKeyOf(key);
    expect(publicKey.toString('hex')).toBe(
      '3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c',
    );
    const signature = signRaw(key, Buffer.from('72', 'hex'));
    expect(signature.toString('hex')).toBe(
      '92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da' +
        '085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00',
    );
    expect(verifyRaw(publicKey, signature, Buffer.from('72', 'hex'))).toBe(true);
    expect(verifyRaw(publicKey, signature, Buffer.from('73', 'hex'))).toBe(false);
    expect(verifyRaw(publicKey.subarray(1), signature, Buffer.from('72', 'hex'))).toBe(false);
  });
});
