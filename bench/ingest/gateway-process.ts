/**
 * A gateway to be measured: the agent's own ingest path from broker to synced batch, in a process of
 * its own. `node gateway-process.ts JSON`, where the JSON is `GatewayOrder`.
 *
 * Everything is what `main.ts` puts together (Gateway, BatchStore, queue, metrics, all modules of the
 * agent loaded); only the ledger is one that takes anything. Leaves: lines of JSON, one for each
 * event of `GatewayReport`.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseConfig } from '@blocktorrent/agent/config/load.ts';
import { Gateway } from '@blocktorrent/agent/gateway.ts';
import type { House } from '@blocktorrent/agent/house.ts';
import '@blocktorrent/agent/main.ts';
import { FILE_QUEUE_MIGRATIONS, FileQueue } from '@blocktorrent/agent/runtime/file-queue.ts';
import { silentLog } from '@blocktorrent/agent/runtime/log.ts';
import { createMetrics, type Metrics } from '@blocktorrent/agent/runtime/metrics.ts';
import { migrate } from '@blocktorrent/agent/runtime/migrate.ts';
import { openDatabase } from '@blocktorrent/agent/runtime/sqlite.ts';
import { percentile } from '../figures.ts';
import { RULES } from './load.ts';

/** What this process is to do. */
export interface GatewayOrder {
  readonly url: string;
  readonly clientId: string;
  /** Exists already. */
  readonly folder: string;
  /** The `batch` section of the configuration, as YAML. */
  readonly batch: string;
  /** Ends by itself when so many readings are durable and acknowledged. */
  readonly readings: number;
  /** Every n-th reading's time from `sent` in its payload to durable is kept; 0: none. */
  readonly sampleEvery: number;
  /** Readings before the first one whose time is kept; 0 if not given. */
  readonly sampleFrom?: number;
}

/** The last line before it ends; the first one is `{"subscribed":true}`. */
export interface GatewayReport {
  /** From connecting until the last reading was acknowledged. */
  readonly seconds: number;
  /** CPU time of all its threads meanwhile. */
  readonly cpuSeconds: number;
  readonly commits: number;
  /** Median duration of a commit. */
  readonly commitMs: number;
  /** Publish to durable of the sampled readings, milliseconds; null without samples. */
  readonly p50Ms: number | null;
  readonly p99Ms: number | null;
  /** Bytes that this process caused to be written to the disk while it took readings. */
  readonly writeBytes: number;
  readonly peakRssMiB: number;
  readonly rssMiB: number;
}

const POLL_MS = 5;
const MIB = 1024 * 1024;

const order = JSON.parse(process.argv[2] ?? '{}') as GatewayOrder;
const config = parseConfig(configText(order), join(order.folder, 'agent.yaml'), {});
const state = openDatabase(join(order.folder, 'state.sqlite'));
migrate(state, [...FILE_QUEUE_MIGRATIONS]);
const commitMs: number[] = [];
const metrics = watched(createMetrics({ processMetrics: true }));
const house = {
  config,
  log: silentLog,
  metrics,
  queue: new FileQueue(state, Date.now),
  ledger: { submit: async () => ({}), evaluate: async () => null },
  clock: { state: 'synchronised' },
  starting: () => undefined,
} as unknown as House;
if (config.mqtt === undefined) throw new Error('the configuration has no section mqtt');
const gateway = new Gateway(house, config.mqtt, () => undefined);
const waits = order.sampleEvery > 0 ? sampleWaits(gateway, order) : [];
const startedMs = performance.now();
const cpuBefore = process.cpuUsage();
const writtenBefore = writtenBytes();
gateway.start();
const timer = setInterval(() => {
  if (gateway.counts().brokers[0]?.connected !== true) return;
  clearInterval(timer);
  process.stdout.write('{"subscribed":true}\n');
}, POLL_MS);

async function finish(seconds: number): Promise<void> {
  const writeBytes = writtenBytes() - writtenBefore;
  const rss = process.memoryUsage.rss() / MIB;
  const cpu = process.cpuUsage(cpuBefore);
  await gateway.stop();
  const report: GatewayReport = {
    seconds,
    cpuSeconds: (cpu.user + cpu.system) / 1e6,
    commits: commitMs.length,
    commitMs: commitMs.length === 0 ? 0 : percentile(commitMs, 0.5),
    p50Ms: waits.length === 0 ? null : percentile(waits, 0.5),
    p99Ms: waits.length === 0 ? null : percentile(waits, 0.99),
    writeBytes,
    rssMiB: rss,
    peakRssMiB: process.resourceUsage().maxRSS / 1024,
  };
  process.stdout.write(`${JSON.stringify(report)}\n`, () => process.exit(0));
}

/** The metrics, with each commit's duration kept; the last acknowledgement is the end. */
function watched(inner: Metrics): Metrics {
  const observe: Metrics['observe'] = (name, seconds, ...labels) => {
    if (name === 'ingestCommitSeconds') commitMs.push(seconds * 1000);
    inner.observe(name, seconds, ...labels);
  };
  let acknowledged = 0;
  const add: Metrics['add'] = (name, by, ...labels) => {
    inner.add(name, by, ...labels);
    if (name !== 'ingestReadingsAcknowledged' || acknowledged >= order.readings) return;
    acknowledged += by;
    if (acknowledged >= order.readings) {
      const seconds = (performance.now() - startedMs) / 1000;
      setImmediate(() => void finish(seconds));
    }
  };
  return { ...inner, observe, add };
}

/** Milliseconds from the publisher's clock to ours: both run on this machine. */
function sampleWaits(of: Gateway, { sampleEvery, sampleFrom = 0 }: GatewayOrder): number[] {
  const found: number[] = [];
  let seen = 0;
  of.taps.add('#', ({ payload }) => {
    seen += 1;
    if (seen <= sampleFrom || seen % sampleEvery !== 0) return;
    const { sent } = JSON.parse(Buffer.from(payload).toString()) as { sent: number };
    found.push(performance.timeOrigin + performance.now() - sent);
  });
  return found;
}

/** See proc(5): what really went to the block layer, or will. */
function writtenBytes(): number {
  const line = /^write_bytes: (\d+)$/m.exec(readFileSync('/proc/self/io', 'utf8'));
  return Number(line?.[1] ?? 0);
}

function configText({ folder, url, clientId, batch }: GatewayOrder): string {
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
  brokers: [{ url: '${url}', clientId: '${clientId}' }]
  rules: ${RULES}
batch: { anchorEveryMs: 0, ${batch} }
`;
}
