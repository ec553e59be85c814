/** How much of the disk is used and free, in bytes. */
import { readdirSync, statfsSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** Size of the files in a folder, not of its sub-folders; 0 where it is not there. */
export function folderBytes(folder: string): number {
  let bytes = 0;
  try {
    for (const name of readdirSync(folder)) {
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
