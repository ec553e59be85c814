/**
 * What the broker keeps for sessions: aedes's in-memory store with queues of our own.
 *
 * Enters: a message for each persistent session subscribed to it. Leaves: the same messages, oldest
 * first, until the session's client has acknowledged them. Always holds: no packet identifier names
 * two messages of one connection, a redelivery carries DUP [MQTT-3.3.1-1], what was queued goes out
 * before what is new [MQTT-4.6.0-6], and queues are bounded.
 * aedes's own queue keeps identifiers over a reconnect while the new connection counts from a random
 * one, so that an acknowledgement can remove the wrong message; here they are given anew. And aedes
 * delivers new messages while it still empties the queue; here they wait for it.
 */
import { Readable } from 'node:stream';
import MemoryPersistence from 'aedes-persistence/asyncPersistence.js';

/** The part of an aedes packet that a queue looks at. */
export interface QueuedPacket {
  readonly brokerId: string;
  readonly brokerCounter: number;
  readonly qos?: number;
  readonly retain?: boolean;
  readonly payload?: string | Uint8Array;
  messageId?: number | undefined;
  dup?: boolean;
}

export interface SessionLimits {
  /** Messages queued for one session, at most 65,000: there are 65,535 packet identifiers. */
  readonly sessionMessagesMax: number;
  /** Payload bytes queued for all sessions together. */
  readonly queuedBytesMax: number;
}

/** From a connection's begin until what was queued before it is out. New messages wait for it. */
interface Drain {
  /** Keys of the messages that were queued; empty until aedes asks for them. */
  keys: ReadonlySet<string>;
  /** How many of them have not gone yet. */
  left: number;
  readonly finished: Promise<void>;
  readonly finish: () => void;
}

/** A client as the store sees it: aedes makes one for each connection. */
interface Connection {
  readonly id: string;
  readonly clean?: boolean;
}

interface Queue {
  /** Message by broker id and counter, oldest first. */
  readonly messages: Map<string, QueuedPacket>;
  /** Key in `messages` by the packet identifier given in the present connection. */
  readonly byIdentifier: Map<number, string>;
  /** Whose identifiers are in `byIdentifier`. */
  connection: Connection | null;
  drain: Drain | null;
}

/** A connection that has got no further than this is not waited for. */
const CONNECTING_MS_MAX = 10_000;

/** Marks, before the broker id, the copies that come from `outgoingStream`. */
const DRAINED = 'drained/';

/** Says that a message was dropped, because the session's queue or all queues together were full. */
export type DropListener = (clientId: string) => void;

/** In-memory persistence for aedes with bounded queues; drops the newest message when one is full. */
export class SessionStore extends MemoryPersistence {
  readonly #limits: SessionLimits;
  readonly #onDrop: DropListener;
  readonly #queues = new Map<string, Queue>();
  #queuedBytes = 0;

  constructor(limits: SessionLimits, onDrop: DropListener) {
    super();
    this.#limits = limits;
    this.#onDrop = onDrop;
  }

  /** Messages that wait for this client's acknowledgement. */
  queuedFor(clientId: string): number {
    return this.#queues.get(clientId)?.messages.size ?? 0;
  }

  override async outgoingEnqueue(sub: { clientId: string }, packet: QueuedPacket): Promise<void> {
    this.#enqueue(sub.clientId, packet);
  }

  override async outgoingEnqueueCombi(
    subs: { clientId: string }[],
    packet: QueuedPacket,
  ): Promise<void> {
    for (const sub of subs) this.#enqueue(sub.clientId, packet);
  }

  /** Called when a persistent session's client connects, before anything is delivered to it. */
  override async subscriptionsByClient(client: Connection): Promise<unknown[]> {
    const queue = this.#queueOf(client.id);
    this.#endDrain(queue);
    const drain = createDrain();
    queue.drain = drain;
    setTimeout(() => {
      if (queue.drain === drain && drain.keys.size === 0) this.#endDrain(queue);
    }, CONNECTING_MS_MAX).unref();
    return await super.subscriptionsByClient(client);
  }

  /**
   * Called before a message is written: remembers the identifier that this connection has given to
   * it. A new message waits here until the queue of the connection's begin is out.
   */
  override async outgoingUpdate(client: Connection, packet: QueuedPacket): Promise<void> {
    const queue = this.#queues.get(client.id);
    if (queue === undefined) return;
    const drained = packet.brokerId.startsWith(DRAINED);
    const key = drained ? keyOf(packet).slice(DRAINED.length) : keyOf(packet);
    const { drain } = queue;
    if (drained && drain !== null) {
      drain.left -= 1;
      if (drain.left === 0) this.#endDrain(queue);
    } else if (drain !== null) {
      await drain.finished;
      // It was in the queue, too, and has been sent from there.
      if (drain.keys.has(key)) packet.dup = true;
    }
    const queued = queue.messages.get(key);
    // Not queued: the queue was full, and the message goes to the connected client all the same.
    if (queued === undefined || packet.messageId === undefined) return;
    // The identifier of an older connection would be taken for one of this.
    if (queue.connection !== client) return;
    queued.messageId = packet.messageId;
    queue.byIdentifier.set(packet.messageId, key);
  }

  /** The client's connection has ended: nothing must wait for it. */
  release(clientId: string): void {
    const queue = this.#queues.get(clientId);
    if (queue !== undefined) this.#endDrain(queue);
  }

  override async outgoingClearMessageId(
    client: { id: string },
    packet: QueuedPacket,
  ): Promise<QueuedPacket | undefined> {
    const queue = this.#queues.get(client.id);
    const identifier = packet.messageId;
    if (queue === undefined || identifier === undefined) return undefined;
    const key = queue.byIdentifier.get(identifier);
    if (key === undefined) return undefined;
    const queued = queue.messages.get(key);
    queue.byIdentifier.delete(identifier);
    queue.messages.delete(key);
    if (queued !== undefined) this.#queuedBytes -= payloadBytes(queued);
    return queued;
  }

  /** Called once a connection: what is queued, with DUP where it has been sent before. */
  override outgoingStream(client: Connection): Readable {
    if (client.clean) return Readable.from([]);
    const queue = this.#queueOf(client.id);
    queue.connection = client;
    queue.byIdentifier.clear();
    for (const queued of queue.messages.values()) {
      if (queued.messageId === undefined) continue;
      queued.messageId = undefined;
      queued.dup = true;
    }
    queue.drain ??= createDrain();
    queue.drain.keys = new Set(queue.messages.keys());
    queue.drain.left = queue.messages.size;
    if (queue.drain.left === 0) this.#endDrain(queue);
    const copies = [...queue.messages.values()].map((queued) => ({
      ...queued,
      brokerId: DRAINED + queued.brokerId,
    }));
    return Readable.from(copies);
  }

  /** After the last drained message has been written, what waited may follow. */
  #endDrain(queue: Queue): void {
    const { drain } = queue;
    queue.drain = null;
    if (drain !== null) setImmediate(drain.finish);
  }

  /** A clean session begins: nothing of an older one is left [MQTT-3.1.2-6]. */
  override async cleanSubscriptions(client: { id: string }): Promise<void> {
    const queue = this.#queues.get(client.id);
    for (const queued of queue?.messages.values() ?? []) this.#queuedBytes -= payloadBytes(queued);
    this.#queues.delete(client.id);
    await super.cleanSubscriptions(
      client as Parameters<MemoryPersistence['cleanSubscriptions']>[0],
    );
  }

  #queueOf(clientId: string): Queue {
    let queue = this.#queues.get(clientId);
    if (queue === undefined) {
      queue = { messages: new Map(), byIdentifier: new Map(), connection: null, drain: null };
      this.#queues.set(clientId, queue);
    }
    return queue;
  }

  #enqueue(clientId: string, packet: QueuedPacket): void {
    const queue = this.#queueOf(clientId);
    const key = keyOf(packet);
    // Two subscriptions that overlap: one copy is enough [MQTT-3.3.5-1].
    if (queue.messages.has(key)) return;
    const bytes = payloadBytes(packet);
    const full =
      queue.messages.size >= this.#limits.sessionMessagesMax ||
      this.#queuedBytes + bytes > this.#limits.queuedBytesMax;
    if (full) {
      this.#onDrop(clientId);
      return;
    }
    queue.messages.set(key, { ...packet, qos: 1, retain: false, messageId: undefined });
    this.#queuedBytes += bytes;
  }
}

function createDrain(): Drain {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { keys: new Set(), left: 0, finished: promise, finish: resolve };
}

function keyOf(packet: QueuedPacket): string {
  return `${packet.brokerId}:${packet.brokerCounter}`;
}

function payloadBytes(packet: QueuedPacket): number {
  return packet.payload === undefined ? 0 : packet.payload.length;
}
