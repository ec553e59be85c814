/** A stage of the pipeline by itself: what it says of what waits, and what goes on. */
import { setTimeout } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  FILE_QUEUE_MIGRATIONS,
  FileQueue,
  type QueuedFile,
} from '../../agent/src/runtime/file-queue.ts';
import { silentLog } from '../../agent/src/runtime/log.ts';
import {
  StageRunner,
  type StageRunnerOptions,
  type StageStep,
} from '../../agent/src/runtime/stage-runner.ts';
import { UNTOUCHED_MS_MAX, Watchdog } from '../../agent/src/runtime/watchdog.ts';

let queue: FileQueue;
let stopping: AbortController;
let running: Promise<void>;

beforeEach(() => {
  const db = new Database(':memory:');
  for (const migration of FILE_QUEUE_MIGRATIONS) db.exec(migration);
  queue = new FileQueue(db, () => 1_000);
  stopping = new AbortController();
});
afterEach(async () => {
  stopping.abort();
  await running;
});

function add(count: number, stage: QueuedFile['stage']): void {
  for (let n = 0; n < count; n += 1) {
    const { id } = queue.add({ kind: 'file', inputPath: '/f', batch: null, recipients: [] });
    queue.update(id, { stage });
  }
}

function run(step: Partial<StageStep>, options: Partial<StageRunnerOptions> = {}): void {
  const runner = new StageRunner(
    {
      ...{ name: 'record', from: 'deposited', to: 'recorded', concurrency: 1, inOrder: true },
      ...{ runMax: 20, run: async () => [] },
      ...step,
    },
    {
      ...{ queue, log: silentLog, signal: stopping.signal, random: Math.random },
      onAdvance: () => undefined,
      ...options,
    },
  );
  running = runner.run();
}

async function until(done: () => boolean): Promise<void> {
  while (!done()) await setTimeout(5);
}

describe('a stage', () => {
  it('says what a file waits for, and no more once it goes on', async () => {
    add(1, 'queued');
    let isFull = true;
    const step = { name: 'seal', from: 'queued', to: 'sealed' } as const;
    const seal = async () => (isFull ? [{ waitsFor: 'the spool is full' }] : [{}]);
    run({ ...step, run: seal });
    await until(() => queue.get(1).error !== null);
    expect(queue.problems(9)).toEqual([
      { id: 1, stage: 'queued', error: 'seal: the spool is full' },
    ]);
    isFull = false;
    await until(() => queue.get(1).stage === 'sealed');
    expect(queue.problems(9)).toEqual([]);
  });

  it('takes nothing while the next one has no room, and is not stuck then', async () => {
    add(2, 'sealed');
    let nowMs = 0;
    const watchdog = new Watchdog({
      ...{ queue, log: silentLog, notify: () => undefined, intervalMs: null },
      ...{ monotonicMs: () => nowMs, workMsMax: () => 1_000 },
    });
    const step: StageStep = {
      ...{ name: 'name', from: 'sealed', to: 'named', concurrency: 1, inOrder: true },
      hasRoom: () => queue.countAt('named') < 1,
      run: async () => [{}],
    };
    run(watchdog.watch(step));
    await until(() => queue.countAt('named') === 1);
    nowMs = 2 * UNTOUCHED_MS_MAX;
    expect([queue.get(2).stage, watchdog.health().ok]).toEqual(['sealed', true]);
    queue.update(1, { stage: 'distributed' });
    expect(watchdog.health().ok).toBe(false);
    await until(() => queue.get(2).stage === 'named');
  });

  it('moves the other files of a run where the disk refuses to tidy up after one', async () => {
    add(3, 'deposited');
    const told: number[] = [];
    const onAdvance = ({ id }: QueuedFile) => {
      told.push(id);
      if (id === 1) throw Object.assign(new Error('read-only'), { code: 'EROFS' });
    };
    let runs = 0;
    const record = async (files: readonly QueuedFile[]) => {
      runs += 1;
      return files.map(() => ({}));
    };
    run({ run: record }, { onAdvance });
    await until(() => queue.counts().recorded === 3);
    expect([runs, told, queue.problems(9)]).toEqual([1, [1, 2, 3], []]);
  });
});

describe('the problems of a queue', () => {
  it('name the file that all wait for first, however many came after it', () => {
    add(300, 'queued');
    queue.update(2, { error: 'seal: no' });
    queue.update(300, { error: 'seal: never' });
    expect(queue.problems(9).map(({ id }) => id)).toEqual([2, 300]);
  });

  it('name what was given up, unless its batch goes on as another file', () => {
    const batch = { kind: 'batch', inputPath: '/b', batch: 1, recipients: [] } as const;
    add(1, 'deposited');
    const { id } = queue.add(batch);
    for (const one of [1, id]) queue.giveUp(one, 'epoch 1 is over');
    expect(queue.problems(9).map((one) => one.id)).toEqual([id, 1]);
    queue.add(batch);
    expect(queue.problems(9).map((one) => one.id)).toEqual([1]);
  });
});

describe('a stage does not spin', () => {
  const queued = { name: 'seal', from: 'queued', to: 'sealed', inOrder: false } as const;
  const RETRY_MS = 20;
  const retry = { retryMinMs: RETRY_MS, retryMaxMs: RETRY_MS };

  /** How often the queue is looked at meanwhile; a look costs reading whole rows. */
  async function looks(): Promise<number> {
    const at = vi.spyOn(queue, 'at');
    await setTimeout(300);
    return at.mock.calls.length;
  }

  it('while it works on a file for the second time', async () => {
    add(1, 'queued');
    const again = Promise.withResolvers<void>();
    let tries = 0;
    const seal = async (_files: readonly QueuedFile[], signal: AbortSignal) => {
      tries += 1;
      if (tries === 1) throw new Error('not yet');
      again.resolve();
      await setTimeout(60_000, undefined, { signal });
      return [];
    };
    run({ ...queued, concurrency: 2, run: seal }, retry);
    await again.promise;
    expect(await looks()).toBeLessThan(3);
  });

  it('after a file was given up by hand that waited for its next try', async () => {
    add(1, 'queued');
    const failed = Promise.withResolvers<void>();
    const seal = async () => {
      failed.resolve();
      throw new Error('not yet');
    };
    run({ ...queued, concurrency: 2, run: seal }, retry);
    await failed.promise;
    queue.giveUp(1, 'by hand');
    await setTimeout(2 * RETRY_MS);
    expect(await looks()).toBeLessThan(3);
  });
});
