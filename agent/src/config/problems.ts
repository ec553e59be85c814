/**
 * What is wrong with a configuration, said so that it can be put right: file, line, key, what was
 * found and what was expected. All problems are collected; one `ConfigError` carries them.
 */
import type { SchemaIssue } from './schema.ts';
import { closest } from './suggest.ts';

/** Where a value stands. Lines and columns count from 1; 0 where there is none. */
export interface Position {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}
/** One thing to put right. */
export interface Problem extends Position {
  /** Dotted: `ledger.peers[0].endpoint`; '' for the whole file. */
  readonly key: string;
  /** What is there, short. */
  readonly found: string;
  /** What should be there, a noun phrase. */
  readonly expected: string;
  /** `'channel'` if a known key is close to an unknown one. */
  readonly suggestion?: string;
}

/** A configuration that cannot be used; `message` lists every problem, one a line. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly code = 'bad-config';
  readonly problems: readonly Problem[];
  /** Of the agent that may run with what stood there before; null where that cannot be read either. */
  readonly dataDir: string | null;

  constructor(problems: readonly Problem[], dataDir: string | null = null) {
    super(problems.map(problemLine).join('\n'));
    this.problems = problems;
    this.dataDir = dataDir;
  }
}

/** `agent.yaml:12:3: ledger.channel: expected text, found 5`. */
export function problemLine(problem: Problem): string {
  const place =
    problem.line === 0 ? problem.file : `${problem.file}:${problem.line}:${problem.column}`;
  const key = problem.key === '' ? '' : ` ${problem.key}:`;
  const meant = problem.suggestion === undefined ? '' : ` — did you mean ${problem.suggestion}?`;
  return `${place}:${key} expected ${problem.expected}, found ${problem.found}${meant}`;
}

/** `['peers', 0, 'mspId']` as `peers[0].mspId`. */
export function keyText(path: readonly PropertyKey[]): string {
  return path
    .map((part, i) =>
      typeof part === 'number' ? `[${part}]` : `${i === 0 ? '' : '.'}${String(part)}`,
    )
    .join('');
}

/** A value as a person would call it, about 60 characters, without `user:password@` of an address. */
function foundText(value: unknown): string {
  if (value === undefined || value === null) return 'nothing';
  if (typeof value === 'string') {
    if (value === '') return 'empty text';
    const shown = value.replace(/\/\/[^/@]*@/, '//…@');
    return `'${shown.length > 60 ? `${shown.slice(0, 60)}…` : shown}'`;
  }
  if (Array.isArray(value))
    return value.length === 0 ? 'an empty list' : `a list of ${value.length}`;
  if (typeof value === 'object') return 'a section';
  return String(value);
}

/** What an issue needs to become a problem. */
export interface IssueContext {
  positionOf(path: readonly PropertyKey[]): Position;
  valueAt(path: readonly PropertyKey[]): unknown;
  /** Keys that may stand in the section at `path`. */
  knownKeys(path: readonly PropertyKey[]): readonly string[];
  /** What the schema says of the value at `path`; '' if nothing. */
  descriptionOf(path: readonly PropertyKey[]): string;
}

/** Keys of MQTT that are looked for here, and why there are none. */
const ABSENT: Readonly<Record<string, string>> = {
  qos:
    'no `qos`: subscriptions have QoS 1, and a PUBACK waits until its reading is on the disk; ' +
    'QoS 2 is not offered',
};

/** Problems of one issue of the schema: one, or one for each unknown key. */
export function problemsOf(issue: SchemaIssue, context: IssueContext): Problem[] {
  if (issue.code === 'unrecognized_keys') {
    const known = context.knownKeys(issue.path);
    return issue.keys.map((key) => {
      const path = [...issue.path, key];
      const near = closest(key, known);
      return {
        ...context.positionOf(path),
        key: keyText(path),
        found: 'an unknown key',
        expected: ABSENT[key] ?? `one of ${known.join(', ')}`,
        ...(near === null ? {} : { suggestion: `'${near}'` }),
      };
    });
  }
  if (issue.code === 'invalid_key') {
    return issue.issues.map((inner) => ({
      ...context.positionOf(issue.path),
      key: keyText(issue.path),
      found: foundText(issue.path.at(-1)),
      expected: inner.message,
    }));
  }
  const value = context.valueAt(issue.path);
  const about = value === undefined ? context.descriptionOf(issue.path) : '';
  const values = issue.code === 'invalid_value' ? issue.values.map(String) : [];
  const near = typeof value === 'string' ? closest(value, values) : null;
  return [
    {
      ...context.positionOf(issue.path),
      key: keyText(issue.path),
      found: foundText(value),
      expected: `${expectedText(issue)}${about === '' ? '' : ` (${about.replace(/\.$/, '')})`}`,
      ...(near === null ? {} : { suggestion: `'${near}'` }),
    },
  ];
}

const TYPES: Readonly<Record<string, string>> = {
  string: 'text',
  object: 'a section',
  record: 'a section',
  array: 'a list',
  boolean: 'true or false',
  number: 'a number',
  int: 'a whole number',
};

function expectedText(issue: SchemaIssue): string {
  if (issue.code === 'invalid_type' && issue.message.startsWith('Invalid input')) {
    return TYPES[issue.expected] ?? issue.expected;
  }
  if (issue.code === 'invalid_value') return `one of ${issue.values.map(String).join(', ')}`;
  if (issue.code === 'too_big' && issue.message.startsWith('Too big')) {
    return `at most ${issue.maximum} ${issue.origin === 'array' ? 'items' : 'characters'}`;
  }
  return issue.message;
}
