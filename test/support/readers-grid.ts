/** A grid whose owners also serve ordinary clients: each its plain listener and tracker, on an address of its own. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { PlainListener } from '../../agent/src/overlay/plain-listener.ts';
import { Tracker } from '../../agent/src/overlay/tracker.ts';
import { exportTorrent, OwnersDirectory, serveReaders } from '../../agent/src/readers.ts';
import { silentLog } from '../../agent/src/runtime/log.ts';
import type { Grid, GridNode } from './grid.ts';
import type { TrialFile } from './sealed-file.ts';

export interface ReaderDoors {
  readonly node: GridNode;
  readonly plain: PlainListener;
  readonly tracker: Tracker;
  readonly owners: OwnersDirectory;
  stop(): Promise<void>;
}

/** Opens doors for ordinary clients at a running node, and announces them. */
export async function openDoors(grid: Grid, node: GridNode, host: string): Promise<ReaderDoors> {
  const { addressBook, overlay } = node.net;
  const plain = new PlainListener({
    listen: { host, port: 0 },
    uplink: null,
    random: grid.random,
    log: grid.options.log ?? silentLog,
  });
  const monotonicMs = () => performance.now();
  const tracker = new Tracker({ listen: { host, port: 0 }, log: silentLog, monotonicMs });
  await plain.start();
  await tracker.start();
  const [door, announce] = [plain.address, tracker.address];
  if (overlay.address === null || door === null || announce === null) throw new Error('not bound');
  const told = { ...overlay.address, plain: door, tracker: announce };
  const owners = new OwnersDirectory({
    addressBook,
    monotonicMs,
    membership: grid.membership,
    own: () => told,
  });
  serveReaders({ store: node.store, plain, tracker, owners });
  await addressBook.announce(told);
  return {
    ...{ node, plain, tracker, owners },
    async stop() {
      await tracker.stop();
      await plain.stop();
    },
  };
}

/** The .torrent of a file, once the owner knows of `trackers` trackers. */
export async function torrentWith(
  { node, owners }: ReaderDoors,
  { fileId }: TrialFile,
  trackers: number,
): Promise<Uint8Array> {
  for (let tries = 0; tries < 100; tries++) {
    const made = await exportTorrent(fileId, [node.store.manifestOf(fileId)], owners);
    if (made.trackers.length >= trackers) return made.torrent;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`no ${trackers} trackers after 10 s`);
}

/** How many chunks of a file each node has on its disk. */
export async function chunksAt(
  nodes: readonly GridNode[],
  { fileId }: TrialFile,
): Promise<number[]> {
  return Promise.all(
    nodes.map(async ({ chunksDir }) => {
      const folder = join(chunksDir, fileId.slice(0, 2), fileId);
      return (await readdir(folder)).filter((name) => name.endsWith('.chunk')).length;
    }),
  );
}
