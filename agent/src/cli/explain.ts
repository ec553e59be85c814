/**
 * Errors as a person needs them: what happened, what it means, what to do, and the exit status.
 *
 * Enters: anything thrown. Always holds: errors are told apart by `name` and `code`, so that no
 * library has to be loaded to explain its error; a stack trace is never part of it.
 */
import { refusalCode } from '../ledger/ledger.ts';
import { CliError } from './cli-error.ts';
import { EXIT, type ExitCode } from './exit-codes.ts';

export interface Explanation {
  readonly code: string;
  readonly message: string;
  readonly means: string;
  readonly todo: string;
  readonly exitCode: ExitCode;
}
type Row = readonly [exitCode: ExitCode, means: string, todo: string];

const NO_AGENT: Row = [
  EXIT.unavailable,
  'This command asks the running agent, and there is none.',
  'Start it with `blocktorrent run --config FILE`, or name the configuration of the one that runs.',
];
const LATER: Row = [
  EXIT.unavailable,
  'Nothing was changed.',
  'Look at `blocktorrent status` and the network, then try again.',
];
const TAMPERED: Row = [
  EXIT.verification,
  'What came does not match what was signed or recorded. It was not used.',
  'Try again: other owners may have a good copy. `blocktorrent audit fetch` names who is at fault.',
];
const REFUSED: Row = [EXIT.refused, 'Nothing was changed.', ''];

/** What to do about a contract's refusal, by its code. */
const CONTRACT_TODO: Readonly<Record<string, string>> = {
  NOT_FOUNDED:
    'There is no consortium on this channel: one member runs `blocktorrent consortium found FILE`, once.',
  NOT_ALLOWED: 'Whose is the certificate in `ledger.certFile`, and with which role?',
};

/** By error name and code; `*` for every other code of that name. */
const TABLE: Readonly<Record<string, Readonly<Record<string, Row>>>> = {
  ConfigError: {
    '*': [
      EXIT.usage,
      'Nothing was done. An agent that runs goes on with what it has read.',
      'Correct the lines above; `blocktorrent config sample` prints a file that works.',
    ],
  },
  ControlError: {
    'no-agent': NO_AGENT,
    'not-permitted': [
      EXIT.unavailable,
      'The agent’s folder is its own user’s alone: whether an agent runs cannot be seen.',
      'Run the same as root (`sudo`), or as the user whose agent it is.',
    ],
    'no-answer': [
      EXIT.unavailable,
      'A process has the control socket open and hears nothing: it is stopped, frozen or overloaded.',
      'Look at its log. As a service it is ended and started again by its watchdog within a minute.',
    ],
    'already-running': [
      EXIT.usage,
      'Two agents must not share one dataDir.',
      'Stop the other one first, or give this one its own dataDir.',
    ],
    'path-too-long': [EXIT.usage, '', ''],
    'unknown-route': [
      EXIT.failure,
      'The running agent is of another release, or lacks the role.',
      'Restart it.',
    ],
    'broken-off': [
      EXIT.unavailable,
      'The agent stopped or was restarted in between; its work goes on where it was.',
      'Look at `blocktorrent status`.',
    ],
    '*': [EXIT.failure, '', ''],
  },
  GiveUpError: {
    'not-withdrawn': [
      EXIT.refused,
      'Who purges a shard without a word is at fault when it is asked for. Nothing was purged.',
      '`blocktorrent audit withdraw FILE_ID --reason TEXT` says it; purge 4 minutes later.',
    ],
    '*': [EXIT.refused, 'Nothing was purged.', ''],
  },
  LedgerError: {
    rejected: REFUSED,
    unavailable: LATER,
    timeout: [
      EXIT.unavailable,
      'The transaction may or may not have been committed.',
      'Look before you repeat it: `blocktorrent files`, `blocktorrent audit list`.',
    ],
    clock: [
      EXIT.unavailable,
      'Nothing was sent: the ledger refuses what a wrong clock has dated.',
      '`blocktorrent check` says what keeps the clock; then try again.',
    ],
    conflict: [EXIT.failure, 'Others changed the same thing at the same time.', 'Try again.'],
    '*': [EXIT.failure, 'The ledger did not take the transaction.', ''],
  },
  AuditError: {
    denied: REFUSED,
    expired: [
      EXIT.refused,
      'It was not approved and answered in its time.',
      'Ask again with a longer `--expires`.',
    ],
    'wrong-key': TAMPERED,
    'wrong-table': TAMPERED,
    'too-few-shards': [
      EXIT.unavailable,
      'Fewer holders than needed have released their shards.',
      'Wait, and try again.',
    ],
    'not-shared': [
      EXIT.refused,
      'This file was not sealed to your identity.',
      'Ask for an audit: `blocktorrent audit request`.',
    ],
    'unknown-request': [EXIT.usage, '', '`blocktorrent audit list` shows the requests.'],
    'unknown-file': [EXIT.usage, '', '`blocktorrent files` shows the files of a running agent.'],
    timeout: [
      EXIT.unavailable,
      'Votes or releases are missing.',
      'Ask the others for them: `blocktorrent audit list` shows who is waited for.',
    ],
    '*': [EXIT.failure, '', ''],
  },
  TorrentError: {
    'unknown-here': [EXIT.usage, '', 'Ask the agent of the source, or of an owner.'],
    'no-tracker': [
      EXIT.failure,
      '',
      'Set `overlay.plain` in the configuration of the owners, and restart them.',
    ],
  },
  FetchError: { unavailable: LATER, 'wrong-whole': TAMPERED, '*': [EXIT.failure, '', ''] },
  ProtocolError: { 'bad-argument': [EXIT.usage, '', ''], '*': TAMPERED },
  SqliteError: {
    '*': [
      EXIT.failure,
      'A database in dataDir cannot be used.',
      'Is it the agent’s own file, is the disk sound? docs/OPERATIONS.md says how to go on without one.',
    ],
  },
  MigrationError: { newer: [EXIT.usage, 'Nothing was changed.', ''], '*': [EXIT.failure, '', ''] },
};

/** Explains anything that was thrown. */
export function explain(error: unknown): Explanation {
  if (error instanceof CliError) {
    const { code, message, means, todo, exitCode } = error;
    return { code, message, means, todo, exitCode };
  }
  if (!(error instanceof Error)) {
    return { code: 'failed', message: String(error), means: '', todo: '', exitCode: EXIT.failure };
  }
  if (error.name === 'AbortError') {
    return {
      code: 'interrupted',
      message: 'interrupted',
      means: '',
      todo: '',
      exitCode: EXIT.interrupted,
    };
  }
  const code = codeOf(error);
  const row = rowOf(error, code);
  const [exitCode, means, general] = row ?? fileRow(error);
  const todo = CONTRACT_TODO[contractCode(error) ?? ''] ?? general;
  return { code, message: messageOf(error, row !== null), means, todo, exitCode };
}

/** `NOT_FOUNDED`, … where a contract has refused: the first word of what it says; null for all else. */
export function contractCode(error: unknown): string | null {
  if (!(error instanceof Error) || codeOf(error) !== 'rejected') return null;
  return refusalCode(error.message);
}

function codeOf(error: Error): string {
  const remote = 'remote' in error && typeof error.remote === 'string' ? error.remote : '';
  if (remote !== '') return remote;
  return 'code' in error && typeof error.code === 'string' ? error.code : 'failed';
}

function rowOf(error: Error, code: string): Row | null {
  const rows = TABLE[error.name];
  const named = rows?.[code];
  if (named !== undefined) return named;
  // What a handler of the agent threw comes with its own code, without its name.
  if ('remote' in error && error.remote !== '') {
    for (const others of Object.values(TABLE)) {
      const row = others[code];
      if (row !== undefined) return row;
    }
  }
  return rows?.['*'] ?? null;
}

const FILE_CODES: Readonly<Record<string, Row>> = {
  ENOENT: [EXIT.usage, 'There is no such file.', ''],
  EACCES: [EXIT.usage, 'This user may not do that with the file.', ''],
  EEXIST: [EXIT.usage, 'The file is there already, and is left as it is.', 'Name another one.'],
  EISDIR: [EXIT.usage, 'It is a folder.', 'Name a file.'],
  ENOSPC: [EXIT.failure, 'The disk is full.', 'Make room, then try again.'],
  ENOTDIR: [EXIT.usage, 'A part of its path is a file, not a folder.', 'Name another one.'],
  ENAMETOOLONG: [EXIT.usage, 'The system takes no name of that length.', 'Name another one.'],
  ELOOP: [EXIT.usage, 'Its symbolic links lead in a circle.', 'Name another one.'],
  EPERM: [EXIT.usage, 'The system does not let this user do that.', ''],
  EROFS: [EXIT.failure, 'The disk is read-only.', 'Mount it writable, then try again.'],
  EDQUOT: [EXIT.failure, 'The disk is full for this user.', 'Make room, then try again.'],
  EADDRINUSE: [
    EXIT.failure,
    'Another process listens there.',
    'End it, or choose another port, or 0 for any.',
  ],
  EADDRNOTAVAIL: [
    EXIT.failure,
    'No network interface of this machine has that address, or none has it yet.',
    'Listen on one that `ip address` shows, or on 0.0.0.0; `advertise` names what others dial.',
  ],
  ENOTFOUND: [EXIT.failure, 'No name server knows that host.', 'Is its name right?'],
  EAI_AGAIN: [EXIT.failure, 'No name server answered.', 'Look at the network, then try again.'],
};

function fileRow(error: Error): Row {
  const row = FILE_CODES[codeOf(error)];
  if (row !== undefined) return row;
  return [
    EXIT.failure,
    'This is a fault in blocktorrent, or one it does not know.',
    'Run the same again with --debug, and report what it prints.',
  ];
}

function messageOf(error: Error, known: boolean): string {
  const message = error.message === '' ? error.name : error.message;
  const cause = !known && error.cause instanceof Error ? ` (${error.cause.message})` : '';
  return `${message}${cause}`;
}
