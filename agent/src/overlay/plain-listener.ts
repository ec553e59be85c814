/**
 * BitTorrent without TLS, for ordinary clients (BEP 3, 6, 10): a listener that gives blocks away and
 * takes nothing, and the dialling of one such client that has a file's ciphertext.
 *
 * Enters: TCP connections of anybody who can reach the address. Leaves: the same `Link` as over TLS,
 * under the same guards, but of nobody: `mspId` is ''. Always holds: no message of ours is sent or
 * read here; what is not asked for is not taken; a bound on connections, in all and from one host.
 */
import { createServer, type Server, type Socket, connect as tcpConnect } from 'node:net';
import type { Hex } from '@blocktorrent/protocol/ledger-api.ts';
import type { Log } from '../runtime/log.ts';
import { SocketAccounts } from './accounts.ts';
import { WireLink } from './link.ts';
import { LINK_LIMITS, type LinkLimits } from './link-limits.ts';
import { boundTo, listenAt } from './listen.ts';
import type { RateLimit } from './rate-limit.ts';
import { type Accounts, type Address, type Link, LinkError, type LinkHandler } from './types.ts';

/** Organisation of a peer without a certificate: none. */
const NOBODY = '';
const CONNECTIONS_MAX = 64;
const CONNECTIONS_PER_HOST_MAX = 16;

export interface PlainListenerOptions {
  readonly listen: Address;
  readonly random: (bytes: number) => Uint8Array;
  readonly log: Log;
  readonly limits?: Partial<LinkLimits>;
  readonly connectionsMax?: number;
  readonly connectionsPerHostMax?: number;
  /** What all links together may send; null: as much as goes. */
  readonly uplink: RateLimit | null;
}

export class PlainListener {
  readonly accounts: Accounts;
  readonly #accounts = new SocketAccounts();
  readonly #options: PlainListenerOptions;
  readonly #sockets = new Set<Socket>();
  readonly #links = new Set<WireLink>();
  readonly #server: Server;
  #acceptor: (link: Link) => LinkHandler | null = () => null;

  constructor(options: PlainListenerOptions) {
    this.#options = options;
    this.accounts = this.#accounts;
    this.#server = createServer((socket) => this.#welcome(socket));
    this.#server.maxConnections = options.connectionsMax ?? CONNECTIONS_MAX;
  }

  /** Where it is bound; null before `start`. */
  get address(): Address | null {
    return boundTo(this.#server);
  }

  async start(): Promise<void> {
    const { listen, log } = this.#options;
    await listenAt(this.#server, listen);
    this.#server.on('error', (error) => log.error('plain listener', { error }));
  }

  async stop(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const link of this.#links) link.close('stopping');
    setImmediate(() => {
      for (const socket of this.#sockets) socket.destroySoon();
    });
    await closed;
  }

  /** Who takes incoming links: one acceptor; null from it hangs up. */
  onIncoming(acceptor: (link: Link) => LinkHandler | null): void {
    this.#acceptor = acceptor;
  }

  #welcome(socket: Socket): void {
    const { log, random, limits, uplink } = this.#options;
    const host = socket.remoteAddress;
    socket.on('error', (error) => log.debug('plain socket', { reason: error.message }));
    const fromHost = [...this.#sockets].filter((one) => one.remoteAddress === host).length;
    if (fromHost >= (this.#options.connectionsPerHostMax ?? CONNECTIONS_PER_HOST_MAX)) {
      log.info('refused a plain connection', { host, reason: 'it has too many already' });
      socket.destroy();
      return;
    }
    this.#accounts.add(socket);
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    const link = plainLink(socket, null, {
      random,
      limits: { ...LINK_LIMITS, ...limits },
      accept: (incoming) => this.#acceptor(incoming),
      onOpen: () => undefined,
      onInfoHash: (infoHash) => this.#accounts.attribute(socket, infoHash),
      onClosed: (closed, error) => {
        this.#links.delete(closed);
        const { code, message: reason } = error;
        log[code === 'violation' ? 'info' : 'debug']('plain link closed', { host, code, reason });
      },
      uplink,
      downlink: null,
    });
    this.#links.add(link);
  }
}

export interface PlainDialOptions {
  readonly address: Address;
  readonly infoHash: Hex;
  readonly handler: LinkHandler;
  readonly random: (bytes: number) => Uint8Array;
  readonly signal: AbortSignal;
  readonly limits?: Partial<LinkLimits>;
}

/**
 * A link to an ordinary client, to fetch from. What comes is as good as its digests.
 * @throws LinkError 'unreachable', 'handshake', 'violation', 'aborted'
 */
export function dialPlain(options: PlainDialOptions): Promise<Link> {
  const { address, infoHash, handler, random, signal } = options;
  const limits = { ...LINK_LIMITS, ...options.limits };
  return new Promise((resolve, reject) => {
    const socket = tcpConnect({ host: address.host, port: address.port });
    const onAbort = () => fail(new LinkError('aborted', 'dialling was aborted'));
    const timer = setTimeout(
      () => fail(new LinkError('unreachable', `no answer within ${limits.handshakeMs} ms`)),
      limits.handshakeMs,
    );
    const finish = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    };
    const fail = (error: LinkError) => {
      finish();
      socket.destroy();
      reject(error);
    };
    socket.on('error', (error) =>
      fail(new LinkError('unreachable', error.message, { cause: error })),
    );
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    socket.once('connect', () => {
      plainLink(socket, infoHash, {
        random,
        limits,
        accept: () => handler,
        uplink: null,
        downlink: null,
        onInfoHash: () => undefined,
        onOpen: (open) => {
          finish();
          resolve(open);
        },
        onClosed: (_, { code, message }) =>
          fail(new LinkError(code === 'closed' ? 'handshake' : code, message)),
      });
    });
  });
}

type PlainParts = Omit<ConstructorParameters<typeof WireLink>[0], PlainFixed> & {
  readonly random: (bytes: number) => Uint8Array;
};
type PlainFixed = 'tls' | 'mspId' | 'peerId' | 'infoHash' | 'plain';

function plainLink(socket: Socket, infoHash: Hex | null, parts: PlainParts): WireLink {
  const { random, ...rest } = parts;
  return new WireLink({
    ...rest,
    infoHash,
    tls: socket,
    mspId: NOBODY,
    plain: true,
    // One for each link: ordinary clients drop a peer whose id they know from elsewhere.
    peerId: Buffer.concat([Buffer.from('-BT0100-'), random(12)]),
  });
}
