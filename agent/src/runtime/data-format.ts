/**
 * The version of a data folder as a whole: `DATADIR/format.json`.
 *
 * The SQLite files in it carry their own versions; this one is for what lies beside them: chunks, the
 * spool, `consortium.json`, `ledger-checkpoint.json`, `audits/`. Always holds: a folder that a newer
 * release has written is refused before anything in it is opened.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MigrationError } from './migrate.ts';

/** What this release writes. A folder without the file is of release 0.1.0 and has version 1. */
const DATA_FORMAT = 1;

/**
 * Checks the folder's version and notes it where it is not noted yet. Throws `MigrationError`:
 * 'newer' for a newer release's folder, 'failed' where the file is not one of ours.
 */
export function claimDataFolder(dataDir: string): void {
  const path = join(dataDir, 'format.json');
  const found = readVersion(path);
  if (found === DATA_FORMAT) return;
  if (found !== null && found > DATA_FORMAT) {
    throw new MigrationError(
      'newer',
      `${path} says format ${found}; this release knows formats up to ${DATA_FORMAT}. A newer release has written the folder: install that one, or restore a copy from before the upgrade`,
    );
  }
  const text = `${JSON.stringify({ format: DATA_FORMAT })}\n`;
  writeFileSync(`${path}.part`, text, { mode: 0o600, flush: true });
  try {
    renameSync(`${path}.part`, path);
  } catch (error) {
    // Of two agents that start at the same moment, the other one has given the file its name.
    if (readVersion(path) !== DATA_FORMAT) throw error;
  }
}

function readVersion(path: string): number | null {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  // What a power cut at the first start has left: nothing but zeros, or nothing.
  if (/^[\s\0]*$/.test(text)) return null;
  const format = formatIn(text);
  if (Number.isSafeInteger(format) && format >= 1) return format;
  throw new MigrationError(
    'failed',
    `${path}: expected {"format":N}, found '${text.slice(0, 80)}'`,
  );
}

function formatIn(text: string): number {
  try {
    return Number((Object(JSON.parse(text)) as { format?: unknown }).format);
  } catch {
    // Not JSON: the caller says what was found.
    return Number.NaN;
  }
}
