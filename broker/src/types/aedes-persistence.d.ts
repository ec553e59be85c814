/** The part of aedes-persistence 11.0.0's in-memory store that `session-store.ts` builds on. */
declare module 'aedes-persistence/asyncPersistence.js' {
  export default class MemoryPersistence {
    cleanSubscriptions(client: { id: string }): Promise<void>;
    subscriptionsByClient(client: { id: string }): Promise<unknown[]>;
    outgoingEnqueue(sub: { clientId: string }, packet: unknown): Promise<void>;
    outgoingEnqueueCombi(subs: { clientId: string }[], packet: unknown): Promise<void>;
    outgoingUpdate(client: { id: string }, packet: unknown): Promise<void>;
    outgoingClearMessageId(client: { id: string }, packet: unknown): Promise<unknown>;
    outgoingStream(client: { id: string }): import('node:stream').Readable;
  }
}
