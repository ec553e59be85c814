/**
 * Completion scripts for bash, zsh and fish, made from the same program as `--help`.
 *
 * Enters: the program. Leaves: the text of a script. Always holds: every command, sub-command, option
 * and choice of the program is in it, and nothing else; the scripts run no `blocktorrent`.
 */
import type { Command } from 'commander';

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

/** A command as the shells see it; `path` is `config check`, '' for the program. */
interface Place {
  readonly path: string;
  readonly commands: readonly { readonly name: string; readonly text: string }[];
  readonly options: readonly { readonly flag: string; readonly text: string }[];
  /** Words that an argument may be; files where there are none. */
  readonly choices: readonly string[];
}

/** The script of `shell` for `program`. */
export function completionScript(program: Command, shell: Shell): string {
  const places = placesOf(program, '', []);
  const valued = [...new Set(valuedFlags(program))].sort();
  if (shell === 'fish') return fishScript(program.name(), places, valued);
  return shell === 'bash'
    ? bashScript(program.name(), places, valued)
    : zshScript(program.name(), places, valued);
}

function placesOf(command: Command, path: string, inherited: Place['options']): Place[] {
  const own = command.options
    .filter((option) => !option.hidden)
    .flatMap(({ long, description }) => (long == null ? [] : [{ flag: long, text: description }]));
  const options = [...own, ...inherited.filter(({ flag }) => flag !== '--version')];
  const place: Place = {
    path,
    commands: command.commands.map((one) => ({ name: one.name(), text: one.description() })),
    options: [...options, { flag: '--help', text: 'show help' }],
    choices: command.registeredArguments.flatMap((argument) => argument.argChoices ?? []),
  };
  const below = command.commands.flatMap((child) =>
    placesOf(child, path === '' ? child.name() : `${path} ${child.name()}`, options),
  );
  return [place, ...below];
}

/** Options that are followed by a value. */
function valuedFlags(command: Command): string[] {
  const own = command.options
    .filter((option) => option.required || option.optional)
    .flatMap(({ short, long }) => [short, long].filter((flag) => flag != null));
  return [...own, ...command.commands.flatMap(valuedFlags)];
}

/** What both bash and zsh do: the place by the words so far, and the words that may follow there. */
function cases(places: readonly Place[]): string[] {
  return places.map(({ path, commands, options, choices }) => {
    const words = [...commands.map(({ name }) => name), ...choices];
    const flags = options.map(({ flag }) => flag);
    return `    '${path}') words='${words.join(' ')}'; flags='${flags.join(' ')}' ;;`;
  });
}

function pathCase(places: readonly Place[]): string {
  const paths = places.map(({ path }) => path).filter((path) => path !== '');
  return paths.map((path) => `'${path}'`).join(' | ');
}

function bashScript(name: string, places: readonly Place[], valued: readonly string[]): string {
  return `# bash completion of ${name}; made by \`${name} completion bash\`.
_${name}() {
  local current=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD-1]}
  local path= word words= flags= i
  COMPREPLY=()
  case $before in
    ${valued.join(' | ')}) compopt -o default 2>/dev/null || true; return ;;
  esac
  for ((i = 1; i < COMP_CWORD; i++)); do
    case \${COMP_WORDS[i]} in
      ${valued.join(' | ')}) i=$((i + 1)); continue ;;
    esac
    word=\${path:+$path }\${COMP_WORDS[i]}
    case $word in
      ${pathCase(places)}) path=$word ;;
    esac
  done
  case $path in
${cases(places).join('\n')}
  esac
  if [[ $current == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$flags" -- "$current")
  elif [[ -n $words ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
  else
    compopt -o default 2>/dev/null || true
  fi
}
complete -F _${name} ${name}
`;
}

function zshScript(name: string, places: readonly Place[], valued: readonly string[]): string {
  return `#compdef ${name}
# zsh completion of ${name}; made by \`${name} completion zsh\`.
_${name}() {
  local current=\${words[CURRENT]} before=\${words[CURRENT-1]}
  local place= word flags= i
  local -a typed
  typed=(\${words[@]})
  case $before in
    ${valued.join(' | ')}) _files; return ;;
  esac
  for ((i = 2; i < CURRENT; i++)); do
    case \${typed[i]} in
      ${valued.join(' | ')}) i=$((i + 1)); continue ;;
    esac
    word=\${place:+$place }\${typed[i]}
    case $word in
      ${pathCase(places)}) place=$word ;;
    esac
  done
  local words=
  case $place in
${cases(places).join('\n')}
  esac
  if [[ $current == -* ]]; then
    compadd -- \${=flags}
  elif [[ -n $words ]]; then
    compadd -- \${=words}
  else
    _files
  fi
}
if [[ $funcstack[1] == _${name} ]]; then _${name} "$@"; else compdef _${name} ${name}; fi
`;
}

function fishScript(name: string, places: readonly Place[], valued: readonly string[]): string {
  const lines = places.flatMap(({ path, commands, options, choices }) => {
    const at = `-n '__${name}_at "${path}"'`;
    return [
      ...commands.map(
        (one) => `complete -c ${name} ${at} -f -a ${one.name} -d ${quoted(one.text)}`,
      ),
      ...choices.map((one) => `complete -c ${name} ${at} -f -a ${one}`),
      ...options.map(({ flag, text }) => {
        const takes = valued.includes(flag) ? ' -r' : '';
        return `complete -c ${name} ${at} -l ${flag.slice(2)}${takes} -d ${quoted(text)}`;
      }),
    ];
  });
  const paths = places.map(({ path }) => path).filter((path) => path !== '');
  return `# fish completion of ${name}; made by \`${name} completion fish\`.
function __${name}_at
  set -l path ''
  set -l skip 0
  for word in (commandline -opc)[2..-1]
    if test $skip = 1
      set skip 0
      continue
    end
    if contains -- $word ${valued.join(' ')}
      set skip 1
      continue
    end
    set -l next (string trim "$path $word")
    if contains -- $next ${paths.map(quoted).join(' ')}
      set path $next
    end
  end
  test "$path" = "$argv[1]"
end
${lines.join('\n')}
`;
}

function quoted(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}
