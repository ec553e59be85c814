/**
 * A truck's day: a real gateway and real owners on the dev ledger, sensors all day long, the uplink
 * (every peer of the ledger, and every peer's overlay) coming and going as it does in yards, tunnels
 * and on a ferry, the gateway's broker killed twice and its clock set twice. Nothing that the broker has
 * acknowledged is lost or recorded twice, and the agent's memory, as the package installs it, stays flat.
 *
 * Scaled: the day's hours (an hour is 0.6 s, or 14 s with BLOCKTORRENT_LONG=1), and with them the schedule,
 * the batches (one an hour) and the anchors (six an hour). Not scaled: readings a second, the length
 * of a lost TCP connection's repair, the pauses between tries, the ledger's time window.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { install } from '../../bench/footprint/idle.ts';
import { startBroker } from '../../demo/cast.ts';
import { compare } from '../../demo/compare.ts';
import { Processes } from '../../demo/processes.ts';
import { audit, type Stage, stageIn, until } from '../support/cast.ts';
import { aFolder } from '../support/readings.ts';
import { Seeded, seedOfRun } from '../support/seeded.ts';
import { SlowProxy } from '../support/slow-proxy.ts';

const LONG = process.env.BLOCKTORRENT_LONG === '1';
const HOUR_MS = LONG ? 14_000 : 600;
const RATE = LONG ? 1_000 : 400;
const SAMPLE_MS = 250;
const RSS_MIB_MAX = 150;
/** Mean of the day's last third over that of the second; a short day ends while it still warms up. */
const GROWTH_MAX = LONG ? 1.08 : 1.15;
/** Sealed, sent and recorded after the last reading. */
const SETTLED_WITHIN_MS = 180_000;
const TIME_ZONE_MS = 3_600_000;
const NO_FAULTS = { share: 0, delayMs: [0, 0], random: () => 0 } as const;

/** What happens in the day: hour, and what then. */
type Event = readonly [
  hour: number,
  what: 'up' | 'down' | 'kill-broker' | 'clock-off' | 'clock-set',
];

/** Yard, city with tunnels, motorway with holes, ferry, customs, road, yard. */
function scheduleOf(random: Seeded): Event[] {
  const holes = (from: number, to: number, count: number): Event[] => {
    const each = (to - from) / count;
    return Array.from({ length: count }, (_, index): Event[] => {
      const at = from + each * (index + random.integer(0, 30) / 100);
      return [
        [at, 'down'],
        [at + each * (random.integer(20, 60) / 100), 'up'],
      ];
    }).flat();
  };
  return [
    ...holes(5, 6, 3),
    ...holes(6, 11, 5),
    [11.5, 'down'],
    [11.8, 'clock-off'],
    [13.2, 'kill-broker'],
    [14, 'up'],
    [14.3, 'clock-set'],
    ...holes(15, 20, 6),
    [20.5, 'kill-broker'],
    [20.6, 'clock-off'],
    [20.9, 'clock-set'],
  ];
}

describe("a truck's day", () => {
  const seed = seedOfRun();
  const [folder, remove] = aFolder();
  const processes = new Processes(join(folder, 'logs'));
  const clockFile = join(folder, 'clock');
  const brokerData = ['--data-dir', join(folder, 'broker')];
  const proxies: SlowProxy[] = [];
  const listens = new Map<string, number>();
  let cast: Stage;
  let broker = '';

  /** A line that can be cut, to a port that may be known later. */
  async function line(target: () => number): Promise<number> {
    const proxy = new SlowProxy(NO_FAULTS);
    proxies.push(proxy);
    return await proxy.start(target);
  }

  beforeAll(async () => {
    await writeFile(clockFile, '0');
    broker = String(
      (await startBroker(processes, ['--listen', '127.0.0.1:0', ...brokerData])).address,
    );
    const doors = new Map<string, number>();
    for (const mspId of ['Org1MSP', 'Org2MSP', 'Org3MSP', 'Org4MSP']) {
      doors.set(mspId, await line(() => listens.get(mspId) ?? 0));
    }
    await install(join(folder, 'installed'));
    cast = await stageIn(folder, processes, {
      broker,
      batch: { maxAgeMs: HOUR_MS, anchorEveryMs: Math.round(HOUR_MS / 6) },
      overlayOf(mspId) {
        const port = doors.get(mspId);
        return port === undefined ? {} : { advertise: `127.0.0.1:${port}` };
      },
      async gatewayEndpoint(endpoint) {
        const port = Number(endpoint.split(':').at(-1));
        return `127.0.0.1:${await line(() => port)}`;
      },
      gatewayScript: join(folder, 'installed/agent/bin/blocktorrent.js'),
      gatewayEnv: {
        CACHE_DIRECTORY: join(folder, 'cache'),
        BLOCKTORRENT_TEST_CLOCK: clockFile,
        NODE_OPTIONS: `--import ${pathToFileURL(join(import.meta.dirname, '../support/wall-clock.mjs'))}`,
      },
    });
    // Modules are compiled and kept by the first start; an installed agent has done that once.
    await processes.end(`agent ${cast.source}`, 'SIGTERM');
    await cast.startAgent(cast.source);
    await until(async () => {
      const status = await cast.status().catch(() => null);
      return status?.brokers.every(({ connected }) => connected) ?? false;
    });
    for (const mspId of doors.keys()) listens.set(mspId, await listenerOf(mspId));
  });
  afterAll(async () => {
    await processes.endAll();
    await cast?.network.stop();
    await Promise.all(proxies.map((proxy) => proxy.stop()));
    remove();
  });

  /** The port that an agent has said it listens on. */
  async function listenerOf(mspId: string): Promise<number> {
    const log = await readFile(join(folder, 'logs', `agent ${mspId}.log`), 'utf8');
    return Number([...log.matchAll(/"listens":\{[^}]*"port":(\d+)/g)].at(-1)?.[1]);
  }

  async function happen(what: Event[1]): Promise<void> {
    if (what === 'up') for (const proxy of proxies) proxy.down(false);
    else if (what === 'down') for (const proxy of proxies) proxy.down();
    else if (what === 'clock-off') await writeFile(clockFile, String(-TIME_ZONE_MS));
    else if (what === 'clock-set') await writeFile(clockFile, '0');
    else {
      await processes.end('broker', 'SIGKILL');
      await startBroker(processes, ['--listen', broker, ...brokerData]);
    }
  }

  /** Resident memory of the gateway's agent, MiB. */
  async function rssMiB(): Promise<number> {
    const pid = processes.running.find(({ name }) => name === `agent ${cast.source}`)?.pid;
    const status = await readFile(`/proc/${pid}/status`, 'utf8');
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) / 1024;
  }

  async function drive(events: readonly Event[]): Promise<number[]> {
    const rss: number[] = [];
    const startedMs = performance.now();
    let next = 0;
    const hourNow = () => (performance.now() - startedMs) / HOUR_MS;
    // A broker that takes hours of the day to start keeps no event from happening.
    for (let hour = 0; hour < 24 || next < events.length; hour = hourNow()) {
      for (
        let event = events[next];
        event !== undefined && event[0] <= hour;
        event = events[next]
      ) {
        await happen(event[1]);
        next += 1;
      }
      processes.requireAlive();
      rss.push(await rssMiB());
      await setTimeout(SAMPLE_MS);
    }
    return rss;
  }

  /** Nothing at the broker, in the open batch or under way. */
  async function isSettled(): Promise<boolean> {
    await cast.closeBatch().catch(() => undefined);
    const status = await cast.status().catch(() => null);
    if (status === null) return false;
    const { available: _, void: __, ...underWay } = status.files;
    const sum = Object.values(underWay).reduce((a, b) => a + b, 0);
    return status.openReadings + sum === 0;
  }

  it(
    'loses nothing, records nothing twice, and leaves the memory as it was',
    async () => {
      const events = scheduleOf(new Seeded(`day/${seed}`));
      const sensorsMs = 24 * HOUR_MS;
      const args = [
        '--rate',
        String(RATE),
        '--sensors',
        '60',
        '--duration-s',
        String(sensorsMs / 1_000),
      ];
      const startedMs = performance.now();
      await cast.startSensors(args);
      const rss = await drive(events);
      await until(async () => !processes.running.some(({ name }) => name === 'sensors'));
      const sensors = await readFile(join(folder, 'logs', 'sensors.log'), 'utf8');
      const said = JSON.parse(sensors.trim().split('\n').at(-1) ?? '') as Record<string, number>;
      const perSecond = (Number(said.sent) * 1_000) / (performance.now() - startedMs);
      for (let quiet = 0, last = -1, end = performance.now() + SETTLED_WITHIN_MS; quiet < 3; ) {
        if (performance.now() > end) throw new Error(JSON.stringify(await cast.status()));
        await setTimeout(500);
        const settled = await isSettled();
        const { readings } = await cast.status();
        quiet = settled && readings === last ? quiet + 1 : 0;
        last = readings;
      }
      const settledMs = performance.now() - startedMs - sensorsMs;
      const report = await audit(cast, ['--source', cast.source]);
      const verdict = compare(
        cast.sensorLog,
        report.files.map(({ contentPath }) => contentPath),
      );
      const { files } = await cast.status();
      const third = Math.floor(rss.length / 3);
      const [second, last] = [mean(rss.slice(third, 2 * third)), mean(rss.slice(2 * third))];
      const figures = [
        `${said.sent} readings, ${Math.round(perSecond)}/s, ${report.files.length} files`,
        `${events.length} events, all recorded ${(settledMs / 1_000).toFixed(0)} s after the last reading`,
        `rssMiB ${second.toFixed(1)} then ${last.toFixed(1)}, at most ${Math.max(...rss).toFixed(1)}`,
      ];
      const note = `SEED=${seed}, ${figures.join('; ')}, ${JSON.stringify(files)}`;
      console.log(`day: ${note}`);
      expect(said.outstanding, note).toBe(0);
      expect(report.ok, note).toBe(true);
      expect(verdict, note).toMatchObject({ missing: 0, altered: 0, recovered: verdict.sent });
      expect(verdict.sent, note).toBe(said.sent);
      expect(report.files.length, note).toBeGreaterThan(12);
      expect(Math.max(...rss), note).toBeLessThanOrEqual(RSS_MIB_MAX);
      expect(last / second, note).toBeLessThan(GROWTH_MAX);
    },
    24 * HOUR_MS + SETTLED_WITHIN_MS + 120_000,
  );
});

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
