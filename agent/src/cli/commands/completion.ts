/** `blocktorrent completion SHELL`: a completion script, from the program itself. */
import type { CliCommand } from '../command.ts';
import { completionScript, SHELLS, type Shell } from '../completion.ts';

export const completionCommand: CliCommand = {
  name: 'completion',
  describe: 'print a completion script for bash, zsh or fish',
  group: 'Set-up:',
  register(command, contextOf) {
    command
      .addArgument(command.createArgument('<shell>', 'whose completion').choices(SHELLS))
      .addHelpText(
        'after',
        '\nFor bash: blocktorrent completion bash > /etc/bash_completion.d/blocktorrent',
      )
      .action((shell: Shell) => {
        const script = completionScript(command.parent ?? command, shell);
        contextOf().output.result({ shell, script }, script);
      });
  },
};
