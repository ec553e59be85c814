/** A gateway by itself, for tests: brokers, batches and queue are real, the ledger is the test's. */
import { join } from 'node:path';
import { parseConfig } from '@blocktorrent/agent/config/load.ts';
import type { Config } from '@blocktorrent/agent/config/schema.ts';
import { Gateway } from '@blocktorrent/agent/gateway.ts';
import type { House } from '@blocktorrent/agent/house.ts';
import { WATCHED_FOLDER_MIGRATION } from '@blocktorrent/agent/ingest/watched-folder.ts';
import type { Ledger } from '@blocktorrent/agent/ledger/ledger.ts';
import { FILE_QUEUE_MIGRATIONS, FileQueue } from '@blocktorrent/agent/runtime/file-queue.ts';
import { silentLog } from '@blocktorrent/agent/runtime/log.ts';
import { createMetrics, type Metrics } from '@blocktorrent/agent/runtime/metrics.ts';
import { migrate } from '@blocktorrent/agent/runtime/migrate.ts';
import { openDatabase } from '@blocktorrent/agent/runtime/sqlite.ts';

export interface TestGateway {
  readonly gateway: Gateway;
  readonly queue: FileQueue;
  readonly metrics: Metrics;
  readonly config: Config;
  /** Path of the configuration file, for the command line. */
  readonly configText: string;
  stop(): Promise<void>;
}

/** The configuration of a gateway at these brokers; `more` are further lines of YAML. */
export function gatewayConfig(folder: string, rules: string, brokers: string[], more = ''): string {
  const urls = brokers.map((url) => `{ url: '${url}' }`).join(', ');
  return `
organisation: { mspId: Org1MSP }
name: gateway-1
dataDir: '${folder}'
roles: [ingest]
ledger:
  certFile: c
  keyFile: k
  peers: [{ endpoint: 'localhost:7051', mspId: Org1MSP, tlsRootFile: r }]
overlay: { certFile: c, keyFile: k, signingKeyFile: s }
mqtt:
  brokers: [${urls}]
  rules: ${rules}
${more}`;
}

/** Makes it in `folder`, and starts it unless told not to. */
export function startGateway(
  folder: string,
  configText: string,
  ledger: Partial<Ledger> = {},
  { start = true, starting = (_what: string): unknown => undefined } = {},
): TestGateway {
  const config = parseConfig(configText, join(folder, 'a.yaml'), {});
  const state = openDatabase(join(folder, 'state.sqlite'));
  migrate(state, [...FILE_QUEUE_MIGRATIONS, WATCHED_FOLDER_MIGRATION]);
  const queue = new FileQueue(state, Date.now);
  const metrics = createMetrics();
  const clock = { state: 'synchronised' };
  const parts = { config, log: silentLog, metrics, queue, ledger, clock, starting };
  const house = parts as unknown as House;
  const { mqtt } = config;
  if (mqtt === undefined) throw new Error('the section mqtt');
  const gateway = new Gateway(house, mqtt, () => undefined);
  if (start) gateway.start();
  return {
    gateway,
    queue,
    metrics,
    config,
    configText,
    async stop() {
      await gateway.stop();
      state.close();
    },
  };
}
