/**
 * The agent's log: one JSON line an event, to standard error.
 *
 * Every line has `time` (ISO 8601), `level`, `component` and `message`; everything else is a field.
 * Fields pass through `redact.ts`, so a key, shard, identity or payload never reaches a line. Of warnings
 * and errors with the same component and message few are written a minute, and the rest are counted
 * (`log-repeats.ts`); at level `debug` all are.
 */
import { fstatSync } from 'node:fs';
import { type DestinationStream, destination, type Logger, pino } from 'pino';
import { LogRepeats } from './log-repeats.ts';
import { redactFields, redactText } from './redact.ts';

/** Severity, least to most. */
export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

/** What the pieces of the agent log through. */
export interface Log {
  debug(message: string, fields?: Record<string, unknown>): void;
  info(message: string, fields?: Record<string, unknown>): void;
  warn(message: string, fields?: Record<string, unknown>): void;
  error(message: string, fields?: Record<string, unknown>): void;
  /** The same log with these fields on every line, usually `{ component: 'ingest' }`. */
  child(fields: Record<string, unknown>): Log;
}

/** The log of a process, whose level may change while it runs. */
export interface LeveledLog extends Log {
  /** Least severity that is written from now on, also by every `child`. */
  setLevel(level: LogLevel): void;
}

export interface LogOptions {
  /** Least severity that is written; `info` if not said. */
  readonly level?: LogLevel;
  /** Where the lines go; standard error if not said. */
  readonly stream?: DestinationStream;
  /** Fields on every line; `component` is `agent` if not said. */
  readonly fields?: Record<string, unknown>;
  /** Over this time repetitions are counted, ms. */
  readonly repeatsMs?: number;
}

/** A log. Stack traces of errors are written at level `debug` only. */
export function createLog(options: LogOptions = {}): LeveledLog {
  const threshold = { level: options.level ?? 'info' };
  const logger = pino(
    {
      level: 'debug',
      base: null,
      messageKey: 'message',
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
    },
    options.stream ?? standardError(process.env),
  );
  const { component = 'agent', ...fields } = options.fields ?? {};
  return {
    ...wrap(logger.child(redactFields(fields)), {
      threshold,
      repeats: new LogRepeats(options.repeatsMs),
      component: String(component),
    }),
    setLevel: (level) => {
      threshold.level = level;
    },
  };
}

/** sd-daemon(3): the journal takes `<N>` before a line as its priority, and takes it off. */
const PRIORITIES: Readonly<Record<number, number>> = { 20: 7, 30: 6, 40: 4, 50: 3 };

/** Lines that wait for a log which takes none; further ones are dropped. */
const WAITING_BYTES_MAX = 1024 * 1024;

/** Standard error; with priorities where it goes to systemd's journal (`JOURNAL_STREAM`). */
function standardError(env: Readonly<Record<string, string | undefined>>): DestinationStream {
  const stderr = destination({ fd: 2, sync: true, maxLength: WAITING_BYTES_MAX });
  // A log that nobody takes (a full disk, a terminal that is gone) ends no agent: lines wait, then go.
  stderr.on('error', () => undefined);
  if (!goesToJournal(env.JOURNAL_STREAM ?? '')) return stderr;
  return withPriorities(stderr);
}

/** The same stream with each line's priority before it, for the journal. */
export function withPriorities(stream: DestinationStream): DestinationStream {
  const journal = {
    // By this pino tells the level of each line.
    [Symbol.for('pino.metadata')]: true,
    lastLevel: 30,
    write(line: string) {
      stream.write(`<${PRIORITIES[journal.lastLevel] ?? 6}>${line}`);
    },
  };
  return journal;
}

/** Whether `JOURNAL_STREAM` (`device:inode`, systemd.exec(5)) is our standard error. */
function goesToJournal(journalStream: string): boolean {
  if (journalStream === '') return false;
  const { dev, ino } = fstatSync(2);
  return journalStream === `${dev}:${ino}`;
}

/** A log that writes nothing; for tests and tools. */
export const silentLog: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => silentLog,
};

const LEVELS: readonly LogLevel[] = ['debug', 'info', 'warn', 'error'];

/** Fields that say whom or what a line is about: another one's trouble is no repetition. */
const ABOUT = ['what', 'url', 'mspId', 'owner', 'source', 'folder', 'listener', 'code'];

/** What a log and its children share, and the component of this one. */
interface Shared {
  readonly threshold: { readonly level: LogLevel };
  readonly repeats: LogRepeats;
  readonly component: string;
}

function wrap(logger: Logger, shared: Shared): Log {
  const { threshold, repeats, component } = shared;
  const write =
    (level: LogLevel) =>
    (message: string, fields: Record<string, unknown> = {}): void => {
      if (LEVELS.indexOf(level) < LEVELS.indexOf(threshold.level)) return;
      const text = redactText(message);
      const isDebug = threshold.level === 'debug';
      if (!isDebug && (level === 'warn' || level === 'error')) {
        const known = ABOUT.filter((name) => fields[name] !== undefined);
        const about = redactFields(Object.fromEntries(known.map((name) => [name, fields[name]])));
        const told = (leftOut: number) => logger[level]({ component, ...about, leftOut }, text);
        if (!repeats.admits(JSON.stringify([level, component, text, about]), told)) return;
      }
      logger[level]({ component, ...redactFields(fields, isDebug) }, text);
    };
  return {
    debug: write('debug'),
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
    // pino writes a field of the parent and of the child both: of components there is one.
    child: ({ component: own = component, ...fields }) =>
      wrap(logger.child(redactFields(fields)), { ...shared, component: String(own) }),
  };
}
