/**
 * Publishers that wait because the queue of a session of `publishersWaitFor` is full: they get no
 * PUBACK until there is room.
 *
 * Enters: a message whose queue may be full. Leaves: the message, when there is room for it. Always
 * holds: nothing is acknowledged and then dropped; messages of one client are let in in the order in
 * which they came; while a client waits its further packets are read (PUBACKs and PINGREQs among
 * them, or a subscriber that also publishes would wait for itself), up to a bound beyond which TCP
 * holds it back. What waits and whose client goes was never acknowledged: it comes again.
 */
import type { Client } from 'aedes';

/** A client that waits is read on until so many of its messages wait, and so many bytes in all. */
const MESSAGES_MAX = 100;
const BYTES_MAX = 16 * 1024 * 1024;
/** The log says that publishers wait, and for whom, at most so often. */
const SAY_EVERY_MS = 60_000;

/** The client of a message went before there was room for it. */
export class PublisherGoneError extends Error {
  override readonly name = 'PublisherGoneError';
  readonly code = 'publisher-gone';
}

/** What a message waits for, and what becomes of it then. */
export interface Entry<T> {
  /** The session whose queue is full; null when there is room. */
  fullFor(): string | null;
  accept(): T;
}

/** The parts of aedes's client that decide when more is read. */
interface Reading {
  _parsingBatch: number;
  _nextBatch(): void;
}

interface Waiting {
  messages: number;
  last: Promise<unknown>;
}

export interface HeldPublishersOptions {
  /** Resolves when something has left a queue, or a client has gone. */
  readonly change: () => Promise<void>;
  readonly nowMs: () => number;
  /** Told, now and then, for whose full queue publishers wait. */
  readonly onFull: (session: string) => void;
}

/** One for a broker. */
export class HeldPublishers {
  readonly #options: HeldPublishersOptions;
  readonly #waiting = new Map<Client, Waiting>();
  #messages = 0;
  #bytes = 0;
  #saidMs = Number.NEGATIVE_INFINITY;

  constructor(options: HeldPublishersOptions) {
    this.#options = options;
  }

  /** Messages that wait now. */
  get messages(): number {
    return this.#messages;
  }

  /** Accepts at once, or when there is room. @throws PublisherGoneError */
  enter<T>(
    client: Client,
    { payload }: { payload: string | Uint8Array },
    entry: Entry<T>,
  ): T | Promise<T> {
    if (!this.#waiting.has(client) && entry.fullFor() === null) return entry.accept();
    return this.#wait(client, payload.length, entry);
  }

  async #wait<T>(client: Client, bytes: number, entry: Entry<T>): Promise<T> {
    const waiting = this.#waiting.get(client) ?? { messages: 0, last: Promise.resolve() };
    const turn = this.#turn(client, waiting.last, entry);
    waiting.last = turn.catch(() => undefined);
    waiting.messages += 1;
    this.#waiting.set(client, waiting);
    this.#messages += 1;
    this.#bytes += bytes;
    const reading = client as unknown as Reading;
    const readsOn = waiting.messages <= MESSAGES_MAX && this.#bytes <= BYTES_MAX;
    // As if it were done with; aedes reads when it is done with all that it has.
    if (readsOn) reading._nextBatch();
    try {
      return await turn;
    } finally {
      if (readsOn) reading._parsingBatch += 1;
      this.#bytes -= bytes;
      this.#messages -= 1;
      waiting.messages -= 1;
      if (waiting.messages === 0) this.#waiting.delete(client);
    }
  }

  async #turn<T>(client: Client, before: Promise<unknown>, entry: Entry<T>): Promise<T> {
    await before;
    for (;;) {
      if (client.closed) throw new PublisherGoneError(`${client.id} went while its message waited`);
      const session = entry.fullFor();
      if (session === null) return entry.accept();
      this.#say(session);
      await this.#options.change();
    }
  }

  #say(session: string): void {
    const nowMs = this.#options.nowMs();
    if (nowMs - this.#saidMs < SAY_EVERY_MS) return;
    this.#saidMs = nowMs;
    this.#options.onFull(session);
  }
}
