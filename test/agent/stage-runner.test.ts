/** A stage looks at its queue when something may have changed, not all the time. */
import { setTimeout as pause } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { FILE_QUEUE_MIGRATIONS, FileQueue } from '../../agent/src/runtime/file-queue.ts';
import { silentLog } from '../../agent/src/runtime/log.ts';
import { StageRunner, type StageStep } from '../../agent/src/runtime/stage-runner.ts';

const RETRY_MS = 20;
/** So long the queue is watched; a look costs reading whole rows. */
const WATCHED_MS = 300;
let queue: FileQueue;
let stopping: AbortController;
let running: Promise<void>;
beforeEach(() => {
  const db = new Database(':memory:');
  for (const migration of FILE_QUEUE_MIGRATIONS) db.exec(migration);
  queue = new FileQueue(db, () => 1_000);
  stopping = new AbortController();
  queue.add({ kind: 'file', inputPath: '/f', batch: null, recipients: [] });
});
afterEach(async () => {
  stopping.abort();
  await running;
});

function start(run: StageStep['run']): void {
  const step: StageStep = { name: 'seal', from: 'queued', to: 'sealed', concurrency: 2, run };
  const { signal } = stopping;
  running = new StageRunner(step, {
    ...{ queue, signal, log: silentLog, onAdvance: () => undefined, random: () => 0 },
    ...{ retryMinMs: RETRY_MS, retryMaxMs: RETRY_MS },
  }).run();
}

async function looks(): Promise<number> {
  const at = vi.spyOn(queue, 'at');
  await pause(WATCHED_MS);
  return at.mock.calls.length;
}

describe('a stage does not spin', () => {
  it('while it works on a file for the second time', async () => {
    const again = Promise.withResolvers<void>();
    let tries = 0;
    start(async (_files, signal) => {
      tries += 1;
      if (tries === 1) throw new Error('not yet');
      again.resolve();
      await pause(60_000, undefined, { signal });
      return [];
    });
    await again.promise;
    expect(await looks()).toBeLessThan(3);
  });

  it('after a file was given up by hand that waited for its next try', async () => {
    const failed = Promise.withResolvers<void>();
    start(async () => {
      failed.resolve();
      throw new Error('not yet');
    });
    await failed.promise;
    queue.giveUp(1, 'by hand');
    await pause(2 * RETRY_MS);
    expect(await looks()).toBeLessThan(3);
  });
});
