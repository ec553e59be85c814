import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect as netConnect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TLSSocket, connect as tlsConnect } from 'node:tls';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { LinkLimits } from '../../agent/src/overlay/link-limits.ts';
import { TlsOverlay } from '../../agent/src/overlay/tls-overlay.ts';
import type { Link, LinkHandler } from '../../agent/src/overlay/types.ts';
import type { Log } from '../../agent/src/runtime/log.ts';
import { createTrialPeers, TrialMembership, type TrialPeer } from '../support/membership.ts';

const INFO_HASH = '5a'.repeat(20);
const CHUNK = randomBytes(256 * 1024);

let dir: string;
let peers: TrialPeer[];
let strangers: TrialPeer[];
let membership: TrialMembership;
let listener: TlsOverlay;
const opened: TlsOverlay[] = [];
let lines: { message: string; fields: Record<string, unknown> | undefined }[] = [];
const write = (message: string, fields?: Record<string, unknown>) => {
  lines.push({ message, fields });
};
const log: Log = { debug: write, info: write, warn: write, error: write, child: () => log };

function overlayOf(
  peer: TrialPeer | undefined,
  listen: boolean,
  limits: Partial<LinkLimits> = {},
): TlsOverlay {
  if (peer === undefined) throw new Error('no such peer');
  const overlay = new TlsOverlay({
    membership,
    log,
    identity: peer.identity,
    listen: listen ? { host: '127.0.0.1', port: 0 } : null,
    random: (bytes) => new Uint8Array(randomBytes(bytes)),
    limits: { requestsMax: 64, ...limits },
  });
  opened.push(overlay);
  return overlay;
}

async function dialer(index: number, limits?: Partial<LinkLimits>): Promise<TlsOverlay> {
  const overlay = overlayOf(peers[index], false, limits);
  await overlay.start();
  return overlay;
}

function addressOf({ address }: TlsOverlay = listener) {
  if (address === null) throw new Error('not listening');
  return address;
}

const serving: LinkHandler = {
  read: async (_index, offset, length) => CHUNK.subarray(offset, offset + length),
};

function dial(from: TlsOverlay, mspId = 'Org1MSP', handler: LinkHandler = {}): Promise<Link> {
  return from.dial({ address: addressOf(), mspId, handler, infoHash: INFO_HASH });
}

/** A TLS connection with a member's certificate that then speaks whatever the test wants. */
async function rawTls(peer: TrialPeer | undefined, to = listener): Promise<TLSSocket> {
  const { host, port } = addressOf(to);
  const socket = tlsConnect({
    host,
    port,
    cert: peer?.identity.tlsCertificate,
    key: peer?.identity.tlsKey,
    ca: peers.map(({ root }) => root.pem),
    checkServerIdentity: () => undefined,
  });
  socket.on('error', () => undefined);
  socket.resume();
  await once(socket, 'secureConnect');
  return socket;
}

/** Resolves when a socket is closed, whatever error came before. */
function closeOf(socket: Socket): Promise<void> {
  return new Promise((resolve) => void socket.once('close', () => resolve()));
}

const HANDSHAKE = Buffer.concat([
  Buffer.from([19]),
  Buffer.from('BitTorrent protocol'),
  Buffer.from('0000000000100004', 'hex'),
  Buffer.from(INFO_HASH, 'hex'),
  Buffer.alloc(20, 65),
]);

function framed(...parts: (Uint8Array | number)[]): Buffer {
  const body = Buffer.concat(
    parts.map((part) => (typeof part === 'number' ? Buffer.from([part]) : part)),
  );
  const head = Buffer.alloc(4);
  head.writeUInt32BE(body.length);
  return Buffer.concat([head, body]);
}
const EXTENDED = framed(20, 0, Buffer.from('d1:md11:bt_manifesti1e10:bt_receipti2eee'));
const request = (index: number, offset: number, length: number) => {
  const body = Buffer.alloc(12);
  body.writeInt32BE(index, 0);
  body.writeInt32BE(offset, 4);
  body.writeInt32BE(length, 8);
  return framed(6, body);
};

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'blocktorrent-tls-'));
  peers = await createTrialPeers(join(dir, 'ours'), 3);
  strangers = await createTrialPeers(join(dir, 'theirs'), 1);
  membership = new TrialMembership(peers);
  listener = overlayOf(peers[0], true);
  listener.onIncoming(() => serving);
  await listener.start();
});
afterEach(() => {
  lines = [];
});
afterAll(async () => {
  await Promise.all(opened.map((overlay) => overlay.stop()));
  await rm(dir, { recursive: true, force: true });
});

describe('links over mutual TLS', () => {
  it('fetch chunks, and count every byte at the sockets', async () => {
    const overlay = await dialer(1);
    const link = await dial(overlay);
    expect(link).toMatchObject({ mspId: 'Org1MSP', infoHash: INFO_HASH, incoming: false });
    const chunks = await Promise.all(
      [0, 1, 2].map((index) => link.fetchChunk(index, CHUNK.length)),
    );
    for (const chunk of chunks) expect(CHUNK.equals(chunk)).toBe(true);
    const open = overlay.accounts.of(INFO_HASH).receivedBytes;
    expect(open).toBeGreaterThan(3 * CHUNK.length);
    link.close('done');
    await expect.poll(() => listener.linkCount).toBe(0);
    expect(overlay.accounts.of(INFO_HASH).receivedBytes).toBeGreaterThanOrEqual(open);
    expect(overlay.accounts.total().receivedBytes).toBe(
      overlay.accounts.of(INFO_HASH).receivedBytes,
    );
    expect(listener.accounts.of(INFO_HASH).sentBytes).toBeGreaterThan(3 * CHUNK.length);
  });

  it('refuse a certificate that no organisation on the ledger issued', async () => {
    const stranger = overlayOf(strangers[0], false);
    await stranger.start();
    await expect(dial(stranger)).rejects.toMatchObject({ name: 'LinkError' });
    await expect.poll(() => lines.map(({ message }) => message)).toContain('refused a connection');
    expect(listener.linkCount).toBe(0);
  });

  it('refuse a listener that is not the organisation that was dialled', async () => {
    const overlay = await dialer(1);
    await expect(dial(overlay, 'Org3MSP')).rejects.toMatchObject({ code: 'wrong-peer' });
  });

  it('refuse a root that two organisations claim', async () => {
    const [first] = membership.roots;
    if (first === undefined) throw new Error('no root');
    membership.roots = [...membership.roots, { mspId: 'Org2MSP', pem: first.pem }];
    const overlay = overlayOf(peers[2], false);
    await overlay.start();
    await expect(dial(overlay)).rejects.toMatchObject({ code: 'wrong-peer' });
    membership.roots = membership.roots.slice(0, -1);
  });

  it('end when the organisation loses its root on the ledger, and start again with it', async () => {
    const overlay = await dialer(2);
    const ended = Promise.withResolvers<string>();
    await dial(overlay, 'Org1MSP', { onClose: (_, reason) => ended.resolve(reason) });
    const all = membership.roots;
    membership.roots = all.filter(({ mspId }) => mspId !== 'Org3MSP');
    membership.changed();
    await ended.promise;
    await expect(dial(overlay)).rejects.toMatchObject({ name: 'LinkError' });
    membership.roots = all;
    membership.changed();
    const link = await dial(overlay);
    expect(Buffer.from(await link.fetchChunk(0, 1000)).equals(CHUNK.subarray(0, 1000))).toBe(true);
  });

  it('give up on a side that never answers', async () => {
    listener.onIncoming(() => ({ read: () => new Promise<never>(() => undefined) }));
    const overlay = await dialer(1, { stallMs: 800 });
    const link = await dial(overlay);
    await expect(link.fetchChunk(0, 1000)).rejects.toMatchObject({ code: 'stalled' });
    expect(link.closed).toBe(true);
    listener.onIncoming(() => serving);
  });

  it('reject a chunk that the other side will not read', async () => {
    listener.onIncoming(() => ({ read: () => Promise.reject(new Error('no')) }));
    const overlay = await dialer(1);
    const link = await dial(overlay);
    await expect(link.fetchChunk(0, 50_000)).rejects.toMatchObject({ code: 'rejected' });
    expect(link.closed).toBe(false);
    listener.onIncoming(() => serving);
    expect(link.queuedBytes).toBe(0);
  });

  it('stop fetching when aborted, and stay usable', async () => {
    const overlay = await dialer(1);
    const link = await dial(overlay);
    const abort = new AbortController();
    const attempt = link.fetchChunk(0, CHUNK.length, abort.signal);
    abort.abort();
    await expect(attempt).rejects.toMatchObject({ code: 'aborted' });
    expect(CHUNK.equals(await link.fetchChunk(1, CHUNK.length))).toBe(true);
  });
});

describe('hostile bytes', () => {
  const spoken = (bytes: Uint8Array) => Buffer.concat([HANDSHAKE, EXTENDED, bytes]);
  const big = Buffer.alloc(4);
  big.writeUInt32BE(LIMITS.overlayMessageBytesMax + 1);

  it.each([
    ['garbage instead of a handshake', randomBytes(5_000)],
    ['a length above the cap', spoken(big)],
    ['a length that is negative when read as signed', spoken(Buffer.from('fffffff014', 'hex'))],
    [
      'an extended handshake that breaks the parser',
      Buffer.concat([HANDSHAKE, framed(20, 0, Buffer.from('d1:md1:ad8:toStringi1eeee'))]),
    ],
    ['a manifest message that is no CBOR', spoken(framed(20, 1, randomBytes(100)))],
    ['a receipt message that is no CBOR', spoken(framed(20, 2, randomBytes(100)))],
    ['a request beyond any chunk', spoken(request(0, 2 ** 30, 16_384))],
    ['a request of a negative length', spoken(request(0, 0, -1))],
    [
      'more requests than are allowed',
      spoken(Buffer.concat(Array.from({ length: 200 }, (_, n) => request(n, 0, 16_384)))),
    ],
    ['a block that nobody asked for', spoken(framed(7, Buffer.alloc(8), randomBytes(100)))],
    ['a second handshake', Buffer.concat([HANDSHAKE, HANDSHAKE])],
  ])('%s closes that connection and nothing else', async (_, bytes) => {
    const honest = await dial(await dialer(1));
    const socket = await rawTls(peers[2]);
    const closed = closeOf(socket);
    socket.write(bytes);
    await closed;
    expect(CHUNK.equals(await honest.fetchChunk(0, CHUNK.length))).toBe(true);
    expect(
      lines.filter(({ fields }) => ['violation', 'closed'].includes(String(fields?.code))),
    ).not.toEqual([]);
  });

  it('plain TCP garbage, silence and a missing certificate harm nobody', async () => {
    const { host, port } = addressOf();
    const plain = netConnect({ host, port });
    plain.on('error', () => undefined);
    const plainClosed = closeOf(plain);
    plain.write(randomBytes(3_000));
    plain.resume();
    await plainClosed;
    const impatient = overlayOf(peers[0], true, { handshakeMs: 1_000 });
    await impatient.start();
    await closeOf(await rawTls(peers[2], impatient));
    const nobody = tlsConnect({ host, port, rejectUnauthorized: false });
    nobody.on('error', () => undefined);
    nobody.resume();
    await closeOf(nobody);
    const link = await dial(await dialer(1));
    expect(CHUNK.equals(await link.fetchChunk(0, CHUNK.length))).toBe(true);
  });
});
