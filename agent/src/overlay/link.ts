/**
 * One link: a TLS socket, the guard, the wire, and both directions of block traffic.
 *
 * Enters: an authenticated socket, or a plain one of an ordinary client. Leaves: a `Link` for
 * stages, once both sides have shaken hands (BEP 3, 6, 10). Always holds: whatever the other side
 * sends, the worst that happens is that this link closes with a reason.
 */
import type { Socket } from 'node:net';
import { fromHex, toHex } from '@blocktorrent/protocol/bytes.ts';
import type { Hex, MspId, SignedReceipt } from '@blocktorrent/protocol/ledger-api.ts';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import {
  decodeCallMessage,
  decodeManifestMessage,
  decodeReceiptMessage,
  EXTENSION,
  encodeCallMessage,
  encodeManifestMessage,
  encodeReceiptMessage,
  type ManifestMessage,
} from '@blocktorrent/protocol/overlay-messages.ts';
import {
  decodeOwnerMessage,
  encodeOwnerMessage,
  type OwnerMessage,
} from '@blocktorrent/protocol/owner-messages.ts';
import { BlockClient } from './block-client.ts';
import { BlockServer } from './block-server.ts';
import { MessageGuard } from './guard.ts';
import type { LinkLimits } from './link-limits.ts';
import type { RateLimit } from './rate-limit.ts';
import type { Counted } from './request-quotas.ts';
import { type Link, LinkError, type LinkErrorCode, type LinkHandler } from './types.ts';
import { GuardedWire } from './wire.ts';

/** Messages of ours that one link may carry; a torrent needs a handful. */
const EXTENSION_MESSAGES_MAX = 4096;
/** Names of our messages. */
const EXTENSIONS: readonly unknown[] = Object.values(EXTENSION);
/** How long a closing socket may take to flush. */
const FLUSH_MS = 2_000;
/** Of an ordinary client: a block with its header, a bitfield, a BEP 10 handshake. */
const PLAIN_MESSAGE_BYTES_MAX = 32 * 1024;

export interface LinkOptions {
  /** TLS; for an ordinary client the TCP socket itself. */
  readonly tls: Socket;
  readonly mspId: MspId;
  readonly peerId: Uint8Array;
  readonly limits: LinkLimits;
  /** Null: the other side dialled and says which torrent it wants. */
  readonly infoHash: Hex | null;
  /** Called once, when both handshakes are done; null refuses the link. */
  readonly accept: (link: Link) => LinkHandler | null;
  readonly onInfoHash: (infoHash: Hex) => void;
  readonly onOpen: (link: WireLink) => void;
  readonly onClosed: (link: WireLink, error: LinkError) => void;
  /** What all links together may send and receive. */
  readonly uplink: RateLimit | null;
  readonly downlink: RateLimit | null;
  /** Counts a request or message of the other side; ms until the next may be read. */
  readonly requests?: (counted: Counted) => number;
  /** To an ordinary client: no messages of ours either way, BEP 10 is not asked for. */
  readonly plain?: boolean;
}

export class WireLink implements Link {
  readonly mspId: MspId;
  readonly incoming: boolean;
  readonly #options: LinkOptions;
  readonly #tls: Socket;
  readonly #wire: GuardedWire;
  readonly #client: BlockClient;
  readonly #server: BlockServer;
  readonly #handshakeTimer: NodeJS.Timeout;
  #infoHash: Hex;
  #handler: LinkHandler | null = null;
  #opened = false;
  #closed: LinkError | null = null;
  #extensionMessages = 0;
  #corked = false;
  #flushing = false;
  #restsUntilMs = 0;
  #restTimer: NodeJS.Timeout | undefined;

  constructor(options: LinkOptions) {
    this.#options = options;
    this.#tls = options.tls;
    this.mspId = options.mspId;
    this.incoming = options.infoHash === null;
    this.#infoHash = options.infoHash ?? '';
    const { limits } = options;
    this.#wire = new GuardedWire(
      this.incoming ? 'tcpIncoming' : 'tcpOutgoing',
      options.plain === true,
    );
    this.#client = new BlockClient(this.#wire, limits, () =>
      this.#end('stalled', `no block came for ${limits.stallMs} ms`),
    );
    this.#server = new BlockServer({
      limits,
      read: (index, offset, length) => this.#read(index, offset, length),
      writable: () => this.#writable(),
      uplink: options.uplink,
    });
    this.#handshakeTimer = setTimeout(
      () => this.#end('handshake', `no handshake within ${limits.handshakeMs} ms`),
      limits.handshakeMs,
    );
    this.#attachWire();
    this.#attachSocket();
    if (options.infoHash !== null) this.#sendHandshake();
  }

  get infoHash(): Hex {
    return this.#infoHash;
  }

  get closed(): boolean {
    return this.#closed !== null;
  }

  get queuedBytes(): number {
    return this.#client.queuedBytes;
  }

  has(index: number): boolean {
    return this.#wire.peerPieces.get(index);
  }

  fetchChunk(
    index: number,
    bytes: number,
    signal?: AbortSignal,
    into?: Buffer,
  ): Promise<Uint8Array> {
    return this.#client.fetch(index, bytes, signal, into);
  }

  announceAll(have: Uint8Array, chunkCount: number): void {
    if (this.closed) return;
    const none = have.every((byte) => byte === 0);
    if (none && this.#wire.hasFast) this.#wire.haveNone();
    else if (this.#wire.hasFast && isFull(have, chunkCount)) this.#wire.haveAll();
    else this.#wire.bitfield(have);
    // Ordinary clients expect what there is before anything else (BEP 3, 6).
    if (this.#options.plain && this.incoming) this.#wire.unchoke();
  }

  announceOne(index: number): void {
    if (!this.closed) this.#wire.have(index);
  }

  sendManifestMessage(message: ManifestMessage): void {
    this.#sendExtension(EXTENSION.manifest, encodeManifestMessage(message));
  }

  sendReceipt(receipt: SignedReceipt): void {
    this.#sendExtension(EXTENSION.receipt, encodeReceiptMessage(receipt));
  }

  sendOwnerMessage(message: OwnerMessage): void {
    this.#sendExtension(EXTENSION.owner, encodeOwnerMessage(message));
  }

  sendCall(infoHash: Hex): void {
    this.#sendExtension(EXTENSION.call, encodeCallMessage({ infoHash: fromHex(infoHash, 20) }));
  }

  close(reason: string): void {
    this.#end('closed', reason);
  }

  #sendExtension(name: string, payload: Uint8Array): void {
    if (this.closed) return;
    // Often in answer to something that came: nobody up there could catch it.
    if (!this.#wire.peerExtendedMapping[name]) {
      this.#end('violation', `${this.mspId} does not speak ${name}`);
    } else {
      this.#wire.extended(name, payload);
    }
  }

  #sendHandshake(): void {
    this.#wire.handshake(this.#infoHash, this.#options.peerId, { fast: true });
    this.#wire.setKeepAlive(true);
  }

  #attachWire(): void {
    const wire = this.#wire;
    wire.on('data', (bytes: Uint8Array) => this.#write(bytes));
    wire.on('violation', (error: Error) => this.#end('violation', error.message));
    wire.on('error', (error: Error) => this.#end('violation', error.message));
    wire.on('close', () => this.#end('closed', 'the wire ended'));
    wire.on('handshake', (infoHash: string, _peerId: string) => this.#onHandshake(infoHash));
    wire.on('extended', (name: unknown, payload: Uint8Array) => this.#onExtended(name, payload));
    wire.on('bitfield', () => this.#handler?.onHave?.(this));
    wire.on('have-all', () => this.#handler?.onHave?.(this));
    wire.on('have', () => this.#handler?.onHave?.(this));
    wire.on('cancel', (index: number, offset: number, length: number) =>
      this.#server.cancel(index, offset, length),
    );
    wire.on('request', (index: number, offset: number, length: number, respond) => {
      this.#count('request');
      if (wire.peerRequests.length > this.#options.limits.requestsMax) {
        throw new RangeError(`more than ${this.#options.limits.requestsMax} unanswered requests`);
      }
      this.#server.add({ index, offset, length, respond });
    });
  }

  #attachSocket(): void {
    const socket = this.#tls;
    const guard = new MessageGuard(
      (messages) => {
        if (!this.closed) this.#wire.accept(messages);
      },
      this.#options.plain ? PLAIN_MESSAGE_BYTES_MAX : LIMITS.overlayMessageBytesMax,
    );
    socket.on('data', (data: Buffer) => {
      if (this.closed) return;
      try {
        guard.push(data);
      } catch (error) {
        this.#end('violation', error instanceof Error ? error.message : String(error));
      }
      this.#slowDown(data.length);
    });
    socket.on('end', () => this.#end('closed', 'the other side ended the connection'));
    socket.on('error', (error) => this.#end('closed', error.message));
    socket.on('close', () => this.#end('closed', 'the connection is gone'));
    socket.setTimeout(this.#options.limits.idleMs, () =>
      this.#end('stalled', `nothing came for ${this.#options.limits.idleMs} ms`),
    );
    socket.setNoDelay(true);
  }

  /** Reads no more until what came is paid for: TCP makes the other side wait. */
  #slowDown(bytes: number): void {
    this.#rest(this.#options.downlink?.charge(bytes) ?? 0);
  }

  /** An organisation past its quota of requests waits for all its links together. */
  #count(counted: Counted): void {
    this.#rest(this.#options.requests?.(counted) ?? 0);
  }

  #rest(waitMs: number): void {
    const untilMs = performance.now() + waitMs;
    if (waitMs === 0 || this.closed || untilMs <= this.#restsUntilMs) return;
    this.#restsUntilMs = untilMs;
    this.#tls.pause();
    clearTimeout(this.#restTimer);
    this.#restTimer = setTimeout(() => this.#tls.resume(), waitMs);
  }

  #onHandshake(infoHash: string): void {
    const plain = this.#options.plain === true;
    if (!plain && !this.#wire.peerExtensions.extended) {
      this.#end('handshake', 'the other side does not speak BEP 10');
    } else if (!this.incoming) {
      if (infoHash !== this.#infoHash) this.#end('handshake', `answered for torrent ${infoHash}`);
    } else if (this.#infoHash !== '') {
      this.#end('violation', 'a second handshake');
    } else {
      this.#infoHash = infoHash;
      this.#options.onInfoHash(infoHash);
      // A plain side is not answered before it is known to ask for something that is here.
      if (plain) this.#open();
      if (!this.closed) this.#sendHandshake();
    }
    if (plain && !this.incoming && !this.closed) this.#open();
  }

  #onExtended(name: unknown, payload: Uint8Array): void {
    if (this.closed || this.#options.plain) return;
    if (name === 'handshake') {
      this.#open();
      return;
    }
    if (!EXTENSIONS.includes(name)) return;
    this.#count('message');
    this.#extensionMessages += 1;
    if (this.#extensionMessages > EXTENSION_MESSAGES_MAX) {
      throw new RangeError(`more than ${EXTENSION_MESSAGES_MAX} messages of ours on one link`);
    }
    if (name === EXTENSION.manifest) {
      const message = decodeManifestMessage(payload);
      this.#handler?.onManifestMessage?.(this, message);
    } else if (name === EXTENSION.receipt) {
      const receipt = decodeReceiptMessage(payload);
      this.#handler?.onReceipt?.(this, receipt);
    } else if (name === EXTENSION.owner) {
      const message = decodeOwnerMessage(payload);
      this.#handler?.onOwnerMessage?.(this, message);
    } else {
      const { infoHash } = decodeCallMessage(payload);
      this.#handler?.onCall?.(this, toHex(infoHash));
    }
  }

  #open(): void {
    if (this.#opened || this.#infoHash === '') return;
    this.#opened = true;
    clearTimeout(this.#handshakeTimer);
    this.#handler = this.#options.accept(this);
    if (this.#handler === null) {
      this.#end('closed', 'refused');
      return;
    }
    if (!this.#options.plain) this.#wire.unchoke();
    if (!this.#options.plain || !this.incoming) this.#wire.interested();
    this.#options.onOpen(this);
  }

  #read(index: number, offset: number, length: number): Promise<Uint8Array> {
    const read = this.#handler?.read;
    if (read === undefined) return Promise.reject(new LinkError('rejected', 'nothing to serve'));
    return read(index, offset, length);
  }

  /** Header and block are written apart by the library: one write a tick leaves (corked). */
  #write(bytes: Uint8Array): void {
    if (this.closed && !this.#flushing) return;
    if (!this.closed && this.#tls.writableLength > this.#options.limits.sendBytesMax) {
      this.#end('stalled', `${this.#tls.writableLength} bytes wait for a slow reader`);
      return;
    }
    if (!this.#corked) {
      this.#corked = true;
      this.#tls.cork();
      setImmediate(() => {
        this.#corked = false;
        this.#tls.uncork();
      });
    }
    this.#tls.write(bytes);
  }

  async #writable(): Promise<void> {
    const socket = this.#tls;
    while (this.#closed === null && socket.writableLength > this.#options.limits.sendHighBytes) {
      await new Promise<void>((resolve) => {
        const done = () => {
          socket.off('drain', done);
          socket.off('close', done);
          resolve();
        };
        socket.on('drain', done);
        socket.on('close', done);
      });
    }
    if (this.#closed !== null) throw this.#closed;
  }

  #end(code: LinkErrorCode, reason: string): void {
    if (this.#closed !== null) return;
    const error = new LinkError(code, reason);
    this.#closed = error;
    clearTimeout(this.#handshakeTimer);
    clearTimeout(this.#restTimer);
    this.#server.stop();
    this.#client.close(error);
    this.#wire.setKeepAlive(false);
    this.#tls.setTimeout(0);
    if (code === 'closed') this.#flush();
    else this.#drop();
    this.#options.onClosed(this, error);
    this.#handler?.onClose?.(this, reason);
  }

  /** Lets out what was said before the end; the wire hands its bytes over in microtasks. */
  #flush(): void {
    this.#flushing = true;
    const timer = setTimeout(() => this.#drop(), FLUSH_MS);
    this.#tls.once('close', () => clearTimeout(timer));
    setImmediate(() => {
      this.#flushing = false;
      this.#wire.destroy();
      this.#tls.end();
    });
  }

  #drop(): void {
    this.#wire.destroy();
    this.#tls.destroy();
  }
}

function isFull(have: Uint8Array, chunkCount: number): boolean {
  for (let index = 0; index < chunkCount; index++) {
    if (((have[index >> 3] ?? 0) & (0x80 >> (index & 7))) === 0) return false;
  }
  return true;
}
