/**
 * The command line as a value: every command of the table under one program.
 *
 * Enters: arguments and streams. Leaves: an exit status. Always holds: nothing here ends the process,
 * every error comes out through `explain`, and a stack trace only with `--debug`.
 */
import { Command, CommanderError } from 'commander';
import { CliError } from './cli-error.ts';
import type { CliCommand } from './command.ts';
import { type Ask, createContext } from './context.ts';
import { EXIT, EXIT_HELP } from './exit-codes.ts';
import { explain } from './explain.ts';
import { Output, type TextSink } from './output.ts';

export interface ProgramOptions {
  readonly commands: readonly CliCommand[];
  readonly version: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly out: TextSink;
  readonly err: TextSink;
  readonly signal: AbortSignal;
  /** Asks on the terminal; left out where there is none. */
  readonly ask?: Ask;
}

interface Shared {
  readonly config?: string;
  readonly json?: boolean;
  readonly debug?: boolean;
}

/** Runs one command line (without `node` and the script) and returns its exit status. */
export async function runProgram(
  argv: readonly string[],
  options: ProgramOptions,
): Promise<number> {
  const { out, err } = options;
  const program = buildProgram(options);
  try {
    await program.parseAsync([...argv], { from: 'user' });
    return EXIT.ok;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return EXIT.ok;
    const { json = argv.includes('--json'), debug = argv.includes('--debug') } =
      program.opts<Shared>();
    const helped = error instanceof CommanderError && error.code === 'commander.help';
    if (helped && !json) return EXIT.usage;
    const shown = error instanceof CommanderError ? usageError(error) : error;
    const explanation = explain(shown);
    // The result has said it all.
    if (explanation.message === '') return explanation.exitCode;
    const stack = debug && error instanceof Error ? (error.stack ?? '') : '';
    new Output({ json, out, err }).error(explanation, stack);
    // What ends so at a time limit, too: Ctrl-C was first.
    const isStopped = options.signal.aborted && STOPPED.includes(explanation.code);
    return isStopped ? EXIT.interrupted : explanation.exitCode;
  }
}

/** Codes of errors with which work ends that is aborted. */
const STOPPED: readonly string[] = ['aborted', 'timeout'];

/** The program with every command; also what the manual and completions are made from. */
export function buildProgram(options: ProgramOptions): Command {
  const { commands, version, env, out, err, signal, ask = null } = options;
  const program = new Command('blocktorrent')
    .description('Keeps sensor readings available and private: sealed, spread, audited.')
    .version(version)
    .option('-c, --config <file>', 'configuration file (or BLOCKTORRENT_CONFIG)')
    .option('--json', 'print results as JSON')
    .option('--debug', 'print stack traces of errors')
    .addHelpText('after', `\n${EXIT_HELP}`)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => out.write(text),
      writeErr: (text) => err.write(text),
      outputError: () => undefined,
    });
  const contextOf = () => {
    const { config, json = false, debug = false } = program.opts<Shared>();
    const output = new Output({ json, out, err });
    return createContext({ env, version, output, signal, ask, debug, config: config ?? null });
  };
  for (const { name, describe, group, register } of commands) {
    const command = program.command(name).description(describe).helpGroup(group);
    register(command, contextOf);
  }
  return program;
}

function usageError(error: CommanderError): CliError {
  // Commander's own word where a command is missing is '(outputHelp)'.
  const missing = error.code === 'commander.help';
  return new CliError(missing ? 'expected a command' : error.message.replace(/^error: /, ''), {
    todo: '`blocktorrent --help` and `blocktorrent COMMAND --help` show what there is.',
    exitCode: EXIT.usage,
  });
}
