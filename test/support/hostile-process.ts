/**
 * A gateway and one stage behind it, to be treated badly: `node hostile-process.ts FOLDER URL`.
 *
 * Every order that comes (`HostileOrder`, over the channel of `fork`) is carried out and answered
 * with what status says. The stage writes a file for each closed batch, as sealing does, and moves it
 * on in the queue: both meet the same disk as the readings.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { silentLog } from '@blocktorrent/agent/runtime/log.ts';
import { StageRunner } from '@blocktorrent/agent/runtime/stage-runner.ts';
import { gatewayConfig, startGateway } from './gateway.ts';

/** What the process is told; an empty one only asks. */
export interface HostileOrder {
  /** From now on the wall clock is so far from the machine's, ms. */
  readonly clockOffsetMs?: number;
  /** Whether the stage works; it does at first. */
  readonly sealing?: boolean;
  readonly stop?: true;
}

/** What it answers. */
export interface HostileAnswer {
  readonly readings: number;
  readonly deadLetters: number;
  readonly connected: boolean;
  /** Why the broker is not connected. */
  readonly reason: string | null;
  readonly alarm: string | null;
  readonly queued: number;
  readonly sealed: number;
  /** How often the stage has taken a file in hand. */
  readonly attempts: number;
  /** Memory of the process. */
  readonly rssMiB: number;
}

const [folder = '', url = ''] = process.argv.slice(2);
const machineNowMs = Date.now;
const rules = "[{ topic: 'site/#', value: /v, sequence: /n, sensor: /s }]";
const disk = 'disk: { maxBytes: 1000000000, reserveBytes: 0 }';
const more = `batch: { maxAgeMs: 300, anchorEveryMs: 0, ${disk} }`;
const { gateway, queue, stop } = startGateway(folder, gatewayConfig(folder, rules, [url], more));
let sealing = true;
let attempts = 0;
const stopping = new AbortController();
const runner = new StageRunner(
  {
    name: 'seal',
    from: 'queued',
    to: 'sealed',
    concurrency: 1,
    async run(files) {
      attempts += 1;
      if (!sealing) return files.map(() => 'wait' as const);
      for (const { id } of files) writeFileSync(join(folder, `${id}.age`), Buffer.alloc(1000));
      return files.map(() => ({}));
    },
  },
  {
    ...{ queue, log: silentLog, signal: stopping.signal, random: Math.random },
    onAdvance: () => undefined,
  },
);
const running = runner.run();

function answer(): HostileAnswer {
  const { readings, deadLetters, brokers, disk } = gateway.counts();
  const { queued, sealed } = queue.counts();
  const [{ connected, reason } = { connected: false, reason: null }] = brokers;
  const files = { queued, sealed, attempts };
  const rssMiB = process.memoryUsage.rss() / 2 ** 20;
  return { readings, deadLetters, connected, reason, alarm: disk.alarm, ...files, rssMiB };
}

process.on('message', async (order: HostileOrder) => {
  const { clockOffsetMs } = order;
  sealing = order.sealing ?? sealing;
  if (clockOffsetMs !== undefined) Date.now = () => machineNowMs() + clockOffsetMs;
  if (order.stop === true) {
    stopping.abort();
    await running;
    const last = answer();
    await stop();
    process.send?.(last, () => process.disconnect());
  } else process.send?.(answer());
});
