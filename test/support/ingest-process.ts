/**
 * A small gateway to be killed: `node ingest-process.ts URL FOLDER`. Ingests into FOLDER, rotating
 * often, until it is killed. Says `{"ready":true}` when it has subscribed.
 */
import { Duplicates } from '@blocktorrent/agent/ingest/duplicates.ts';
import { createIngest, createSource, openStore } from './ingest.ts';

const [, , url = '', folder = ''] = process.argv;
const store = openStore(folder, { maxReadings: 150 });
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
