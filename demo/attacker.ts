/**
 * An attacker in an organisation's place: its certificate, its keys, its stored chunks. It answers
 * every request with altered bytes, and neither votes nor releases anything.
 *
 * The agent has no switch for this: the attacker is put together here from the agent's own parts,
 * with a chunk store that lies.
 */
import { join } from 'node:path';
import {
  openLedger,
  openNet,
  openStoreDatabase,
  openView,
  overlaySeed,
} from '@blocktorrent/agent/assemble.ts';
import { loadConfig } from '@blocktorrent/agent/config/load.ts';
import { Doors } from '@blocktorrent/agent/runtime/doors.ts';
import { silentLog } from '@blocktorrent/agent/runtime/log.ts';
import { systemRandom } from '@blocktorrent/agent/runtime/random.ts';
import type { ChunkStore } from '@blocktorrent/agent/store/chunk-store.ts';
import { FileChunkStore } from '@blocktorrent/agent/store/file-chunk-store.ts';
import { StoreNode } from '@blocktorrent/agent/store/store-node.ts';
import type { StoreNodeOptions } from '@blocktorrent/agent/store/types.ts';
import { Upkeep } from '@blocktorrent/agent/store/upkeep.ts';

/** Every read gives the stored bytes with one bit flipped. */
function lying(store: ChunkStore): ChunkStore {
  return new Proxy(store, {
    get(target, name) {
      if (name !== 'read') {
        const member = Reflect.get(target, name);
        return typeof member === 'function' ? member.bind(target) : member;
      }
      return async (...args: Parameters<ChunkStore['read']>) => {
        const bytes = Uint8Array.from(await target.read(...args));
        bytes[0] = (bytes[0] ?? 0) ^ 1;
        return bytes;
      };
    },
  });
}

const [configPath] = process.argv.slice(2);
if (configPath === undefined) throw new Error('usage: attacker.ts CONFIG');
const config = loadConfig(configPath, process.env);
const ledger = openLedger(config, silentLog);
const view = openView(config, ledger, false);
await view.refresh();
const doors = new Doors({ log: silentLog });
const net = openNet(config, view, silentLog, { doors });
const options: StoreNodeOptions = {
  overlay: net.overlay,
  addressBook: net.addressBook,
  membership: view,
  chunks: lying(new FileChunkStore(join(config.dataDir, 'chunks'))),
  database: openStoreDatabase(config),
  overlaySeed: overlaySeed(config),
  random: systemRandom,
  nowMs: Date.now,
  monotonicMs: () => performance.now(),
  log: silentLog,
};
const node = new StoreNode(options);
const upkeep = new Upkeep({ node: options, store: node, ledger, config: config.upkeep });
await net.start();
await node.start();
upkeep.start();
// Others may still have the victim's old address: the new one is out before anything is said.
if (net.overlay.address !== null) await net.addressBook.announce(net.overlay.address);
process.stdout.write('{"ready":true}\n');
process.once('SIGTERM', () => process.exit(0));
