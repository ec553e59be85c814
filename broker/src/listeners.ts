/**
 * Where the broker listens: TCP and TLS sockets that have been let in and are capped.
 *
 * Enters: connections. Leaves: sockets on which MQTT may be spoken. Always holds: a connection is
 * counted in before anything is read of it, and out when it ends; packets are capped by their
 * headers; what a TLS client has not proven within the handshake's time is not waited for.
 */
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer, type Server, type Socket as TcpSocket } from 'node:net';
import {
  createSecureContext,
  createServer as createTlsServer,
  TLSSocket,
  type Server as TlsServer,
} from 'node:tls';
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

/** An address cannot be listened on: another program has its port, or this machine has no such address. */
export class ListenError extends Error {
  override readonly name = 'ListenError';
  readonly code = 'cannot-listen';
}

/** Looks whether the certificates of these listeners can be used. @throws FileError */
export function checkListeners(configs: readonly ListenerConfig[]): void {
  for (const config of configs) secretsOf(config);
}

/** All listeners of one broker. */
export class Listeners {
  readonly #options: ListenersOptions;
  readonly #servers: readonly { readonly config: ListenerConfig; readonly server: Server }[];
  readonly #sockets = new Set<Socket>();
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

  /** Resolves when all listen. @throws ListenError */
  async start(): Promise<void> {
    const { warn } = this.#options;
    const addresses: string[] = [];
    for (const { config, server } of this.#servers) {
      const { host, port } = config.listen;
      await listen(server, port, host);
      server.on('error', ({ message }) =>
        warn('a connection could not be taken', { reason: message }),
      );
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

  /** Ends every connection that is there. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
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
    this.#sockets.add(socket);
    socket.once('close', () => {
      this.#sockets.delete(socket);
      admission.left();
    });
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
    const own = {
      cert: readFileSync(certFile),
      key: readFileSync(keyFile),
      minVersion: 'TLSv1.2' as const,
    };
    // Throws where key and certificate do not belong together.
    createSecureContext(own);
    if (clientCaFile === undefined) return own;
    const ca = readFileSync(clientCaFile);
    // Node.js takes a file without a certificate, and nobody gets in.
    void new X509Certificate(ca);
    return { ...own, ca, requestCert: true, rejectUnauthorized: true };
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const files = [certFile, keyFile, ...(clientCaFile === undefined ? [] : [clientCaFile])];
    throw new FileError(
      `${files.join(', ')}: expected a certificate, its key and the clients' CA, found: ${reason}`,
      { cause },
    );
  }
}

function listen(server: Server, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (cause: Error) => {
      reject(new ListenError(`cannot listen on ${host}:${port}: ${cause.message}`, { cause }));
    };
    server.once('error', failed);
    server.listen(port, host, () => {
      server.removeListener('error', failed);
      resolve();
    });
  });
}
