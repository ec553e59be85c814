import { randomBytes } from 'node:crypto';
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { FileChunkStore } from '../../agent/src/store/file-chunk-store.ts';
import { describeChunkStore } from '../compliance/chunk-store.ts';

const root = mkdtempSync(join(tmpdir(), 'blocktorrent-chunks-'));
const opened: FileChunkStore[] = [];
afterAll(async () => {
  await Promise.all(opened.map((store) => store.close()));
  rmSync(root, { recursive: true, force: true });
});
let stores = 0;

function openStore(dir: string): FileChunkStore {
  const store = new FileChunkStore(dir);
  opened.push(store);
  return store;
}

function freshDir(): string {
  stores += 1;
  return join(root, `${stores}`, 'chunks');
}

describeChunkStore('files', {
  async make() {
    const dir = freshDir();
    return { store: openStore(dir), reopen: async () => openStore(dir) };
  },
});

describe('chunks as files', () => {
  const fileId = 'cd'.repeat(32);

  it('never serves a byte that changed on disk', async () => {
    const dir = freshDir();
    const store = openStore(dir);
    await store.put(fileId, 0, randomBytes(40_000));
    await store.close();
    const path = join(dir, 'cd', fileId, '0.chunk');
    const bytes = readFileSync(path);
    bytes[20_000] = (bytes[20_000] ?? 0) ^ 1;
    writeFileSync(path, bytes);
    await expect(store.read(fileId, 0, 16_384, 16_384)).rejects.toMatchObject({ code: 'rotten' });
    expect(await store.read(fileId, 0, 0, 16_384)).toHaveLength(16_384);
    truncateSync(path, 20_000);
    await store.close();
    await expect(store.read(fileId, 0, 0, 16_384)).rejects.toMatchObject({ code: 'rotten' });
  });

  it('leaves no temporary file behind', async () => {
    const dir = freshDir();
    const store = openStore(dir);
    await Promise.all([0, 1, 2].map((index) => store.put(fileId, index, randomBytes(1000))));
    await store.sync(fileId);
    expect(readdirSync(join(dir, 'cd', fileId))).toEqual(['0.chunk', '1.chunk', '2.chunk']);
  });
});
