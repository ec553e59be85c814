/** The answer of `status` as people read it: shared by `status`, `top` and `diag collect`. */

import type { AgentStatus } from '../controls.ts';
import type { HostFacts } from '../runtime/host.ts';
import { bytesText, timeText } from './output.ts';
import { upkeepLines } from './upkeep-text.ts';

/** Several lines, without a newline at the end. */
export function statusText(status: AgentStatus): string {
  const { mspId, name, roles, epoch, peers, files, uplink, store, problems } = status;
  const stages = Object.entries(files).filter(([, count]) => count > 0);
  const { ciphertextBytes, sentBytes } = uplink;
  const ratio = ciphertextBytes === 0 ? '' : `, ${(sentBytes / ciphertextBytes).toFixed(2)} times`;
  const lines = [
    `${mspId}/${name} (${roles.join(', ')})`,
    epoch === null ? 'ledger    not seen yet' : `ledger    epoch ${epoch}, ${peers} peers`,
  ];
  if (roles.includes('ingest')) {
    const { readings, openReadings, deadLetters } = status;
    lines.push(
      `readings  ${readings}, ${openReadings} in the open batch, ${deadLetters} dead letters since the start`,
    );
  }
  lines.push(...sourceLines(status));
  for (const { name, reason } of status.doors) {
    lines.push(`ALARM     ${name} does not listen yet: ${reason}`);
  }
  if (status.disk !== null) {
    const { usedBytes, maxBytes, alarm } = status.disk;
    lines.push(`disk      ${bytesText(usedBytes)} of ${bytesText(maxBytes)}`);
    if (alarm !== null) lines.push(`ALARM     ${alarm}`);
  }
  if (status.quarantine.length > 0) {
    const { length } = status.quarantine;
    const files = length === 1 ? '1 damaged file was' : `${length} damaged files were`;
    lines.push(`ALARM     ${files} put aside: \`blocktorrent quarantine\` says why`);
  }
  if (status.anchor !== null) {
    const { count, alarm } = status.anchor;
    lines.push(`anchor    ${count === null ? 'none yet' : `${count} readings`} on the ledger`);
    if (alarm !== null) lines.push(`ALARM     ${alarm}`);
  }
  if (status.overdue.count > 0) {
    const { count, oldestMs } = status.overdue;
    const since = oldestMs === null ? '' : `, the oldest came ${timeText(oldestMs)}`;
    lines.push(`ALARM     ${count} files are not available in time${since}`);
  }
  if (status.clock.waiting !== null) {
    lines.push(`ALARM     transactions wait for the clock: ${status.clock.waiting}`);
  }
  const counts = stages.map(([stage, count]) => `${count} ${stage}`).join(', ');
  lines.push(`files     ${counts === '' ? 'none yet' : counts}`);
  lines.push(
    `uplink    ${bytesText(sentBytes)} for ${bytesText(ciphertextBytes)} of files${ratio}`,
  );
  if (store !== null) {
    const rows = Object.entries(store).map(([key, value]) => `${key} ${String(value)}`);
    lines.push(`store     ${rows.join(', ')}`);
  }
  if (status.host !== null) lines.push(`machine   ${hostText(status.host)}`);
  if (status.upkeep !== null) lines.push(...upkeepLines(status.upkeep));
  for (const { id, stage, error } of problems)
    lines.push(`problem   file ${id} (${stage}): ${error}`);
  return lines.join('\n');
}

/** Brokers, and whatever gives no readings now. */
function sourceLines({ brokers, sources }: Pick<AgentStatus, 'brokers' | 'sources'>): string[] {
  const lines: string[] = [];
  if (brokers.length > 0) {
    const count = brokers.filter(({ connected }) => connected).length;
    lines.push(`brokers   ${count} of ${brokers.length} subscribed at`);
  }
  for (const { url, connected, reason, sessionsLost } of brokers) {
    if (!connected) lines.push(`ALARM     broker ${url}: ${reason ?? 'not subscribed yet'}`);
    if (sessionsLost > 0) {
      const times = sessionsLost === 1 ? 'once' : `${sessionsLost} times`;
      lines.push(`ALARM     broker ${url} forgot our session, and what it kept for us: ${times}`);
    }
  }
  for (const { kind, name, reason } of sources) {
    if (reason !== null) lines.push(`ALARM     ${kind} ${name}: ${reason}`);
  }
  return lines;
}

/** Memory and disk always; temperature, throttling and wear where they are known. */
function hostText(facts: HostFacts): string {
  const { temperatureCelsius, throttled, flashWear } = facts;
  return [
    `${bytesText(facts.memoryAvailableBytes)} of ${bytesText(facts.memoryBytes)} memory free`,
    `${bytesText(facts.diskFreeBytes)} of ${bytesText(facts.diskBytes)} disk free`,
    ...(temperatureCelsius === null ? [] : [`${temperatureCelsius.toFixed(0)} °C`]),
    ...(throttled === true ? ['THROTTLED'] : []),
    ...(flashWear === null ? [] : [`flash ${Math.round(flashWear * 100)} % worn`]),
  ].join(', ');
}
