/**
 * Fabric's own programs, as its release archive has them in bin/. Looked for in the folder that
 * FABRIC_BIN names, otherwise on PATH. Nothing is downloaded.
 */
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join, resolve } from 'node:path';
import { FabricError } from './error.ts';
import { run } from './run.ts';

/** What a network needs. cryptogen is not among them: certificates are made here. */
const PROGRAMS = ['peer', 'orderer', 'configtxgen', 'osnadmin'] as const;
export type Program = (typeof PROGRAMS)[number];

/** Absolute path of each program. */
export type Binaries = Readonly<Record<Program, string>>;

/** Finds all programs; throws FabricError `binaries` that names the missing ones and the remedy. */
export function findBinaries(env: NodeJS.ProcessEnv = process.env): Binaries {
  const fixed = env.FABRIC_BIN;
  const folders =
    fixed === undefined || fixed === ''
      ? (env.PATH ?? '').split(delimiter).filter((each) => each !== '')
      : [fixed];
  const entries = PROGRAMS.map((program) => [program, locate(program, folders)] as const);
  const missing = entries.filter(([, path]) => path === null).map(([program]) => program);
  if (missing.length > 0) {
    const where = fixed === undefined || fixed === '' ? 'on PATH' : `in FABRIC_BIN=${fixed}`;
    throw new FabricError(
      'binaries',
      `not found ${where}: ${missing.join(', ')}. Unpack a release archive of Hyperledger Fabric ` +
        '(3.x, or 2.5 for raft) and set FABRIC_BIN to its bin folder.',
    );
  }
  return Object.fromEntries(entries) as Record<Program, string>;
}

/** As `findBinaries`, but the reason as text instead of an error: for tests that skip. */
export function missingBinaries(env: NodeJS.ProcessEnv = process.env): string | null {
  try {
    findBinaries(env);
    return null;
  } catch (error) {
    if (error instanceof FabricError) return error.message;
    throw error;
  }
}

/** Whether these are of Fabric 2: its peers lack TimeWindowCheck and its orderers SmartBFT. */
export async function isVersion2(binaries: Binaries): Promise<boolean> {
  const { stdout } = await run(binaries.peer, ['version']);
  return /^ *Version: v?2\./m.test(stdout);
}

function locate(program: string, folders: readonly string[]): string | null {
  for (const folder of folders) {
    const path = resolve(join(folder, program));
    if (isExecutable(path)) return path;
  }
  return null;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    // Not there, or not ours to run: look in the next folder.
    return false;
  }
}
