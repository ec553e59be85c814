/** `blocktorrent get FILE_ID`: a file that was shared with one's own identity, without a vote. */
import { resolve } from 'node:path';
import { runAction } from '../action.ts';
import type { CliCommand } from '../command.ts';
import { identityPath } from '../context.ts';
import { fileId } from '../options.ts';

interface Options {
  readonly out: string;
  readonly identity?: string;
}

export const getCommand: CliCommand = {
  name: 'get',
  describe: 'fetch and open a file that was shared with you',
  group: 'Files:',
  register(command, contextOf) {
    command
      .argument('<file-id>', '64 hex digits, as `put` and `files` show them', fileId)
      .requiredOption('-o, --out <file>', 'where to write it')
      .option('-i, --identity <file>', 'age identity (default: the one `identity` makes)')
      .action(async (id: string, options: Options) => {
        const context = contextOf();
        await runAction(context, (actions, action) =>
          actions.getFile(
            {
              fileId: id,
              outputPath: resolve(options.out),
              identityPath: resolve(options.identity ?? identityPath(context.env)),
            },
            action,
          ),
        );
      });
  },
};
