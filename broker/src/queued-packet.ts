/**
 * A message as aedes hands it to the queues of sessions.
 *
 * Always holds: broker id and counter name one message of a process; a text counts by its length.
 */

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
