/** `blocktorrent quarantine`: damaged files that the agent has put aside, and why, newest first. */
import type { CliCommand } from '../command.ts';
import { bytesText, table, timeText } from '../output.ts';

export const quarantineCommand: CliCommand = {
  name: 'quarantine',
  describe: 'list damaged files that were put aside, and what was saved from them',
  group: 'Agent:',
  register(command, contextOf) {
    command.action(async () => {
      const { output, call } = contextOf();
      const { quarantine } = await call('status', null);
      const rows = quarantine.map(({ file, foundMs, bytes, salvaged, reason }) => [
        timeText(foundMs),
        file,
        bytesText(bytes),
        salvaged ?? '-',
        reason,
      ]);
      const titles = ['found (UTC)', 'file in quarantine/', 'size', 'readings saved', 'reason'];
      output.result(quarantine, rows.length === 0 ? 'nothing is damaged' : table(titles, rows));
    });
  },
};
