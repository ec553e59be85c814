/**
 * How long the bare transport takes: bytes from one process's memory to another's over TLS 1.3 on
 * loopback, with nothing checked or kept. Run as a program it is the sending side.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect, createServer } from 'node:tls';

const PIECE = Buffer.alloc(256 * 1024, 7);

export class TlsCopy {
  readonly #child: ChildProcess;
  readonly #port: number;

  /** @param certificateDir has overlay.pem and overlay.key. */
  static async start(certificateDir: string): Promise<TlsCopy> {
    const child = fork(import.meta.filename, [certificateDir], {
      execArgv: ['--disable-warning=ExperimentalWarning'],
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    const [port] = (await once(child, 'message')) as [number];
    return new TlsCopy(child, port);
  }

  private constructor(child: ChildProcess, port: number) {
    this.#child = child;
    this.#port = port;
  }

  /** Seconds from dialling until `bytes` are here. */
  async seconds(bytes: number): Promise<number> {
    const startedMs = performance.now();
    const socket = connect({ host: '127.0.0.1', port: this.#port, rejectUnauthorized: false });
    socket.write(`${bytes}\n`);
    let left = bytes;
    socket.on('data', (data: Buffer) => {
      left -= data.length;
    });
    await once(socket, 'end');
    const seconds = (performance.now() - startedMs) / 1000;
    socket.destroy();
    if (left !== 0) throw new Error(`the TLS copy ended ${left} bytes early`);
    return seconds;
  }

  async stop(): Promise<void> {
    const exited = once(this.#child, 'exit');
    this.#child.disconnect();
    await exited;
  }
}

async function serve(certificateDir: string): Promise<void> {
  const read = (name: string) => readFileSync(join(certificateDir, name));
  const options = { cert: read('overlay.pem'), key: read('overlay.key') };
  const server = createServer({ ...options, minVersion: 'TLSv1.3' }, async (socket) => {
    socket.on('error', () => socket.destroy());
    const [asked] = (await once(socket, 'data')) as [Buffer];
    for (let left = Number(asked.toString()); left > 0; left -= PIECE.length) {
      if (!socket.write(PIECE.subarray(0, left))) await once(socket, 'drain');
    }
    socket.end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  process.send?.(address !== null && typeof address === 'object' ? address.port : 0);
  process.once('disconnect', () => process.exit());
}

if (import.meta.main) await serve(process.argv[2] ?? '');
