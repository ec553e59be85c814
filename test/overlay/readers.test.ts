/** Ordinary clients at the plain listener and the tracker: what they are given, and what they are not. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { toHex } from '@blocktorrent/protocol/bytes.ts';
import { chunkLengthOf, decodeInfo, infoHashOf } from '@blocktorrent/protocol/chunking.ts';
import bencode from 'bencode';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { distribute } from '../../agent/src/distribute/distribute.ts';
import { dialPlain } from '../../agent/src/overlay/plain-listener.ts';
import type { Address, Link } from '../../agent/src/overlay/types.ts';
import { exportTorrent } from '../../agent/src/readers.ts';
import { Grid } from '../support/grid.ts';
import { openDoors, type ReaderDoors, torrentWith } from '../support/readers-grid.ts';
import { createTrialFile, type TrialFile } from '../support/sealed-file.ts';
import { distribution } from '../support/stored-files.ts';

const seed = randomBytes(4).toString('hex');
console.log(`grid seed ${seed}`);
const { signal } = new AbortController();
let grid: Grid;
let file: TrialFile;
let infoHash: string;
let doors: ReaderDoors[];

beforeAll(async () => {
  grid = await Grid.start({ organisations: 5, seed, limits: { stallMs: 1_000 } });
  const source = await grid.dialer('Org1MSP');
  file = await createTrialFile(join(grid.dir, 'file.age'), 600_000, grid.peer('Org1MSP'), {
    chunksTarget: 20,
  });
  infoHash = toHex(infoHashOf(file.manifest.info));
  const { background } = await distribute(distribution(grid, source, file));
  await background;
  doors = await Promise.all(
    grid.nodes.slice(1).map((node, at) => openDoors(grid, node, `127.0.0.${at + 1}`)),
  );
});
afterAll(async () => {
  await Promise.all(doors.map((door) => door.stop()));
  await grid.stop();
});

function door(at = 0): ReaderDoors & { address: Address; announce: string } {
  const found = doors[at];
  const [address, tracker] = [found?.plain.address ?? null, found?.tracker.address ?? null];
  if (found === undefined || address === null || tracker === null) throw new Error('no door');
  return { ...found, address, announce: `http://${tracker.host}:${tracker.port}/announce` };
}

function read(hash = infoHash, at = 0): Promise<Link> {
  return dialPlain({
    address: door(at).address,
    infoHash: hash,
    handler: {},
    random: grid.random,
    signal,
  });
}

/** Chunks that a link has, once it has said so. */
async function chunksOf(link: Link): Promise<number[]> {
  const count = file.manifest.digests.length / 144;
  const all = () => Array.from({ length: count }, (_, n) => n).filter((n) => link.has(n));
  await expect.poll(() => all().length).toBeGreaterThan(0);
  return all();
}

describe('the plain listener', () => {
  it('gives the chunks that this owner has, and says which those are', async () => {
    const link = await read();
    const has = await chunksOf(link);
    expect(has.length).toBeLessThan(file.manifest.digests.length / 144);
    const [index = 0] = has;
    const { pieceLength } = decodeInfo(file.manifest.info);
    const length = chunkLengthOf(file.bytes.length, pieceLength, index);
    const bytes = await link.fetchChunk(index, length);
    expect(
      file.bytes
        .subarray(index * pieceLength)
        .subarray(0, length)
        .equals(bytes),
    ).toBe(true);
    // It has no ear for messages of ours.
    link.sendManifestMessage({ t: 'accept', have: Uint8Array.of(1) });
    expect(link.closed).toBe(true);
  });

  it('tells of a chunk that comes while a client is there', async () => {
    const { node } = door();
    const others = grid.nodes.filter((one) => one !== node);
    const watching = await read();
    const [index = 0] = await chunksOf(watching);
    watching.close('seen');
    for (const other of others) other.hang();
    const kept = { fileId: file.fileId, infoHash } as Parameters<typeof node.store.lost>[0];
    await node.store.lost(kept, index, 'told to');
    const link = await read();
    expect(await chunksOf(link)).not.toContain(index);
    for (const other of others) other.hang(false);
    await expect.poll(() => link.has(index)).toBe(true);
    link.close('done');
  });

  it('hangs up on who asks for a torrent that is not kept here', async () => {
    await expect(read('77'.repeat(20))).rejects.toMatchObject({ name: 'LinkError' });
  });

  it.each([
    ['an encrypted handshake', () => Buffer.alloc(96, 0x55)],
    ['a message as long as one of ours may be', spoken('00100000', '14')],
    ['a block that nobody asked for', spoken('0000000a', `07${'00'.repeat(9)}`)],
  ])('closes on %s, and goes on for the others', async (_, bytes) => {
    const honest = await read();
    const socket = connect(door().address.port, door().address.host);
    socket.on('error', () => undefined);
    socket.resume();
    const closed = once(socket, 'close');
    socket.write(bytes());
    await closed;
    expect((await chunksOf(honest)).length).toBeGreaterThan(0);
    honest.close('done');
  });

  it('closes on a request beyond any chunk', async () => {
    const socket = connect(door().address.port, door().address.host);
    socket.on('error', () => undefined);
    const closed = once(socket, 'close');
    let heard = '';
    socket.on('data', (data: Buffer) => {
      heard += data.toString('hex');
      // An unchoke: from now on requests are looked at.
      if (!heard.endsWith('0000000101')) return;
      socket.write(Buffer.from(`0000000d06${'00'.repeat(4)}4000000000004000`, 'hex'));
    });
    socket.write(spoken('', '')());
    await closed;
    expect(heard).toMatch(/0000000101$/);
  });

  it('takes so many connections from one host and no more', async () => {
    const { address } = door(1);
    const sockets: Socket[] = [];
    let refused = 0;
    for (let n = 0; n < 20; n++) {
      const socket = connect(address.port, address.host);
      socket.on('error', () => undefined);
      socket.once('close', () => {
        refused += 1;
      });
      await once(socket, 'connect');
      sockets.push(socket);
    }
    await expect.poll(() => refused).toBe(4);
    for (const socket of sockets) socket.destroy();
  });
});

describe('the tracker', () => {
  const hash = () => (infoHash.match(/../g) ?? []).map((byte) => `%${byte}`).join('');
  const announce = async (query: string, at = 0) => {
    const response = await fetch(`${door(at).announce}?${query}`);
    return bencode.decode(new Uint8Array(await response.arrayBuffer())) as Record<string, unknown>;
  };
  const portsIn = (peers: unknown) => {
    const bytes = Buffer.from(peers as Uint8Array);
    return Array.from({ length: bytes.length / 6 }, (_, n) => bytes.readUInt16BE(6 * n + 4));
  };

  it('names every owner’s plain listener, and the other clients', async () => {
    await torrentWith(door(), file, doors.length);
    const first = await announce(`info_hash=${hash()}&peer_id=a&port=5001&left=9`);
    const expected = doors.map(({ plain }) => plain.address?.port).sort();
    expect(portsIn(first.peers).sort()).toEqual(expected);
    expect(first.complete).toBe(doors.length);
    const second = await announce(`info_hash=${hash()}&peer_id=b&port=5002&left=0&compact=1`);
    expect(portsIn(second.peers)).toContain(5001);
    expect(portsIn(second.peers)).not.toContain(5002);
    await announce(`info_hash=${hash()}&peer_id=a&port=5001&left=9&event=stopped`);
    const third = await announce(`info_hash=${hash()}&peer_id=b&port=5002&left=0&numwant=2`);
    expect(portsIn(third.peers)).toHaveLength(2);
    expect(third.incomplete).toBe(0);
  });

  it.each([
    ['a torrent that is not kept here', `info_hash=${'%77'.repeat(20)}&port=1`, 'not kept'],
    ['half an info-hash', 'info_hash=%77&port=1', '20 bytes'],
    ['no port', '', 'port'],
  ])('gives a reason for %s', async (_, query, reason) => {
    const answer = await announce(query === '' ? `info_hash=${hash()}` : query);
    expect(Buffer.from(answer['failure reason'] as Uint8Array).toString()).toMatch(reason);
  });

  it('answers nothing but announces', async () => {
    const { announce: url } = door();
    const texts = [url.replace('/announce', '/scrape'), `${url}?${'x'.repeat(3_000)}`].map(
      async (one) => (await fetch(one)).text(),
    );
    for (const text of await Promise.all(texts)) expect(text).toMatch('only GET /announce');
  });
});

describe('exporting a .torrent', () => {
  it('says so where this agent knows no such file', async () => {
    await expect(exportTorrent('00'.repeat(32), [null], door().owners)).rejects.toMatchObject({
      code: 'unknown-here',
    });
  });
});

/** A handshake for our torrent, then a message of the given length and body, in hex. */
function spoken(length: string, body: string): () => Buffer {
  return () =>
    Buffer.concat([
      Buffer.from([19]),
      Buffer.from('BitTorrent protocol'),
      Buffer.from(`0000000000100004${infoHash}${'41'.repeat(20)}${length}${body}`, 'hex'),
    ]);
}
