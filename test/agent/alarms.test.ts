/** What needs somebody's attention: every kind of it, said once, ended when it has ended. */
import { describe, expect, it } from 'vitest';
import { ALARMS, AlarmLog, alarmsOf } from '../../agent/src/alarms.ts';
import type { AgentStatus } from '../../agent/src/controls.ts';
import { type Ledger, LedgerError } from '../../agent/src/ledger/ledger.ts';
import { LedgerWatch } from '../../agent/src/ledger/ledger-watch.ts';
import { Registration, type RegistrationOptions } from '../../agent/src/registration.ts';
import { createLog, silentLog } from '../../agent/src/runtime/log.ts';
import { createMetrics } from '../../agent/src/runtime/metrics.ts';
import { manualClock } from '../support/manual-clock.ts';

const DAY_MS = 86_400_000;
const BROKER = { url: 'mqtt://b', connected: true, reason: null, sessionsLost: 1 };
const WELL = {
  stuck: [],
  ledgerTrouble: null,
  unregistered: null,
  clock: { state: 'unknown', waiting: null },
  brokers: [{ ...BROKER, sessionLostMs: 1 }],
  sources: [{ kind: 'folder', name: '/in', reason: null }],
  doors: [],
  disk: { alarm: null, droppedReadings: 9, droppedMs: 1 },
  quarantine: [],
  anchor: { count: 1, error: null, alarm: 'readings are missing', alarmMs: 1 },
  overdue: { count: 0, oldestMs: null },
  upkeep: { alarm: null },
} as unknown as AgentStatus;
const NOW_MS = 5 * DAY_MS;
const BAD = {
  ...WELL,
  stuck: ['seal: one file is in hand for 9 s'],
  ledgerTrouble: { sinceMs: 0, reason: 'peer p cannot be reached' },
  clock: { state: 'unknown', waiting: 'it is off' },
  brokers: [{ ...BROKER, connected: false, reason: 'refused', sessionLostMs: NOW_MS - 1 }],
  sources: [{ kind: 'folder', name: '/in', reason: 'no permission' }],
  doors: [{ name: 'overlay', reason: 'EADDRNOTAVAIL' }],
  disk: { alarm: 'no room', droppedReadings: 9, droppedMs: NOW_MS - 1 },
  quarantine: [{}],
  anchor: { count: 1, error: null, alarm: 'readings are missing', alarmMs: NOW_MS - 1 },
  overdue: { count: 2, oldestMs: 0 },
  upkeep: { alarm: '1 chunks are here alone' },
} as unknown as AgentStatus;

describe('alarms', () => {
  it('are none where all is well, also a day after a loss, and whatever the clock did', () => {
    expect(alarmsOf(WELL, NOW_MS)).toEqual([]);
    expect(alarmsOf(WELL, -NOW_MS)).toEqual([]);
  });

  it('are one of each kind where everything is wrong, and say what to look at', () => {
    const alarms = alarmsOf(BAD, NOW_MS);
    // One who cannot reach the ledger is told that, not what follows from it.
    const others = ALARMS.filter((what) => what !== 'registration');
    expect(alarms.map(({ what }) => what)).toEqual(others);
    const one = alarmsOf({ ...WELL, unregistered: 'NOT_ALLOWED' }, NOW_MS);
    expect(one.map(({ what }) => what)).toEqual(['registration']);
    expect(alarms[1]?.text).toBe(
      'the ledger does not answer, since 1970-01-01 00:00:00 UTC: peer p cannot be reached; ' +
        'files and audits wait until it does: look at the network, and at the peers in ledger.peers',
    );
  });

  it('tell of an anchor that fails where nothing else explains it', () => {
    const anchor = { count: 1, error: 'NOT_ALLOWED', alarm: null, alarmMs: null };
    const one = alarmsOf({ ...WELL, anchor }, NOW_MS);
    expect(one.map(({ text }) => text)).toEqual(['no anchor on the ledger: NOT_ALLOWED']);
    const { ledgerTrouble } = BAD;
    expect(alarmsOf({ ...WELL, anchor, ledgerTrouble }, NOW_MS)).toHaveLength(1);
  });

  it('are logged when they come and when they have ended, each time, and are a gauge', async () => {
    const lines: { message: string; what: string }[] = [];
    const log = createLog({ stream: { write: (line) => lines.push(JSON.parse(line)) } });
    const metrics = createMetrics();
    const alarms = new AlarmLog(metrics, log);
    const said = () => lines.splice(0).map(({ message, what }) => `${message} ${what}`);
    const disk = alarmsOf(BAD, NOW_MS).filter(({ what }) => what === 'disk');
    alarms.note(disk);
    alarms.note(disk.map((one) => ({ ...one, text: 'less room' })));
    expect(said()).toEqual(['alarm disk']);
    expect(await metrics.text()).toContain('blocktorrent_alarms{what="disk"} 1\n');
    alarms.note([]);
    alarms.note([]);
    expect(said()).toEqual(['alarm ended disk']);
    expect(await metrics.text()).toContain('blocktorrent_alarms{what="disk"} 0\n');
    alarms.note(disk);
    expect(said()).toEqual(['alarm disk']);
  });
});

it('a registration that is refused is told until it is taken', async () => {
  const peer = { mspId: 'Org1MSP', name: 'a', overlayKey: 'k', dhtAddress: '', roles: [] };
  let mayRegister = false;
  const registration = new Registration({
    view: { refresh: async () => ({ peers: [] }) },
    ledger: {
      submit: async () => {
        if (!mayRegister) throw new LedgerError('rejected', 'NOT_ALLOWED: role');
      },
    },
    ...{ log: silentLog, peer: () => peer, signal: new AbortController().signal },
  } as unknown as RegistrationOptions);
  expect(registration.failure).toBeNull();
  const registered = registration.run();
  await expect.poll(() => registration.failure).toBe('NOT_ALLOWED: role');
  mayRegister = true;
  await registered;
  expect(registration.failure).toBeNull();
});

describe('the watch over the ledger', () => {
  const down = new LedgerError('unavailable', 'evaluate: peer p cannot be reached');
  function watched() {
    const clock = manualClock(1_000);
    const watch = new LedgerWatch(clock);
    let answer: Error | null = null;
    const call = async () => {
      if (answer !== null) throw answer;
      return null;
    };
    const ledger = watch.watch({ evaluate: call, submit: call } as unknown as Ledger);
    const ask = (error: Error | null, way: 'evaluate' | 'submit' = 'evaluate') => {
      answer = error;
      return (ledger[way] as () => Promise<unknown>)().catch(() => null);
    };
    return { clock, watch, ask };
  }

  it('sees that no peer gives events, where nothing is asked, until one does for a while', () => {
    const { clock, watch } = watched();
    watch.streamOpened();
    expect(watch.trouble).toBeNull();
    watch.streamEnded('UNAVAILABLE');
    clock.advance(500);
    watch.streamEnded('peer p cannot be reached');
    const trouble = { sinceMs: 1_000, reason: 'peer p cannot be reached' };
    expect(watch.trouble).toEqual(trouble);
    // A peer that lets us in and throws us out is no ledger.
    watch.streamOpened();
    clock.advance(100);
    expect(watch.trouble).toEqual(trouble);
    watch.streamEnded('PERMISSION_DENIED');
    expect(watch.trouble).toEqual({ sinceMs: 1_000, reason: 'PERMISSION_DENIED' });
    watch.streamOpened();
    clock.advance(3_000);
    expect(watch.trouble).toBeNull();
    watch.streamEnded(null);
    expect(watch.trouble).toBeNull();
  });

  it('sees that calls fail, until one is answered, were it with a refusal', async () => {
    const { watch, ask } = watched();
    await ask(down);
    await ask(null, 'submit');
    expect(watch.trouble?.reason).toBe(down.message);
    await ask(new LedgerError('rejected', 'NOT_ALLOWED'));
    expect(watch.trouble).toBeNull();
  });

  it('forgets a failed call that nobody repeats', async () => {
    const { clock, watch, ask } = watched();
    await ask(down, 'submit');
    clock.advance(150_001);
    expect(watch.trouble).toBeNull();
  });
});
