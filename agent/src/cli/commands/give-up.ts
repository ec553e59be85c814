/** `blocktorrent give-up NO`: ends the running agent's tries with a file; its place becomes void. */
import type { CliCommand } from '../command.ts';
import { wholeNumber } from '../options.ts';

interface GiveUpOptions {
  readonly reason: string;
  readonly loseReadings?: true;
}

export const giveUpCommand: CliCommand = {
  name: 'give-up',
  describe: 'give a file up that cannot be recorded; later ones go on',
  group: 'Files:',
  register(command, contextOf) {
    command
      .argument('<no>', 'as `files` shows it', wholeNumber(1, Number.MAX_SAFE_INTEGER))
      .requiredOption('--reason <text>', 'why; it is kept on the ledger')
      .option('--lose-readings', 'also where the sealed copy is all that is left of a batch')
      .action(async (id: number, { reason, loseReadings: lose }: GiveUpOptions) => {
        const { output, call } = contextOf();
        const file = await call('give-up', { id, reason, lose });
        const stays = `; ${file.path} stays where it is, \`put\` stores it anew`;
        const text = `file ${id} is given up${lose ? '' : stays}`;
        output.result(file, text);
      });
  },
};
