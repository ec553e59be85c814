/**
 * Takes the PUBLISH packets out of a broker's bytes; all the rest is for MQTT.js.
 *
 * Enters: bytes as the socket gives them. Leaves: publications to `publish`, in order, at once; every
 * other packet whole and unchanged to `other`. Always holds: no packet is handed on before it is
 * complete; nothing is copied of a packet that came in one piece; what breaks the protocol throws
 * MqttPacketError, after which the connection has to end. It exists because MQTT.js takes about
 * as long for a PUBLISH as all the rest of its way into a batch does.
 */
import { type IPublishPacket, parser } from 'mqtt-packet';
import type { Message } from './ingest.ts';
import { propertySamples } from './message-properties.ts';

/** The broker broke the protocol; `code` makes MQTT.js report it. */
export class MqttPacketError extends Error {
  override readonly name = 'MqttPacketError';
  readonly code = 'bad-packet';
}

export interface PublishReaderOptions {
  readonly version: 4 | 5;
  /** Largest packet that we have told the broker we take; null: as large as MQTT has them. */
  readonly packetBytesMax: number | null;
  /** Highest topic alias that we have told the broker (MQTT 5); 0: none. */
  readonly topicAliasMaximum: number;
  /** The payload is a part of the bytes that came in. */
  readonly publish: (message: Message) => void;
  /** One packet or several, in order, with nothing left over. */
  readonly other: (packets: Buffer) => void;
}

const PUBLISH = 3;
/** MQTT 3.1.1 §2.2.3: four bytes of remaining length at most. */
const LENGTH_BYTES_MAX = 4;
/** Packet identifier, and the length of what stands before it. */
const UINT16_BYTES = 2;

/** See the header; one for each connection. */
export class PublishReader {
  readonly #options: PublishReaderOptions;
  readonly #aliases = new Map<number, string>();
  /** The beginning of a packet whose end has not come. */
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  /** How many bytes the waiting packet must have for another look. */
  #neededBytes = 0;

  constructor(options: PublishReaderOptions) {
    this.#options = options;
  }

  /** Takes the next bytes. Throws MqttPacketError. */
  push(chunk: Buffer): void {
    let rest = chunk;
    // Only the packet that has begun before is put together; what follows stays where it is.
    while (this.#waitingBytes > 0 && rest.length > 0) {
      const part = rest.subarray(0, this.#neededBytes - this.#waitingBytes);
      rest = rest.subarray(part.length);
      this.#waiting.push(part);
      this.#waitingBytes += part.length;
      if (this.#waitingBytes < this.#neededBytes) return;
      const joined = Buffer.concat(this.#waiting, this.#waitingBytes);
      this.#waiting = [];
      this.#waitingBytes = 0;
      this.#split(joined);
    }
    this.#split(rest);
  }

  #split(bytes: Buffer): void {
    let at = 0;
    /** Where packets that are not ours begin; they are handed on together. */
    let otherFrom = 0;
    while (at < bytes.length) {
      const body = bodyOf(bytes, at);
      const end = body === null ? at + UINT16_BYTES : body.start + body.length;
      if (body !== null) this.#requireSize(end - at);
      if (body === null || end > bytes.length) {
        this.#neededBytes = body === null ? bytes.length - at + 1 : end - at;
        break;
      }
      const first = bytes[at] as number;
      if (first >> 4 === PUBLISH) {
        if (at > otherFrom) this.#options.other(bytes.subarray(otherFrom, at));
        this.#publish(bytes, at, body.start, end);
        otherFrom = end;
      }
      at = end;
    }
    if (at > otherFrom) this.#options.other(bytes.subarray(otherFrom, at));
    if (at < bytes.length) {
      this.#waiting = [bytes.subarray(at)];
      this.#waitingBytes = bytes.length - at;
    }
  }

  #publish(bytes: Buffer, from: number, start: number, end: number): void {
    const first = bytes[from] as number;
    const qos = (first >> 1) & 3;
    // A broker delivers with the QoS that it granted, at most [MQTT-3.8.4-6], and we ask for 1.
    if (qos > 1) throw new MqttPacketError(`a PUBLISH with QoS ${qos}, and we have asked for 1`);
    let at = start;
    if (end - at < UINT16_BYTES) throw new MqttPacketError('a PUBLISH without topic');
    const topicEnd = at + UINT16_BYTES + bytes.readUInt16BE(at);
    at = topicEnd + (qos === 0 ? 0 : UINT16_BYTES);
    if (at > end) throw new MqttPacketError('a PUBLISH that ends in its topic');
    if (this.#options.version === 5 && at === end) {
      throw new MqttPacketError('a PUBLISH that ends before its properties');
    }
    if (this.#options.version === 5 && bytes[at] !== 0) {
      this.#publishWithProperties(bytes.subarray(from, end));
      return;
    }
    const messageId = qos === 0 ? null : bytes.readUInt16BE(topicEnd);
    if (messageId === 0) throw new MqttPacketError('a PUBLISH with packet identifier 0');
    if (topicEnd === start + UINT16_BYTES) throw new MqttPacketError('a PUBLISH without topic');
    if (this.#options.version === 5) at += 1;
    this.#options.publish({
      topic: bytes.toString('utf8', start + UINT16_BYTES, topicEnd),
      // A Buffer takes twice as long to make, and nearly twice the memory.
      payload: new Uint8Array(bytes.buffer, bytes.byteOffset + at, end - at),
      qos: qos as 0 | 1,
      dup: (first & 8) !== 0,
      retain: (first & 1) !== 0,
      messageId,
    });
  }

  /** MQTT 5 §3.3.2.3: the properties are read by the library. */
  #publishWithProperties(bytes: Buffer): void {
    let packet: IPublishPacket | null = null;
    const reader = parser({ protocolVersion: 5 });
    reader.on('packet', (found) => {
      if (found.cmd === 'publish') packet = found;
    });
    reader.on('error', ({ message }) => {
      throw new MqttPacketError(message);
    });
    reader.parse(bytes);
    const found = packet as IPublishPacket | null;
    if (found === null || lacksText(found.properties)) {
      throw new MqttPacketError('a PUBLISH whose properties have no end');
    }
    const { qos, dup, retain, properties = {} } = found;
    this.#options.publish({
      topic: this.#topicOf(found.topic, properties.topicAlias),
      payload: typeof found.payload === 'string' ? Buffer.from(found.payload) : found.payload,
      qos: qos as 0 | 1,
      dup,
      retain,
      messageId: qos === 0 ? null : (found.messageId ?? null),
      properties: propertySamples(properties),
    });
  }

  /** MQTT 5 §3.3.2.3.4. */
  #topicOf(topic: string, alias: number | undefined): string {
    if (alias !== undefined && (alias < 1 || alias > this.#options.topicAliasMaximum)) {
      const max = this.#options.topicAliasMaximum;
      throw new MqttPacketError(`topic alias ${alias}, and we have allowed 1 to ${max}`);
    }
    if (topic !== '') {
      if (alias !== undefined) this.#aliases.set(alias, topic);
      return topic;
    }
    const known = alias === undefined ? undefined : this.#aliases.get(alias);
    if (known === undefined) {
      throw new MqttPacketError(`a PUBLISH without topic, with the unknown alias ${alias}`);
    }
    return known;
  }

  #requireSize(packetBytes: number): void {
    const max = this.#options.packetBytesMax;
    if (max !== null && packetBytes > max) {
      throw new MqttPacketError(`a packet of ${packetBytes} bytes, and we have allowed ${max}`);
    }
  }
}

/** Whether the library has put null where a text is longer than the properties. */
function lacksText(properties: unknown): boolean {
  if (typeof properties !== 'object' || Buffer.isBuffer(properties)) return false;
  return properties === null || Object.values(properties).some(lacksText);
}

/** Where a packet's body begins and how long it is; null where that has not come yet. */
function bodyOf(bytes: Buffer, from: number): { start: number; length: number } | null {
  let length = 0;
  for (let index = 0; index < LENGTH_BYTES_MAX; index += 1) {
    const byte = bytes[from + 1 + index];
    if (byte === undefined) return null;
    length += (byte & 127) * 128 ** index;
    if (byte < 128) return { start: from + index + 2, length };
  }
  throw new MqttPacketError('a packet whose length has more than four bytes');
}
