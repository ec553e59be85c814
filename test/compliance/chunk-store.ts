/**
 * What every chunk store must do, as a suite: `describeChunkStore(name, make)` in a test file runs it
 * on one implementation.
 */
import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { ChunkStore } from '../../agent/src/store/chunk-store.ts';

const FILE = 'ab'.repeat(32);
const OTHER = 'ab01'.repeat(16);

/** `make` returns a fresh, empty store; `reopen` another one over the same storage. */
export interface ChunkStoreFactory {
  make(): Promise<{ store: ChunkStore; reopen: () => Promise<ChunkStore> }>;
}

export function describeChunkStore(name: string, factory: ChunkStoreFactory): void {
  describe(`chunk store: ${name}`, () => {
    it('gives back what was put, whole and in parts, also across block borders', async () => {
      const { store } = await factory.make();
      const bytes = randomBytes(100_000);
      await store.put(FILE, 3, bytes);
      expect(Buffer.from(await store.read(FILE, 3, 0, bytes.length)).equals(bytes)).toBe(true);
      const part = Buffer.from(await store.read(FILE, 3, 16_380, 20_000));
      expect(part.equals(bytes.subarray(16_380, 36_380))).toBe(true);
      const last = Buffer.from(await store.read(FILE, 3, 99_999, 1));
      expect(last.equals(bytes.subarray(99_999))).toBe(true);
    });

    it.each([1, 16_383, 16_384, 16_385, 262_144])('keeps a chunk of %i bytes', async (size) => {
      const { store } = await factory.make();
      const bytes = randomBytes(size);
      await store.put(FILE, 0, bytes);
      expect(await store.chunksOf(FILE)).toEqual([{ index: 0, bytes: size }]);
      expect(Buffer.from(await store.read(FILE, 0, 0, size)).equals(bytes)).toBe(true);
    });

    it('lists chunks in order and files once each, and keeps files apart', async () => {
      const { store } = await factory.make();
      for (const index of [10, 2, 0]) await store.put(FILE, index, randomBytes(10 + index));
      await store.put(OTHER, 1, randomBytes(5));
      expect(await store.chunksOf(FILE)).toEqual([
        { index: 0, bytes: 10 },
        { index: 2, bytes: 12 },
        { index: 10, bytes: 20 },
      ]);
      expect((await Array.fromAsync(store.list())).sort()).toEqual([OTHER, FILE].sort());
    });

    it('replaces a chunk that is put again', async () => {
      const { store } = await factory.make();
      await store.put(FILE, 0, randomBytes(50_000));
      await store.read(FILE, 0, 0, 10);
      const bytes = randomBytes(40_000);
      await store.put(FILE, 0, bytes);
      expect(Buffer.from(await store.read(FILE, 0, 0, 40_000)).equals(bytes)).toBe(true);
    });

    it('still has what was synced when it is opened again', async () => {
      const { store, reopen } = await factory.make();
      const bytes = randomBytes(70_000);
      await store.put(FILE, 7, bytes);
      await store.sync(FILE);
      await store.sync(FILE);
      await store.close();
      const again = await reopen();
      expect(await again.chunksOf(FILE)).toEqual([{ index: 7, bytes: 70_000 }]);
      expect(Buffer.from(await again.read(FILE, 7, 0, 70_000)).equals(bytes)).toBe(true);
    });

    it('deletes one chunk or a whole file, and both are harmless to repeat', async () => {
      const { store } = await factory.make();
      await store.put(FILE, 0, randomBytes(10));
      await store.put(FILE, 1, randomBytes(10));
      await store.delete(FILE, 0);
      await store.delete(FILE, 0);
      expect((await store.chunksOf(FILE)).map(({ index }) => index)).toEqual([1]);
      await store.delete(FILE);
      await store.delete(FILE);
      expect(await store.chunksOf(FILE)).toEqual([]);
      expect(await Array.fromAsync(store.list())).toEqual([]);
      await expect(store.read(FILE, 1, 0, 1)).rejects.toMatchObject({ code: 'missing' });
    });

    it('names what is wrong with a read', async () => {
      const { store } = await factory.make();
      await store.put(FILE, 0, randomBytes(100));
      await expect(store.read(FILE, 1, 0, 1)).rejects.toMatchObject({ code: 'missing' });
      await expect(store.read(OTHER, 0, 0, 1)).rejects.toMatchObject({ code: 'missing' });
      await expect(store.read(FILE, 0, 50, 51)).rejects.toMatchObject({ code: 'range' });
      await expect(store.read(FILE, 0, -1, 5)).rejects.toMatchObject({ code: 'range' });
      await expect(store.read('../x', 0, 0, 1)).rejects.toMatchObject({ code: 'bad-argument' });
      await expect(store.put(FILE, -1, randomBytes(1))).rejects.toMatchObject({
        code: 'bad-argument',
      });
      await expect(store.put(FILE, 0, new Uint8Array(0))).rejects.toMatchObject({
        code: 'bad-argument',
      });
    });

    it('serves many readers of many chunks at once', async () => {
      const { store } = await factory.make();
      const chunks = Array.from({ length: 100 }, () => randomBytes(20_000));
      await Promise.all(chunks.map((bytes, index) => store.put(FILE, index, bytes)));
      const right = await Promise.all(
        Array.from({ length: 400 }, async (_, n) => {
          const bytes = await store.read(FILE, n % 100, 100, 15_000);
          return chunks[n % 100]?.subarray(100, 15_100).equals(bytes);
        }),
      );
      expect(right.every((equal) => equal === true)).toBe(true);
      await store.close();
    });
  });
}
