/**
 * Child processes of tests: started with this Node, read line by line, ended by their own handle.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

/** A process whose standard output is JSON lines. */
export interface JsonProcess {
  readonly child: ChildProcess;
  /** The next line, parsed; rejects when the process has ended without one. */
  next(): Promise<Record<string, unknown>>;
  /** Exit code, or the signal that ended it. */
  readonly ended: Promise<number | NodeJS.Signals>;
  /** What it has written to standard error so far. */
  stderr(): string;
}

/** Starts `node FLAGS SCRIPT ARGS`. */
export function startNode(
  script: string,
  args: readonly string[],
  flags: readonly string[] = [],
): JsonProcess {
  const child = spawn(process.execPath, [...flags, script, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ended = new Promise<number | NodeJS.Signals>((resolve) => {
    child.once('exit', (code, signal) => resolve(signal ?? code ?? -1));
  });
  return {
    child,
    ended,
    stderr: () => stderr,
    async next() {
      const line = await lines.next();
      if (line.done) throw new Error(`${script} ended: ${stderr}`);
      return JSON.parse(line.value) as Record<string, unknown>;
    },
  };
}
