/** Makes the watched folders of the configuration (P §3.1, "any form"). */

import type { House } from './house.ts';
import { WatchedFolder } from './ingest/watched-folder.ts';
import { systemClock } from './runtime/clock.ts';
import type { Database } from './runtime/sqlite.ts';

/** Folders whose files go the way of `put`. */
export function makeFolders(house: House, database: Database, wake: () => void): WatchedFolder[] {
  const { config, queue, metrics, log } = house;
  if (!config.roles.includes('ingest')) return [];
  return config.sources.folders.map(
    (folder) =>
      new WatchedFolder({
        ...folder,
        database,
        queue,
        monotonicMs: systemClock.monotonicMs,
        log: log.child({ component: 'folders' }),
        onTaken: (files) => {
          metrics.add('ingestFolderFiles', files);
          wake();
        },
      }),
  );
}
