import { randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Worker } from 'node:worker_threads';
import { afterAll, describe, expect, it, vi } from 'vitest';
import {
  digestChunkInThread,
  sharedBuffer,
  writeChunkInThread,
} from '../../agent/src/crypto/chunk-thread.ts';
import { nodeDigests } from '../support/node-digests.ts';

const MINUTE_MS = 60_000;
const dir = mkdtempSync(join(tmpdir(), 'blocktorrent-thread-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe('the thread for chunks', () => {
  it('computes what the pure functions do, from shared memory and from any other', async () => {
    const bytes = new Uint8Array(randomBytes(300_001));
    const shared = sharedBuffer(400_000);
    shared.set(bytes, 17);
    const expected = nodeDigests(bytes);
    const found = await Promise.all([
      digestChunkInThread(bytes),
      digestChunkInThread(shared.subarray(17, 17 + bytes.length)),
      digestChunkInThread(bytes.subarray(0, 0)),
    ]);
    for (const digests of found.slice(0, 2)) {
      expect(Buffer.from(digests.sha3).equals(expected.sha3)).toBe(true);
      expect(Buffer.from(digests.sha384).equals(expected.sha384)).toBe(true);
      expect(Buffer.from(digests.sha512).equals(expected.sha512)).toBe(true);
    }
    expect(found[2]?.sha3).toHaveLength(32);
  });

  it('writes a chunk with its table behind it, and leaves nothing beside it', async () => {
    const bytes = randomBytes(600_000);
    const table = randomBytes(148);
    await writeChunkInThread(join(dir, 'a.chunk'), join(dir, 'a.tmp'), bytes, table);
    expect(readFileSync(join(dir, 'a.chunk')).equals(Buffer.concat([bytes, table]))).toBe(true);
    expect(readdirSync(dir)).toEqual(['a.chunk']);
  });

  it('fails with the system’s code, and goes on', async () => {
    const nowhere = join(dir, 'no', 'folder');
    await expect(
      writeChunkInThread(nowhere, `${nowhere}.tmp`, randomBytes(10), randomBytes(4)),
    ).rejects.toMatchObject({ code: 'ENOENT' });
    expect((await digestChunkInThread(randomBytes(5))).sha512).toHaveLength(64);
  });

  it('is ended after a minute without work, but not in the middle of a file', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      // Another one than the tests before have used, with timers of this test.
      vi.resetModules();
      const { digestChunkInThread, digestPartInThread, newFileNumber } = await import(
        '../../agent/src/crypto/chunk-thread.ts'
      );
      const started: Worker[] = [];
      process.on('worker', (worker: Worker) => started.push(worker));
      const part = { file: newFileNumber(), chunkBytes: 1000, fileOffset: 0 };
      expect(await digestPartInThread(randomBytes(10), { ...part, last: false })).toEqual([]);
      vi.advanceTimersByTime(MINUTE_MS);
      const rest = { ...part, fileOffset: 10, last: true };
      expect(await digestPartInThread(randomBytes(10), rest)).toHaveLength(1);
      expect(started).toHaveLength(1);
      const ended = new Promise((done) => started[0]?.once('exit', done));
      vi.advanceTimersByTime(MINUTE_MS);
      await ended;
      expect((await digestChunkInThread(randomBytes(5))).sha3).toHaveLength(32);
      expect(started).toHaveLength(2);
    } finally {
      vi.useRealTimers();
      process.removeAllListeners('worker');
    }
  });
});
