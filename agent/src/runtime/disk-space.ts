/** How much of the disk is used and free, in bytes. */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import type { Log } from './log.ts';

/** Size of the files in a folder whose names count, not of its sub-folders; 0 where it is not there. */
export function folderBytes(
  folder: string,
  counts: (name: string) => boolean = () => true,
): number {
  let bytes = 0;
  try {
    for (const name of readdirSync(folder).filter(counts)) {
      // A file may go while we look.
      bytes += statSync(join(folder, name), { throwIfNoEntry: false })?.size ?? 0;
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  return bytes;
}

/** Size of the file system of `folder`. */
export function diskBytes(folder: string): number {
  const { blocks, bsize } = statfsSync(folder);
  return blocks * bsize;
}

/** What this user may still write to the file system of `folder`. */
export function freeBytes(folder: string): number {
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize;
}

/** What the system and SQLite say of a disk that is full, read-only or failing. */
const DISK_CODES = /^(ENOSPC|EROFS|EDQUOT|EIO|SQLITE_(FULL|READONLY|IOERR|CANTOPEN).*)$/;

/** Whether an error says that the disk takes nothing now: a reason to try again later. */
export function isDiskTrouble(error: unknown): error is Error {
  return error instanceof Error && 'code' in error && DISK_CODES.test(String(error.code));
}

/** What opening the databases takes, their shared memory and first pages. */
const START_BYTES = 2 * 1024 * 1024;
const LOOK_AGAIN_MS = 2_000;

/**
 * Resolves when something can be written to `folder`, which is made: true, or false once the signal
 * is aborted. An agent that ended instead would be started again only so often. Rejects with anything
 * else that is wrong.
 */
export async function untilWritable(
  folder: string,
  signal: AbortSignal,
  log: Log,
): Promise<boolean> {
  for (let told = false; !signal.aborted; ) {
    try {
      requireWritable(folder);
      return true;
    } catch (error) {
      if (!isDiskTrouble(error)) throw error;
      if (!told) log.error('the disk takes nothing: the agent starts when it does', { error });
      told = true;
    }
    await setTimeout(LOOK_AGAIN_MS, undefined, { signal }).catch(() => undefined);
  }
  return false;
}

/** Node.js's own recursive `mkdir` says ENOENT where the file system is read-only. */
function makeFolder(folder: string): void {
  if (existsSync(folder)) return;
  makeFolder(dirname(folder));
  mkdirSync(folder, { mode: 0o700 });
}

function requireWritable(folder: string): void {
  makeFolder(folder);
  const probe = join(folder, '.writable');
  writeFileSync(probe, '');
  // Another agent that starts at the same moment may have removed it.
  rmSync(probe, { force: true });
  const free = freeBytes(folder);
  if (free >= START_BYTES) return;
  throw Object.assign(new Error(`${folder}: ${free} bytes free, ${START_BYTES} are needed`), {
    code: 'ENOSPC',
  });
}
