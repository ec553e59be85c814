/**
 * From a file to a `Config`, or to every problem at once.
 *
 * `NAME.yaml` is read first, then every `NAME.d/*.yaml` and `*.yml` beside it in alphabetical order: sections
 * merge key by key, lists and values of the later file replace. Then `${…}` (already replaced by
 * `yaml.ts`), then the schema. Relative paths start from the folder of `NAME.yaml`.
 */
import { closeSync, openSync, readdirSync, readSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import type { SchemaContext } from './fields.ts';
import { annotatedAt, knownKeysAt } from './lookup.ts';
import { ConfigError, type Position, type Problem, problemsOf } from './problems.ts';
import { type Config, configSchema, crossIssues } from './schema.ts';
import { type Layer, parseYaml, pathKey } from './yaml.ts';

export { parseHostPort } from './fields.ts';
export { ConfigError, type Problem, problemLine } from './problems.ts';
export type { Config, HostPort } from './schema.ts';

export interface LoadOptions {
  /** Also demand that every file which is named exists and can be read. */
  readonly checkFiles?: boolean;
  /**
   * Also demand that keys fit their certificates; as `checkFiles` if not given. Not where a running
   * agent reads again: systemd hands a service new credentials only when that is started.
   */
  readonly checkPairs?: boolean;
}

type Env = Readonly<Record<string, string | undefined>>;
const FILE_BYTES_MAX = 1024 * 1024;

/** Reads, expands, checks. Throws `ConfigError` with every problem. */
export function loadConfig(path: string, env: Env, options: LoadOptions = {}): Config {
  const main = resolve(path);
  const files = [main, ...fragmentsOf(main)];
  const { checkFiles = false, checkPairs = checkFiles } = options;
  return configOf(
    files.map((file) => readLayer(file, env)),
    { folder: dirname(main), main, checkFiles, checkPairs },
  );
}

/** The same for text that is not in a file; `file` is its name in problems. */
export function parseConfig(text: string, file: string, env: Env): Config {
  const main = resolve(file);
  return configOf([parseYaml(text, file, env)], {
    folder: dirname(main),
    main: file,
    checkFiles: false,
  });
}

function fragmentsOf(main: string): string[] {
  const folder = join(dirname(main), `${basename(main).replace(/\.ya?ml$/, '')}.d`);
  if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() !== true) return [];
  return readdirSync(folder)
    .filter((name) => /\.ya?ml$/.test(name) && !name.startsWith('.'))
    .sort()
    .map((name) => join(folder, name));
}

function readLayer(file: string, env: Env): Layer {
  try {
    const text = readUpTo(file, FILE_BYTES_MAX);
    if (text === null) return failed(file, `at most ${FILE_BYTES_MAX} bytes`, 'more');
    return parseYaml(text, file, env);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return failed(file, 'a configuration file', 'no file');
    if (code === 'EACCES') return failed(file, 'a file that this user can read', 'no permission');
    if (code === 'EISDIR') return failed(file, 'a configuration file', 'a folder');
    throw error;
  }
}

/** Null where there is more: also of a device without an end, whose size is 0. */
function readUpTo(file: string, bytesMax: number): string | null {
  const descriptor = openSync(file, 'r');
  try {
    const buffer = Buffer.alloc(bytesMax + 1);
    let length = 0;
    for (let read = -1; read !== 0 && length < buffer.length; length += read) {
      read = readSync(descriptor, buffer, length, buffer.length - length, null);
    }
    return length > bytesMax ? null : buffer.toString('utf8', 0, length);
  } finally {
    closeSync(descriptor);
  }
}

function failed(file: string, expected: string, found: string): Layer {
  const problem: Problem = { file, line: 0, column: 0, key: '', expected, found };
  return { value: {}, positions: new Map(), problems: [problem] };
}

function configOf(
  layers: readonly Layer[],
  context: SchemaContext & { readonly main: string },
): Config {
  const problems = layers.flatMap((layer) => layer.problems);
  const unreadable = problems.some((problem) => problem.line === 0);
  if (unreadable) throw new ConfigError(problems);
  const value = layers.map((layer) => layer.value).reduce(merge, {});
  const positions = new Map(layers.flatMap((layer) => [...layer.positions]));
  const schema = configSchema(context);
  const result = schema.safeParse(value);
  const issues = [...(result.error?.issues ?? []), ...crossIssues(value, context.folder)];
  if (result.success && issues.length + problems.length === 0) return result.data;

  const positionOf = (path: readonly PropertyKey[]): Position => {
    for (let length = path.length; length > 0; length -= 1) {
      const position = positions.get(pathKey(path.slice(0, length)));
      if (position !== undefined) return position;
    }
    return { file: context.main, line: 1, column: 1 };
  };
  const found = issues.flatMap((issue) =>
    problemsOf(issue, {
      positionOf,
      valueAt: (path) => valueAt(value, path),
      knownKeys: knownKeysAt,
      descriptionOf: (path) => String(annotatedAt(path)?.description ?? ''),
    }),
  );
  // A value that could not be expanded is missing for the schema: once is enough.
  const keys = new Set(problems.map((problem) => problem.key));
  const dataDir = schema.shape.dataDir.safeParse(valueAt(value, ['dataDir']));
  throw new ConfigError(
    [...problems, ...found.filter(({ key }) => key === '' || !keys.has(key))].sort(byPlace),
    dataDir.data ?? null,
  );
}

function byPlace(a: Problem, b: Problem): number {
  return a.file.localeCompare(b.file) || a.line - b.line || a.column - b.column;
}

function merge(under: unknown, over: unknown): unknown {
  if (!isSection(under) || !isSection(over)) return over;
  const merged = { ...under };
  for (const [key, value] of Object.entries(over)) {
    merged[key] = Object.hasOwn(merged, key) ? merge(merged[key], value) : value;
  }
  return merged;
}

function isSection(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  let at = value;
  for (const part of path) {
    at = at instanceof Object && Object.hasOwn(at, part) ? Reflect.get(at, part) : undefined;
  }
  return at;
}
