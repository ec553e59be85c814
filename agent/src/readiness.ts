/** Whether the agent serves, for `/readyz`: every reason why it does not, or not wholly. */
import type { AgentStatus } from './controls.ts';
import type { Health } from './runtime/http.ts';

type Facts = Pick<
  AgentStatus,
  'epoch' | 'ledgerTrouble' | 'brokers' | 'disk' | 'doors' | 'sources'
>;

/**
 * Ready means: the consortium is known and the ledger answers, every broker subscribed, all
 * listeners listen, the disk takes readings.
 */
export function readiness(facts: Facts): Health {
  const { epoch, ledgerTrouble, brokers, disk, doors, sources } = facts;
  const reasons = [
    ...(epoch === null ? ['the ledger has never been reached, or no consortium is founded'] : []),
    ...(ledgerTrouble === null ? [] : [`the ledger does not answer: ${ledgerTrouble.reason}`]),
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
