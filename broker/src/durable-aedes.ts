/**
 * aedes with one thing the other way round: a message is in every queue before its PUBACK.
 *
 * Enters: messages of publishers. Leaves: PUBACKs, and the messages to whom they concern. Always
 * holds: when a publisher has its PUBACK, each persistent session that was subscribed has the message
 * in its queue, as durably as the store keeps it. aedes 1.2 acknowledges QoS 1 first and stores then
 * (lib/handlers/publish.js), so that a kill in between loses an acknowledged message. It asks
 * `authorizePublish` before the PUBACK: there the message is stored, and its later `publish` emits
 * what has been stored instead of storing again.
 */
import {
  Aedes,
  type AedesOptions,
  type AedesPublishPacket,
  type Client,
  type PublishPacket,
} from 'aedes';
import MemoryPersistence, { type StoredPacket } from 'aedes-persistence/asyncPersistence.js';
import type { SessionStore } from './session-store.ts';

/** The part of mqemitter that is used. */
interface Emitter {
  emit(packet: StoredPacket, done: () => void): void;
}
type Done = (error?: Error) => void;
type PlainPublish = (packet: PublishPacket, from: Client | null, done: Done) => void;

/** See the header. Listens for nobody: connections are handed to `handle`. */
export class DurableAedes extends Aedes {
  readonly #store: SessionStore;
  /** What has been stored, by the packet that aedes holds in its hand. */
  readonly #stored = new WeakMap<object, StoredPacket>();

  constructor(options: AedesOptions, store: SessionStore) {
    super({ ...options, persistence: store });
    this.#store = store;
  }

  /** Stores a message of QoS 1 for whom it concerns; rejects where that cannot be made durable. */
  async store(packet: PublishPacket): Promise<void> {
    const stored = new MemoryPersistence.Packet(packet, this);
    if (packet.retain) await this.#store.storeRetained(stored);
    const subscriptions = await this.#store.subscriptionsByTopic(packet.topic);
    await this.#store.outgoingEnqueueCombi(subscriptions, stored);
    this.#stored.set(packet, stored);
  }

  override publish(packet: PublishPacket, client?: Client | Done, callback?: Done): void {
    const from = typeof client === 'function' ? undefined : client;
    const done: Done = (typeof client === 'function' ? client : callback) ?? (() => undefined);
    const stored = this.#stored.get(packet);
    if (stored === undefined) {
      // Its types leave out the client.
      const plain = super.publish as unknown as PlainPublish;
      plain.call(this, packet, from ?? null, done);
      return;
    }
    this.#stored.delete(packet);
    if (from !== undefined) stored.clientId = from.id;
    const { mq } = this as unknown as { readonly mq: Emitter };
    mq.emit(stored, () => {
      this.emit('publish', packet as AedesPublishPacket, from ?? null);
      done();
    });
  }
}
