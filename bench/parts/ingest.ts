/**
 * Readings from a broker to a synced batch: how many a second, how late, at what cost.
 *
 * The gateway is the agent's own code in a process of its own, with every module of the agent loaded.
 * Baseline of `durableRate`: a bare MQTT.js subscriber that throws everything away, with the same
 * broker, session and QoS, in the same run, in turn. A backlog is published once for all contenders:
 * each has a session of its own.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { interleave } from '../figures.ts';
import { type BenchBroker, startBenchBroker } from '../ingest/bench-broker.ts';
import {
  buildSlowSync,
  drainByMosquittoSub,
  forgetSessions,
  isInstalled,
  startDiscarder,
  startGateway,
} from '../ingest/contenders.ts';
import { Load, PAYLOAD_BYTES } from '../ingest/load.ts';
import { drainByTelegraf } from '../ingest/telegraf.ts';
import type { BenchOptions, BenchPart } from '../part.ts';

const BACKLOG = 60_000;
const LIVE = 60_000;
const SECONDS_PACED = { quick: 2, full: 10 };
/** Group-commit windows (`batch.commitMaxDelayMs`) that bytes written are measured at. */
const WINDOWS_MS = [0, 8, 100, 1000];
const PACE_FOR_BYTES = 1000;
/** Goal: p99 of publish to durable is at most so many commits, and so many milliseconds more. */
const COMMITS_IN_P99 = 3;
const MS_IN_P99 = 15;

async function run(options: BenchOptions): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'blocktorrent-bench-ingest-'));
  const broker = await startBenchBroker();
  const load = await Load.connect(broker.url);
  try {
    if (!isInstalled('telegraf')) options.note('telegraf is not installed: not compared with');
    const slowSync = buildSlowSync(folder);
    if (slowSync === null) options.note('no C compiler: drain@20ms is not measured');
    await drain(options, broker, load, slowSync);
    await live(options, broker, load);
    await latency(options, broker, load);
    await cost(options, broker, load);
  } finally {
    await load.stop();
    await broker.stop();
    rmSync(folder, { recursive: true });
  }
}

async function drain(
  { quick, emit }: BenchOptions,
  broker: BenchBroker,
  load: Load,
  slowSync: string | null,
): Promise<void> {
  const order = { batch: '', readings: BACKLOG, sampleEvery: 0 };
  const gatewayRate = async (clientId: string, library?: string): Promise<number> => {
    const { report } = startGateway(broker, { ...order, clientId }, library);
    return BACKLOG / (await report).seconds;
  };
  const sub = isInstalled('mosquitto_sub');
  const telegraf = isInstalled('telegraf');
  const contenders = {
    discard: async () =>
      BACKLOG / (await startDiscarder(broker, 'discard', BACKLOG).report).seconds,
    gateway: () => gatewayRate('gateway'),
    ...(slowSync === null ? {} : { slow: () => gatewayRate('slow', slowSync) }),
    ...(sub
      ? { sub: async () => BACKLOG / (await drainByMosquittoSub(broker, 'sub', BACKLOG)) }
      : {}),
    ...(telegraf
      ? { telegraf: async () => BACKLOG / (await drainByTelegraf(broker, 'telegraf', BACKLOG)) }
      : {}),
  };
  const names = Object.keys(contenders) as (keyof typeof contenders)[];
  // The sessions, before anything is published.
  for (const name of names) await startDiscarder(broker, name, 0).report;
  let turn = Number.NaN;
  const filled = Object.fromEntries(
    Object.entries(contenders).map(([name, contender]) => [
      name,
      async (run: number) => {
        if (turn !== run) await load.flood(BACKLOG);
        turn = run;
        return await contender();
      },
    ]),
  ) as Record<string, (run: number) => Promise<number>>;
  const samples = await interleave(filled, quick ? 2 : 11, quick ? 0 : 1);
  await forgetSessions(broker, names);
  const others = {
    ...(sub ? { mosquittoSubToFile: samples.sub ?? [] } : {}),
    ...(telegraf ? { telegrafToPipe: samples.telegraf ?? [] } : {}),
  };
  const baseline = { name: 'MQTT.js that discards', samples: samples.discard ?? [] };
  const figure = { metric: 'durableRate', unit: 'readings/s', baseline, others };
  emit({ ...figure, case: 'drain', samples: samples.gateway ?? [] });
  if (slowSync !== null) emit({ ...figure, case: 'drain@20ms', samples: samples.slow ?? [] });
}

async function live({ quick, emit }: BenchOptions, broker: BenchBroker, load: Load): Promise<void> {
  const samples = await interleave(
    {
      async discard() {
        const { subscribed, report } = startDiscarder(broker, 'live-discard', LIVE);
        return await flooded(load, subscribed, report);
      },
      async gateway() {
        const order = { clientId: 'live-gateway', batch: '', readings: LIVE, sampleEvery: 0 };
        const { subscribed, report } = startGateway(broker, order);
        return await flooded(load, subscribed, report);
      },
    },
    quick ? 1 : 5,
  );
  await forgetSessions(broker, ['live-discard', 'live-gateway']);
  emit({
    metric: 'durableRate',
    case: 'live',
    unit: 'readings/s',
    samples: samples.gateway,
    baseline: { name: 'MQTT.js that discards', samples: samples.discard },
  });
}

/** Readings a second, from the first publish to the subscriber's report. */
async function flooded(
  load: Load,
  subscribed: Promise<void>,
  report: Promise<unknown>,
): Promise<number> {
  await subscribed;
  const startedMs = performance.now();
  await load.flood(LIVE);
  await report;
  return (LIVE * 1000) / (performance.now() - startedMs);
}

async function latency({ quick, emit }: BenchOptions, broker: BenchBroker, load: Load) {
  const seconds = quick ? SECONDS_PACED.quick : SECONDS_PACED.full;
  for (const perSecond of [5000, 10_000]) {
    // The first second, in which code is compiled and the batch begun, is left out.
    const readings = perSecond * (1 + seconds);
    const p50: number[] = [];
    const p99: number[] = [];
    const allowed: number[] = [];
    for (let turn = 0; turn < (quick ? 1 : 5); turn += 1) {
      const sampled = { sampleEvery: 20, sampleFrom: perSecond };
      const order = { clientId: `late-${perSecond}`, batch: '', readings, ...sampled };
      const { subscribed, report } = startGateway(broker, order);
      await subscribed;
      await load.pace(readings, perSecond);
      const { p50Ms, p99Ms, commitMs } = await report;
      p50.push(p50Ms ?? 0);
      p99.push(p99Ms ?? 0);
      allowed.push(COMMITS_IN_P99 * commitMs + MS_IN_P99);
      await forgetSessions(broker, [order.clientId]);
    }
    const pace = `${perSecond / 1000}k/s`;
    const figure = { metric: 'publishToDurableMs', unit: 'ms' };
    emit({ ...figure, case: `${pace} p50`, samples: p50 });
    const name = `${COMMITS_IN_P99} x the median commit + ${MS_IN_P99} ms`;
    emit({ ...figure, case: `${pace} p99`, samples: p99, baseline: { name, samples: allowed } });
  }
}

async function cost({ quick, emit }: BenchOptions, broker: BenchBroker, load: Load): Promise<void> {
  const readings = PACE_FOR_BYTES * (quick ? SECONDS_PACED.quick : SECONDS_PACED.full);
  const peaks: number[] = [];
  for (const windowMs of WINDOWS_MS) {
    const batch = `commitMaxDelayMs: ${windowMs}`;
    const order = { clientId: `cost-${windowMs}`, batch, readings, sampleEvery: 0 };
    const { subscribed, report } = startGateway(broker, order);
    await subscribed;
    await load.pace(readings, PACE_FOR_BYTES);
    const { writeBytes, rssMiB } = await report;
    await forgetSessions(broker, [order.clientId]);
    peaks.push(rssMiB);
    emit({
      metric: 'bytesWrittenPerReading',
      case: `1k/s, window ${windowMs} ms`,
      unit: 'bytes',
      samples: [writeBytes / readings],
      baseline: { name: 'payload', samples: [PAYLOAD_BYTES] },
    });
  }
  emit({ metric: 'rssMiB', case: '1k/s', unit: 'MiB', samples: peaks });
}

export const part: BenchPart = {
  describe: 'readings from a broker to a synced batch, against a subscriber that discards',
  run,
};
