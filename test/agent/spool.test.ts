/** A sealed batch is given up whose own file was dropped: its sealed copy is sealed anew. */
import { existsSync, mkdirSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { equalBytes } from '@blocktorrent/protocol/bytes.ts';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type ControlsOptions, controlRoutes } from '../../agent/src/controls.ts';
import { openFile } from '../../agent/src/crypto/open.ts';
import type { House } from '../../agent/src/house.ts';
import { pipeline } from '../../agent/src/pipeline.ts';
import { LAST_WORD_AFTER_MS, Refusals } from '../../agent/src/record/refused.ts';
import {
  BY_HAND,
  FILE_QUEUE_MIGRATIONS,
  FileQueue,
  type QueuedFile,
  REFUSALS_MAX,
  REFUSED,
} from '../../agent/src/runtime/file-queue.ts';
import { silentLog } from '../../agent/src/runtime/log.ts';
import { createMetrics, type Metrics } from '../../agent/src/runtime/metrics.ts';
import { Quarantine } from '../../agent/src/runtime/quarantine.ts';
import { StageRunner } from '../../agent/src/runtime/stage-runner.ts';
import { Spool } from '../../agent/src/spool.ts';
import { aFolder } from '../support/readings.ts';
import { Seeded } from '../support/seeded.ts';

const OVER = 'epoch 1 is over';
const random = new Seeded('spool');
const plain = random.bytes(300_000);
let folder: string;
let remove: () => void;
let queue: FileQueue;
let spool: Spool;
let quarantine: Quarantine;
let metrics: Metrics;
let maxBytes: number;
let monotonicMs = 0;

beforeEach(() => {
  [folder, remove] = aFolder();
  const db = new Database(':memory:');
  for (const migration of FILE_QUEUE_MIGRATIONS) db.exec(migration);
  queue = new FileQueue(db, () => 1_000);
  maxBytes = 1e9;
  metrics = createMetrics();
  mkdirSync(join(folder, 'spool'));
  quarantine = new Quarantine({
    ...{ folder: join(folder, 'quarantine'), maxBytes: () => 1e9, nowMs: () => 1_000 },
  });
  spool = new Spool({
    ...{ folder: join(folder, 'spool'), queue, maxBytes: () => maxBytes, quarantine },
    log: silentLog,
  });
});
afterEach(() => remove());

const inputPath = () => join(folder, '1.sqlite');
const spooled = () => readdirSync(spool.folder).sort();

/** The pipeline's first stage, until it has nothing more to do. */
async function seal(): Promise<void> {
  const house = {
    config: { seal: { chunksTarget: 200, recipients: [] }, distribute: { filesInFlight: 1 } },
    random: random.bytes,
    metrics,
    ...{ view: { known: false }, record: { refusals: new Refusals(() => monotonicMs) } },
    spool,
    queue,
  } as unknown as House;
  const [step] = pipeline(house);
  if (step === undefined) throw new Error('the pipeline has no stage');
  const stopping = new AbortController();
  const runner = new StageRunner(step, {
    ...{ queue, log: silentLog, signal: stopping.signal, random: Math.random },
    onAdvance: (file) => spool.tidy(file),
  });
  const running = runner.run();
  await until(() => queue.counts().queued === 0);
  stopping.abort();
  await running;
}

async function until(done: () => boolean): Promise<void> {
  while (!done()) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** A sealed batch; its own file is dropped, as it is to make room. */
async function sealed(): Promise<QueuedFile> {
  writeFileSync(inputPath(), plain);
  const { id } = queue.add({ kind: 'batch', inputPath: inputPath(), batch: 1, recipients: [] });
  await seal();
  rmSync(inputPath());
  return queue.get(id);
}

function giveUp(id: number, reason: string): QueuedFile {
  const file = queue.giveUp(id, reason);
  spool.tidy(file);
  return file;
}

async function expectPlainIn({ id, identity }: QueuedFile): Promise<void> {
  await openFile({
    ciphertextPath: spool.pathOf(id),
    identities: identity === null ? [] : [identity],
    outputPath: join(folder, 'back'),
    signal: new AbortController().signal,
  });
  expect(equalBytes(await readFile(join(folder, 'back')), plain)).toBe(true);
}

describe('a sealed batch without its own file that is given up', () => {
  it('is sealed anew from the sealed copy, with a key of its own', async () => {
    const first = await sealed();
    await expectPlainIn(first);
    const given = giveUp(first.id, OVER);
    expect(given).toMatchObject({ stage: 'void', identity: null, batch: null, error: OVER });
    expect([queue.batchStage(1), spooled()]).toEqual(['queued', ['1.age']]);
    await seal();
    const second = queue.get(2);
    expect(second).toMatchObject({ stage: 'sealed', batch: 1, inputPath: inputPath() });
    expect(second.recipient).not.toBe(first.recipient);
    expect(spooled()).toEqual(['2.age']);
    await expectPlainIn(second);
    giveUp(2, OVER);
    await seal();
    expect(spooled()).toEqual(['3.age']);
    await expectPlainIn(queue.get(3));
    // What is sealed anew from its sealed copy stays compressed.
    const { length } = plain;
    const size = first.ciphertextBytes ?? 0;
    expect([
      await metrics.total('sealFiles'),
      await metrics.total('sealPlaintextBytes'),
      await metrics.total('sealCiphertextBytes'),
    ]).toEqual([3, length, 3 * size]);
    expect(await metrics.text()).toContain('blocktorrent_seal_seconds_count 3\n');
  });

  it('does not wait for itself where what is sealed takes its part of the budget', async () => {
    const { id, ciphertextBytes } = await sealed();
    maxBytes = (ciphertextBytes ?? 0) - 1;
    expect(spool.isFull()).toBe(true);
    giveUp(id, OVER);
    expect(spool.isFull()).toBe(false);
  });

  it('is lost, and says so, where the sealed copy is gone or was altered', async () => {
    const { id } = await sealed();
    giveUp(id, OVER);
    truncateSync(spool.pathOf(id), 100_000);
    await seal();
    expect(queue.get(2)).toMatchObject({ stage: 'void', identity: null });
    expect(queue.get(2).error).toMatch(/^the readings of batch 1 are lost: .* cannot be opened: /);
    expect(spooled()).toEqual([]);
    queue.update(2, { batch: null });
    const again = await sealed();
    giveUp(again.id, OVER);
    rmSync(spool.pathOf(again.id));
    await seal();
    expect(queue.get(again.id + 1).error).toMatch(/^the readings of batch 1 are lost: /);
    expect(queue.list(9)).toHaveLength(4);
  });

  it('stays given up where a person said so, or the ledger refuses it again and again', async () => {
    giveUp((await sealed()).id, `${BY_HAND}of no use`);
    expect([queue.list(9).length, spooled()]).toEqual([1, []]);
    queue.update(1, { batch: null });
    await sealed();
    for (let i = 0; i < REFUSALS_MAX + 2; i += 1) {
      const newest = queue.list(1)[0];
      if (newest?.stage === 'sealed') giveUp(newest.id, `${REFUSED}X: y`);
      await seal();
    }
    const tries = queue.list(9).map(({ stage, identity }) => ({ stage, identity }));
    expect(tries).toEqual(Array(1 + REFUSALS_MAX).fill({ stage: 'void', identity: null }));
    expect(spooled()).toEqual([]);
  });

  it('needs its sealed copy no more where its own file is there', async () => {
    const { id } = await sealed();
    writeFileSync(inputPath(), plain);
    giveUp(id, OVER);
    expect([queue.list(9).length, spooled()]).toEqual([1, []]);
  });
});

describe('an input that cannot be read', () => {
  const UNREADABLE = '/proc/self/mem';

  it('is given up where it was put, and keeps nothing behind it from being sealed', async () => {
    queue.add({ kind: 'file', inputPath: UNREADABLE, batch: null, recipients: [] });
    await sealed();
    expect(queue.get(1)).toMatchObject({ stage: 'void', identity: null });
    expect(queue.get(1).error).toMatch(/^it cannot be read: seal .*EIO/);
    expect([queue.get(2).stage, spooled()]).toEqual(['sealed', ['2.age']]);
  });

  it('that is a batch makes way for the others after a minute, three times', async () => {
    const batch = { kind: 'batch', inputPath: UNREADABLE, batch: 9, recipients: [] } as const;
    queue.add(batch);
    const other = sealed();
    await until(() => queue.get(1).error !== null);
    expect([queue.get(1).stage, queue.get(2).stage]).toEqual(['queued', 'queued']);
    monotonicMs += LAST_WORD_AFTER_MS;
    await other;
    expect([queue.get(1).stage, queue.get(2).stage]).toEqual(['void', 'sealed']);
    for (const error of ['it cannot be read: a', 'it cannot be read: b']) {
      queue.update(queue.add(batch).id, { stage: 'void', error });
    }
    expect([queue.add(batch).stage, queue.list(9).length]).toEqual(['void', 4]);
  });
});

describe('giving it up by hand', () => {
  const ask = (body: object) => {
    const routes = controlRoutes({
      house: { queue, log: silentLog } as unknown as House,
      advanced: (file: QueuedFile) => spool.tidy(file),
    } as unknown as ControlsOptions);
    const call = { progress: () => true, signal: new AbortController().signal };
    return routes['give-up']?.({ reason: 'of no use', ...body }, call);
  };

  it('is refused where that would lose its readings, unless they are to be lost', async () => {
    const { id } = await sealed();
    await expect(ask({ id })).rejects.toThrow(
      'give-up: the file of batch 1 was dropped to make room: its readings are in the sealed copy alone',
    );
    queue.giveUp(id, OVER);
    await expect(ask({ id: 2 })).rejects.toThrow(
      'and would be lost; with --lose-readings they are',
    );
    expect([queue.get(2).stage, spooled()]).toEqual(['queued', ['1.age']]);
    expect(await ask({ id: 2, lose: true })).toMatchObject({ id: 2, stage: 'void' });
    expect([queue.list(9).length, queue.get(2).identity]).toEqual([2, null]);
    expect(spooled()).toEqual([]);
  });

  it('is done where its own file is there', async () => {
    const { id } = await sealed();
    writeFileSync(inputPath(), plain);
    expect(await ask({ id })).toMatchObject({ stage: 'void', error: `${BY_HAND}of no use` });
    expect(spooled()).toEqual([]);
  });
});

describe('put', () => {
  it('is refused by an agent that the ledger takes no files of, before it has begun', async () => {
    const routes = controlRoutes({
      house: { queue, config: { roles: ['store'] } },
    } as unknown as ControlsOptions);
    const call = { progress: () => true, signal: new AbortController().signal };
    await expect(routes.put?.({ path: inputPath(), to: [] }, call)).rejects.toThrow(
      'put: this agent has not the role ingest',
    );
    expect(queue.list(9)).toEqual([]);
  });
});

describe('the spool after a crash', () => {
  it('keeps what is still wanted, and nothing else of what it knows', async () => {
    const { id } = await sealed();
    writeFileSync(join(folder, 'f'), plain);
    const other = queue.add({
      ...{ kind: 'file', inputPath: join(folder, 'f'), batch: null, recipients: [] },
    });
    await seal();
    spool.sweep();
    expect(spooled()).toEqual([`${id}.age`, `${other.id}.age`]);
    queue.giveUp(id, OVER);
    queue.giveUp(other.id, OVER);
    for (const name of [`${other.id}.age.zst`, 'readme']) {
      writeFileSync(join(spool.folder, name), 'x');
    }
    spool.sweep();
    expect(spooled()).toEqual([`${id}.age`, 'readme'].sort());
    // Sealed anew, and cut off before the copy was removed.
    queue.update(3, { stage: 'sealed' });
    spool.sweep();
    expect(existsSync(spool.pathOf(id))).toBe(false);
  });

  it('has nothing left of a file that is to be sealed: that would count as sealed, and is plaintext', () => {
    writeFileSync(inputPath(), plain);
    queue.add({ kind: 'batch', inputPath: inputPath(), batch: 1, recipients: [] });
    maxBytes = 1_000;
    for (const name of ['1.age', '1.age.zst', '1.age.partial']) {
      writeFileSync(join(spool.folder, name), plain);
    }
    expect(spool.isFull()).toBe(true);
    spool.sweep();
    expect([spool.isFull(), spooled()]).toEqual([false, []]);
  });

  it('puts aside what a queue knew that is lost, but for plaintext: its numbers come again', () => {
    for (const name of ['1.age', '77.age', '78.age.zst', '79.age.partial']) {
      writeFileSync(join(spool.folder, name), 'sealed');
    }
    spool.sweep();
    expect(spooled()).toEqual([]);
    const aside = quarantine.list();
    expect(aside.map(({ was }) => was).sort()).toEqual(['1.age', '77.age']);
    expect(aside[0]).toMatchObject({ bytes: 6, salvaged: null });
    expect(aside[0]?.reason).toMatch(/^the queue does not know it: its key was in a state.sqlite/);
  });
});
