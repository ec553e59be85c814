/**
 * A gateway with a table and a folder, to be killed: `node sources-process.ts FOLDER`. FOLDER has
 * `rows.sqlite` and `in/`. Says `{"readings":n}` with each reading that it has committed.
 */
import { join } from 'node:path';
import { WatchedFolder } from '@blocktorrent/agent/ingest/watched-folder.ts';
import { FileQueue } from '@blocktorrent/agent/runtime/file-queue.ts';
import { silentLog } from '@blocktorrent/agent/runtime/log.ts';
import { openDatabase } from '@blocktorrent/agent/runtime/sqlite.ts';
import { gatewayConfig, startGateway } from './gateway.ts';

const [, , folder = ''] = process.argv;
const table = `{ file: '${join(folder, 'rows.sqlite')}', table: row, cursor: id, topic: t/rows, everyMs: 100 }`;
const more = `sources: { tables: [${table}] }\nbatch: { maxReadings: 150, commitMaxReadings: 20 }`;
const { gateway } = startGateway(
  folder,
  gatewayConfig(folder, '[{ topic: "t/#", value: /value }]', [], more),
  undefined,
  { start: false },
);
let readings = 0;
gateway.taps.add('#', () => {
  readings += 1;
  console.log(JSON.stringify({ readings }));
});
gateway.start();
const database = openDatabase(join(folder, 'state.sqlite'));
new WatchedFolder({
  path: join(folder, 'in'),
  stableMs: 0,
  everyMs: 20,
  recipients: [],
  after: 'keep',
  database,
  queue: new FileQueue(database, Date.now),
  monotonicMs: () => performance.now(),
  log: silentLog,
  onTaken: () => undefined,
}).start();
console.log(JSON.stringify({ ready: true }));
