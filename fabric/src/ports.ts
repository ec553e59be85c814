/**
 * Free TCP ports of the loopback for programs that must be told theirs. Taken from below the
 * range that systems hand out for port 0, so that nobody else's outgoing connection sits on one
 * between now and the start, or while a peer is stopped.
 */
import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';
import { FabricError } from './error.ts';

const FIRST = 20_000;
const COUNT = 12_000;

/** `count` distinct ports on which nobody listens now. Throws FabricError when too few are free. */
export async function freePorts(count: number): Promise<number[]> {
  const start = randomInt(COUNT);
  const ports: number[] = [];
  for (let i = 0; i < COUNT && ports.length < count; i++) {
    const port = FIRST + ((start + i) % COUNT);
    if (await isFree(port)) ports.push(port);
  }
  if (ports.length < count) {
    throw new FabricError('start', `only ${ports.length} of ${count} needed TCP ports are free`);
  }
  return ports;
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  return await new Promise((resolve) => {
    server.once('error', () => resolve(false));
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () =>
      server.close(() => resolve(true)),
    );
  });
}
