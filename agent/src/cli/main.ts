/** The process `blocktorrent`: streams, signals and exit status around `program.ts`. */
import { readFileSync } from 'node:fs';
import { signalsOf } from '../runtime/lifecycle.ts';
import { runProgram } from './program.ts';
import { COMMANDS } from './table.ts';

/** Runs the process's own command line and sets its exit status. */
export async function main(): Promise<void> {
  const { signal, dispose } = signalsOf(process);
  // Output into a pipe that was closed (`| head`) is no error.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
  process.exitCode = await runProgram(process.argv.slice(2), {
    commands: COMMANDS,
    version: packageVersion(),
    env: process.env,
    out: process.stdout,
    err: process.stderr,
    signal,
  });
  dispose();
}

function packageVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return String((JSON.parse(text) as { version?: unknown }).version);
}
