/**
 * Runs one of Fabric's programs to its end. It gets our environment variables only: settings of
 * the caller's shell (CORE_*, ORDERER_*, proxies) must not leak into a network on the loopback.
 */
import { execFile } from 'node:child_process';
import { basename } from 'node:path';
import { FabricError } from './error.ts';

const TIMEOUT_MS = 120_000;
const OUTPUT_BYTES_MAX = 8 * 1024 * 1024;

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** Both outputs of a program that ended well. */
export interface Output {
  readonly stdout: string;
  readonly stderr: string;
}

/** Variables that every process needs and no configuration. */
export function bareEnvironment(): Record<string, string> {
  const kept = ['PATH', 'HOME', 'TMPDIR', 'LANG', 'TZ'].flatMap((name) => {
    const value = process.env[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  return Object.fromEntries(kept);
}

/** Throws FabricError `command` with the end of what it printed. */
export async function run(
  program: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<Output> {
  return await new Promise((resolve, reject) => {
    execFile(
      program,
      [...args],
      {
        ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
        env: { ...bareEnvironment(), ...options.env },
        timeout: TIMEOUT_MS,
        maxBuffer: OUTPUT_BYTES_MAX,
      },
      (error, stdout, stderr) => {
        if (error === null) {
          resolve({ stdout, stderr });
          return;
        }
        const said = `${stderr.trim()}\n${stdout.trim()}`.trim().slice(-2_000);
        const command = [basename(program), ...args.slice(0, 3)].join(' ');
        reject(new FabricError('command', `${command} failed: ${said || error.message}`));
      },
    );
  });
}
