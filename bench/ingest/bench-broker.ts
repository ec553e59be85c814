/**
 * Mosquitto as its own experts would set it up for a backlog: no cap on what is queued or in flight.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';

export interface BenchBroker {
  readonly url: string;
  readonly port: number;
  stop(): Promise<void>;
}

const SETTINGS = [
  'allow_anonymous true',
  'persistence false',
  'max_queued_messages 0',
  'max_queued_bytes 0',
  'max_inflight_messages 0',
  'set_tcp_nodelay true',
];
const ATTEMPTS_MAX = 250;

/** Starts it on a free loopback port; resolves when it accepts connections. */
export async function startBenchBroker(): Promise<BenchBroker> {
  const folder = mkdtempSync(join(tmpdir(), 'blocktorrent-bench-broker-'));
  const port = await freePort();
  const file = join(folder, 'mosquitto.conf');
  writeFileSync(file, `${[`listener ${port} 127.0.0.1`, ...SETTINGS].join('\n')}\n`);
  const child = spawn('mosquitto', ['-c', file], { stdio: 'ignore' });
  const ended = new Promise<void>((resolve, reject) => {
    child.once('exit', () => resolve());
    child.once('error', reject);
  });
  await Promise.race([
    accepts(port),
    ended.then(() => Promise.reject(new Error('mosquitto ended'))),
  ]);
  return {
    url: `mqtt://127.0.0.1:${port}`,
    port,
    async stop() {
      child.kill('SIGTERM');
      await ended;
      rmSync(folder, { recursive: true });
    },
  };
}

/** A port that was free a moment ago: mosquitto cannot say which one it took. */
function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      const port = address !== null && typeof address === 'object' ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}

async function accepts(port: number): Promise<void> {
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
    const open = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1', () => {
        socket.destroy();
        resolve(true);
      });
      socket.once('error', () => resolve(false));
    });
    if (open) return;
    await setTimeout(20);
  }
  throw new Error(`mosquitto does not listen on port ${port}`);
}
