/** Listening of a TCP server: until it does, or says why not. */
import type { Server } from 'node:net';
import type { Address } from './types.ts';

/** Resolves when `server` listens. @throws Error of the system, such as a port that is taken */
export function listenAt(server: Server, { host, port }: Address): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** Where it listens; null while it does not. */
export function boundTo(server: Server): Address | null {
  const address = server.address();
  if (address === null || typeof address === 'string') return null;
  return { host: address.address, port: address.port };
}
