/**
 * The optional HTTP listener: `/metrics` for Prometheus, `/healthz` (the process lives and its
 * parts work) and `/readyz` (it serves), both with reasons.
 *
 * Read-only, without bodies; bound to what the configuration says, which is loopback in the sample.
 */
import type { AddressInfo } from 'node:net';
import type { Log } from './log.ts';
import type { Metrics } from './metrics.ts';

// Not by `import`, which reads every export and so loads fetch: 2 MiB of an idle agent.
const { createServer } = process.getBuiltinModule('node:http');

/** One answer about the agent's state; `reasons` says what is missing. */
export interface Health {
  readonly ok: boolean;
  readonly reasons: readonly string[];
}
export interface HttpOptions {
  readonly listen: { readonly host: string; readonly port: number };
  readonly metrics: Metrics;
  readonly log: Log;
  readonly healthz: () => Health;
  readonly readyz: () => Health;
}
export interface HttpListener {
  /** The port that was bound, also where 0 was asked for. */
  readonly port: number;
  stop(): Promise<void>;
}

const HEADERS_TIMEOUT_MS = 5_000;

/** Starts listening. Throws what `listen` throws, with the address in its message. */
export async function startHttp(options: HttpOptions): Promise<HttpListener> {
  const { metrics, log, healthz, readyz } = options;
  const server = createServer({ headersTimeout: HEADERS_TIMEOUT_MS }, (request, response) => {
    const path = (request.url ?? '/').split('?', 1)[0];
    const health = path === '/healthz' ? healthz() : path === '/readyz' ? readyz() : null;
    if (request.method !== 'GET') {
      response.writeHead(405, { allow: 'GET' }).end();
    } else if (health !== null) {
      response
        .writeHead(health.ok ? 200 : 503, { 'content-type': 'application/json' })
        .end(`${JSON.stringify(health)}\n`);
    } else if (path === '/metrics') {
      metrics.text().then(
        (text) => response.writeHead(200, { 'content-type': metrics.contentType }).end(text),
        (error: unknown) => {
          log.error('metrics could not be collected', { error });
          response.writeHead(500).end();
        },
      );
    } else {
      response.writeHead(404).end('/metrics, /healthz, /readyz\n');
    }
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.listen.port, options.listen.host, resolve);
  });
  server.removeAllListeners('error');
  server.on('error', (error) => log.error('metrics listener', { error }));
  return {
    port: (server.address() as AddressInfo).port,
    async stop() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
    },
  };
}
