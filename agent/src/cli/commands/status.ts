/** `blocktorrent status`: the pipeline of the running agent at a glance. */
import type { AgentStatus } from '../../controls.ts';
import type { CliCommand } from '../command.ts';
import { bytesText } from '../output.ts';

export const statusCommand: CliCommand = {
  name: 'status',
  describe: 'show what the running agent is doing',
  group: 'Agent:',
  register(command, contextOf) {
    command.action(async () => {
      const { call, output } = contextOf();
      const status = await call('status', null);
      output.result(status, statusText(status));
    });
  },
};

function statusText(status: AgentStatus): string {
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
      `readings  ${readings}, ${openReadings} in the open batch, ${deadLetters} dead letters`,
    );
  }
  if (status.disk !== null) {
    const { usedBytes, maxBytes, alarm } = status.disk;
    lines.push(`disk      ${bytesText(usedBytes)} of ${bytesText(maxBytes)}`);
    if (alarm !== null) lines.push(`ALARM     ${alarm}`);
  }
  if (status.anchor !== null) {
    const { count, alarm } = status.anchor;
    lines.push(`anchor    ${count === null ? 'none yet' : `${count} readings`} on the ledger`);
    if (alarm !== null) lines.push(`ALARM     ${alarm}`);
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
  for (const { id, stage, error } of problems)
    lines.push(`problem   file ${id} (${stage}): ${error}`);
  return lines.join('\n');
}
