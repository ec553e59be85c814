/**
 * Where the broker listens: TCP and TLS sockets that have been let in and are capped.
 *
 * Enters: connections. Leaves: sockets on which MQTT may be spoken. Always holds: a connection is
 * counted in before anything is read of it, and out when it ends; packets are capped by their
 * headers; what a TLS client has not proven within the handshake's time is not waited for.
 */
import { readFileSync } from 'node:fs';
import { createServer, type Server, type Socket as TcpSocket } from 'node:net';
import { createServer as createTlsServer, TLSSocket, type Server as TlsServer } from 'node:tls';
import type { Admission } from './admission.ts';
import { DEFAULTS, type ListenerConfig } from './config.ts';
import { capPackets } from './packet-cap.ts';
import { FileError } from './yaml-file.ts';

/** A TCP or TLS socket. */
export type Socket = TcpSocket;

export interface ListenersOptions {
  readonly admission: Admission;
  readonly packetBytesMax: number;
  readonly onSocket: (socket: Socket) => void;
  readonly warn: (message: string, fields: Readonly<Record<string, unknown>>) => void;
}

const HANDSHAKE_MS_MAX = 10_000;

/** All listeners of one broker. */
export class Listeners {
  readonly #options: ListenersOptions;
  readonly #servers: readonly { readonly config: ListenerConfig; readonly server: Server }[];
  #addresses: readonly string[] = [];
  #port = 0;

  /** @throws FileError when a certificate cannot be used */
  constructor(configs: readonly ListenerConfig[], options: ListenersOptions) {
    this.#options = options;
    this.#servers = configs.map((config) => ({ config, server: this.#serverOf(config) }));
  }

  /** `host:port` of each. */
  get addresses(): readonly string[] {
    return this.#addresses;
  }

  /** Port of the first. */
  get port(): number {
    return this.#port;
  }

  /** Resolves when all listen; rejects with what kept one from it. */
  async start(): Promise<void> {
    const addresses: string[] = [];
    for (const { config, server } of this.#servers) {
      const { host, port } = config.listen;
      await listen(server, port, host);
      const bound = server.address();
      if (bound === null || typeof bound === 'string') throw new Error('no TCP address');
      if (addresses.length === 0) this.#port = bound.port;
      addresses.push(`${host.includes(':') ? `[${host}]` : host}:${bound.port}`);
    }
    this.#addresses = addresses;
  }

  /** Reads the certificates again, for connections to come. @throws FileError */
  reload(): void {
    const contexts = this.#servers.map(({ config }) => secretsOf(config));
    for (const [index, { server }] of this.#servers.entries()) {
      const context = contexts[index];
      if (context !== null && context !== undefined)
        (server as TlsServer).setSecureContext(context);
    }
  }

  /** Common name of the client's certificate, if there is one and it was verified. */
  certificateOf(socket: Socket): string | null {
    if (!(socket instanceof TLSSocket) || !socket.authorized) return null;
    const { CN } = socket.getPeerCertificate().subject ?? {};
    return typeof CN === 'string' ? CN : null;
  }

  /** Stops listening; resolves when the last connection has ended. */
  async stop(): Promise<void> {
    await Promise.all(
      this.#servers.map(
        ({ server }) => new Promise<void>((resolve) => server.close(() => resolve())),
      ),
    );
  }

  #serverOf(config: ListenerConfig): Server {
    const secrets = secretsOf(config);
    if (secrets === null) {
      return createServer((socket) => {
        if (this.#letIn(socket)) this.#handOver(socket);
      });
    }
    const server = createTlsServer({ ...secrets, handshakeTimeout: HANDSHAKE_MS_MAX }, (socket) =>
      this.#handOver(socket),
    );
    // Before the handshake: it is what costs.
    server.on('connection', (socket: Socket) => void this.#letIn(socket));
    server.on('tlsClientError', (error, socket) => {
      const { remoteAddress } = socket;
      this.#options.warn('TLS refused', { reason: error.message, address: remoteAddress });
    });
    return server;
  }

  #letIn(socket: Socket): boolean {
    const { admission, warn } = this.#options;
    const address = socket.remoteAddress ?? '';
    const refusal = admission.enter(address);
    if (refusal !== null) {
      if (admission.refused % 100 === 1) {
        warn('connection refused', { reason: refusal, address, refused: admission.refused });
      }
      socket.destroy();
      return false;
    }
    socket.once('close', () => admission.left());
    socket.setKeepAlive(true, DEFAULTS.tcpKeepaliveMs);
    return true;
  }

  #handOver(socket: Socket): void {
    socket.setNoDelay(true);
    this.#options.onSocket(capPackets(socket, this.#options.packetBytesMax));
  }
}

/** What TLS needs, read anew; null for a listener without. @throws FileError */
function secretsOf({ tls }: ListenerConfig) {
  if (tls === undefined) return null;
  const { certFile, keyFile, clientCaFile } = tls;
  try {
    return {
      cert: readFileSync(certFile),
      key: readFileSync(keyFile),
      minVersion: 'TLSv1.2' as const,
      ...(clientCaFile === undefined
        ? {}
        : { ca: readFileSync(clientCaFile), requestCert: true, rejectUnauthorized: true }),
    };
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new FileError(`certificate ${certFile}: expected files to be readable, found ${reason}`, {
      cause,
    });
  }
}

function listen(server: Server, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.removeListener('error', reject);
      resolve();
    });
  });
}
