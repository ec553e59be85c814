/**
 * A user-space TCP proxy that delays, stalls and cuts: for kernels without netem.
 *
 * It cannot read what it carries (TLS), but sees the records: each may be held back, and what comes
 * after it in its direction waits behind it, as on a real line. Always holds: what is held back is
 * bounded; order and bytes are never changed.
 */
import { connect, createServer, type Server, type Socket } from 'node:net';

export interface ProxyFaults {
  /** 0 to 1: the share of TLS records that are delayed. */
  readonly share: number;
  /** Shortest and longest delay, ms. */
  readonly delayMs: readonly [number, number];
  /** 0 <= random() < 1. */
  readonly random: () => number;
}

const RECORD_HEADER_BYTES = 5;
/** Held back in one direction before the sender is paused. */
const HELD_BYTES_MAX = 1024 * 1024;

export class SlowProxy {
  readonly #faults: ProxyFaults;
  readonly #sockets = new Set<Socket>();
  #server: Server | null = null;
  #down = false;
  /** Records that were delayed so far. */
  delayed = 0;

  constructor(faults: ProxyFaults) {
    this.#faults = faults;
  }

  /** Listens on the loopback for what is meant for a port; returns its own port. */
  async start(target: number | (() => number)): Promise<number> {
    const server = createServer((near) => {
      const port = typeof target === 'number' ? target : target();
      if (this.#down) near.destroy();
      else this.#join(near, connect({ host: '127.0.0.1', port }));
    });
    this.#server = server;
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('the proxy has no port');
    return address.port;
  }

  /** No line: what goes through it ends, new connections are refused until it is up again. */
  down(isDown = true): void {
    this.#down = isDown;
    if (isDown) this.cut();
  }

  /** Ends every connection that goes through it now; new ones are taken. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    const closed = new Promise<void>((resolve) => {
      if (server === null) resolve();
      else server.close(() => resolve());
    });
    this.cut();
    await closed;
  }

  #join(near: Socket, far: Socket): void {
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#sockets.add(from);
      from.setNoDelay(true);
      const direction = new Direction(this.#faults, from, to, () => {
        this.delayed += 1;
      });
      from.on('data', (bytes: Buffer) => direction.push(bytes));
      from.on('error', () => to.destroy());
      from.on('close', () => {
        this.#sockets.delete(from);
        direction.end();
      });
    }
  }
}

/** One direction of one connection. */
class Direction {
  readonly #faults: ProxyFaults;
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #onDelay: () => void;
  /** Bytes until the next record begins; the header of a record may come in parts. */
  #header = Buffer.alloc(0);
  #bodyBytes = 0;
  #held: Buffer[] = [];
  #heldBytes = 0;
  #timer: NodeJS.Timeout | null = null;
  #ended = false;

  constructor(faults: ProxyFaults, from: Socket, to: Socket, onDelay: () => void) {
    this.#faults = faults;
    this.#from = from;
    this.#to = to;
    this.#onDelay = onDelay;
  }

  push(bytes: Buffer): void {
    const records = this.#recordsIn(bytes);
    this.#held.push(bytes);
    this.#heldBytes += bytes.length;
    if (this.#heldBytes > HELD_BYTES_MAX) this.#from.pause();
    const delayed = Array.from({ length: records }).filter(
      () => this.#faults.random() < this.#faults.share,
    );
    for (const _ of delayed) this.#onDelay();
    if (this.#timer !== null) return;
    if (delayed.length === 0) {
      this.#release();
      return;
    }
    const [shortest, longest] = this.#faults.delayMs;
    const waitMs = shortest + this.#faults.random() * (longest - shortest);
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#release();
    }, waitMs);
  }

  /** No more will come; what is held back still goes out. */
  end(): void {
    this.#ended = true;
    if (this.#timer === null) this.#to.destroySoon();
  }

  #release(): void {
    if (!this.#to.destroyed) for (const bytes of this.#held) this.#to.write(bytes);
    this.#held = [];
    this.#heldBytes = 0;
    if (this.#ended) this.#to.destroySoon();
    else this.#from.resume();
  }

  /** How many records begin in `bytes` (RFC 8446 §5.1: type, version, 16-bit length). */
  #recordsIn(bytes: Buffer): number {
    let records = 0;
    let rest = bytes;
    while (rest.length > 0) {
      if (this.#bodyBytes > 0) {
        const taken = Math.min(this.#bodyBytes, rest.length);
        this.#bodyBytes -= taken;
        rest = rest.subarray(taken);
        continue;
      }
      const missing = RECORD_HEADER_BYTES - this.#header.length;
      this.#header = Buffer.concat([this.#header, rest.subarray(0, missing)]);
      rest = rest.subarray(missing);
      if (this.#header.length < RECORD_HEADER_BYTES) break;
      records += 1;
      this.#bodyBytes = this.#header.readUInt16BE(3);
      this.#header = Buffer.alloc(0);
    }
    return records;
  }
}
