/**
 * A small gateway to be killed: `node ingest-process.ts URL FOLDER [unsynced]`. Ingests into FOLDER,
 * rotating often, until it is killed; with `unsynced` it does not sync, to be seen to lose readings. Says `{"ready":true}` when it has subscribed.
 */

import { Duplicates } from '@blocktorrent/agent/ingest/duplicates.ts';
import { openDatabase } from '@blocktorrent/agent/runtime/sqlite.ts';
import { createIngest, createSource, openStore } from './ingest.ts';

const [, , url = '', folder = '', unsynced] = process.argv;
const store = openStore(folder, {
  maxReadings: 150,
  openDatabase(path) {
    const database = openDatabase(path);
    if (unsynced !== undefined) database.pragma('synchronous = OFF');
    return database;
  },
});
const duplicates = new Duplicates();
duplicates.learn(store.recent(100_000));
const ingest = createIngest(store, {
  duplicates,
  maxReadings: 20,
  onCommitted: () => void store.rotateIfDue(Date.now()),
});
let said = false;
createSource(url, ingest, {
  onState({ subscribed }) {
    if (!subscribed || said) return;
    said = true;
    console.log(JSON.stringify({ ready: true }));
  },
}).start();
