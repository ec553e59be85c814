/** The command table: every command of `blocktorrent`, in the order of `--help`. */
import type { CliCommand } from './command.ts';
import { auditCommand } from './commands/audit.ts';
import { checkCommand } from './commands/check.ts';
import { completionCommand } from './commands/completion.ts';
import { configCommand } from './commands/config.ts';
import { consortiumCommand } from './commands/consortium.ts';
import { deadLettersCommand } from './commands/dead-letters.ts';
import { decodeCommand } from './commands/decode.ts';
import { diagCommand } from './commands/diag.ts';
import { exportTorrentCommand } from './commands/export-torrent.ts';
import { filesCommand } from './commands/files.ts';
import { getCommand } from './commands/get.ts';
import { giveUpCommand } from './commands/give-up.ts';
import { identityCommand } from './commands/identity.ts';
import { initCommand } from './commands/init.ts';
import { peersCommand } from './commands/peers.ts';
import { putCommand } from './commands/put.ts';
import { quarantineCommand } from './commands/quarantine.ts';
import { runCommand } from './commands/run.ts';
import { scrubCommand } from './commands/scrub.ts';
import { simulateCommand } from './commands/simulate.ts';
import { statusCommand } from './commands/status.ts';
import { tapCommand } from './commands/tap.ts';
import { topCommand } from './commands/top.ts';

export const COMMANDS: readonly CliCommand[] = [
  runCommand,
  statusCommand,
  topCommand,
  peersCommand,
  scrubCommand,
  tapCommand,
  deadLettersCommand,
  quarantineCommand,
  decodeCommand,
  putCommand,
  getCommand,
  filesCommand,
  exportTorrentCommand,
  giveUpCommand,
  auditCommand,
  consortiumCommand,
  initCommand,
  checkCommand,
  configCommand,
  identityCommand,
  simulateCommand,
  diagCommand,
  completionCommand,
];
