/** `blocktorrent files`: what the running agent has stored, newest first. */
import type { CliCommand } from '../command.ts';
import { wholeNumber } from '../options.ts';
import { bytesText, table } from '../output.ts';

export const filesCommand: CliCommand = {
  name: 'files',
  describe: 'list the files of the running agent',
  group: 'Files:',
  register(command, contextOf) {
    command
      .option('--limit <count>', 'how many, newest first', wholeNumber(1, 1_000), 50)
      .action(async ({ limit }: { limit: number }) => {
        const { output, call } = contextOf();
        const rows = (await call('files', null)).slice(0, limit);
        const titles = ['no', 'file id', 'kind', 'stage', 'sealed', 'path'];
        const cells = rows.map((row) => [
          row.id,
          row.fileId ?? '(not named yet)',
          row.kind,
          row.error === null ? row.stage : `${row.stage} (${row.error})`,
          bytesText(row.bytes),
          row.path,
        ]);
        output.result(rows, rows.length === 0 ? 'no files yet' : table(titles, cells));
      });
  },
};
