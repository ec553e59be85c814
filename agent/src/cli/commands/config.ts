/** `blocktorrent config …`: check, show, and get started with a configuration. */
import type { CliCommand } from '../command.ts';

export const configCommand: CliCommand = {
  name: 'config',
  describe: 'check and show the configuration, print a sample or its schema',
  group: 'Set-up:',
  register(command, contextOf) {
    command
      .command('check')
      .description('report everything that is wrong with the configuration')
      .option('--no-files', 'do not look whether the files that it names are there')
      .action(async ({ files }: { files: boolean }) => {
        const context = contextOf();
        const path = context.configPath();
        await context.config({ checkFiles: files });
        context.output.result({ ok: true, file: path, problems: [] }, `${path}: no problems found`);
      });
    command
      .command('show')
      .description('print the configuration in force, with every default, as JSON')
      .action(async () => {
        const context = contextOf();
        const config = await context.config();
        context.output.result(config, JSON.stringify(config, null, 2));
      });
    command
      .command('sample')
      .description('print a configuration to start from, with every key explained')
      .action(async () => {
        const { sampleConfig } = await import('../../config/sample.ts');
        const sample = sampleConfig();
        contextOf().output.result({ sample }, sample);
      });
    command
      .command('schema')
      .description('print the JSON Schema, for editors')
      .action(async () => {
        const { jsonSchema } = await import('../../config/schema.ts');
        const schema = jsonSchema();
        contextOf().output.result(schema, JSON.stringify(schema, null, 2));
      });
  },
};
