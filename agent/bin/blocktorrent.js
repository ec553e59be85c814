#!/usr/bin/env node
/**
 * Starts the command line, on any Node from 20 on.
 *
 * The agent is TypeScript that Node runs directly from 22.18 on. An older Node finds the Node 24 that
 * npm has put into node_modules/.bin, and runs this file again with it: arguments, streams, signals
 * and exit status are passed on.
 * V8 is told to keep its young generation small: chunks pass through memory as buffers that are
 * only given back when it is collected, and a gateway has little memory. It is also told to let the
 * agent ask for a collection, for when there is nothing to do; and not to make objects old at once
 * whose kind has lived long before: what waited for a slow disk in one minute does not in the next.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import module from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';

const FLUSH_AFTER_MS = 5_000;
const LAUNCHED = 'BLOCKTORRENT_LAUNCHED';
/** Of libc's malloc; one for each thread keeps what it has had, 25 MiB in all under load. */
const ARENAS = 'MALLOC_ARENA_MAX';
/** MiB of V8's young generation, at most; readings are taken a tenth slower with 1. */
const YOUNG_GENERATION = '--max-semi-space-size';
const MEMORY_FLAGS = [`${YOUNG_GENERATION}=4`, '--expose-gc'];
/** A tenth less time for each reading under load, and 26 MiB less. */
const KEEP_YOUNG = '--no-allocation-site-pretenuring';
const self = fileURLToPath(import.meta.url);

if (runsTypeScript(process.versions.node)) {
  keepSmall();
  setFlagsFromString(KEEP_YOUNG);
  delete process.env[LAUNCHED];
  keepCompiled();
  const { main } = await import('../src/cli/main.ts');
  await main();
} else {
  relaunch();
}

/** The same process once more with V8's flag and one arena, which take effect at its start only. */
function keepSmall() {
  const told = process.execArgv.some((argument) => argument.startsWith(YOUNG_GENERATION));
  if (told || process.execve === undefined || process.env[LAUNCHED] !== undefined) return;
  const flags = [...process.execArgv, ...MEMORY_FLAGS, '--disable-warning=ExperimentalWarning'];
  const args = [process.execPath, ...flags, self, ...process.argv.slice(2)];
  process.execve(process.execPath, args, { [ARENAS]: '1', ...process.env, [LAUNCHED]: '1' });
}

function runsTypeScript(version) {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major >= 24 || (major === 22 && minor >= 18);
}

/**
 * Keeps compiled modules between starts: a second start takes a third of the time and 20 MiB less.
 * In systemd's CacheDirectory=, or in node_modules/.cache of a checkout; without either, not at all.
 */
function keepCompiled() {
  const node = bundledNode(dirname(self));
  const checkout = node === null ? '' : join(dirname(dirname(node)), '.cache');
  const cache = process.env.CACHE_DIRECTORY ?? checkout;
  if (cache === '' || process.env.NODE_COMPILE_CACHE !== undefined) return;
  module.enableCompileCache(join(cache, 'blocktorrent'));
  // Also for an agent that is killed before it could write at its end.
  setTimeout(() => module.flushCompileCache?.(), FLUSH_AFTER_MS).unref();
}

function relaunch() {
  const node = bundledNode(dirname(self));
  if (node === null || process.env[LAUNCHED] !== undefined) {
    process.stderr.write(
      `blocktorrent needs Node 24, found ${process.versions.node}, and there is no Node 24 in node_modules/.bin.\n` +
        'Run `npm ci` in the checkout (it brings one), or install Node 24.\n',
    );
    process.exitCode = 2;
    return;
  }
  const child = spawn(
    node,
    [...process.execArgv, ...MEMORY_FLAGS, self, ...process.argv.slice(2)],
    {
      stdio: 'inherit',
      env: { [ARENAS]: '1', ...process.env, [LAUNCHED]: '1' },
    },
  );
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2']) {
    process.on(signal, () => child.kill(signal));
  }
  child.on('error', (error) => {
    process.stderr.write(`blocktorrent: ${node} does not start: ${error.message}\n`);
    process.exitCode = 2;
  });
  child.on('exit', (code, signal) => {
    if (signal === null) {
      process.exitCode = code ?? 1;
      return;
    }
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  });
}

/** node_modules/.bin/node in this folder or any above; null if there is none. */
function bundledNode(from) {
  for (let folder = from; ; folder = dirname(folder)) {
    const node = join(folder, 'node_modules', '.bin', 'node');
    if (existsSync(node)) return node;
    if (dirname(folder) === folder) return null;
  }
}
