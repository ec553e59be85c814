/** The command table: every command of `blocktorrent`, in the order of `--help`. */
import type { CliCommand } from './command.ts';
import { auditCommand } from './commands/audit.ts';
import { configCommand } from './commands/config.ts';
import { consortiumCommand } from './commands/consortium.ts';
import { deadLettersCommand } from './commands/dead-letters.ts';
import { decodeCommand } from './commands/decode.ts';
import { filesCommand } from './commands/files.ts';
import { getCommand } from './commands/get.ts';
import { identityCommand } from './commands/identity.ts';
import { putCommand } from './commands/put.ts';
import { runCommand } from './commands/run.ts';
import { statusCommand } from './commands/status.ts';
import { tapCommand } from './commands/tap.ts';

export const COMMANDS: readonly CliCommand[] = [
  runCommand,
  statusCommand,
  tapCommand,
  deadLettersCommand,
  decodeCommand,
  putCommand,
  getCommand,
  filesCommand,
  auditCommand,
  consortiumCommand,
  configCommand,
  identityCommand,
];
