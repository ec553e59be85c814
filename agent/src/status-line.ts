/** The agent in one line, for `systemctl status`: files by stage, brokers, ledger. */
import type { AgentStatus } from './controls.ts';

/** What the line is made from; `brokers` is empty for an agent without the role `ingest`. */
export interface StatusLineFacts
  extends Pick<AgentStatus, 'epoch' | 'peers' | 'files' | 'clock' | 'alarms' | 'stuck'> {
  readonly brokers: readonly { readonly connected: boolean }[];
}

/** `3 files under way (2 distributed, 1 queued), 120 available; brokers 1/1; ledger epoch 4, 5 peers`. */
export function statusLine(facts: StatusLineFacts): string {
  const { epoch, peers, files, brokers, stuck, clock, alarms } = facts;
  const { available, void: voided, ...open } = files;
  const stages = Object.entries(open).filter(([, count]) => count > 0);
  const underWay = stages.reduce((sum, [, count]) => sum + count, 0);
  const byStage = stages.map(([stage, count]) => `${count} ${stage}`).join(', ');
  const connected = brokers.filter((broker) => broker.connected).length;
  const others = alarms.filter(({ what }) => what !== 'stuck' && what !== 'clock').length;
  const parts = [
    ...stuck.map((reason) => `STUCK: ${reason}`),
    ...(clock.waiting === null ? [] : [`WAITING: ${clock.waiting}`]),
    ...(others === 0 ? [] : [`ALARMS: ${others}, see blocktorrent status`]),
    `${underWay} files under way${byStage === '' ? '' : ` (${byStage})`}, ${available} available` +
      (voided > 0 ? `, ${voided} given up` : ''),
    ...(brokers.length === 0 ? [] : [`brokers ${connected}/${brokers.length}`]),
    epoch === null ? 'ledger not seen yet' : `ledger epoch ${epoch}, ${peers} peers`,
  ];
  return parts.join('; ');
}
