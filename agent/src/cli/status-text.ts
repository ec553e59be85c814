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
    ...status.alarms.map(({ text }) => `ALARM     ${text}`),
    epoch === null ? 'ledger    not seen yet' : `ledger    epoch ${epoch}, ${peers} peers`,
  ];
  if (roles.includes('ingest')) {
    const { readings, openReadings, deadLetters } = status;
    lines.push(
      `readings  ${readings}, ${openReadings} in the open batch, ${deadLetters} dead letters since the start`,
    );
  }
  lines.push(...brokerLines(status));
  if (status.disk !== null) lines.push(diskLine(status.disk));
  if (status.anchor !== null) {
    const { count, alarm, alarmMs } = status.anchor;
    const found = alarm === null || alarmMs === null ? '' : `; ${timeText(alarmMs)}: ${alarm}`;
    lines.push(
      `anchor    ${count === null ? 'none yet' : `${count} readings`} on the ledger${found}`,
    );
  }
  const counts = stages.map(([stage, count]) => `${count} ${stage}`).join(', ');
  lines.push(`files     ${counts === '' ? 'none yet' : counts}`);
  if (status.awaitedOwners.length > 0) {
    const owners = status.awaitedOwners.map(
      ({ mspId, files, state }) => `${mspId} (${state}, ${files} files)`,
    );
    lines.push(`waiting   for receipts of ${owners.join(', ')}`);
  }
  lines.push(
    `uplink    ${bytesText(sentBytes)} for ${bytesText(ciphertextBytes)} of files${ratio}`,
  );
  if (store !== null) {
    const rows = Object.entries(store).map(([key, value]) => `${key} ${String(value)}`);
    lines.push(`store     ${rows.join(', ')}`);
  }
  if (status.host !== null) lines.push(`machine   ${hostText(status.host)}`);
  if (status.upkeep !== null) lines.push(...upkeepLines(status.upkeep));
  return [...lines, ...problemLines(problems)].join('\n');
}

/** Brokers, and what they have lost, also long ago. */
function brokerLines({ brokers }: Pick<AgentStatus, 'brokers'>): string[] {
  if (brokers.length === 0) return [];
  const count = brokers.filter(({ connected }) => connected).length;
  return [
    `brokers   ${count} of ${brokers.length} subscribed at`,
    ...brokers
      .filter(({ sessionsLost }) => sessionsLost > 0)
      .map(({ url, sessionsLost, sessionLostMs }) => {
        const times = sessionsLost === 1 ? 'once' : `${sessionsLost} times`;
        const last = sessionLostMs === null ? '' : `, the last time ${timeText(sessionLostMs)}`;
        return `          ${url} has forgotten our session ${times}${last}`;
      }),
  ];
}

function diskLine({ usedBytes, maxBytes, ...disk }: NonNullable<AgentStatus['disk']>): string {
  const last = disk.droppedMs === null ? '' : `, the last ${timeText(disk.droppedMs)}`;
  const dropped =
    disk.droppedReadings > 0 ? `; ${disk.droppedReadings} readings dropped${last}` : '';
  return `disk      ${bytesText(usedBytes)} of ${bytesText(maxBytes)}${dropped}`;
}

/** One line for all files that wait for the same thing at the same stage. */
function problemLines(problems: AgentStatus['problems']): string[] {
  const alike = new Map<string, { readonly ids: number[]; readonly text: string }>();
  for (const { id, stage, error } of problems) {
    const text = `(${stage}): ${error}`;
    const known = alike.get(text);
    if (known === undefined) alike.set(text, { ids: [id], text });
    else known.ids.push(id);
  }
  return [...alike.values()].map(({ ids, text }) => {
    const [first] = ids;
    const files = ids.length === 1 ? `file ${first}` : `${ids.length} files, as ${first}`;
    return `problem   ${files} ${text}`;
  });
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
