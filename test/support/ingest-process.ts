/**
 * A small gateway to be killed: `node ingest-process.ts URL FOLDER [unsynced]`. Ingests into FOLDER,
 * rotating often, until it is killed; with `unsynced` it acknowledges what is committed and not synced,
 * and closes no batch, which would sync it: to be seen to lose readings. Says `{"ready":true}` when it
 * has subscribed.
 */

import { Duplicates } from '@blocktorrent/agent/ingest/duplicates.ts';
import type { Reading } from '@blocktorrent/protocol/reading.ts';
import { createIngest, createSource, openStore } from './ingest.ts';

const [, , url = '', folder = '', unsynced] = process.argv;
const store = openStore(folder, unsynced === undefined ? { maxReadings: 150 } : {});
const careless = {
  get nextSeq() {
    return store.nextSeq;
  },
  write: (readings: readonly Reading[]) => store.write(readings),
  sync: async () => undefined,
  syncNow: () => undefined,
};
const duplicates = new Duplicates();
duplicates.learn(store.recent(100_000));
const ingest = createIngest(unsynced === undefined ? store : careless, {
  duplicates,
  maxReadings: 20,
  // As the gateway does: a batch is closed while readings of it wait for their sync.
  onCommitted: () => {
    store.rotateIfDue(Date.now());
    return () => undefined;
  },
});
let said = false;
createSource(url, ingest, {
  onState({ subscribed }) {
    if (!subscribed || said) return;
    said = true;
    console.log(JSON.stringify({ ready: true }));
  },
}).start();
