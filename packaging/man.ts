/**
 * The manual page blocktorrent(1), made from the command table: what `--help` knows, nothing else.
 *
 * Enters: the program of `program.ts`. Leaves: man(7) source. Always holds: the same program and
 * date give the same bytes.
 */
import { buildProgram } from '@blocktorrent/agent/cli/program.ts';
import { COMMANDS } from '@blocktorrent/agent/cli/table.ts';

export interface ManOptions {
  readonly version: string;
  /** `2026-11-22`, for the page's head. */
  readonly date: string;
}

type Command = ReturnType<typeof buildProgram>;

/** The page as man(7) source. */
export function manPage({ version, date }: ManOptions): string {
  const program = programOf(version);
  const help: string[] = [];
  program.configureOutput({ writeOut: (text) => help.push(text) }).outputHelp();
  const [, statuses = ''] = help.join('').split('Exit status:\n');
  return [
    `.TH BLOCKTORRENT 1 ${quoted(date)} ${quoted(`blocktorrent ${version}`)} ${quoted('User commands')}`,
    '.SH NAME',
    `blocktorrent \\- ${escaped(firstLower(program.description()))}`,
    '.SH SYNOPSIS',
    '.B blocktorrent',
    '[OPTION...] COMMAND [ARGUMENT...]',
    '.SH OPTIONS',
    ...optionsOf(program),
    '.SH COMMANDS',
    ...program.commands.flatMap((command) => commandOf(command, '')),
    '.SH EXIT STATUS',
    ...statuses.split('\n').flatMap((line) => {
      const [, code, text = ''] = /^\s*(\d+)\s+(.*)$/.exec(line) ?? [];
      return code === undefined ? [] : ['.TP', `.B ${code}`, escaped(text)];
    }),
    '.SH FILES',
    ...entry('/etc/blocktorrent/blocktorrent.yaml', 'The configuration of the service.'),
    ...entry('/etc/blocktorrent/blocktorrent.d/*.yaml', 'Read after it, in alphabetical order.'),
    ...entry('/etc/blocktorrent/keys/', 'Private keys, for root only; the service gets copies.'),
    ...entry('/var/lib/blocktorrent/', 'What the service keeps.'),
    ...entry('/usr/share/doc/blocktorrent/examples/', 'A configuration to start from.'),
    '.SH SEE ALSO',
    '.BR systemctl (1),',
    '.BR age (1)',
    '',
  ].join('\n');
}

/** The program with every command; it prints nothing. */
export function programOf(version: string): Command {
  const sink = { write: () => true };
  return buildProgram({
    ...{ commands: COMMANDS, version, env: {}, out: sink, err: sink },
    signal: new AbortController().signal,
  });
}

/** A command with its arguments, options and sub-commands. */
function commandOf(command: Command, prefix: string): string[] {
  const name = `${prefix}${command.name()}`;
  if (command.commands.length > 0) {
    return command.commands.flatMap((child) => commandOf(child, `${name} `));
  }
  const takes = command.registeredArguments.map((argument) => {
    const shown = `${argument.name().toUpperCase()}${argument.variadic ? '...' : ''}`;
    return argument.required ? shown : `[${shown}]`;
  });
  const options = command.options.length > 0 ? ['[OPTION...]'] : [];
  return [
    `.SS ${quoted([name, ...options, ...takes].join(' '))}`,
    escaped(`${sentence(command.description())}`),
    ...command.registeredArguments.flatMap((argument) =>
      argument.description === ''
        ? []
        : entry(argument.name().toUpperCase(), sentence(argument.description)),
    ),
    ...optionsOf(command),
  ];
}

function optionsOf(command: Command): string[] {
  return command.options.flatMap(({ flags, description }) => entry(flags, sentence(description)));
}

function entry(term: string, text: string): string[] {
  return ['.TP', `.B ${escaped(term)}`, escaped(text)];
}

function sentence(text: string): string {
  const ended = /[.!?…]$/.test(text) ? text : `${text}.`;
  return `${ended.slice(0, 1).toUpperCase()}${ended.slice(1)}`;
}

function firstLower(text: string): string {
  return `${text.slice(0, 1).toLowerCase()}${text.slice(1)}`.replace(/\.$/, '');
}

function quoted(text: string): string {
  return `"${escaped(text).replaceAll('"', '\\(dq')}"`;
}

/** Text that roff takes as it is: backslashes, hyphens that are typed, dots at a line's start. */
function escaped(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll('…', '...')
    .replace(/^([.'])/, '\\&$1');
}
