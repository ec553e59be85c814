/** A changed configuration: what is applied live, what waits for a restart, what SIGHUP does. */
import { EventEmitter } from 'node:events';
import { describe, expect, it } from 'vitest';
import { applyLive, LIVE_KEYS } from '../../agent/src/config/live.ts';
import { parseConfig } from '../../agent/src/config/load.ts';
import { annotatedAt } from '../../agent/src/config/lookup.ts';
import { sampleConfig } from '../../agent/src/config/sample.ts';
import { hangupsOf } from '../../agent/src/runtime/lifecycle.ts';
import { createLog } from '../../agent/src/runtime/log.ts';
import { statusLine } from '../../agent/src/status-line.ts';

const sample = () => parseConfig(sampleConfig(), '/etc/x.yaml', {});

describe('a changed configuration', () => {
  it('changes nothing where nothing is different', () => {
    expect(applyLive(sample(), sample())).toEqual({ applied: [], needRestart: [] });
  });

  it('is applied in place where that can be done live, and the rest is named', () => {
    const running = sample();
    const next = sample();
    next.log.level = 'debug';
    next.consortium.vote = 'approve';
    next.batch.maxReadings = 7;
    next.batch.disk.reserveBytes = 9;
    next.batch.commitMaxReadings = 8;
    next.name = 'other';
    delete (next as { mqtt?: unknown }).mqtt;
    const { batch } = running;
    expect(applyLive(running, next)).toEqual({
      applied: ['batch.disk.reserveBytes', 'batch.maxReadings', 'consortium.vote', 'log.level'],
      needRestart: ['batch.commitMaxReadings', 'mqtt', 'name'],
    });
    expect(running.log.level).toBe('debug');
    expect(running.batch).toBe(batch);
    expect(batch.maxReadings).toBe(7);
    expect(batch.disk.reserveBytes).toBe(9);
    expect(batch.commitMaxReadings).not.toBe(8);
    expect(running.name).not.toBe('other');
  });

  it('is live only in keys that the schema knows', () => {
    const unknown = LIVE_KEYS.filter((key) => annotatedAt(key.split('.')) === null);
    expect(unknown).toEqual([]);
  });
});

describe('SIGHUP', () => {
  it('never ends the process, is answered when the agent is ready, and only until it ends', () => {
    const source = new EventEmitter();
    const hangups = hangupsOf(source);
    expect(source.emit('SIGHUP')).toBe(true);
    let reloads = 0;
    hangups.set(() => {
      reloads += 1;
    });
    expect(reloads).toBe(1);
    source.emit('SIGHUP');
    expect(reloads).toBe(2);
    hangups.dispose();
    expect(source.emit('SIGHUP')).toBe(false);
  });

  it('changes the level of the log and of every child of it', () => {
    const lines: string[] = [];
    const log = createLog({ stream: { write: (line: string) => lines.push(line) } });
    const child = log.child({ component: 'x' });
    child.debug('no');
    log.setLevel('debug');
    child.debug('yes');
    log.setLevel('error');
    child.warn('no');
    expect(lines.map((line) => (JSON.parse(line) as { message: string }).message)).toEqual(['yes']);
  });
});

describe('the status line', () => {
  const files = {
    queued: 1,
    sealed: 0,
    named: 2,
    distributed: 0,
    deposited: 0,
    recorded: 0,
    available: 120,
    void: 0,
  };
  const clock = { state: 'unknown', waiting: null } as const;
  it('counts files by stage, brokers, and says what the ledger says', () => {
    const well = { epoch: 4, peers: 5, files, brokers: [{ connected: true }], stuck: [], clock };
    const alarms = [
      { what: 'ledger', about: '', text: 'x' },
      { what: 'clock', about: '', text: 'y' },
    ] as const;
    expect(statusLine({ ...well, alarms })).toMatch(/^ALARMS: 1, see blocktorrent status; 3 files/);
    expect(statusLine({ ...well, alarms: [] })).toBe(
      '3 files under way (1 queued, 2 named), 120 available; brokers 1/1; ledger epoch 4, 5 peers',
    );
  });
  it('begins with what is stuck, and admits what was given up', () => {
    const facts = {
      epoch: null,
      peers: 0,
      files: { ...files, void: 3 },
      brokers: [],
      stuck: ['x'],
      alarms: [],
      clock,
    };
    expect(statusLine(facts)).toBe(
      'STUCK: x; 3 files under way (1 queued, 2 named), 120 available, 3 given up; ledger not seen yet',
    );
  });
});
