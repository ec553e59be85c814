import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createZstdCompress, createZstdDecompress, zstdDecompressSync } from 'node:zlib';
import { concatBytes, equalBytes } from '@blocktorrent/protocol/bytes.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { giveBack, readPieces, through, writeWhole } from '../../agent/src/crypto/files.ts';
import { gather, piecesOf } from '../support/pieces.ts';
import { Seeded } from '../support/seeded.ts';

const random = new Seeded('files');
const signal = new AbortController().signal;
const PIECE_BYTES = 1024 * 1024;
let directory = '';

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'blocktorrent-files-'));
});
afterAll(() => rm(directory, { recursive: true, force: true }));
const path = (name: string) => join(directory, name);

describe('reading a file in pieces', () => {
  it('keeps a piece as it is while the next two are read', async () => {
    const bytes = random.bytes(5 * PIECE_BYTES + 10);
    await writeFile(path('ring'), bytes);
    const pieces: Uint8Array[] = [];
    let start = 0;
    for await (const piece of readPieces(path('ring'))) {
      pieces.push(piece);
      start += piece.length;
      const lastThree = concatBytes(...pieces.slice(-3));
      expect(equalBytes(lastThree, bytes.subarray(start - lastThree.length, start))).toBe(true);
    }
    expect(start).toBe(bytes.length);
    expect(new Set(pieces.map((piece) => piece.buffer)).size).toBe(4);
  });

  it('gives nothing of an empty file', async () => {
    await writeFile(path('empty'), '');
    expect((await gather(readPieces(path('empty')))).length).toBe(0);
  });
});

describe('writing a file whole', () => {
  it.each([0, 1, 1024 * 1024, 3_000_001])('writes %i bytes, however they come', async (size) => {
    const bytes = random.bytes(size);
    for (const pieceBytes of [999, 65_536, 2_500_000]) {
      if (size > 2_000_000 && pieceBytes === 999) continue;
      await writeWhole(path('whole'), piecesOf(bytes.slice(), pieceBytes), { signal });
      expect(equalBytes(await readFile(path('whole')), bytes)).toBe(true);
    }
  });

  it('gives the memory of what it wrote back at once', async () => {
    const piece = new Uint8Array(70_000);
    async function* pieces() {
      yield piece;
    }
    await writeWhole(path('given'), pieces(), { signal });
    expect(piece.buffer.byteLength).toBe(0);
    expect(await readFile(path('given'))).toHaveLength(70_000);
  });

  it('leaves the file that was there when the new one fails', async () => {
    await writeFile(path('kept'), 'before');
    async function* failing() {
      yield new Uint8Array(2_000_000);
      throw new Error('no more');
    }
    await expect(writeWhole(path('kept'), failing(), { signal })).rejects.toThrow('no more');
    expect(await readFile(path('kept'), 'utf8')).toBe('before');
    expect(await readdir(directory)).not.toContain('kept.partial');
  });
});

describe('memory of a piece', () => {
  it('is given back with the last piece of a buffer, not before', () => {
    const buffer = new ArrayBuffer(100_000);
    giveBack(new Uint8Array(buffer, 0, 50_000));
    giveBack(new Uint8Array(buffer, 100_000, 0));
    expect(buffer.byteLength).toBe(100_000);
    giveBack(new Uint8Array(buffer, 50_000, 50_000));
    expect(buffer.byteLength).toBe(0);
  });

  it("is left alone where it is of Node's shared pool", () => {
    const pooled = Buffer.from('a');
    const { buffer } = pooled;
    expect(buffer.byteLength).toBe(Buffer.poolSize);
    giveBack(new Uint8Array(buffer, buffer.byteLength - 10, 10));
    expect(buffer.byteLength).toBe(Buffer.poolSize);
  });
});

describe('a transform', () => {
  it('passes everything on, in order', async () => {
    const bytes = random.bytes(1_000_000);
    const source = through(createZstdCompress(), piecesOf(bytes, 10_000), { handedOver: false });
    expect(equalBytes(zstdDecompressSync(await gather(source)), bytes)).toBe(true);
  });

  it('ends with its own error, or with that of its source', async () => {
    const garbage = piecesOf(random.bytes(100), 10);
    const corrupt = through(createZstdDecompress(), garbage, { handedOver: false });
    await expect(gather(corrupt)).rejects.toHaveProperty('code', expect.stringMatching(/^ZSTD_/));
    async function* failing() {
      yield random.bytes(10);
      throw new Error('source failed');
    }
    const failed = through(createZstdCompress(), failing(), { handedOver: false });
    await expect(gather(failed)).rejects.toThrow('source failed');
  });

  it('that is no longer wanted stops its source', async () => {
    let stopped = false;
    async function* endless() {
      try {
        for (;;) yield random.bytes(100_000);
      } finally {
        stopped = true;
      }
    }
    for await (const _ of through(createZstdCompress(), endless(), { handedOver: false })) break;
    expect(stopped).toBe(true);
  });
});
