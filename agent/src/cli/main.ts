/** The process `blocktorrent`: streams, signals and exit status around `program.ts`. */
import { createInterface, type Interface } from 'node:readline';
import manifest from '../../package.json' with { type: 'json' };
import { signalsOf } from '../runtime/lifecycle.ts';
import type { Ask } from './context.ts';
import { EXIT } from './exit-codes.ts';
import { runProgram } from './program.ts';
import { COMMANDS } from './table.ts';

/** Longest that a command's open connections may keep its process after its end. */
const LINGER_MS_MAX = 2_000;

/** Runs the process's own command line and sets its exit status. */
export async function main(): Promise<void> {
  const { signal: asked, dispose } = signalsOf(process);
  const unread = new AbortController();
  const signal = AbortSignal.any([asked, unread.signal]);
  let lost = false;
  // Output into a pipe that was closed (`| head`) is no error, and ends what would go on for ever.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    unread.abort();
    if (error.code === 'EPIPE') return;
    lost = true;
    process.exitCode = EXIT.failure;
    process.stderr.write(`blocktorrent: standard output: ${error.message}\n`);
  });
  // Remarks that nobody takes are left out.
  process.stderr.on('error', () => undefined);
  const person = process.stdin.isTTY && process.stderr.isTTY ? terminal(signal) : null;
  const exitCode = await runProgram(process.argv.slice(2), {
    commands: COMMANDS,
    version: manifest.version,
    env: process.env,
    out: process.stdout,
    err: process.stderr,
    signal,
    ...(person === null ? {} : { ask: person.ask }),
  });
  process.exitCode = lost ? EXIT.failure : exitCode;
  person?.close();
  dispose();
  // What a failed part left behind must not keep a process that has said its last word.
  setTimeout(() => process.exit(), LINGER_MS_MAX).unref();
}

/**
 * Asks the person at the terminal, where remarks go too; nothing is read before the first question.
 * Lines that were typed ahead are answers to the next ones.
 */
function terminal(signal: AbortSignal): { ask: Ask; close(): void } {
  let lines: Interface | null = null;
  let typed: AsyncIterator<string> | null = null;
  const close = () => lines?.close();
  const open = () => {
    lines = createInterface({ input: process.stdin, output: process.stderr });
    lines.on('SIGINT', () => process.kill(process.pid, 'SIGINT'));
    signal.addEventListener('abort', close, { once: true });
    return lines[Symbol.asyncIterator]();
  };
  return {
    close,
    async ask(question) {
      typed ??= open();
      process.stderr.write(question);
      const line = await typed.next();
      if (line.done === true) throw Object.assign(new Error('interrupted'), { name: 'AbortError' });
      return line.value;
    },
  };
}
