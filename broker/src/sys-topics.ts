/**
 * What the broker says of itself: retained messages below `$SYS/broker/`, so often.
 *
 * Always holds: they are QoS 0, and kept in memory only. Names are those that mosquitto has used for
 * years, where it has the same thing.
 */

/** Where they are. */
export const SYS = '$SYS/broker/';

/** Figures since the start, or now. */
export interface BrokerCounts {
  readonly uptimeSeconds: number;
  readonly connected: number;
  readonly sessions: number;
  readonly connectionsRefused: number;
  readonly received: number;
  readonly sent: number;
  readonly dropped: number;
  /** Messages whose publishers wait because a queue is full. */
  readonly held: number;
  readonly queued: number;
  readonly queuedBytes: number;
  readonly retained: number;
}

/** Topics below `SYS`, and what stands there. */
export function sysTopics(counts: BrokerCounts): ReadonlyMap<string, string> {
  const entries: readonly (readonly [string, number])[] = [
    ['uptime', Math.floor(counts.uptimeSeconds)],
    ['clients/connected', counts.connected],
    ['clients/sessions', counts.sessions],
    ['clients/refused', counts.connectionsRefused],
    ['publish/messages/received', counts.received],
    ['publish/messages/sent', counts.sent],
    ['publish/messages/dropped', counts.dropped],
    ['publish/messages/held', counts.held],
    ['store/messages/count', counts.queued],
    ['store/messages/bytes', counts.queuedBytes],
    ['retained messages/count', counts.retained],
  ];
  return new Map(entries.map(([name, value]) => [`${SYS}${name}`, String(value)]));
}
