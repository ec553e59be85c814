/**
 * Reads a configuration in a process of its own: the schema, its library and the YAML parser take
 * 6 to 10 MiB, which an agent that runs for years would keep.
 *
 * Enters: what `loadConfig` takes. Leaves: the same result, the same errors. Always holds: the
 * process has ended when it resolves or rejects, and is told the environment that it was given only.
 */
import { type ExecFileException, execFile } from 'node:child_process';
import { getCompileCacheDir } from 'node:module';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { LoadOptions } from './load.ts';
import type { Loaded } from './load-process.ts';
import { ConfigError } from './problems.ts';
import type { Config } from './schema.ts';

const PROCESS = fileURLToPath(new URL('./load-process.ts', import.meta.url));
const PATIENCE_MS = 60_000;
/** Of what it says: a configuration and its fragments have 1 MiB each. */
const BYTES_MAX = 64 * 1024 * 1024;

/** As `loadConfig`. Rejects with `ConfigError` with every problem, or `AbortError`. */
export async function loadConfigApart(
  path: string,
  env: Readonly<Record<string, string | undefined>>,
  options: LoadOptions,
  signal: AbortSignal,
): Promise<Config> {
  const cache = getCompileCacheDir();
  const args = [...process.execArgv, PROCESS, path, JSON.stringify(options)];
  const { stdout } = await promisify(execFile)(process.execPath, args, {
    env: { ...env, ...(cache === undefined ? {} : { NODE_COMPILE_CACHE: cache }) },
    maxBuffer: BYTES_MAX,
    timeout: PATIENCE_MS,
    signal,
  }).catch((error: ExecFileException) => {
    // Ctrl-C reaches every process of the terminal, this one perhaps first.
    const asked =
      error.killed !== true && (error.signal === 'SIGINT' || error.signal === 'SIGTERM');
    throw asked ? Object.assign(new Error('interrupted'), { name: 'AbortError' }) : error;
  });
  const loaded = JSON.parse(stdout) as Loaded;
  if ('problems' in loaded) throw new ConfigError(loaded.problems);
  return loaded.config;
}
