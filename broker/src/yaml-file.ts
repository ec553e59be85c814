/**
 * A YAML file of the broker, checked by a schema: a value, or every problem at once.
 *
 * Enters: text and a schema whose messages say what is expected, as a noun phrase. Leaves: the value;
 * or a FileError whose message has one line for each problem: file, line, column, key, expected,
 * found. Always holds: nothing of a wrong file is used.
 */
import { readFileSync, statSync } from 'node:fs';
import { isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml';
import type { z } from 'zod';

const FILE_BYTES_MAX = 4 * 1024 * 1024;

/** A file that cannot be used; `message` lists every problem, one a line. */
export class FileError extends Error {
  override readonly name = 'FileError';
  readonly code = 'bad-file';
}

/** Reads and checks. @throws FileError */
export function readYamlFile<T extends z.ZodType>(path: string, schema: T): z.output<T> {
  return parseYaml(readText(path), path, schema);
}

/** The same for text that is there already; `file` is its name in problems. */
export function parseYaml<T extends z.ZodType>(text: string, file: string, schema: T): z.output<T> {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const at = (offset: number): string => {
    const { line, col } = lines.linePos(offset);
    return `${file}:${line}:${col}`;
  };
  const broken = document.errors.map(
    ({ pos, message }) =>
      `${at(pos[0])}: expected YAML 1.2, found ${message.replace(/\n.*$/s, '')}`,
  );
  if (broken.length > 0) throw new FileError(broken.join('\n'));
  const value: unknown = document.toJS({ maxAliasCount: 100 }) ?? {};
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const root = document.contents as Node | null;
  const problems = result.error.issues.flatMap((issue) =>
    linesOf(issue, value).map(([path, rest]) => {
      const key = path.length === 0 ? '' : ` ${keyText(path)}:`;
      return `${at(offsetOf(root, path))}:${key} ${rest}`;
    }),
  );
  throw new FileError(problems.join('\n'));
}

function readText(path: string): string {
  try {
    const { size } = statSync(path);
    if (size > FILE_BYTES_MAX) {
      throw new FileError(`${path}: expected at most ${FILE_BYTES_MAX} bytes, found ${size}`);
    }
    return readFileSync(path, 'utf8');
  } catch (cause) {
    if (cause instanceof FileError) throw cause;
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new FileError(`${path}: expected a file that this user can read, found: ${reason}`, {
      cause,
    });
  }
}

type Path = readonly PropertyKey[];

/** Path and text of each line that an issue is worth. */
function linesOf(issue: z.core.$ZodIssue, value: unknown): (readonly [Path, string])[] {
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => [
      [...issue.path, key],
      'expected a known key, found an unknown one',
    ]);
  }
  if (issue.code === 'invalid_key') {
    const expected = issue.issues.map(({ message }) => message).join(', ');
    return [[issue.path, `expected ${expected}, found '${String(issue.path.at(-1))}'`]];
  }
  const found = issue.path.reduce<unknown>(
    (inner, key) => (inner instanceof Object ? Reflect.get(inner, key) : undefined),
    value,
  );
  const expected = issue.message.replace(/^Invalid input: expected (\w+).*$/s, '$1');
  // Whoever forgot to hash a password does not want to read it in a log.
  const secret = issue.path.at(-1) === 'password' && found !== undefined;
  return [
    [issue.path, `expected ${expected}, found ${secret ? 'something else' : foundText(found)}`],
  ];
}

/** A value as a person would call it. */
function foundText(value: unknown): string {
  if (value === undefined || value === null) return 'nothing';
  if (typeof value === 'string') {
    return value.length > 40 ? `a text of ${value.length} characters` : `'${value}'`;
  }
  if (typeof value !== 'object') return String(value);
  return Array.isArray(value) ? `a list of ${value.length}` : 'a section';
}

function keyText(path: Path): string {
  return path
    .map((part, index) =>
      typeof part === 'number' ? `[${part}]` : `${index === 0 ? '' : '.'}${String(part)}`,
    )
    .join('');
}

/** Where the key at a path stands, or the nearest one above it. */
function offsetOf(root: Node | null, path: Path): number {
  let node: unknown = root;
  let offset = 0;
  for (const part of path) {
    if (isMap(node)) {
      const pair = node.items.find(
        ({ key }) => isScalar(key) && String(key.value) === String(part),
      );
      if (pair === undefined) return offset;
      if (isScalar(pair.key)) offset = pair.key.range?.[0] ?? offset;
      node = pair.value;
    } else if (isSeq(node) && typeof part === 'number') {
      node = node.items[part];
      offset = (node as Node | undefined)?.range?.[0] ?? offset;
    } else {
      return offset;
    }
  }
  return offset;
}
