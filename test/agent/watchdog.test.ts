/** When an agent counts as stuck, and that only then its watchdog is not fed. */
import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { FILE_QUEUE_MIGRATIONS, FileQueue } from '../../agent/src/runtime/file-queue.ts';
import { createLog, silentLog } from '../../agent/src/runtime/log.ts';
import { migrate } from '../../agent/src/runtime/migrate.ts';
import type { StageStep } from '../../agent/src/runtime/stage-runner.ts';
import {
  type StagePulse,
  stuckStages,
  UNTOUCHED_MS_MAX,
  Watchdog,
} from '../../agent/src/runtime/watchdog.ts';
import { manualClock } from '../support/manual-clock.ts';

const IDLE: StagePulse = {
  name: 'seal',
  hasWork: false,
  takenMs: 0,
  inHandSinceMs: null,
  workMsMax: 1_000,
};

describe('a stage is stuck', () => {
  it.each<[string, Partial<StagePulse>, number, boolean]>([
    ['not when there is nothing to do, ever so long', {}, 1e9, false],
    ['not before its time', { hasWork: true }, UNTOUCHED_MS_MAX, false],
    ['when files wait and none was taken', { hasWork: true }, UNTOUCHED_MS_MAX + 1, true],
    ['not while work in hand is within its limit', { inHandSinceMs: 0 }, 1_000, false],
    ['when work in hand is past its limit', { inHandSinceMs: 0 }, 1_001, true],
    ['not when it may wait for others', { inHandSinceMs: 0, workMsMax: null }, 1e9, false],
    [
      'not when more waits behind the work in hand',
      { hasWork: true, inHandSinceMs: 1e9 },
      1e9,
      false,
    ],
  ])('%s', (_title, pulse, nowMs, stuck) => {
    const reasons = stuckStages(
      [
        { ...IDLE, ...pulse },
        { ...IDLE, name: 'other' },
      ],
      nowMs,
    );
    expect(reasons).toHaveLength(stuck ? 1 : 0);
    if (stuck) expect(reasons[0]).toMatch(/^seal: /);
  });
});

function house() {
  const db = new Database(':memory:');
  migrate(db, FILE_QUEUE_MIGRATIONS);
  const queue = new FileQueue(db, () => 0);
  const clock = manualClock(0);
  const told: string[] = [];
  const lines: string[] = [];
  const watchdog = new Watchdog({
    notify: (state) => void told.push(state),
    intervalMs: 1,
    queue,
    monotonicMs: clock.monotonicMs,
    workMsMax: (stage) => (stage === 'distribute' ? null : 1_000),
    log: createLog({ stream: { write: (line: string) => lines.push(line) } }),
  });
  const add = () => queue.add({ kind: 'file', inputPath: '/x', batch: null, recipients: [] });
  const fed = () => {
    const before = told.length;
    watchdog.feed();
    return told.length > before;
  };
  return { queue, clock, told, lines, watchdog, add, fed };
}

function step(name: string, from: StageStep['from'], run: StageStep['run']): StageStep {
  return { name, from, to: 'available', concurrency: 1, inOrder: name === 'seal', run };
}
const never: StageStep['run'] = () => new Promise(() => undefined);

describe('the watchdog', () => {
  it('is not fed while work in hand is past its limit, says why once, and recovers', async () => {
    const { clock, lines, watchdog, add, fed } = house();
    let end: () => void = () => undefined;
    const seal = watchdog.watch(
      step('seal', 'queued', () => new Promise((resolve) => (end = () => resolve(['wait'])))),
    );
    const file = add();
    const work = seal.run([file], new AbortController().signal);
    expect(fed()).toBe(true);
    clock.advance(1_001);
    expect([fed(), fed()]).toEqual([false, false]);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain('seal: one file is in hand');
    end();
    await work;
    expect(fed()).toBe(true);
  });

  it('is fed while owners are waited for, days on end', () => {
    const { clock, watchdog, add, fed } = house();
    const distribute = watchdog.watch(step('distribute', 'named', never));
    void distribute.run([add()], new AbortController().signal);
    clock.advance(3 * 86_400_000);
    expect(fed()).toBe(true);
  });

  it('is fed while a failing stage tries again, and not when it no longer does', async () => {
    const { clock, watchdog, add, fed } = house();
    const deposit = watchdog.watch(
      step('deposit', 'queued', () => Promise.reject(new Error('no ledger'))),
    );
    const file = add();
    for (let minute = 0; minute < 60; minute += 1) {
      clock.advance(60_000);
      await expect(deposit.run([file], new AbortController().signal)).rejects.toThrow('no ledger');
      expect(fed()).toBe(true);
    }
    clock.advance(UNTOUCHED_MS_MAX + 1);
    expect(fed()).toBe(false);
  });

  it('is fed while an older file keeps a stage waiting that works in order', () => {
    const { queue, clock, watchdog, add, fed } = house();
    watchdog.watch({ ...step('seal', 'sealed', never) });
    add();
    queue.update(add().id, { stage: 'sealed' });
    clock.advance(UNTOUCHED_MS_MAX + 1);
    expect(fed()).toBe(true);
    queue.update(1, { stage: 'sealed' });
    expect(fed()).toBe(false);
  });

  it('feeds by itself from its start to its stop, and not at all where nobody watches', async () => {
    const { watchdog, told, queue } = house();
    watchdog.start();
    await expect.poll(() => told.length).toBeGreaterThan(3);
    watchdog.stop();
    const unwatched = new Watchdog({
      notify: (state) => void told.push(state),
      intervalMs: null,
      queue,
      monotonicMs: () => 0,
      workMsMax: () => null,
      log: silentLog,
    });
    told.length = 0;
    unwatched.start();
    expect(told).toEqual([]);
  });
});
