/** `blocktorrent run`: the agent itself, until SIGTERM or Ctrl-C; SIGHUP reads the configuration again. */
import type { CliCommand } from '../command.ts';

export const runCommand: CliCommand = {
  name: 'run',
  describe: 'run the agent until SIGTERM or Ctrl-C',
  group: 'Agent:',
  register(command, contextOf) {
    command.action(async () => {
      const { hangupsOf } = await import('../../runtime/lifecycle.ts');
      const hangups = hangupsOf(process);
      try {
        const context = contextOf();
        const { loadConfigApart } = await import('../../config/load-apart.ts');
        const path = context.configPath();
        const read = () => loadConfigApart(path, context.env, { checkFiles: true });
        const config = await read();
        const { createLog } = await import('../../runtime/log.ts');
        const { runAgent } = await import('../../main.ts');
        await runAgent(config, createLog({ level: config.log.level }), context.signal, {
          set: (listener) => hangups.set(listener),
          read,
        });
      } finally {
        hangups.dispose();
      }
    });
  },
};
