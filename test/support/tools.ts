/**
 * Command-line tools that interoperability tests hold our formats against.
 *
 * A tool that is missing fails the test where `CI` is set, and skips it, saying so, elsewhere.
 */
import { execFile, execFileSync } from 'node:child_process';
import type { TestContext } from 'vitest';

/** Call it first in a test that needs the tool `name`, with the test's own context. */
export function requireTool(name: string, context: TestContext): void {
  if (isInstalled(name)) return;
  if (process.env.CI) throw new Error(`the tool ${name} is not installed, and CI is set`);
  context.skip(`the tool ${name} is not installed`);
}

/** As `requireTool`, for a module of Debian's own Python. */
export function requirePythonModule(name: string, context: TestContext): void {
  try {
    execFileSync('/usr/bin/python3', ['-c', `import ${name}`], { stdio: 'ignore' });
  } catch {
    if (process.env.CI) throw new Error(`python3-${name} is not installed, and CI is set`);
    context.skip(`python3-${name} is not installed`);
  }
}

/** Standard output of a tool that must succeed; rejects with its standard error. */
export function runTool(
  name: string,
  args: readonly string[],
  input?: Uint8Array,
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const options = { encoding: 'buffer', maxBuffer: 1 << 28 } as const;
    const child = execFile(name, args, options, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(new Error(`${name} ${args.join(' ')}: ${stderr.toString()}`, { cause: error }));
    });
    // A tool that fails early closes its input: its exit status then says what is to be said.
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(input);
  });
}

function isInstalled(name: string): boolean {
  try {
    execFileSync('/bin/sh', ['-c', 'command -v "$0"', name], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
