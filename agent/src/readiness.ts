/** Whether the agent serves, for `/readyz`: every reason why it does not, or not wholly. */
import type { AgentStatus } from './controls.ts';
import type { Health } from './runtime/http.ts';

type Facts = Pick<AgentStatus, 'epoch' | 'brokers' | 'disk' | 'doors' | 'sources'>;

/** Ready means: the consortium is known, every broker subscribed, all listeners listen, the disk takes readings. */
export function readiness({ epoch, brokers, disk, doors, sources }: Facts): Health {
  const reasons = [
    ...(epoch === null ? ['the ledger has never been reached, or no consortium is founded'] : []),
    ...brokers.flatMap(({ url, connected, reason }) => {
      return connected ? [] : [`not subscribed at ${url}: ${reason ?? 'not connected yet'}`];
    }),
    ...sources.flatMap(({ name, reason }) => (reason === null ? [] : [`${name}: ${reason}`])),
    ...doors.map(({ name, reason }) => `${name} does not listen: ${reason}`),
    // What was dropped before is an alarm still, and keeps nothing from coming in.
    ...(disk === null || disk.admission === 'all' ? [] : [disk.alarm ?? 'no room']),
  ];
  return { ok: reasons.length === 0, reasons };
}
