/**
 * One connection to an MQTT broker, from CONNECT to its end: one MQTT.js client, never used again.
 *
 * Enters: messages from the broker. Leaves: the same, to the sink, and PUBACKs when the sink says so.
 * Always holds: MQTT.js acknowledges nothing by itself, and a PUBACK goes to the connection that the
 * message came by or nowhere: a client's queue never outlives its connection, because the client
 * does not. `handleMessage` with an error skips the automatic PUBACK and lets the next packet come
 * (undocumented: MQTT.js 5.16.0, pinned, tested).
 */
import { connect, type IClientOptions, type MqttClient } from 'mqtt';
import type { Delivery, MessageSink } from './ingest.ts';
import { propertySamples } from './message-properties.ts';

/** CONNACK and the end of a connection, as the source needs to know them. */
export interface ConnectionEvents {
  /** The broker accepted; `sessionPresent` as in CONNACK. */
  readonly connected: (sessionPresent: boolean) => void;
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

/** One object for all messages: making an error for each would cost a stack trace. */
const HELD = new Error('held until it is durable');
/** CONNACK codes for a protocol version that the broker does not speak: 3.1.1 and 5. */
const VERSION_REFUSED: readonly unknown[] = [1, 132];
/** CONNACK codes for what we may not: 3.1.1 (4, 5) and 5 (134, 135). */
const NOT_AUTHORISED: readonly unknown[] = [4, 5, 134, 135];
/** A broker that does not take our DISCONNECT for so long is left without it. */
const STOP_WITHIN_MS = 2000;
/** SUBACK codes from here on are refusals [MQTT-3.9.3-2]. */
const SUBACK_REFUSED = 128;

/** The part of MQTT.js that is not in its types. */
interface PacketSender {
  _sendPacket(packet: { cmd: 'puback'; messageId: number; reasonCode: number }): void;
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
  /** Topic of the message in hand where it came as an alias (MQTT 5). */
  #aliased = '';
  /** Published, retained, before an orderly end. */
  #farewell: RetainedMessage | null = null;

  constructor(url: string, options: IClientOptions, sink: MessageSink, events: ConnectionEvents) {
    this.#sink = sink;
    this.#events = events;
    // The cache would keep 65,536 buffers of two bytes, 8 MiB, to spare 80 ns a PUBACK.
    const own = { reconnectPeriod: 0, resubscribe: false, writeCache: false };
    this.#client = connect(url, { ...options, ...own });
    // Where a topic comes as an alias only this event has it; it comes just before `handleMessage`.
    if (options.protocolVersion === 5) {
      this.#client.on('message', (topic) => {
        this.#aliased = topic;
      });
    }
    this.#client.handleMessage = (packet, callback) => {
      if (this.#taking && !this.#ended) {
        const { topic, payload, qos, dup, retain, messageId, properties } = packet;
        this.#sink.take(
          {
            topic: topic === '' ? this.#aliased : topic,
            payload: typeof payload === 'string' ? Buffer.from(payload) : payload,
            qos,
            dup,
            retain,
            messageId: qos === 1 ? (messageId ?? null) : null,
            ...(properties === undefined ? {} : { properties: propertySamples(properties) }),
          },
          this,
        );
        // Never subscribed to, but if it comes: PUBCOMP must not go out before the commit.
        if (qos === 2) this.#sink.flush();
      }
      // Where a message is not taken, it is not acknowledged: the broker keeps it.
      if (packet.qos === 0 || (packet.qos === 2 && this.#taking)) callback();
      else callback(HELD);
    };
    this.#client.once('connect', ({ sessionPresent }) => {
      this.#wasConnected = true;
      this.#flushEarly();
      events.connected(sessionPresent);
    });
    this.#client.on('error', (error) => {
      this.#reason ??= error.message;
      const code = 'code' in error ? error.code : undefined;
      if (VERSION_REFUSED.includes(code)) this.#versionRefused = true;
      if (NOT_AUTHORISED.includes(code)) this.#notAuthorised = true;
      if (!this.#client.connected) this.#client.end(true);
    });
    this.#client.on('disconnect', ({ reasonCode }) => {
      this.#reason ??= `the broker ended the connection, reason ${reasonCode ?? 0}`;
    });
    this.#client.once('close', () => this.#end());
    this.#client.once('end', () => this.#end());
  }

  /** Subscribes at QoS 1; resolves with what was granted, filter by filter. */
  subscribe(filters: readonly string[]): Promise<Grant[]> {
    return new Promise((resolve, reject) => {
      this.#client.subscribe([...filters], { qos: 1 }, (error, _grants, packet) => {
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
    const { stream } = this.#client;
    stream.cork();
    for (const messageId of messageIds) {
      (this.#client as unknown as PacketSender)._sendPacket({
        cmd: 'puback',
        messageId,
        reasonCode: 0,
      });
    }
    stream.uncork();
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
  return { filter, qos: null, reason: `refused with code ${code}` };
}
