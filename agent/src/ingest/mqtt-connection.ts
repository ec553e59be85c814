/**
 * One connection to an MQTT broker, from CONNECT to its end: one MQTT.js client, never used again.
 *
 * Enters: messages from the broker. Leaves: the same, to the sink, and PUBACKs when the sink says so.
 * Always holds: a PUBACK goes out when the sink says so, to the connection that the message came by or
 * nowhere. MQTT.js connects, subscribes, publishes and keeps alive; it never sees a PUBLISH, so it
 * acknowledges none: they are taken from the socket before it reads (its private `streamBuilder` and
 * its one `pipe` of the stream: MQTT.js 5.16.0, pinned, tested).
 */
import type { Duplex } from 'node:stream';
import { connect, type IClientOptions, type MqttClient, ReasonCodes } from 'mqtt';
import type { Delivery, Message, MessageSink } from './ingest.ts';
import { PublishReader } from './mqtt-publish-reader.ts';

/** CONNACK and the end of a connection, as the source needs to know them. */
export interface ConnectionEvents {
  /** The broker accepted; as in CONNACK, where it says another expiry than it was asked for. */
  readonly connected: (sessionPresent: boolean, expirySeconds: number | undefined) => void;
  /** Called once, also when it never came about. */
  readonly ended: (end: ConnectionEnd) => void;
}

export interface ConnectionEnd {
  readonly reason: string;
  /** The broker refused this protocol version. */
  readonly versionRefused: boolean;
  /** A CONNACK had accepted the connection. */
  readonly wasConnected: boolean;
  /** The broker says that we may not: user, password, client id, or the topic of the will. */
  readonly notAuthorised: boolean;
}

/** What the broker granted for a filter. */
export interface Grant {
  readonly filter: string;
  /** Granted QoS; null where the subscription was refused, for `reason`. */
  readonly qos: number | null;
  readonly reason: string | null;
}

/** A message that the broker keeps for who subscribes later. */
export interface RetainedMessage {
  readonly topic: string;
  readonly payload: string;
}

/** MQTT 3.1.1 §3.4: type, two bytes more, the packet identifier; MQTT 5: reason 0 may be left out. */
const PUBACK = Buffer.from([0x40, 2]);
const PUBACK_BYTES = 4;
/** CONNACK codes for a protocol version that the broker does not speak: 3.1.1 and 5. */
export const VERSION_REFUSED: readonly unknown[] = [1, 132];
/** CONNACK codes for what we may not: 3.1.1 (4, 5) and 5 (134, 135). */
const NOT_AUTHORISED: readonly unknown[] = [4, 5, 134, 135];
/** A broker that does not take our DISCONNECT for so long is left without it. */
const STOP_WITHIN_MS = 2000;
/** SUBACK codes from here on are refusals [MQTT-3.9.3-2]. */
const SUBACK_REFUSED = 128;

/** The part of MQTT.js that is not in its types. */
interface StreamOwner {
  streamBuilder: (client: MqttClient) => Duplex;
}

/** See the header. Connects at once. */
export class MqttConnection implements Delivery {
  readonly #client: MqttClient;
  readonly #events: ConnectionEvents;
  readonly #sink: MessageSink;
  /** Acknowledged before CONNACK: brokers may deliver so early. */
  readonly #early: number[] = [];
  #taking = true;
  #ended = false;
  #wasConnected = false;
  #versionRefused = false;
  #notAuthorised = false;
  #reason: string | null = null;
  /** Published, retained, before an orderly end. */
  #farewell: RetainedMessage | null = null;

  constructor(url: string, options: IClientOptions, sink: MessageSink, events: ConnectionEvents) {
    this.#sink = sink;
    this.#events = events;
    // The cache would keep 65,536 buffers of two bytes, 8 MiB, for the numbers in packets.
    const own = { reconnectPeriod: 0, resubscribe: false, manualConnect: true, writeCache: false };
    this.#client = connect(url, { ...options, ...own });
    this.#readPublications(options);
    this.#client.once('connect', ({ sessionPresent, properties: told }) => {
      this.#wasConnected = true;
      this.#flushEarly();
      events.connected(sessionPresent, told?.sessionExpiryInterval);
    });
    this.#client.on('error', (error) => {
      this.#reason ??= error.message.trim();
      const code = 'code' in error ? error.code : undefined;
      if (VERSION_REFUSED.includes(code)) this.#versionRefused = true;
      if (NOT_AUTHORISED.includes(code)) this.#notAuthorised = true;
      if (!this.#client.connected) this.#client.end(true);
    });
    this.#client.on('disconnect', ({ reasonCode }) => {
      this.#reason ??= `the broker ended the connection, ${codeText('reason', reasonCode ?? 0)}`;
    });
    this.#client.once('close', () => this.#end());
    this.#client.once('end', () => this.#end());
    this.#client.connect();
  }

  /** Subscribes at QoS 1; resolves with what was granted, filter by filter. */
  subscribe(filters: readonly string[]): Promise<Grant[]> {
    return new Promise((resolve, reject) => {
      // MQTT 5: retained messages come when the subscription is new, not with each connection.
      this.#client.subscribe([...filters], { qos: 1, rh: 1 }, (error, _grants, packet) => {
        const granted = packet?.granted;
        if (granted === undefined) {
          reject(error ?? new Error('SUBACK without return codes'));
          return;
        }
        resolve(filters.map((filter, index) => grantOf(filter, granted[index])));
      });
    });
  }

  /** Resolves with UNSUBACK; rejects when the connection ends before. */
  async unsubscribe(filters: readonly string[]): Promise<void> {
    await this.#client.unsubscribeAsync([...filters]);
  }

  /**
   * Publishes retained messages at QoS 1: `now` at once, `farewell` before an orderly end. Resolves
   * with PUBACK; rejects where the broker refuses (MQTT 5 only: 3.1.1 cannot say so).
   */
  async announce(now: RetainedMessage, farewell: RetainedMessage): Promise<void> {
    this.#farewell = farewell;
    await this.#client.publishAsync(now.topic, now.payload, { qos: 1, retain: true });
  }

  /** Publishes at QoS 0; nobody learns whether it came. */
  publish(topic: string, payload: Uint8Array): void {
    if (this.#client.connected) this.#client.publish(topic, Buffer.from(payload), { qos: 0 });
  }

  acknowledge(messageIds: readonly number[]): number {
    if (this.#ended) return 0;
    if (!this.#client.connected) {
      if (this.#wasConnected) return 0;
      this.#early.push(...messageIds);
      return messageIds.length;
    }
    const packets = Buffer.allocUnsafe(messageIds.length * PUBACK_BYTES);
    for (const [index, messageId] of messageIds.entries()) {
      packets.set(PUBACK, index * PUBACK_BYTES);
      packets.writeUInt16BE(messageId, index * PUBACK_BYTES + PUBACK.length);
    }
    this.#client.stream.write(packets);
    // As MQTT.js does with each packet that it sends.
    this.#client.reschedulePing();
    return messageIds.length;
  }

  abandon(reason: string): void {
    this.#taking = false;
    this.#reason ??= reason;
    this.#client.end(true);
  }

  /** Takes nothing more, lets the sink commit and acknowledge, and says DISCONNECT. */
  async stop(): Promise<void> {
    this.#taking = false;
    this.#sink.flush();
    this.#reason ??= 'stopped';
    if (this.#ended) return;
    const patience = setTimeout(() => this.#client.stream.destroy(), STOP_WITHIN_MS);
    const ended = new Promise<void>((resolve) => this.#client.once('close', resolve));
    if (this.#client.connected) {
      if (this.#farewell !== null) {
        const { topic, payload } = this.#farewell;
        // Whatever becomes of it, DISCONNECT follows; `patience` has the last word.
        this.#client.publish(topic, payload, { qos: 1, retain: true }, () => this.#client.end());
      } else {
        this.#client.end();
      }
      await ended;
    } else {
      await this.#client.endAsync(true);
    }
    clearTimeout(patience);
  }

  /** Puts our reader before the one of MQTT.js, which connects its stream to it by `pipe`. */
  #readPublications({ protocolVersion, properties }: IClientOptions): void {
    const owner = this.#client as unknown as StreamOwner;
    const build = owner.streamBuilder;
    owner.streamBuilder = (client) => {
      const stream = build(client);
      stream.pipe = <T extends NodeJS.WritableStream>(rest: T): T => {
        const reader = new PublishReader({
          version: protocolVersion === 5 ? 5 : 4,
          packetBytesMax: properties?.maximumPacketSize ?? null,
          topicAliasMaximum: properties?.topicAliasMaximum ?? 0,
          publish: (message) => this.#take(message),
          other: (packets) => void rest.write(packets),
        });
        stream.on('data', (chunk: Buffer) => {
          try {
            reader.push(chunk);
          } catch (error) {
            const failure = error instanceof Error ? error : new Error(String(error));
            this.#reason ??= failure.message;
            stream.destroy(failure);
          }
        });
        return rest;
      };
      return stream;
    };
  }

  #take(message: Message): void {
    // What is not taken is not acknowledged: the broker keeps it.
    if (this.#taking && !this.#ended) this.#sink.take(message, this);
  }

  #flushEarly(): void {
    const early = this.#early.splice(0);
    if (early.length > 0) this.acknowledge(early);
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#events.ended({
      reason: this.#reason ?? 'the connection was closed',
      versionRefused: this.#versionRefused,
      wasConnected: this.#wasConnected,
      notAuthorised: this.#notAuthorised,
    });
  }
}

function grantOf(filter: string, code: unknown): Grant {
  if (typeof code !== 'number') return { filter, qos: null, reason: 'no return code' };
  if (code < SUBACK_REFUSED) return { filter, qos: code, reason: null };
  return { filter, qos: null, reason: `refused with ${codeText('code', code)}` };
}

/** `reason 142 (Session taken over)`. */
function codeText(what: string, code: number): string {
  const meaning = (ReasonCodes as Readonly<Record<number, string>>)[code];
  return meaning ? `${what} ${code} (${meaning})` : `${what} ${code}`;
}
