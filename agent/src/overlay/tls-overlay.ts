/**
 * The overlay over mutual TLS 1.3: a listener, dialling, and every link that is open.
 *
 * Enters: our certificate, the organisations' roots from the ledger. Leaves: links to peers who are
 * who their certificates say. Always holds: a link ends when its organisation has no root on the
 * ledger any more, and when a certificate of its peer is revoked there or expires.
 */
import {
  createServer as createNetServer,
  connect as netConnect,
  type Server,
  type Socket,
} from 'node:net';
import {
  createSecureContext,
  createServer,
  type SecureContext,
  type SecureContextOptions,
  type TLSSocket,
  connect as tlsConnect,
} from 'node:tls';
import type { ChunkDigests } from '@blocktorrent/protocol/digest.ts';
import type { Hex, MspId } from '@blocktorrent/protocol/ledger-api.ts';
import { digestChunkInThread } from '../crypto/chunk-thread.ts';
import type { Log } from '../runtime/log.ts';
import { SocketAccounts } from './accounts.ts';
import { Calls } from './calls.ts';
import { dialMember } from './dial-member.ts';
import { WireLink } from './link.ts';
import { LINK_LIMITS, type LinkLimits } from './link-limits.ts';
import { boundTo, listenAt } from './listen.ts';
import { type PeerChain, RootTable, whatEnded } from './peer-identity.ts';
import { RateLimit } from './rate-limit.ts';
import { RequestQuotas } from './request-quotas.ts';
import {
  type Address,
  type DialMemberOptions,
  type DialOptions,
  type Link,
  LinkError,
  type LinkHandler,
  type Membership,
  type Overlay,
  type OverlayIdentity,
  type TransferLimits,
} from './types.ts';

export interface TlsOverlayOptions {
  readonly identity: OverlayIdentity;
  readonly membership: Membership;
  /** Where to listen; null for a peer that only dials out. Port 0 takes a free one. */
  readonly listen: Address | null;
  readonly random: (bytes: number) => Uint8Array;
  readonly log: Log;
  readonly limits?: Partial<LinkLimits>;
  /** Incoming connections at once, handshaken or not. */
  readonly connectionsMax?: number;
  /** Links of one organisation at once, both directions. */
  readonly linksPerMemberMax?: number;
  /** What all links together may send and receive; without it, as much as they can. */
  readonly uploadBytesPerSecond?: number | undefined;
  readonly downloadBytesPerSecond?: number | undefined;
  /** An organisation that has asked for more than its quota lets it, at most once a minute. */
  readonly onThrottled?: (mspId: MspId) => void;
  /** Milliseconds since 1970: by this, certificates expire. */
  readonly nowMs?: () => number;
  /** Open links are looked at for expired certificates this often. */
  readonly expiryCheckMs?: number;
}

const CONNECTIONS_MAX = 2048;
const LINKS_PER_MEMBER_MAX = 512;
const EXPIRY_CHECK_MS = 10_000;
/** TLS handshakes of one host that may be under way: they cost us more than whoever begins them. */
const HANDSHAKES_PER_HOST_MAX = 64;

export class TlsOverlay implements Overlay {
  readonly mspId: MspId;
  readonly peer: string;
  readonly accounts = new SocketAccounts();
  readonly #options: TlsOverlayOptions;
  readonly #limits: LinkLimits;
  readonly #calls: Calls;
  readonly #peerId: Uint8Array;
  /** Open links, and by which certificates. */
  readonly #links = new Map<WireLink, PeerChain>();
  readonly #raw = new Set<Socket>();
  /** Incoming sockets whose TLS handshake is not done, by host. */
  readonly #handshakes = new Map<string, Set<Socket>>();
  readonly #uplink: RateLimit;
  readonly #downlink: RateLimit;
  readonly #quotas: RequestQuotas;
  #identity: OverlayIdentity;
  #roots: RootTable;
  #context: SecureContext;
  #server: Server | null = null;
  #setServerContext: (context: SecureContextOptions) => void = () => undefined;
  #acceptor: (link: Link) => LinkHandler | null = () => null;
  #endMembership: () => void = () => undefined;
  #expiryTimer: NodeJS.Timeout | null = null;
  #stopped = false;

  constructor(options: TlsOverlayOptions) {
    this.#options = options;
    this.#limits = { ...LINK_LIMITS, ...options.limits };
    this.#calls = new Calls(options.membership.channel, this.#limits.handshakeMs);
    this.#uplink = new RateLimit(options.uploadBytesPerSecond ?? Number.POSITIVE_INFINITY);
    this.#downlink = new RateLimit(options.downloadBytesPerSecond ?? Number.POSITIVE_INFINITY);
    this.#quotas = new RequestQuotas(options.membership, (mspId) => {
      options.log.warn('an organisation asks for more than its quota; it has to wait', { mspId });
      options.onThrottled?.(mspId);
    });
    this.#identity = options.identity;
    this.mspId = options.identity.mspId;
    this.peer = options.identity.peer;
    this.#peerId = Buffer.concat([Buffer.from('-BT0100-'), options.random(12)]);
    this.#roots = new RootTable(options.membership.rootsOf());
    this.#context = createSecureContext(this.#contextOptions());
  }

  get address(): Address | null {
    return this.#server === null ? null : boundTo(this.#server);
  }

  /** What all our links together may send; plain ones share it. */
  get uplink(): RateLimit {
    return this.#uplink;
  }

  /** Open links, for status and tests. */
  get linkCount(): number {
    return this.#links.size;
  }

  /** May be called again where it could not listen; until then it only dials out. */
  async start(): Promise<void> {
    const { listen, expiryCheckMs = EXPIRY_CHECK_MS } = this.#options;
    if (this.#expiryTimer === null) {
      this.#endMembership = this.#options.membership.onChange(() => this.#reload());
      this.#reload();
      this.#expiryTimer = setInterval(() => this.#closeEnded(), expiryCheckMs);
    }
    if (listen === null) return;
    const server = this.#createServer();
    await listenAt(server, listen);
    server.on('error', (error) => this.#options.log.error('overlay listener', { error }));
    this.#server = server;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#endMembership();
    if (this.#expiryTimer !== null) clearInterval(this.#expiryTimer);
    const server = this.#server;
    this.#server = null;
    const closed =
      server === null ? null : new Promise<void>((resolve) => server.close(() => resolve()));
    for (const link of [...this.#links.keys()]) link.close('stopping');
    const gone = [...this.#raw].map(
      (raw) => new Promise<void>((resolve) => void raw.once('close', () => resolve())),
    );
    setImmediate(() => {
      for (const raw of this.#raw) raw.destroySoon();
    });
    await Promise.all([closed, ...gone]);
  }

  setLimits({ uploadBytesPerSecond, downloadBytesPerSecond }: TransferLimits): void {
    this.#uplink.set(uploadBytesPerSecond ?? Number.POSITIVE_INFINITY);
    this.#downlink.set(downloadBytesPerSecond ?? Number.POSITIVE_INFINITY);
  }

  onIncoming(acceptor: (link: Link) => LinkHandler | null): void {
    this.#acceptor = acceptor;
  }

  /** Takes a link that we dialled because we were called, as one that came in. */
  accept(link: Link): LinkHandler | null {
    return this.#acceptor(link);
  }

  setIdentity(identity: OverlayIdentity): void {
    // Throws for a pair that does not fit, before anything has changed.
    createSecureContext({ cert: identity.tlsCertificate, key: identity.tlsKey });
    this.#identity = identity;
    this.#reload();
  }

  digestChunk(bytes: Uint8Array): Promise<ChunkDigests> {
    return digestChunkInThread(bytes);
  }

  async dial(options: DialOptions): Promise<Link> {
    const { address, signal } = options;
    if (this.#stopped) throw new LinkError('closed', 'the overlay has stopped');
    if (signal?.aborted) throw new LinkError('aborted', 'dialling was aborted');
    const raw = await this.#connect(address, signal);
    this.accounts.attribute(raw, options.infoHash);
    const tls = await this.#secure(raw, signal);
    const chain = this.#roots.chainOf(tls.getPeerX509Certificate());
    if (chain?.mspId !== options.mspId) {
      tls.destroy();
      const found = chain?.mspId ?? 'nobody we know';
      throw new LinkError(
        'wrong-peer',
        `${address.host}:${address.port} is ${found}, expected ${options.mspId}`,
      );
    }
    const ended = this.#whatEnded(chain);
    if (ended !== null) {
      tls.destroy();
      throw new LinkError('untrusted', ended);
    }
    return this.#openLink(tls, raw, chain, options);
  }

  dialMember(options: DialMemberOptions): Promise<Link> {
    return dialMember(options, this.#options.membership, this.#calls, (to) => this.dial(to));
  }

  #contextOptions(): SecureContextOptions {
    return {
      cert: this.#identity.tlsCertificate,
      key: this.#identity.tlsKey,
      ca: this.#roots.pems(),
      minVersion: 'TLSv1.3',
      maxVersion: 'TLSv1.3',
    };
  }

  #reload(): void {
    this.#roots = new RootTable(this.#options.membership.rootsOf());
    for (const mspId of this.#roots.broken) {
      this.#options.log.warn('an overlay root does not parse', { mspId });
    }
    this.#context = createSecureContext(this.#contextOptions());
    this.#setServerContext(this.#contextOptions());
    for (const link of [...this.#links.keys()]) {
      if (!this.#roots.has(link.mspId)) link.close(`${link.mspId} has no root on the ledger`);
    }
    this.#closeEnded();
  }

  #whatEnded(chain: PeerChain): string | null {
    return whatEnded(chain, this.#options.membership, this.#options.nowMs?.() ?? Date.now());
  }

  /** Ends the links of peers whose certificate has expired or was revoked. */
  #closeEnded(): void {
    for (const [link, chain] of [...this.#links]) {
      const ended = this.#whatEnded(chain);
      if (ended === null) continue;
      this.#options.log.warn('a link ends with its certificate', { reason: ended });
      link.close(ended);
    }
  }

  /** A TCP server hands its sockets to TLS, so that accounts see what TCP carried. */
  #createServer(): Server {
    const rawOf = new Map<string, Socket>();
    const secure = createServer(
      {
        ...this.#contextOptions(),
        requestCert: true,
        rejectUnauthorized: true,
        handshakeTimeout: this.#limits.handshakeMs,
      },
      (tls) => {
        const raw = rawOf.get(endpoint(tls));
        if (raw === undefined) tls.destroy();
        else this.#welcome(tls, raw);
      },
    );
    secure.on('tlsClientError', (error, tls) => {
      this.#options.log.info('refused a connection', { reason: error.message });
      tls.destroy();
    });
    this.#setServerContext = (context) => secure.setSecureContext(context);
    const server = createNetServer((raw) => {
      const key = endpoint(raw);
      if (!this.#mayShakeHands(raw)) {
        raw.destroy();
        return;
      }
      rawOf.set(key, raw);
      raw.once('close', () => rawOf.delete(key));
      this.#follow(raw);
      secure.emit('connection', raw);
    });
    server.maxConnections = this.#options.connectionsMax ?? CONNECTIONS_MAX;
    return server;
  }

  /** Counts the host's handshakes until they are done or given up. */
  #mayShakeHands(raw: Socket): boolean {
    const host = raw.remoteAddress ?? '';
    const underWay = this.#handshakes.get(host) ?? new Set();
    if (underWay.size >= HANDSHAKES_PER_HOST_MAX) return false;
    this.#handshakes.set(host, underWay.add(raw));
    raw.once('close', () => this.#shookHands(raw, host));
    return true;
  }

  #shookHands(raw: Socket, host = raw.remoteAddress ?? ''): void {
    const underWay = this.#handshakes.get(host);
    underWay?.delete(raw);
    if (underWay?.size === 0) this.#handshakes.delete(host);
  }

  #follow(raw: Socket): void {
    this.accounts.add(raw);
    this.#raw.add(raw);
    raw.on('error', (error) => this.#options.log.debug('socket', { reason: error.message }));
    raw.once('close', () => this.#raw.delete(raw));
  }

  #welcome(tls: TLSSocket, raw: Socket): void {
    this.#shookHands(raw);
    const chain = this.#roots.chainOf(tls.getPeerX509Certificate());
    const refusal =
      chain === null
        ? 'its certificate is of no organisation on the ledger'
        : this.#linksOf(chain.mspId) >= (this.#options.linksPerMemberMax ?? LINKS_PER_MEMBER_MAX)
          ? `${chain.mspId} has too many links`
          : this.#whatEnded(chain);
    if (chain === null || refusal !== null || this.#stopped) {
      this.#options.log.info('refused a connection', { reason: refusal ?? 'stopping' });
      tls.on('error', () => undefined);
      tls.destroy();
      return;
    }
    const accept = (link: Link) => {
      const called = this.#calls.take(link);
      return called === undefined ? this.#acceptor(link) : called;
    };
    this.#addLink(tls, raw, chain, null, accept, {});
  }

  #linksOf(mspId: MspId): number {
    let count = 0;
    for (const link of this.#links.keys()) if (link.mspId === mspId) count += 1;
    return count;
  }

  async #connect(address: Address, signal: AbortSignal | undefined): Promise<Socket> {
    const raw = netConnect({ host: address.host, port: address.port });
    this.#follow(raw);
    await settle(raw, 'connect', this.#limits.handshakeMs, signal, 'unreachable');
    return raw;
  }

  async #secure(raw: Socket, signal: AbortSignal | undefined): Promise<TLSSocket> {
    const tls = tlsConnect({
      socket: raw,
      secureContext: this.#context,
      rejectUnauthorized: true,
      // Trucks move: a peer is its certificate's organisation, checked by `dial`, not its host name.
      checkServerIdentity: () => undefined,
    });
    await settle(tls, 'secureConnect', this.#limits.handshakeMs, signal, 'untrusted');
    return tls;
  }

  #openLink(tls: TLSSocket, raw: Socket, chain: PeerChain, options: DialOptions): Promise<Link> {
    return new Promise((resolve, reject) => {
      const onAbort = () => link.close('aborted');
      options.signal?.addEventListener('abort', onAbort, { once: true });
      const finish = () => options.signal?.removeEventListener('abort', onAbort);
      const { handler } = options;
      const accept = typeof handler === 'function' ? handler : () => handler;
      const link = this.#addLink(tls, raw, chain, options.infoHash, accept, {
        onOpen: (open) => {
          finish();
          resolve(open);
        },
        onClosed: (error) => {
          finish();
          reject(new LinkError(error.code === 'closed' ? 'handshake' : error.code, error.message));
        },
      });
      if (options.signal?.aborted) onAbort();
    });
  }

  #addLink(
    tls: TLSSocket,
    raw: Socket,
    chain: PeerChain,
    infoHash: Hex | null,
    accept: (link: Link) => LinkHandler | null,
    on: { onOpen?: (link: Link) => void; onClosed?: (error: LinkError) => void },
  ): WireLink {
    const { mspId } = chain;
    const link = new WireLink({
      tls,
      mspId,
      infoHash,
      accept,
      peerId: this.#peerId,
      limits: this.#limits,
      onInfoHash: (found) => this.accounts.attribute(raw, found),
      onOpen: (open) => on.onOpen?.(open),
      onClosed: (closed, error) => {
        this.#links.delete(closed);
        const level = error.code === 'violation' ? 'warn' : 'debug';
        this.#options.log[level]('link closed', {
          mspId,
          infoHash: closed.infoHash,
          code: error.code,
          reason: error.message,
        });
        on.onClosed?.(error);
      },
      uplink: this.#uplink,
      downlink: this.#downlink,
      requests: (counted) => this.#quotas.waitMs(mspId, counted),
    });
    this.#links.set(link, chain);
    return link;
  }
}

function endpoint(socket: Socket): string {
  return `${socket.remoteAddress} ${socket.remotePort} ${socket.localPort}`;
}

/** Waits for one event of a socket; an error, end, time-out or abort destroys it. */
function settle(
  socket: Socket,
  event: 'connect' | 'secureConnect',
  timeoutMs: number,
  signal: AbortSignal | undefined,
  code: 'unreachable' | 'untrusted',
): Promise<void> {
  return new Promise((resolve, reject) => {
    const finish = () => {
      clearTimeout(timer);
      socket.off(event, onDone);
      socket.off('error', onError);
      socket.off('close', onClose);
      signal?.removeEventListener('abort', onAbort);
    };
    const fail = (error: LinkError) => {
      finish();
      socket.on('error', () => undefined);
      socket.destroy();
      reject(error);
    };
    const onDone = () => {
      finish();
      resolve();
    };
    const onError = (error: Error) => fail(new LinkError(code, error.message, { cause: error }));
    const onClose = () => fail(new LinkError(code, 'the connection closed'));
    const onAbort = () => fail(new LinkError('aborted', 'dialling was aborted'));
    const timer = setTimeout(
      () => fail(new LinkError('unreachable', `no answer within ${timeoutMs} ms`)),
      timeoutMs,
    );
    socket.once(event, onDone);
    socket.once('error', onError);
    socket.once('close', onClose);
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}
