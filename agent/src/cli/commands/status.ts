/** `blocktorrent status`: the pipeline of the running agent at a glance. */
import type { CliCommand } from '../command.ts';
import { statusText } from '../status-text.ts';

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
