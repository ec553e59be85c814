/** Nothing is submitted with a clock that cannot be trusted; what waits says why, and goes on. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { statusText } from '../../agent/src/cli/status-text.ts';
import type { AgentStatus } from '../../agent/src/controls.ts';
import { clockedLedger } from '../../agent/src/ledger/clocked-ledger.ts';
import type { Ledger } from '../../agent/src/ledger/ledger.ts';
import { ClockWatch, type ClockWatchOptions } from '../../agent/src/runtime/clock-watch.ts';
import { FILE_QUEUE_MIGRATIONS, FileQueue } from '../../agent/src/runtime/file-queue.ts';
import { silentLog } from '../../agent/src/runtime/log.ts';
import { StageRunner } from '../../agent/src/runtime/stage-runner.ts';
import { statusLine } from '../../agent/src/status-line.ts';
import { manualClock } from '../support/manual-clock.ts';

const NOW_MS = Date.UTC(2026, 10, 22);
let dir = '';
let timesyncDir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'clock-'));
  timesyncDir = join(dir, 'timesync');
});
afterEach(() => rmSync(dir, { recursive: true }));

function watch(options: Partial<ClockWatchOptions> = {}, startMs = NOW_MS) {
  const clock = manualClock(startMs);
  return {
    clock,
    watched: new ClockWatch({ clock, need: 'synchronised', timesyncDir, ...options }),
  };
}

describe('the clock', () => {
  it('is waited for where timesyncd runs, until that has synchronised it', () => {
    mkdirSync(timesyncDir);
    const { clock, watched } = watch();
    expect(watched.state).toBe('unsynchronised');
    expect(watched.mistrust).toContain('not synchronised');
    expect(watch({ need: 'plausible' }).watched.mistrust).toBeNull();
    writeFileSync(join(timesyncDir, 'synchronized'), '');
    clock.advance(1_000);
    expect([watched.state, watched.mistrust]).toEqual(['synchronised', null]);
  });

  it('will do where nobody can tell, unless it is obviously off', () => {
    expect(watch().watched.state).toBe('unknown');
    expect(watch().watched.mistrust).toBeNull();
    expect(watch({}, 0).watched.mistrust).toContain('1970-01-01');
    const hourAhead = watch({ notBeforeMs: () => NOW_MS + 3_600_000 });
    expect(hourAhead.watched.mistrust).toContain('cannot be before 2026-11-22T00:58');
    expect(watch({ notBeforeMs: () => NOW_MS + 60_000 }).watched.mistrust).toBeNull();
  });
});

/** A ledger that counts what is sent. */
function countingLedger(sent: string[]): Ledger {
  return {
    mspId: 'Org1MSP',
    evaluate: async (name) => `read ${name}` as never,
    submit: async (name) => {
      sent.push(name);
      return { result: null as never, txId: 'ab' };
    },
    events: () => {
      throw new Error('nobody asks for events here');
    },
    close: () => undefined,
  };
}

describe('a transaction', () => {
  it('is not sent while the clock is mistrusted, and its id is not made; reading goes on', async () => {
    const sent: string[] = [];
    const ledger = clockedLedger(countingLedger(sent), () => 'it says 1970');
    const onTransactionId = vi.fn();
    const failed = ledger.submit('ledger/consortium:Leave', {}, { onTransactionId });
    await expect(failed).rejects.toMatchObject({ code: 'clock', txId: null });
    await expect(failed).rejects.toThrow(
      /ledger\/consortium:Leave waits for the clock.*it says 1970/,
    );
    expect([sent, onTransactionId.mock.calls]).toEqual([[], []]);
    const read = await ledger.evaluate('ledger/consortium:GetConsortium', {});
    expect(read).toBe('read ledger/consortium:GetConsortium');
  });

  it('of a file waits in the queue with the reason, and is sent once the clock is right', async () => {
    const db = new Database(':memory:');
    for (const migration of FILE_QUEUE_MIGRATIONS) db.exec(migration);
    const queue = new FileQueue(db, () => NOW_MS);
    const { id } = queue.add({ kind: 'file', inputPath: '/in', recipients: [], batch: null });
    let reason: string | null = 'it says 1970';
    const sent: string[] = [];
    const ledger = clockedLedger(countingLedger(sent), () => reason);
    const stop = new AbortController();
    const runner = new StageRunner(
      {
        ...{ name: 'record', from: 'queued', to: 'sealed', concurrency: 1 },
        run: async () => {
          await ledger.submit('ledger/consortium:Leave', {});
          return [{}];
        },
      },
      {
        ...{ queue, log: silentLog, signal: stop.signal, random: () => 0 },
        ...{ onAdvance: () => stop.abort(), retryMinMs: 1, retryMaxMs: 5 },
      },
    );
    const running = runner.run();
    await vi.waitFor(() => expect(queue.get(id).error).toContain('it says 1970'));
    expect([queue.get(id).stage, sent]).toEqual(['queued', []]);
    reason = null;
    await vi.waitFor(() => {
      runner.wake();
      expect(queue.get(id).stage).toBe('sealed');
    });
    await running;
    expect(sent).toEqual(['ledger/consortium:Leave']);
    db.close();
  });
});

describe('status', () => {
  it('says that transactions wait, and why', () => {
    const clock = { state: 'unsynchronised', waiting: 'timesyncd has not yet' } as const;
    const files = { available: 0, void: 0 } as AgentStatus['files'];
    const well = { epoch: null, peers: 0, files, brokers: [], sources: [], stuck: [], clock };
    const facts = { ...well, alarms: [{ what: 'clock', about: '', text: 'it waits' }] as const };
    expect(statusLine(facts)).toMatch(/^WAITING: timesyncd has not yet; /);
    const status = {
      ...{
        ...facts,
        mspId: 'Org1MSP',
        name: 'a',
        roles: [],
        doors: [],
        quarantine: [],
        awaitedOwners: [],
        disk: null,
        anchor: null,
        store: null,
      },
      ...{ upkeep: null, host: null, problems: [], overdue: { count: 0, oldestMs: null } },
      quarantine: [],
      uplink: { ciphertextBytes: 0, sentBytes: 0 },
    } as unknown as AgentStatus;
    expect(statusText(status)).toContain('ALARM     it waits');
  });
});
