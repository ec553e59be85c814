/**
 * aedes with its order of work turned round: stored first, then acknowledged and sent, in one order.
 *
 * Enters: messages of publishers. Leaves: PUBACKs, and the messages to whom they concern. Always
 * holds: when a publisher has its PUBACK, each persistent session that was subscribed has the message
 * in its queue, as durably as the store keeps it; PUBACKs and messages go out in the order in which
 * the messages came [MQTT-4.6.0-2] [MQTT-4.6.0-6]; what is stored is sent, whatever becomes of its
 * publisher. aedes 1.2 acknowledges QoS 1 first and stores then (lib/handlers/publish.js), and a
 * subscriber's connection passes over every message with a lower number than one that it has seen
 * (lib/client.js, dedupe): one that waits for the disk would be lost to an overtaking one. It asks
 * `authorizePublish` before the PUBACK: there the message is taken. Where a queue is full, its
 * publisher waits (`held-publishers.ts`).
 */
import {
  Aedes,
  type AedesOptions,
  type AedesPublishPacket,
  type Client,
  type PublishPacket,
} from 'aedes';
import MemoryPersistence, { type StoredPacket } from 'aedes-persistence/asyncPersistence.js';
import type { HeldPublishers } from './held-publishers.ts';
import type { SessionStore } from './session-store.ts';

/** The part of mqemitter that is used. */
interface Emitter {
  emit(packet: StoredPacket, done: () => void): void;
}
type Done = (error?: Error) => void;
type Subscriptions = Awaited<ReturnType<SessionStore['subscriptionsByTopic']>>;

/** A message on its way. */
interface Taken {
  /** It is stored, and so is all that came before it; rejects where it cannot be. */
  readonly stored: Promise<unknown>;
  /** It has been written to whoever is connected. */
  readonly delivered: Promise<void>;
}

/** See the header. Listens for nobody: connections are handed to `handle`. */
export class DurableAedes extends Aedes {
  readonly #store: SessionStore;
  readonly #held: HeldPublishers;
  /** What has been taken, by the packet that aedes holds in its hand. */
  readonly #taken = new WeakMap<object, Taken>();
  /** Ends when all that was taken has been sent or given up; never rejects. */
  #tail: Promise<unknown> = Promise.resolve();
  #onTheWay = 0;

  constructor(options: AedesOptions, store: SessionStore, held: HeldPublishers) {
    // Its own queue is without a bound, and one slow subscriber would stop all others (`slow-readers.ts`).
    super({ ...options, concurrency: 0, persistence: store });
    this.#store = store;
    this.#held = held;
  }

  /**
   * Stores and sends a message of QoS 1 or 2; resolves when it may be acknowledged. Rejects where it
   * cannot be made durable, and with PublisherGoneError where its publisher has gone before there
   * was room for it.
   */
  async take(packet: PublishPacket & { messageId?: number }, client: Client): Promise<void> {
    // Nobody waits for a last will, and it has no identifier.
    const isWill = client.closed;
    if (packet.qos === 2 && !isWill && (await this.#isKnown(client, packet))) return;
    const subscriptions = await this.#store.subscriptionsByTopic(packet.topic);
    const accept = () => this.#accept(packet, subscriptions, client.id);
    const taken = isWill
      ? accept()
      : await this.#held.enter(client, packet, {
          fullFor: () => this.#store.fullFor(subscriptions, packet),
          accept,
        });
    this.#taken.set(packet, taken);
    await taken.stored;
  }

  override publish(packet: PublishPacket, client?: Client | Done, callback?: Done): void {
    const from = typeof client === 'function' ? undefined : client;
    const done: Done = (typeof client === 'function' ? client : callback) ?? (() => undefined);
    const taken = this.#taken.get(packet) ?? this.#tried(packet, from?.id);
    this.#taken.delete(packet);
    const sent = () => {
      this.emit('publish', packet as AedesPublishPacket, from ?? null);
      done();
    };
    taken.stored.then(() => taken.delivered.then(sent), done);
  }

  /** What is QoS 0, or our own. aedes expects an answer, no exception: that would end the process. */
  #tried(packet: PublishPacket, from: string | undefined): Taken {
    try {
      return this.#accept(packet, [], from);
    } catch (error) {
      const stored = Promise.reject(error);
      return { stored, delivered: Promise.resolve() };
    }
  }

  /** In one turn: its number, its places in the queues, and its place in the order of sending. */
  #accept(packet: PublishPacket, subscriptions: Subscriptions, from: string | undefined): Taken {
    if (packet.retain) this.#store.assertRetainable(packet);
    const stored = new MemoryPersistence.Packet(packet, this);
    if (from !== undefined) stored.clientId = from;
    const keeping: Promise<unknown>[] = [];
    if (subscriptions.length > 0) {
      keeping.push(this.#store.outgoingEnqueueCombi(subscriptions, stored));
    }
    if (packet.retain) keeping.push(this.#store.storeRetained(stored));
    const { promise: delivered, resolve } = Promise.withResolvers<void>();
    const { mq } = this as unknown as { readonly mq: Emitter };
    if (keeping.length === 0 && this.#onTheWay === 0) {
      mq.emit(stored, resolve);
      return { stored: Promise.resolve(), delivered };
    }
    const before = this.#tail;
    const kept = Promise.all([before, ...keeping]);
    this.#onTheWay += 1;
    this.#tail = Promise.allSettled([before, kept]).then(([, { status }]) => {
      this.#onTheWay -= 1;
      if (status === 'fulfilled') mq.emit(stored, resolve);
    });
    return { stored: kept, delivered };
  }

  /** Whether a message of QoS 2 is here already, and its sender has not learned of it [MQTT-4.3.3-2]. */
  async #isKnown(client: Client, packet: PublishPacket): Promise<boolean> {
    try {
      await this.#store.incomingGetPacket(client, packet);
      return true;
    } catch {
      return false;
    }
  }
}
