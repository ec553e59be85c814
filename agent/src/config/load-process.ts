/**
 * The process behind `load-apart.ts`: reads one configuration and says what came of it.
 *
 * In: path and options as arguments, the environment. Out: one JSON document, the configuration or
 * every problem; any other failure ends the process with its error.
 */
import { type LoadOptions, loadConfig } from './load.ts';
import { ConfigError, type Problem } from './problems.ts';
import type { Config } from './schema.ts';

/** What is said. */
export type Loaded = { readonly config: Config } | { readonly problems: readonly Problem[] };

function load(path: string, options: LoadOptions): Loaded {
  try {
    return { config: loadConfig(path, process.env, options) };
  } catch (error) {
    if (error instanceof ConfigError) return { problems: error.problems };
    throw error;
  }
}

const [path = '', options = '{}'] = process.argv.slice(2);
process.stdout.write(JSON.stringify(load(path, JSON.parse(options) as LoadOptions)));
