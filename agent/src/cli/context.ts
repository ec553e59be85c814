/**
 * What every command gets: the options that all commands share, the environment, and output.
 * `config()` reads the configuration on first use, so that commands without one need none.
 */

import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { Config, LoadOptions } from '../config/load.ts';
import type { CallOptions } from '../runtime/control-client.ts';
import { CliError } from './cli-error.ts';
import { EXIT } from './exit-codes.ts';
import type { Output } from './output.ts';
import type { ControlRoutes } from './routes.ts';

type Env = Readonly<Record<string, string | undefined>>;

/** Shows a question, returns the line that was typed. */
export type Ask = (question: string) => Promise<string>;

export interface Context {
  readonly env: Env;
  /** Of this program. */
  readonly version: string;
  readonly output: Output;
  /** `--debug`: logs and stack traces are shown. */
  readonly debug: boolean;
  /** Ends on Ctrl-C and SIGTERM. */
  readonly signal: AbortSignal;
  /** Asks the person at the terminal; null where there is none, or JSON was asked for. */
  readonly ask: Ask | null;
  /** The configuration file that was named, or the first of the usual ones that exists. */
  configPath(): string;
  config(options?: LoadOptions): Promise<Config>;
  /** Calls the agent that runs with this configuration. */
  call<R extends keyof ControlRoutes>(
    route: R,
    body: ControlRoutes[R][0],
    options?: CallOptions,
  ): Promise<ControlRoutes[R][1]>;
}

export interface ContextOptions {
  readonly env: Env;
  readonly version: string;
  readonly output: Output;
  readonly signal: AbortSignal;
  readonly ask: Ask | null;
  readonly debug: boolean;
  /** `--config`; null if not given. */
  readonly config: string | null;
}

/** Where a configuration is looked for without `--config` and `BLOCKTORRENT_CONFIG`. */
const CONFIG_PATHS = ['blocktorrent.yaml', '/etc/blocktorrent/blocktorrent.yaml'] as const;

/** The context of one invocation. */
export function createContext(options: ContextOptions): Context {
  const { env, version, output, signal, ask, debug } = options;
  let told = false;
  const context: Context = {
    env,
    version,
    output,
    signal,
    ask: output.json ? null : ask,
    debug,
    configPath() {
      const named = options.config ?? env.BLOCKTORRENT_CONFIG ?? '';
      const found = named === '' ? CONFIG_PATHS.find((path) => existsSync(path)) : named;
      if (found !== undefined) return found;
      throw new CliError(`no configuration: looked for ${CONFIG_PATHS.join(' and ')}`, {
        means: 'The agent and its ledger are found by it.',
        todo: 'Give --config FILE or set BLOCKTORRENT_CONFIG; `blocktorrent config sample` prints one to start from.',
        exitCode: EXIT.usage,
      });
    },
    async config(load = {}) {
      const { loadConfig } = await import('../config/load.ts');
      return loadConfig(context.configPath(), env, load);
    },
    async call(route, body, call = {}) {
      const { dataDir, wrong } = await agentOf(context);
      const { callControl } = await import('../runtime/control-client.ts');
      const ending = call.signal === undefined ? signal : AbortSignal.any([signal, call.signal]);
      const options = { ...call, signal: ending };
      const result = await callControl(dataDir, route, body, options).catch((error: unknown) => {
        throw wrong !== null && (error as { code?: unknown }).code === 'no-agent' ? wrong : error;
      });
      if (wrong !== null && !told) {
        output.note(
          'The configuration is wrong now (`blocktorrent config check`); the agent runs with an older one.',
        );
        told = true;
      }
      return result as never;
    },
  };
  return context;
}

/** Where the agent keeps its things, also while what else stands in its configuration is wrong. */
async function agentOf(context: Context): Promise<{ dataDir: string; wrong: Error | null }> {
  try {
    const { dataDir } = await context.config();
    return { dataDir, wrong: null };
  } catch (error) {
    const { ConfigError } = await import('../config/problems.ts');
    if (!(error instanceof ConfigError) || error.dataDir === null) throw error;
    return { dataDir: error.dataDir, wrong: error };
  }
}

/** The personal age identity's usual place: `$XDG_CONFIG_HOME/blocktorrent/identity.txt`. */
export function identityPath(env: Env): string {
  const xdg = env.XDG_CONFIG_HOME ?? '';
  const folder = xdg === '' ? join(env.HOME ?? homeFolder(), '.config') : xdg;
  return join(folder, 'blocktorrent', 'identity.txt');
}

function homeFolder(): string {
  try {
    return homedir();
  } catch (cause) {
    throw new CliError('HOME is not set, and the system knows no home of this user', {
      todo: 'Name the identity file.',
      exitCode: EXIT.usage,
      cause,
    });
  }
}
