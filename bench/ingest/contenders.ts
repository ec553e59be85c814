/**
 * Who takes the readings: our gateway, a bare subscriber, mosquitto_sub into a file (and Telegraf, in
 * `telegraf.ts`). Each in a process of its own, with a persistent session at the same broker, QoS 1.
 */
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { connectAsync } from 'mqtt';
import type { BenchBroker } from './bench-broker.ts';
import type { GatewayOrder, GatewayReport } from './gateway-process.ts';

const GATEWAY = join(import.meta.dirname, 'gateway-process.ts');
const DISCARD = join(import.meta.dirname, 'discard-process.ts');
/** As the agent's launcher has them. */
const FLAGS = ['--max-semi-space-size=4', '--expose-gc', '--no-allocation-site-pretenuring'];
const ARENA = { MALLOC_ARENA_MAX: '1' };

/** A started subscriber. */
export interface Running<T> {
  /** Resolves when its subscription is granted. */
  readonly subscribed: Promise<void>;
  readonly report: Promise<T>;
}

/** Our gateway; `slowSync` is a library from `buildSlowSync`. */
export function startGateway(
  broker: BenchBroker,
  order: Omit<GatewayOrder, 'url' | 'folder'>,
  slowSync?: string,
): Running<GatewayReport> {
  const folder = mkdtempSync(join(tmpdir(), 'blocktorrent-bench-'));
  const whole: GatewayOrder = { url: broker.url, folder, ...order };
  const slow = slowSync === undefined ? {} : { LD_PRELOAD: slowSync, SLOW_SYNC_MS: '20' };
  const env = { ...ARENA, ...slow };
  const running = start<GatewayReport>([...FLAGS, GATEWAY, JSON.stringify(whole)], env);
  const report = running.report.finally(() => rmSync(folder, { recursive: true }));
  return { subscribed: running.subscribed, report };
}

/** A bare MQTT.js subscriber that throws everything away; 0 readings: only makes the session. */
export function startDiscarder(
  broker: BenchBroker,
  clientId: string,
  readings: number,
): Running<{ readonly seconds: number; readonly cpuSeconds: number }> {
  return start([DISCARD, broker.url, clientId, String(readings)], {});
}

/** Ends sessions at the broker: what is published later must not be kept for them. */
export async function forgetSessions(
  broker: BenchBroker,
  clientIds: readonly string[],
): Promise<void> {
  for (const clientId of clientIds) {
    const client = await connectAsync(broker.url, { clientId, clean: true });
    await client.endAsync();
  }
}

/** mosquitto_sub into a file: seconds for a backlog. */
export function drainByMosquittoSub(
  broker: BenchBroker,
  clientId: string,
  readings: number,
): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'blocktorrent-bench-'));
  const file = openSync(join(folder, 'out'), 'w');
  const session = ['-p', String(broker.port), '-h', '127.0.0.1', '-i', clientId, '-c', '-q', '1'];
  const startedMs = performance.now();
  const child = spawn('mosquitto_sub', [...session, '-t', 'site/#', '-C', String(readings)], {
    stdio: ['ignore', file, 'inherit'],
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', () => {
      rmSync(folder, { recursive: true });
      resolve((performance.now() - startedMs) / 1000);
    });
  });
}

export function isInstalled(tool: string): boolean {
  try {
    execFileSync('/bin/sh', ['-c', 'command -v "$0"', tool], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** Compiles `slow-sync.c` into `folder`; null without a C compiler. */
export function buildSlowSync(folder: string): string | null {
  if (!isInstalled('cc')) return null;
  const library = join(folder, 'slow-sync.so');
  const source = join(import.meta.dirname, 'slow-sync.c');
  execFileSync('cc', ['-O1', '-shared', '-fPIC', '-o', library, source, '-ldl']);
  return library;
}

function start<T>(args: readonly string[], env: Readonly<Record<string, string>>): Running<T> {
  const child = spawn(process.execPath, args, {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...env },
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async (): Promise<unknown> => {
    const line = await lines.next();
    if (line.done) throw new Error(`${args.join(' ')} ended without its report`);
    return JSON.parse(line.value);
  };
  const first = next();
  return {
    subscribed: first.then(() => undefined),
    report: first.then(next).then((report) => report as T),
  };
}
