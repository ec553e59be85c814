/**
 * Bandwidth accounts: bytes at the TCP sockets, so TLS, handshakes and retries are in them.
 *
 * Enters: every socket when it is made, and the torrent it turned out to be about. Always holds:
 * sums include closed sockets, and the number of torrents remembered is bounded.
 */
import type { Socket } from 'node:net';
import type { Hex } from '@blocktorrent/protocol/ledger-api.ts';
import type { Accounts, Traffic } from './types.ts';

/** Torrents with a sum of their own; the one not touched for longest is dropped first. */
const TORRENTS_MAX = 10_000;

interface Sum {
  sentBytes: number;
  receivedBytes: number;
}

/** Reads `bytesWritten` and `bytesRead` of the sockets it is told about. */
export class SocketAccounts implements Accounts {
  readonly #open = new Map<Socket, { infoHash: Hex | null }>();
  readonly #closed: Sum = { sentBytes: 0, receivedBytes: 0 };
  readonly #closedByTorrent = new Map<Hex, Sum>();

  /** Follows a TCP socket until it closes. */
  add(socket: Socket): void {
    this.#open.set(socket, { infoHash: null });
    socket.once('close', () => this.#fold(socket));
  }

  /** Says what a socket is about: all its bytes, past and future, are that torrent's. */
  attribute(socket: Socket, infoHash: Hex): void {
    const entry = this.#open.get(socket);
    if (entry !== undefined) entry.infoHash = infoHash;
  }

  total(): Traffic {
    return this.#sum({ ...this.#closed }, () => true);
  }

  of(infoHash: Hex): Traffic {
    const closed = this.#closedByTorrent.get(infoHash) ?? { sentBytes: 0, receivedBytes: 0 };
    return this.#sum({ ...closed }, (of) => of === infoHash);
  }

  #sum(sum: Sum, matches: (infoHash: Hex | null) => boolean): Traffic {
    for (const [socket, { infoHash }] of this.#open) {
      if (matches(infoHash)) addTo(sum, socket);
    }
    return sum;
  }

  #fold(socket: Socket): void {
    const entry = this.#open.get(socket);
    if (entry === undefined) return;
    this.#open.delete(socket);
    addTo(this.#closed, socket);
    if (entry.infoHash === null) return;
    const sum = this.#closedByTorrent.get(entry.infoHash) ?? { sentBytes: 0, receivedBytes: 0 };
    addTo(sum, socket);
    this.#closedByTorrent.delete(entry.infoHash);
    this.#closedByTorrent.set(entry.infoHash, sum);
    const oldest = this.#closedByTorrent.keys().next();
    if (this.#closedByTorrent.size > TORRENTS_MAX && !oldest.done) {
      this.#closedByTorrent.delete(oldest.value);
    }
  }
}

function addTo(sum: Sum, socket: Socket): void {
  sum.sentBytes += socket.bytesWritten;
  sum.receivedBytes += socket.bytesRead;
}
