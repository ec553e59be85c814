/**
 * Clients that take their messages more slowly than these come: who of them is sent less, or ended.
 *
 * Enters: connected clients, and the messages for them. Leaves: whether one more is sent. Always
 * holds: no client has more than its bytes waiting in our memory, but for what its session's queue
 * holds anyway; a publisher, and so every other subscriber, waits for the clients of
 * `publishersWaitFor` only; who takes nothing for `DEFAULTS.drainTimeoutMs` is ended.
 */
import type { Client } from 'aedes';
import { DEFAULTS } from './config.ts';
import type { Socket } from './listeners.ts';

/** Bytes that wait for one client, and for one of `publishersWaitFor`. */
const UNSENT_BYTES_MAX = 1024 * 1024;
const UNSENT_BYTES_MAX_WAITED_FOR = 16 * 1024 * 1024;

/** How often `endStuck` is to be called. */
export const STUCK_CHECK_SECONDS = 5;

/** Gives a client a message; `done` when it has been written. */
type Deliver = (packet: { readonly brokerId?: string | null }, done: () => void) => void;

/** The part of aedes's client that a subscription calls, and a retained message. */
interface Delivering {
  deliver0: Deliver;
  deliverQoS: Deliver;
}

interface Progress {
  readonly takenBytes: number;
  readonly sinceMs: number;
}

/** One for a broker. */
export class SlowReaders {
  readonly #isWaitedFor: (clientId: string) => boolean;
  readonly #progress = new WeakMap<Client, Progress>();

  constructor(isWaitedFor: (clientId: string) => boolean) {
    this.#isWaitedFor = isWaitedFor;
  }

  /** Call it before the client has subscriptions: from here on no publisher waits who need not. */
  attach(client: Client): void {
    if (this.#isWaitedFor(client.id)) return;
    const delivering = client as unknown as Delivering;
    for (const name of ['deliver0', 'deliverQoS'] as const) {
      const deliver = delivering[name];
      delivering[name] = (packet, done) => {
        // Retained ones come from nobody who could wait, and one after the other.
        if (!packet.brokerId) return deliver(packet, done);
        deliver(packet, () => undefined);
        setImmediate(done);
      };
    }
  }

  /** Whether so much waits for the client that what is kept nowhere else is dropped. */
  isBehind(client: Client): boolean {
    const unsent = (client.conn as Socket).writableLength;
    if (unsent <= UNSENT_BYTES_MAX) return false;
    return !this.#isWaitedFor(client.id) || unsent > UNSENT_BYTES_MAX_WAITED_FOR;
  }

  /** Ends those who have taken nothing of what waits for them for too long. */
  endStuck(clients: Iterable<Client>, nowMs: number): void {
    for (const client of clients) {
      const { bytesWritten, writableLength } = client.conn as Socket;
      const takenBytes = bytesWritten - writableLength;
      const before = this.#progress.get(client);
      if (writableLength === 0 || before?.takenBytes !== takenBytes) {
        this.#progress.set(client, { takenBytes, sinceMs: nowMs });
      } else if (nowMs - before.sinceMs >= DEFAULTS.drainTimeoutMs) {
        client.conn.destroy(new Error('it takes no messages'));
      }
    }
  }
}
