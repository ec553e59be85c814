/**
 * What the broker keeps for sessions: aedes's in-memory store with queues of our own.
 *
 * Enters: a message for each persistent session subscribed to it. Leaves: the same messages, oldest
 * first, until the session's client has acknowledged them. Always holds: no packet identifier names
 * two messages of one connection, a redelivery carries DUP [MQTT-3.3.1-1], what was queued goes out
 * before what is new [MQTT-4.6.0-6], and queues are bounded: for sessions of `publishersWaitFor` who asks
 * `fullFor` first loses nothing, of others the newest is dropped.
 * With a journal all of it survives the process, and a message is durable before it is acknowledged.
 * aedes's own queue keeps identifiers over a reconnect while the new connection counts from a random
 * one, so that an acknowledgement can remove the wrong message; here they are given anew. And aedes
 * delivers new messages while it still empties the queue; here they wait for it.
 */
import { Readable } from 'node:stream';
import MemoryPersistence from 'aedes-persistence/asyncPersistence.js';
import { createDrain, type Drain, endDrain } from './drain.ts';
import type { Journal } from './journal.ts';
import {
  bytesOf,
  type Connection,
  keyOf,
  payloadBytes,
  type Queue,
  type Queued,
  type QueuedPacket,
} from './queued-packet.ts';

export interface SessionLimits {
  /** Messages queued for one session, at most 65,000: there are 65,535 packet identifiers. */
  readonly sessionMessagesMax: number;
  /** Payload bytes queued for all sessions together; the others have half of it. */
  readonly queuedBytesMax: number;
  /** Client ids, with `*` for any rest, for which there is to be room. */
  readonly publishersWaitFor: readonly string[];
  /** Persistent sessions with subscriptions. */
  readonly sessionsMax: number;
  /** Topics with a retained message, and the bytes of their payloads together. */
  readonly retainedMax: number;
  readonly retainedBytesMax: number;
}

/** A connection that has got no further than this is not waited for. */
const CONNECTING_MS_MAX = 10_000;

/** Broker id of messages from the journal. */
const STORED = 'stored';

/** Marks, before the broker id, the copies that come from `outgoingStream`. */
const DRAINED = 'drained/';

/** A topic filter that a client asks for. */
interface WantedSubscription {
  readonly topic: string;
  readonly qos: number;
}

/** The part of a retained message that is kept. */
interface RetainedPacket {
  readonly topic: string;
  readonly payload: string | Uint8Array;
  readonly qos: number;
}

/** Says that a message was dropped, because the session's queue or all queues together were full. */
export type DropListener = (clientId: string) => void;

/** In-memory persistence for aedes with bounded queues; what does not fit is dropped and counted. */
export class SessionStore extends MemoryPersistence {
  readonly #limits: SessionLimits;
  readonly #onDrop: DropListener;
  readonly #journal: Journal | null;
  readonly #queues = new Map<string, Queue>();
  /** Sessions with subscriptions: how long they have been away, in seconds of running time. */
  readonly #sessions = new Map<string, number>();
  /** The user of each session, where it has one. */
  readonly #owners = new Map<string, string>();
  /** The connection of each client that is here. */
  readonly #connections = new Map<string, Connection>();
  /** Of connections that have got so far that their queue was asked for. */
  readonly #drains = new WeakMap<Connection, Drain>();
  /** What each connection was granted last. */
  readonly #wanted = new WeakMap<object, WantedSubscription & { readonly user: string | null }>();
  /** Bytes of the payload retained for each topic, and of all of them. */
  readonly #retained = new Map<string, number>();
  #retainedBytes = 0;
  #queuedBytes = 0;
  #nextId = 1;
  #change: PromiseWithResolvers<void> | null = null;

  constructor(limits: SessionLimits, onDrop: DropListener, journal: Journal | null = null) {
    super();
    this.#limits = limits;
    this.#onDrop = onDrop;
    this.#journal = journal;
  }

  /** Takes what the journal has kept; call it once, before anybody connects. */
  async restore(): Promise<void> {
    if (this.#journal === null) return;
    const { subscriptions, retained, sessions, nextId, queued } = this.#journal.content;
    this.#nextId = nextId;
    for (const { session, topic, qos } of subscriptions) {
      await super.addSubscriptions({ id: session }, [{ topic, qos }]);
      this.#sessions.set(session, 0);
    }
    for (const { session, seconds, user } of sessions) {
      if (!this.#sessions.has(session)) continue;
      this.#sessions.set(session, seconds);
      if (user !== null) this.#owners.set(session, user);
    }
    for (const { topic, payload, qos } of retained) {
      await super.storeRetained({ cmd: 'publish', topic, payload, qos, retain: true });
      this.#noteRetained(topic, payload.length);
    }
    for (const { id, session, topic, payload, sent } of queued()) {
      const place = { brokerId: STORED, brokerCounter: id, storeId: id };
      const packet = { cmd: 'publish', topic, payload, qos: 1, retain: false, dup: sent };
      const entry: Queued = { ...packet, ...place };
      this.#queueOf(session).messages.set(keyOf(entry), entry);
      this.#queuedBytes += payload.length;
    }
  }

  /** Sessions, messages that wait for them, and their bytes. */
  get counts(): { sessions: number; messages: number; bytes: number; retained: number } {
    let messages = 0;
    for (const queue of this.#queues.values()) messages += queue.messages.size;
    const { size: sessions } = this.#sessions;
    return { sessions, messages, bytes: this.#queuedBytes, retained: this.#retained.size };
  }

  /**
   * So much running time has passed: ends the sessions whose clients have been away for
   * `expirySeconds`. Returns their names, with the number of messages that went with them.
   */
  async passed(seconds: number, expirySeconds: number): Promise<ReadonlyMap<string, number>> {
    const ended = new Map<string, number>();
    this.#journal?.passed(seconds);
    for (const [session, away] of this.#sessions) {
      if (this.#connections.has(session)) continue;
      this.#sessions.set(session, away + seconds);
      if (away + seconds < expirySeconds) continue;
      ended.set(session, this.queuedFor(session));
      await this.cleanSubscriptions({ id: session });
    }
    return ended;
  }

  /** Messages dropped for this client since this was asked last. */
  takeDropped(clientId: string): number {
    const queue = this.#queues.get(clientId);
    const dropped = queue?.dropped ?? 0;
    if (queue !== undefined) queue.dropped = 0;
    return dropped;
  }

  /**
   * The first of these sessions whose queue has no room for a message and is to be waited for; null
   * where there is none. A message for which there can never be room is dropped, and counted.
   */
  fullFor(
    all: readonly { clientId: string }[],
    { payload }: Pick<QueuedPacket, 'payload'>,
  ): string | null {
    const { sessionMessagesMax, queuedBytesMax } = this.#limits;
    const subs = all.filter(({ clientId }) => this.isWaitedFor(clientId));
    const bytes = subs.length * (payload?.length ?? 0);
    if (sessionMessagesMax === 0 || bytes > queuedBytesMax) return null;
    const [first] = subs;
    if (first !== undefined && this.#queuedBytes + bytes > queuedBytesMax) return first.clientId;
    const full = subs.find(({ clientId }) => this.queuedFor(clientId) >= sessionMessagesMax);
    return full?.clientId ?? null;
  }

  /** Whether publishers wait where this client's queue is full. */
  isWaitedFor(clientId: string): boolean {
    return this.#limits.publishersWaitFor.some((pattern) =>
      pattern.endsWith('*') ? clientId.startsWith(pattern.slice(0, -1)) : clientId === pattern,
    );
  }

  /** Resolves when something has left a queue, or a client has gone. */
  change(): Promise<void> {
    this.#change ??= Promise.withResolvers();
    return this.#change.promise;
  }

  /** Once for all that changes in one turn of the event loop. */
  #changed(): void {
    const change = this.#change;
    if (change === null) return;
    this.#change = null;
    setImmediate(change.resolve);
  }

  /** @throws Error where there are too many retained messages for one more */
  assertRetainable({ topic, payload }: { topic: string; payload: string | Uint8Array }): void {
    const { retainedMax, retainedBytesMax } = this.#limits;
    if (topic.startsWith('$') || payload.length === 0) return;
    const before = this.#retained.get(topic);
    if (before === undefined && this.#retained.size >= retainedMax) {
      throw new Error(`there are ${retainedMax} retained messages already`);
    }
    if (this.#retainedBytes - (before ?? 0) + bytesOf(payload).length > retainedBytesMax) {
      throw new Error(`retained messages would have more than ${retainedBytesMax} bytes`);
    }
  }

  #noteRetained(topic: string, bytes: number): void {
    this.#retainedBytes += bytes - (this.#retained.get(topic) ?? 0);
    if (bytes === 0) this.#retained.delete(topic);
    else this.#retained.set(topic, bytes);
  }

  /** Of which user the session is; null where there is none, or where it is anybody's. */
  ownerOf(clientId: string): string | null {
    return this.#owners.get(clientId) ?? null;
  }

  /** The client, of `user`, may have this one, for which aedes calls `addSubscriptions` next. */
  grant(client: object, { topic, qos }: WantedSubscription, user: string | null): void {
    this.#wanted.set(client, { topic, qos, user });
  }

  /**
   * aedes calls this once for each subscription of a packet that was granted, and each time with all
   * of the packet, those that were refused among them: what `grant` has said is what counts.
   */
  override async addSubscriptions(
    client: { id: string },
    all: readonly WantedSubscription[],
  ): Promise<void> {
    const wanted = this.#wanted.get(client);
    const subs = wanted === undefined ? all : [wanted];
    const user = wanted?.user ?? null;
    const { sessionsMax } = this.#limits;
    if (!this.#sessions.has(client.id) && this.#sessions.size >= sessionsMax) {
      throw new Error(`there are ${sessionsMax} persistent sessions already`);
    }
    this.#sessions.set(client.id, 0);
    const isNew = user !== this.ownerOf(client.id);
    if (user === null) this.#owners.delete(client.id);
    else this.#owners.set(client.id, user);
    await super.addSubscriptions(client, subs);
    await Promise.all([
      isNew ? this.#journal?.own(client.id, user) : null,
      this.#journal?.subscribe(client.id, subs),
    ]);
  }

  override async removeSubscriptions(client: { id: string }, topics: readonly string[]) {
    await super.removeSubscriptions(client, topics);
    await this.#journal?.unsubscribe(client.id, topics);
  }

  override async storeRetained(packet: RetainedPacket): Promise<void> {
    const { topic, payload, qos } = packet;
    // The broker's own counts are made anew.
    if (topic.startsWith('$')) return await super.storeRetained(packet);
    this.assertRetainable(packet);
    this.#noteRetained(topic, bytesOf(payload).length);
    await super.storeRetained(packet);
    await this.#journal?.retain(topic, bytesOf(payload), qos);
  }

  /** Whether a message is there as long as the client has not taken it: in its queue, or retained. */
  keeps(client: Connection, packet: Pick<QueuedPacket, 'brokerId' | 'brokerCounter'>): boolean {
    const { brokerId } = packet;
    // A retained one that was asked for: aedes sends the next when this one is out.
    if (!brokerId || brokerId.startsWith(DRAINED)) return true;
    return this.#queues.get(client.id)?.messages.has(keyOf(packet as QueuedPacket)) ?? false;
  }

  /** Whether what is new waits until what the client had in its queue is out. */
  isDraining(client: Connection): boolean {
    return this.#drainOf(client)?.isFinished === false;
  }

  #drainOf(client: Connection): Drain | null {
    return this.#drains.get(client) ?? this.#queues.get(client.id)?.beginning ?? null;
  }

  /** Messages that wait for this client's acknowledgement. */
  queuedFor(clientId: string): number {
    return this.#queues.get(clientId)?.messages.size ?? 0;
  }

  /** A wildcard at the front means no topic with `$` [MQTT-4.7.2-1], retained or not. */
  override createRetainedStreamCombi(patterns: readonly string[]): Readable {
    const reserved = patterns.filter((pattern) => pattern.startsWith('$'));
    const usual = patterns.filter((pattern) => !pattern.startsWith('$'));
    const inReserved = super.createRetainedStreamCombi(reserved);
    const inUsual = super.createRetainedStreamCombi(usual);
    async function* all() {
      yield* inReserved;
      for await (const packet of inUsual as AsyncIterable<RetainedPacket>) {
        if (!packet.topic.startsWith('$')) yield packet;
      }
    }
    return Readable.from(all());
  }

  override async outgoingEnqueue(sub: { clientId: string }, packet: QueuedPacket): Promise<void> {
    await this.#enqueue(sub.clientId, packet);
  }

  override async outgoingEnqueueCombi(
    subs: { clientId: string }[],
    packet: QueuedPacket,
  ): Promise<void> {
    await Promise.all(subs.map((sub) => this.#enqueue(sub.clientId, packet)));
  }

  /** Called when a persistent session's client connects, before anything is delivered to it. */
  override async subscriptionsByClient(client: Connection): Promise<unknown[]> {
    const queue = this.#queueOf(client.id);
    if (queue.beginning === null) {
      const drain = createDrain();
      queue.beginning = drain;
      setTimeout(() => {
        if (queue.beginning !== drain) return;
        queue.beginning = null;
        endDrain(drain);
        // It went while it was beginning: nobody says so.
        if (!this.#connections.has(client.id)) this.#forgetEmpty(client.id);
      }, CONNECTING_MS_MAX).unref();
    }
    if (this.#sessions.has(client.id)) this.#sessions.set(client.id, 0);
    await this.#journal?.connect(client.id);
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
    const drain = this.#drainOf(client);
    if (drained) {
      if (drain === null) return;
      drain.left -= 1;
      if (drain.left === 0) endDrain(drain);
    } else if (drain !== null && !drain.isFinished) {
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

  /** The client is here: its connection has taken the place of any older one. */
  attach(client: Connection): void {
    this.#connections.set(client.id, client);
    // An older one's end may have been noted after this one's beginning.
    if (this.#sessions.has(client.id)) this.#journal?.connected(client.id);
  }

  /** The client's connection has ended: nothing must wait for it. */
  release(client: Connection): void {
    this.#changed();
    const { id } = client;
    const queue = this.#queues.get(id);
    const drain = this.#drains.get(client);
    if (drain !== undefined) endDrain(drain);
    if (this.#connections.get(id) !== client) return;
    this.#connections.delete(id);
    if (queue === undefined || this.#forgetEmpty(id)) return;
    const sent = [...queue.messages.values()].filter(
      ({ messageId, dup }) => messageId !== undefined || dup === true,
    );
    this.#journal?.disconnect(
      id,
      sent.map(({ storeId }) => storeId),
    );
  }

  /** Whether a client had neither subscriptions nor messages: then nothing is left of it. */
  #forgetEmpty(id: string): boolean {
    const queue = this.#queues.get(id);
    if (this.#sessions.has(id) || this.queuedFor(id) > 0) return false;
    if (queue?.beginning === null) this.#queues.delete(id);
    void this.#journal?.forget(id).catch(() => undefined);
    return true;
  }

  override async outgoingClearMessageId(
    client: { id: string },
    packet: QueuedPacket,
  ): Promise<QueuedPacket | undefined> {
    const queue = this.#queues.get(client.id);
    const identifier = packet.messageId;
    // The identifiers of an older connection mean other messages.
    if (queue?.connection !== client || identifier === undefined) return undefined;
    const key = queue.byIdentifier.get(identifier);
    if (key === undefined) return undefined;
    const queued = queue.messages.get(key);
    queue.byIdentifier.delete(identifier);
    queue.messages.delete(key);
    if (queued === undefined) return undefined;
    this.#queuedBytes -= payloadBytes(queued);
    this.#changed();
    this.#journal?.remove(queued.storeId);
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
    const drain = queue.beginning ?? createDrain();
    queue.beginning = null;
    this.#drains.set(client, drain);
    drain.keys = new Set(queue.messages.keys());
    drain.left = queue.messages.size;
    if (drain.left === 0) endDrain(drain);
    const copies = [...queue.messages.values()].map((queued) => ({
      ...queued,
      brokerId: DRAINED + queued.brokerId,
    }));
    return Readable.from(copies);
  }

  /** A clean session begins: nothing of an older one is left [MQTT-3.1.2-6]. */
  override async cleanSubscriptions(client: { id: string }): Promise<void> {
    const queue = this.#queues.get(client.id);
    for (const queued of queue?.messages.values() ?? []) this.#queuedBytes -= payloadBytes(queued);
    this.#queues.delete(client.id);
    this.#changed();
    const known = this.#sessions.delete(client.id);
    this.#owners.delete(client.id);
    if (known || queue !== undefined) await this.#journal?.forget(client.id);
    await super.cleanSubscriptions(
      client as Parameters<MemoryPersistence['cleanSubscriptions']>[0],
    );
  }

  #queueOf(clientId: string): Queue {
    let queue = this.#queues.get(clientId);
    if (queue === undefined) {
      queue = {
        messages: new Map(),
        byIdentifier: new Map(),
        connection: null,
        beginning: null,
        dropped: 0,
      };
      this.#queues.set(clientId, queue);
    }
    return queue;
  }

  /** Resolves when the message is as durable as it gets; at once where it is not taken. */
  async #enqueue(clientId: string, packet: QueuedPacket): Promise<void> {
    const queue = this.#queueOf(clientId);
    const key = keyOf(packet);
    // Two subscriptions that overlap: one copy is enough [MQTT-3.3.5-1].
    if (queue.messages.has(key)) return;
    const bytes = payloadBytes(packet);
    const { sessionMessagesMax, queuedBytesMax } = this.#limits;
    const bytesMax = this.isWaitedFor(clientId) ? queuedBytesMax : queuedBytesMax / 2;
    const full = queue.messages.size >= sessionMessagesMax || this.#queuedBytes + bytes > bytesMax;
    if (full) {
      queue.dropped += 1;
      this.#onDrop(clientId);
      return;
    }
    const storeId = this.#journal === null ? 0 : this.#nextId++;
    const queued: Queued = { ...packet, qos: 1, retain: false, messageId: undefined, storeId };
    queue.messages.set(key, queued);
    this.#queuedBytes += bytes;
    try {
      await this.#journal?.put(storeId, clientId, packet.topic ?? '', bytesOf(packet.payload));
    } catch (error) {
      // It is not acknowledged, and comes again.
      if (queue.messages.delete(key)) this.#queuedBytes -= bytes;
      this.#changed();
      throw error;
    }
  }
}
