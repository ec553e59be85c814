/** Files of a watched folder that come to nothing: which are tried again, and which are not. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  WATCHED_FOLDER_MIGRATION,
  WatchedFolder,
} from '@blocktorrent/agent/ingest/watched-folder.ts';
import {
  BY_HAND,
  FILE_QUEUE_MIGRATIONS,
  FileQueue,
  REFUSED,
  UNREADABLE,
} from '@blocktorrent/agent/runtime/file-queue.ts';
import { silentLog } from '@blocktorrent/agent/runtime/log.ts';
import { migrate } from '@blocktorrent/agent/runtime/migrate.ts';
import { type Database, openDatabase } from '@blocktorrent/agent/runtime/sqlite.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { aFolder } from '../support/readings.ts';

let folder: string;
let remove: () => void;
let database: Database;
let queue: FileQueue;

beforeEach(() => {
  [folder, remove] = aFolder();
  mkdirSync(join(folder, 'in'));
  database = openDatabase(join(folder, 'state.sqlite'));
  migrate(database, [...FILE_QUEUE_MIGRATIONS, WATCHED_FOLDER_MIGRATION]);
  queue = new FileQueue(database, () => 0);
});
afterEach(() => {
  database.close();
  remove();
});

/** Looks once, and says why not everything was taken. */
function look(path = join(folder, 'in')): string | null {
  const watched = new WatchedFolder({
    ...{ path, stableMs: 0, everyMs: 1e6, recipients: [], after: 'keep', database, queue },
    ...{ monotonicMs: () => 0, log: silentLog, onTaken: () => undefined },
  });
  watched.start();
  watched.stop();
  return watched.state.reason;
}
const taken = (): string[] => queue.list(1000).map(({ inputPath }) => inputPath);

describe('a file of a watched folder', () => {
  it('is given again where it was given up, unless by hand or for the third time: until it changes', () => {
    writeFileSync(join(folder, 'in', 'a'), '1');
    const tries = (error: string): number => {
      look();
      for (const { id, stage } of queue.list(1)) if (stage === 'queued') queue.giveUp(id, error);
      // It is forgotten, and then taken.
      look();
      look();
      return taken().length;
    };
    expect([tries('epoch 1 is over'), tries(`${REFUSED}x`), tries(`${UNREADABLE}x`)]).toEqual([
      2, 3, 4,
    ]);
    expect([tries(`${REFUSED}x`), tries('x')]).toEqual([4, 4]);
    writeFileSync(join(folder, 'in', 'a'), '22');
    expect(tries(`${BY_HAND}of no use`)).toBe(5);
    expect(tries('x')).toBe(5);
  });

  it('is not given where it cannot be read, and that is said', (context) => {
    const path = '/proc/sys/net/ipv4/route';
    if (!existsSync(join(path, 'flush'))) {
      context.skip(`this machine has no ${path}/flush, a file that not even root may read`);
    }
    expect(look(path)).toMatch(/^EACCES: .*flush/);
    expect(taken()).toContain(join(path, 'gc_timeout'));
    expect(taken()).not.toContain(join(path, 'flush'));
  });
});
