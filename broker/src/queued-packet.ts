/**
 * A message as aedes hands it to the queues of sessions.
 *
 * Always holds: broker id and counter name one message of a process; a text counts by its length.
 */
import type { Drain } from './drain.ts';

/** The part of an aedes packet that a queue looks at. */
export interface QueuedPacket {
  readonly brokerId: string;
  readonly brokerCounter: number;
  readonly qos?: number;
  readonly retain?: boolean;
  readonly payload?: string | Uint8Array;
  readonly topic?: string;
  messageId?: number | undefined;
  dup?: boolean;
}

/** What tells it from all others of this process. */
export function keyOf(packet: QueuedPacket): string {
  return `${packet.brokerId}:${packet.brokerCounter}`;
}

/** A payload as bytes. */
export function bytesOf(payload: string | Uint8Array = ''): Uint8Array {
  return typeof payload === 'string' ? Buffer.from(payload) : payload;
}

/** Length of its payload. */
export function payloadBytes(packet: QueuedPacket): number {
  return packet.payload === undefined ? 0 : packet.payload.length;
}

/** In a queue: its number in the journal, 0 where there is none. */
export interface Queued extends QueuedPacket {
  readonly storeId: number;
}

/** A client as the store sees it: aedes makes one for each connection. */
export interface Connection {
  readonly id: string;
  readonly clean?: boolean;
}

/** What waits for one session, and how far its present connection is with it. */
export interface Queue {
  /** Message by broker id and counter, oldest first. */
  readonly messages: Map<string, Queued>;
  /** Key in `messages` by the packet identifier given in the present connection. */
  readonly byIdentifier: Map<number, string>;
  /** Whose identifiers are in `byIdentifier`. */
  connection: Connection | null;
  /** Of a connection that has begun, and for which aedes has not asked for the queue yet. */
  beginning: Drain | null;
  /** Messages dropped since its client was last told of in the log. */
  dropped: number;
}
