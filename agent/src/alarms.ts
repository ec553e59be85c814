/**
 * What of an agent's status needs somebody's attention: the same for `status`, the metric and the log.
 *
 * Enters: the facts. Leaves: alarms, each of one of few kinds. Always holds: an alarm is there as long as
 * what it tells of, and no longer; of a loss, which nothing undoes, for a day.
 */
import type { AgentStatus } from './controls.ts';
import type { Log } from './runtime/log.ts';
import type { Metrics } from './runtime/metrics.ts';

/** Kinds of alarms; the label `what` of the metric. */
export const ALARMS = [
  'stuck',
  'ledger',
  'registration',
  'clock',
  'broker',
  'session',
  'source',
  'listener',
  'disk',
  'dropped',
  'quarantine',
  'anchor',
  'overdue',
  'copies',
] as const;

export interface Alarm {
  readonly what: (typeof ALARMS)[number];
  /** Which one, where there are several; else empty. */
  readonly about: string;
  /** What happened, what it means, what to do. */
  readonly text: string;
}

type Facts = Omit<AgentStatus, 'alarms'>;

/** A loss is an alarm for so long; afterwards `status` tells of it without one. */
const LOSS_MS = 86_400_000;

/** Whether a loss at this time is an alarm still. Also where the clock has jumped since. */
export function isRecent(lossMs: number | null, nowMs: number): boolean {
  return lossMs !== null && Math.abs(nowMs - lossMs) < LOSS_MS;
}

/** All alarms, in the order of `ALARMS`. */
export function alarmsOf(facts: Facts, nowMs: number): Alarm[] {
  const { stuck, ledgerTrouble, clock, quarantine, doors, overdue, upkeep } = facts;
  const one = (what: Alarm['what'], text: string | null, about = ''): Alarm[] =>
    text === null ? [] : [{ what, about, text }];
  return [
    ...stuck.flatMap((text) =>
      one('stuck', `stuck: ${text}; where systemd watches, it restarts the agent`, text),
    ),
    ...one(
      'ledger',
      ledgerTrouble === null
        ? null
        : `the ledger does not answer, since ${when(ledgerTrouble.sinceMs)}: ${ledgerTrouble.reason}; ` +
            'files and audits wait until it does: look at the network, and at the peers in ledger.peers',
    ),
    ...one('registration', registrationAlarm(facts)),
    ...one(
      'clock',
      clock.waiting === null ? null : `transactions wait for the clock: ${clock.waiting}`,
    ),
    ...brokerAlarms(facts, nowMs),
    ...facts.sources.flatMap(({ kind, name, reason }) =>
      one('source', reason === null ? null : `${kind} ${name}: ${reason}`, name),
    ),
    ...doors.flatMap(({ name, reason }) =>
      one('listener', `${name} does not listen yet: ${reason}`, name),
    ),
    ...one('disk', facts.disk?.alarm ?? null),
    ...one('dropped', droppedAlarm(facts, nowMs)),
    ...one(
      'quarantine',
      quarantine.length === 0
        ? null
        : `${quarantine.length === 1 ? '1 damaged file was' : `${quarantine.length} damaged files were`} ` +
            'put aside: `blocktorrent quarantine` says why',
    ),
    ...one('anchor', anchorAlarm(facts, nowMs)),
    ...one('overdue', overdue.count === 0 ? null : overdueText(overdue)),
    ...one('copies', upkeep?.alarm ?? null),
  ];
}

/** Sets the metric, and logs each alarm once when it comes and once when it has ended. */
export class AlarmLog {
  readonly #metrics: Metrics;
  readonly #log: Log;
  readonly #known = new Map<string, Alarm>();

  constructor(metrics: Metrics, log: Log) {
    this.#metrics = metrics;
    this.#log = log;
  }

  /** The alarms that there are now. */
  note(alarms: readonly Alarm[]): void {
    for (const kind of ALARMS) {
      const count = alarms.filter(({ what }) => what === kind).length;
      this.#metrics.set('alarms', count, { what: kind });
    }
    const now = new Map(alarms.map((alarm) => [JSON.stringify([alarm.what, alarm.about]), alarm]));
    for (const [key, { what, about, text }] of now) {
      if (!this.#known.has(key)) this.#log.warn('alarm', { what, source: about, text });
    }
    for (const [key, { what, about }] of this.#known) {
      if (!now.has(key)) this.#log.info('alarm ended', { what, source: about });
    }
    this.#known.clear();
    for (const [key, alarm] of now) this.#known.set(key, alarm);
  }
}

/** Why others do not know this agent, where no other alarm says it. */
function registrationAlarm({ unregistered, ledgerTrouble, clock }: Facts): string | null {
  if (unregistered === null || ledgerTrouble !== null || clock.waiting !== null) return null;
  return `not registered on the ledger, so that no other agent knows this one: ${unregistered}; it is tried again`;
}

function brokerAlarms({ brokers }: Facts, nowMs: number): Alarm[] {
  return brokers.flatMap(({ url, connected, reason, sessionLostMs }): Alarm[] => [
    ...(connected
      ? []
      : [
          {
            what: 'broker' as const,
            about: url,
            text: `broker ${url}: ${reason ?? 'not subscribed yet'}`,
          },
        ]),
    ...(isRecent(sessionLostMs, nowMs)
      ? [
          {
            what: 'session' as const,
            about: url,
            text: `broker ${url} forgot our session at ${when(sessionLostMs ?? 0)}: what it kept for us then is lost; does it persist sessions, and for how long?`,
          },
        ]
      : []),
  ]);
}

function droppedAlarm({ disk }: Facts, nowMs: number): string | null {
  if (disk === null || !isRecent(disk.droppedMs, nowMs)) return null;
  const { droppedReadings, droppedMs } = disk;
  return `${droppedReadings} readings were dropped to make room, the last ${when(droppedMs ?? 0)}: more room is batch.disk.maxBytes`;
}

/** What anchors contradict, or why there is none where no other alarm says it. */
function anchorAlarm({ anchor, ledgerTrouble, clock }: Facts, nowMs: number): string | null {
  if (anchor === null) return null;
  if (isRecent(anchor.alarmMs, nowMs)) return anchor.alarm;
  const isSaid = ledgerTrouble !== null || clock.waiting !== null;
  return anchor.error === null || isSaid ? null : `no anchor on the ledger: ${anchor.error}`;
}

function overdueText({ count, oldestMs }: Facts['overdue']): string {
  const since = oldestMs === null ? '' : `, the oldest came ${when(oldestMs)}`;
  return `${count} files are not available in time${since}: \`blocktorrent files\` says where they stand`;
}

function when(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19).replace('T', ' ')} UTC`;
}
