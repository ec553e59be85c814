/** The part of aedes-persistence 11.0.0's in-memory store that `session-store.ts` builds on. */
declare module 'aedes-persistence/asyncPersistence.js' {
  /** A packet as aedes numbers it. */
  export interface StoredPacket {
    readonly brokerId: string;
    readonly brokerCounter: number;
    readonly topic: string;
    readonly payload: string | Uint8Array;
    readonly qos: number;
    readonly retain: boolean;
    clientId?: string;
  }
  export interface StoredSubscription {
    readonly clientId: string;
    readonly topic: string;
    readonly qos: number;
  }
  export default class MemoryPersistence {
    static readonly Packet: new (
      packet: object,
      broker: object,
    ) => StoredPacket;
    cleanSubscriptions(client: { id: string }): Promise<void>;
    addSubscriptions(client: { id: string }, subs: readonly object[]): Promise<void>;
    removeSubscriptions(client: { id: string }, topics: readonly string[]): Promise<void>;
    subscriptionsByClient(client: { id: string }): Promise<unknown[]>;
    subscriptionsByTopic(topic: string): Promise<StoredSubscription[]>;
    incomingGetPacket(client: { id: string }, packet: { messageId?: number }): Promise<object>;
    storeRetained(packet: object): Promise<void>;
    createRetainedStreamCombi(patterns: readonly string[]): import('node:stream').Readable;
    outgoingEnqueue(sub: { clientId: string }, packet: unknown): Promise<void>;
    outgoingEnqueueCombi(subs: { clientId: string }[], packet: unknown): Promise<void>;
    outgoingUpdate(client: { id: string }, packet: unknown): Promise<void>;
    outgoingClearMessageId(client: { id: string }, packet: unknown): Promise<unknown>;
    outgoingStream(client: { id: string }): import('node:stream').Readable;
  }
}
