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
        const config = await context.config({ checkFiles: true });
        const { loadConfig } = await import('../../config/load.ts');
        const { createLog } = await import('../../runtime/log.ts');
        const { runAgent } = await import('../../main.ts');
        const path = context.configPath();
        await runAgent(config, createLog({ level: config.log.level }), context.signal, {
          set: (listener) => hangups.set(listener),
          read: () => loadConfig(path, context.env, { checkFiles: true }),
        });
      } finally {
        hangups.dispose();
      }
    });
  },
};
