import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { constants, createZstdCompress, zstdCompressSync } from 'node:zlib';
import {
  encodeIdentity,
  encrypt,
  identityFromRandom,
  recipientOf,
} from '@blocktorrent/protocol/age.ts';
import { concatBytes, equalBytes, toHex } from '@blocktorrent/protocol/bytes.ts';
import { chunkBoundsOf, chunkLengthOf, decodeInfo } from '@blocktorrent/protocol/chunking.ts';
import { digestChunk, packDigests } from '@blocktorrent/protocol/digest.ts';
import { padmeSize } from '@blocktorrent/protocol/padding.ts';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { through } from '../../agent/src/crypto/files.ts';
import { type OpenFileOptions, openFile } from '../../agent/src/crypto/open.ts';
import type { House } from '../../agent/src/house.ts';
import { pipeline } from '../../agent/src/pipeline.ts';
import { Refusals } from '../../agent/src/record/refused.ts';
import type { QueuedFile } from '../../agent/src/runtime/file-queue.ts';
import { type SealFileOptions, sealFile } from '../../agent/src/seal/seal.ts';
import { codeOf } from '../support/errors.ts';
import { BATCH_RULES, createIngest, openStore } from '../support/ingest.ts';
import { gather, piecesOf } from '../support/pieces.ts';
import { Seeded } from '../support/seeded.ts';
import { requireTool, runTool } from '../support/tools.ts';

const KiB = 1024;
const random = new Seeded('seal');
const signal = new AbortController().signal;
let root = '';
let directory = '';
let count = 0;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'blocktorrent-seal-'));
});
beforeEach(async () => {
  directory = join(root, String(count++));
  await mkdir(join(directory, 'work'), { recursive: true });
});
afterAll(() => rm(root, { recursive: true, force: true }));

const path = (name: string) => join(directory, name);

async function seal(plain: Uint8Array, change: Partial<SealFileOptions> = {}) {
  await writeFile(path('in'), plain);
  return sealFile({
    inputPath: path('in'),
    outputPath: path('out.age'),
    workDir: path('work'),
    recipients: [],
    random: random.bytes,
    chunksTarget: 200,
    signal,
    ...change,
  });
}

function open(identity: Uint8Array, change: Partial<OpenFileOptions> = {}) {
  return openFile({
    ciphertextPath: path('out.age'),
    identities: [identity],
    outputPath: path('back'),
    signal,
    ...change,
  });
}

/** Writes an age file with these bytes inside and says how opening it ends. */
async function codeOfOpening(content: Uint8Array) {
  const identity = identityFromRandom(random.bytes(32));
  await writeFile(path('out.age'), encrypt(content, [recipientOf(identity)], random.bytes));
  const code = await codeOf(() => open(identity));
  expect((await readdir(directory)).includes('back')).toBe(code === null);
  return code;
}

describe('sealing', () => {
  it('in the pipeline asks the ledger’s policy, and goes on where that was never reached', async () => {
    const chunks: number[] = [];
    await mkdir(path('spool'));
    await writeFile(path('in'), random.bytes(1_000_000));
    for (const known of [true, false]) {
      const house = {
        config: {
          dataDir: directory,
          seal: { chunksTarget: 200, recipients: [] },
          distribute: { filesInFlight: 1 },
        },
        random: random.bytes,
        metrics: { add: () => undefined, observe: () => undefined },
        view: { known, policy: () => ({ chunkBytesMin: 64 * KiB }) },
        spool: { folder: path('spool'), pathOf: () => path('out.age'), isFull: () => false },
        record: { refusals: new Refusals(() => 0) },
      } as unknown as House;
      const file = { id: 1, kind: 'file', inputPath: path('in'), recipients: [], identity: null };
      const [step] = pipeline(house);
      const [patch] = (await step?.run([file as unknown as QueuedFile], signal)) ?? [];
      if (typeof patch !== 'object' || !('info' in patch)) throw new Error('sealed, expected');
      chunks.push(decodeInfo(patch.info ?? new Uint8Array()).pieceLength);
    }
    expect(chunks).toEqual([64 * KiB, 16 * KiB]);
  });

  it('cuts into chunks of the sizes that the policy allows', async () => {
    const plain = random.bytes(1_000_000);
    for (const [target, chunkBytes] of [
      [200, 64 * KiB],
      [1, 128 * KiB],
    ] as const) {
      const chunkBounds = chunkBoundsOf({ chunkBytesMin: 64 * KiB, chunkBytesMax: 128 * KiB });
      const sealed = await seal(plain, { chunksTarget: target, chunkBounds });
      expect(sealed.chunkBytes).toBe(chunkBytes);
      expect(sealed.chunkCount).toBe(Math.ceil(sealed.ciphertextBytes / chunkBytes));
      expect(decodeInfo(sealed.info).pieceLength).toBe(chunkBytes);
    }
  });

  it.each([0, 1, 100, 64 * KiB, 1_000_000, 9_000_000])(
    'and opening %i bytes gives them back',
    async (size) => {
      const plain = random.bytes(size);
      const sealed = await seal(plain);
      expect(sealed.plainBytes).toBe(size);
      expect(await open(sealed.identity)).toEqual({ plainBytes: size });
      expect(equalBytes(await readFile(path('back')), plain)).toBe(true);
      expect((await readdir(directory)).sort()).toEqual(['back', 'in', 'out.age', 'work']);
      expect(await readdir(path('work'))).toEqual([]);
    },
  );

  it('says of the ciphertext exactly what it is', async () => {
    const sealed = await seal(random.bytes(500_000), { chunksTarget: 7 });
    const file = Uint8Array.from(await readFile(path('out.age')));
    expect(sealed.ciphertextBytes).toBe(file.length);
    expect(toHex(sealed.ciphertextSha256)).toBe(createHash('sha256').update(file).digest('hex'));
    expect(sealed.paddedBytes).toBe(padmeSize(sealed.paddedBytes));
    expect(sealed.compressedBytes).toBeLessThanOrEqual(sealed.paddedBytes);
    expect(sealed.recipient).toBe(recipientOf(sealed.identity));
    const info = decodeInfo(sealed.info);
    expect(info.length).toBe(file.length);
    expect(info.pieceLength).toBe(sealed.chunkBytes);
    expect(info.name).toBe(`${toHex(sealed.ciphertextSha256).slice(0, 32)}.age`);
    expect(sealed.chunkCount).toBe(7);
    const digests: Uint8Array[] = [];
    const pieces: Uint8Array[] = [];
    for (let index = 0, start = 0; index < sealed.chunkCount; index++) {
      const end = start + chunkLengthOf(file.length, sealed.chunkBytes, index);
      digests.push(packDigests(digestChunk(file.subarray(start, end))));
      pieces.push(createHash('sha1').update(file.subarray(start, end)).digest());
      start = end;
    }
    expect(equalBytes(sealed.digests, concatBytes(...digests))).toBe(true);
    expect(equalBytes(info.pieces, concatBytes(...pieces))).toBe(true);
  });

  it('hides how far files of about one size compress', async () => {
    const sizes = new Set<number>();
    for (let extra = 0; extra < 8; extra++) {
      sizes.add((await seal(random.bytes(100_000 + 37 * extra))).ciphertextBytes);
    }
    expect(sizes.size).toBe(1);
  });

  it('takes at most a sixth of what the JSON of a batch would', async () => {
    const store = openStore(path('batches'), { rules: BATCH_RULES });
    const ingest = createIngest(store, { maxReadings: 5_000 });
    const from = { acknowledge: () => 1, abandon: (reason: string) => expect.fail(reason) };
    const noise = new Seeded('a sixth');
    let jsonBytes = 0;
    for (let seq = 1; seq <= 20_000; seq += 1) {
      const sensor = `cold-room-${seq % 50}`;
      const value = (4 + noise.integer(0, 20) / 100).toFixed(2);
      const time = 1.7e12 + seq * 10 - noise.integer(1, 40);
      const text = `{"sensor":"${sensor}","seq":${Math.ceil(seq / 50)},"time":${time},"value":${value},"unit":"Cel","battery":3.61,"status":"ok"}`;
      const payload = Buffer.from(text);
      jsonBytes += payload.length;
      const topic = `site/${sensor}/climate`;
      ingest.take({ topic, payload, qos: 1, dup: false, retain: false, messageId: 1 }, from);
    }
    ingest.stop();
    const { path: closed = '' } = store.closeCurrent() ?? {};
    store.stop();
    const sealed = await seal(await readFile(closed));
    expect(sealed.ciphertextBytes / jsonBytes).toBeLessThan(1 / 6);
  });

  it('makes a file that age and zstd open by hand', async (context) => {
    for (const tool of ['age', 'zstd']) requireTool(tool, context);
    // Three zstd frames.
    const plain = random.bytes(5_000_000);
    const sealed = await seal(plain);
    await writeFile(path('key'), encodeIdentity(sealed.identity));
    const padded = await runTool('age', ['-d', '-i', path('key'), path('out.age')]);
    expect(padded.length).toBe(sealed.paddedBytes);
    expect(equalBytes(await runTool('zstd', ['-d', '-c', '-q'], padded), plain)).toBe(true);
  });

  it('also to the recipients of the source, each once', async () => {
    const partner = identityFromRandom(random.bytes(32));
    const recipients = [recipientOf(partner), recipientOf(partner)];
    const sealed = await seal(random.bytes(1000), { recipients });
    const header = (await readFile(path('out.age'))).subarray(0, 400).toString('latin1');
    expect(header.match(/-> X25519/g)).toHaveLength(2);
    expect(await open(partner)).toEqual({ plainBytes: 1000 });
    expect(await open(sealed.identity)).toEqual({ plainBytes: 1000 });
    const stranger = identityFromRandom(random.bytes(32));
    expect(await codeOf(() => open(stranger))).toBe('no-identity-matched');
  });

  it('again overwrites what a crash left, with a fresh identity', async () => {
    await writeFile(path('out.age.partial'), 'left behind');
    await writeFile(path('work/out.age.zst'), random.bytes(1_000_000));
    const plain = random.bytes(5000);
    const first = await seal(plain);
    const second = await seal(plain);
    expect(second.recipient).not.toBe(first.recipient);
    expect(await codeOf(() => open(first.identity))).toBe('no-identity-matched');
    expect(await open(second.identity)).toEqual({ plainBytes: 5000 });
    expect((await readdir(directory)).sort()).toEqual(['back', 'in', 'out.age', 'work']);
    expect(await readdir(path('work'))).toEqual([]);
  });

  it('leaves files that only their owner can read', async () => {
    await seal(random.bytes(10));
    expect((await stat(path('out.age'))).mode & 0o777).toBe(0o600);
  });

  it('names the step that failed, and leaves nothing', async () => {
    const missing = seal(random.bytes(1), { inputPath: path('absent') });
    await expect(missing).rejects.toMatchObject({ name: 'SealError', code: 'read' });
    const nowhere = seal(random.bytes(1), { outputPath: path('absent/out.age') });
    await expect(nowhere).rejects.toMatchObject({ name: 'SealError', code: 'encrypt' });
    const nobody = seal(random.bytes(1), { recipients: ['age1nobody'] });
    await expect(nobody).rejects.toMatchObject({ code: 'encrypt', cause: { code: 'malformed' } });
    expect((await readdir(directory)).sort()).toEqual(['in', 'work']);
    expect(await readdir(path('work'))).toEqual([]);
  });

  it('stops when it is told to, before or in the middle, and leaves nothing', async () => {
    const before = seal(random.bytes(1), { signal: AbortSignal.abort() });
    await expect(before).rejects.toHaveProperty('name', 'AbortError');
    const controller = new AbortController();
    const stopping = {
      signal: controller.signal,
      random: (byteCount: number) => {
        controller.abort();
        return random.bytes(byteCount);
      },
    };
    const middle = seal(random.bytes(3_000_000), stopping);
    await expect(middle).rejects.toHaveProperty('name', 'AbortError');
    expect((await readdir(directory)).sort()).toEqual(['in', 'work']);
    expect(await readdir(path('work'))).toEqual([]);
  });
});

describe('opening', () => {
  const frame = Uint8Array.from(zstdCompressSync(Buffer.from('hello')));

  it('takes a frame without padding', async () => {
    expect(await codeOfOpening(frame)).toBeNull();
    expect(await readFile(path('back'), 'utf8')).toBe('hello');
  });

  it('takes what 0.1.0 has written: one frame, of any size, that does not say how large', async () => {
    const plain = random.bytes(9_000_000);
    const params = { [constants.ZSTD_c_checksumFlag]: 1 };
    const source = piecesOf(plain, 1_000_000);
    const written = through(createZstdCompress({ params }), source, { handedOver: false });
    expect(await codeOfOpening(await gather(written))).toBeNull();
    expect(equalBytes(await readFile(path('back')), plain)).toBe(true);
  });

  it('takes several frames, and refuses small ones before others', async () => {
    const large = Uint8Array.from(zstdCompressSync(new Uint8Array(1_500_000).fill(1)));
    expect(await codeOfOpening(concatBytes(large, frame))).toBeNull();
    expect((await readFile(path('back'), 'latin1')).slice(1_499_999)).toBe('\u0001hello');
    await rm(path('back'));
    expect(await codeOfOpening(concatBytes(frame, large))).toBe('malformed');
  });

  it.each([
    ['nothing', new Uint8Array(0), 'truncated'],
    ['no zstd frame', Buffer.from('readings'), 'malformed'],
    ['bytes behind the frame', concatBytes(frame, new Uint8Array(9)), 'malformed'],
    ['a frame that is cut off', frame.subarray(0, frame.length - 1), 'truncated'],
  ] as const)('refuses an age file with %s in it', async (_, content, code) => {
    expect(await codeOfOpening(content)).toBe(code);
  });

  it('refuses a frame that is corrupt inside', async () => {
    const params = { [constants.ZSTD_c_checksumFlag]: 1 };
    const corrupt = Uint8Array.from(zstdCompressSync(random.bytes(100), { params }));
    corrupt[50] = (corrupt[50] ?? 0) ^ 1;
    expect(await codeOfOpening(corrupt)).toBe('malformed');
  });

  it('stops a bomb before the disk is full, and leaves nothing of it', async () => {
    const identity = identityFromRandom(random.bytes(32));
    const bomb = Uint8Array.from(zstdCompressSync(new Uint8Array(40_000_000)));
    await writeFile(path('out.age'), encrypt(bomb, [recipientOf(identity)], random.bytes));
    const opening = open(identity, { reserveBytes: Number.MAX_SAFE_INTEGER });
    await expect(opening).rejects.toMatchObject({ code: 'ENOSPC' });
    expect((await readdir(directory)).filter((name) => name.startsWith('back'))).toEqual([]);
    expect((await open(identity, { reserveBytes: 0 })).plainBytes).toBe(40_000_000);
  });

  it('refuses a file that was altered or cut off, and leaves no output', async () => {
    const sealed = await seal(random.bytes(300_000));
    const file = Uint8Array.from(await readFile(path('out.age')));
    const altered = file.slice();
    altered[200_000] = (altered[200_000] ?? 0) ^ 1;
    await writeFile(path('out.age'), altered);
    expect(await codeOf(() => open(sealed.identity))).toBe('bad-digest');
    await writeFile(path('out.age'), file.subarray(0, file.length - (file.length % 16) - 1));
    expect(await codeOf(() => open(sealed.identity))).toBe('bad-digest');
    await writeFile(path('out.age'), 'not an age file at all, but a text');
    expect(await codeOf(() => open(sealed.identity))).toBe('bad-version');
    expect((await readdir(directory)).sort()).toEqual(['in', 'out.age', 'work']);
  });

  it('stops when it is told to, and says when the file is not there', async () => {
    const sealed = await seal(random.bytes(10));
    const aborted = open(sealed.identity, { signal: AbortSignal.abort() });
    await expect(aborted).rejects.toHaveProperty('name', 'AbortError');
    const absent = open(sealed.identity, { ciphertextPath: path('absent') });
    await expect(absent).rejects.toHaveProperty('code', 'ENOENT');
  });
});

describe('memory', () => {
  it('does not grow with the file: 200 MB sealed and opened in under 60 MB more', async () => {
    const script = new URL('./seal-memory.ts', import.meta.url).pathname;
    const { stdout } = await promisify(execFile)(process.execPath, [script, directory]);
    const grown = JSON.parse(stdout) as { sealMB: number; openMB: number; equal: boolean };
    console.log(`200 MB: ${stdout.trim()}`);
    expect(grown.equal).toBe(true);
    expect(grown.sealMB).toBeLessThan(60);
    expect(grown.openMB).toBeLessThan(60);
  });
});
