/**
 * Makes the admin node's side of a running agent: the store, and the upkeep of what it keeps. Null
 * without the role `store`.
 */
import { join } from 'node:path';
import { openStoreDatabase, overlaySeed } from './assemble.ts';
import type { House } from './house.ts';
import { countStore } from './measure.ts';
import { systemClock } from './runtime/clock.ts';
import { freeBytes } from './runtime/disk-space.ts';
import { systemRandom } from './runtime/random.ts';
import { FileChunkStore } from './store/file-chunk-store.ts';
import { StoreNode } from './store/store-node.ts';
import type { StoreNodeOptions } from './store/types.ts';
import { Upkeep } from './store/upkeep.ts';

/** Store and upkeep, neither started. */
export function makeStore(house: House): { store: StoreNode; upkeep: Upkeep } | null {
  const { config, log, view } = house;
  if (!config.roles.includes('store')) return null;
  const node: StoreNodeOptions = {
    overlay: house.overlay,
    addressBook: house.addressBook,
    membership: view,
    chunks: new FileChunkStore(join(config.dataDir, 'chunks')),
    database: openStoreDatabase(config),
    overlaySeed: overlaySeed(config),
    random: systemRandom,
    nowMs: systemClock.nowMs,
    monotonicMs: systemClock.monotonicMs,
    freeBytes: () => freeBytes(config.dataDir),
    log: log.child({ component: 'store' }),
    timing: { lateMs: config.overlay.lateMs },
    onEvent: (event) => {
      countStore(event, house.metrics);
      upkeep.noteStore(event);
    },
  };
  const store = new StoreNode(node);
  const { ledger } = house;
  const upkeep = new Upkeep({ node, store, ledger, config: config.upkeep });
  return { store, upkeep };
}
