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
        const { env, signal } = context;
        const read = (checkPairs: boolean) => {
          return loadConfigApart(path, env, { checkFiles: true, checkPairs }, signal);
        };
        const config = await read(true).catch((error: Error) => {
          // Ended before it began, which is no failure.
          if (error.name === 'AbortError') return null;
          throw error;
        });
        if (config === null) return;
        const { createLog } = await import('../../runtime/log.ts');
        const { runAgent } = await import('../../main.ts');
        await runAgent(config, createLog({ level: config.log.level }), signal, {
          set: (listener) => hangups.set(listener),
          read: () => read(false),
        });
      } finally {
        hangups.dispose();
      }
    });
  },
};
