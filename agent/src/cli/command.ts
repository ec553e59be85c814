/** A row of the command table: one file a command. */
import type { Command } from 'commander';
import type { Context } from './context.ts';

/** Makes the context once the options are parsed. */
export type ContextOf = () => Context;

export interface CliCommand {
  /** First word on the command line. */
  readonly name: string;
  /** One line for `--help`, the manual and completion. */
  readonly describe: string;
  /** Heading under which `--help` shows it. */
  readonly group: 'Agent:' | 'Files:' | 'Audit:' | 'Set-up:';
  /** Adds arguments, options, sub-commands and the action to `command`, which has name and text. */
  register(command: Command, context: ContextOf): void;
}
