/** `blocktorrent check`: a doctor for this machine, its certificates and everything it talks to. */

import type { Finding } from '../checks/finding.ts';
import { CliError } from '../cli-error.ts';
import type { CliCommand } from '../command.ts';
import type { Context } from '../context.ts';
import { EXIT } from '../exit-codes.ts';
import { explain } from '../explain.ts';

export const checkCommand: CliCommand = {
  name: 'check',
  describe: 'look for what is wrong: clock, disk, certificates, broker, ledger, peers',
  group: 'Set-up:',
  register(command, contextOf) {
    command
      .addHelpText('after', '\nExit status 1 where something failed; warnings alone are 0.')
      .action(async () => {
        const context = contextOf();
        const { output, call } = context;
        const config = await context.config();
        const status = await call('status', null).catch(explain);
        const { checkAll } = await import('../checks/all.ts');
        output.progress('looking', 0, 0);
        const files = await filesNamed(context);
        const findings = [...files, ...(await checkAll(config, status))];
        const failed = findings.filter(({ state }) => state === 'fail').length;
        const warned = findings.filter(({ state }) => state === 'warn').length;
        const lines = findings.map(({ name, state, found, todo }) => {
          const line = `${state.padEnd(4)}  ${name}: ${found}`;
          return todo === '' ? line : `${line}\n        ${todo}`;
        });
        const sum = `${findings.length} looks, ${failed} failed, ${warned} warnings`;
        output.result({ ok: failed === 0, failed, warned, findings }, [...lines, sum].join('\n'));
        // The findings have said it all.
        if (failed > 0) throw new CliError('', { exitCode: EXIT.failure });
      });
  },
};

/** Files of the configuration that are not what they should be, with which no agent starts. */
async function filesNamed(context: Context): Promise<Finding[]> {
  const { ConfigError, problemLine } = await import('../../config/load.ts');
  try {
    await context.config({ checkFiles: true });
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const todo = 'Put the right file there, or correct its name.';
    return error.problems.map((problem) => {
      return { name: 'configuration', state: 'fail', found: problemLine(problem), todo };
    });
  }
}
