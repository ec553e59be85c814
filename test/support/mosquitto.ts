/** Mosquitto on a free loopback port, for what our own broker does not speak: MQTT 5. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';

export interface Mosquitto {
  readonly url: string;
  readonly port: number;
  stop(): Promise<void>;
}

/**
 * Starts it; resolves when it accepts connections. `lines` are further ones of its configuration, in
 * which FOLDER stands for its own folder; `port` is where it shall listen, if not anywhere.
 */
export async function startMosquitto(
  lines: readonly string[] = ['allow_anonymous true'],
  { folder = mkdtempSync(join(tmpdir(), 'mosquitto-')), port = 0, scheme = 'mqtt' } = {},
): Promise<Mosquitto> {
  const listenPort = port === 0 ? await freePort() : port;
  const config = join(folder, 'mosquitto.conf');
  const all = [`listener ${listenPort} 127.0.0.1`, 'max_queued_messages 10000'];
  // Otherwise it gives up root, and can read nothing of the test's folder.
  all.push(`user ${userInfo().username}`, ...lines);
  writeFileSync(config, `${all.join('\n').replaceAll('FOLDER', folder)}\n`);
  const child = spawn('mosquitto', ['-c', config], { stdio: 'ignore' });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  await accepts(listenPort);
  return {
    url: `${scheme}://127.0.0.1:${listenPort}`,
    port: listenPort,
    async stop() {
      child.kill('SIGTERM');
      await ended;
      rmSync(folder, { recursive: true, force: true });
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

function accepts(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    let attempts = 0;
    const attempt = (): void => {
      const socket = connect(port, '127.0.0.1', () => {
        socket.destroy();
        resolve();
      });
      socket.once('error', (error) => {
        attempts += 1;
        if (attempts > 1000) reject(error);
        else setTimeout(attempt, 20);
      });
    };
    attempt();
  });
}
