/**
 * Sends the fleet's messages at QoS 1 and says which of them the broker has acknowledged.
 *
 * Enters: messages. Leaves: an `acknowledged` call for each PUBACK without an error. Always holds: a
 * message is handed to the listener once, and only after its PUBACK. MQTT 5 where the broker speaks
 * it, 3.1.1 otherwise; over a lost connection MQTT.js sends again what has no PUBACK yet.
 */
import { connect, type IClientOptions, type MqttClient } from 'mqtt';
import type { SensorMessage } from './fleet.ts';

export type VersionChoice = 'auto' | '4' | '5';

/** How long the first connection may take, in all. */
const CONNECT_WITHIN_MS = 15_000;
const RECONNECT_MS = 250;
/** CONNACK codes for a protocol version that the broker does not speak: 3.1.1 and 5. */
const VERSION_REFUSED: readonly unknown[] = [1, 132];

/** What the broker asks for. */
export type Credentials = Pick<IClientOptions, 'username' | 'password' | 'ca'>;

export interface Publisher {
  /** Messages without a PUBACK so far. */
  outstanding(): number;
  publish(message: SensorMessage): void;
  /** Resolves when at most `limit` messages are outstanding, or after `timeoutMs`. */
  drained(limit: number, timeoutMs: number): Promise<void>;
  close(): Promise<void>;
}

/** Connects, then publishes; rejects when no version connects within 15 s. */
export async function createPublisher(options: {
  readonly broker: string;
  readonly version: VersionChoice;
  readonly clientId: string;
  readonly credentials?: Credentials;
  readonly acknowledged: (message: SensorMessage) => void;
  readonly refused: (message: SensorMessage, reason: string) => void;
}): Promise<Publisher> {
  const client = await connectAny(options.broker, options.version, {
    ...options.credentials,
    clientId: options.clientId,
  });
  let outstanding = 0;
  let closed = false;
  let wake: (() => void) | null = null;
  return {
    outstanding: () => outstanding,
    publish(message) {
      outstanding += 1;
      client.publish(message.topic, Buffer.from(message.payload), { qos: 1 }, (error) => {
        if (closed) return;
        outstanding -= 1;
        if (error) options.refused(message, error.message);
        else options.acknowledged(message);
        wake?.();
      });
    },
    async drained(limit, timeoutMs) {
      const end = performance.now() + timeoutMs;
      while (outstanding > limit) {
        const leftMs = end - performance.now();
        if (leftMs <= 0) return;
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, leftMs);
          wake = () => {
            clearTimeout(timer);
            resolve();
          };
        });
        wake = null;
      }
    },
    async close() {
      const clean = outstanding === 0;
      closed = true;
      await client.endAsync(!clean);
    },
  };
}

async function connectAny(
  broker: string,
  version: VersionChoice,
  options: IClientOptions,
): Promise<MqttClient> {
  const endsAt = performance.now() + CONNECT_WITHIN_MS;
  let candidates: (4 | 5)[] = version === 'auto' ? [5, 4] : [version === '5' ? 5 : 4];
  for (let attempt = 0; ; attempt += 1) {
    const protocolVersion = candidates[attempt % candidates.length] ?? 4;
    try {
      return await connectOnce(broker, { ...options, protocolVersion });
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : undefined;
      if (VERSION_REFUSED.includes(code) && protocolVersion === 5 && candidates.length > 1) {
        candidates = [4];
      } else if (performance.now() > endsAt || candidates.length === 0) {
        throw error;
      } else {
        await new Promise((resolve) => setTimeout(resolve, RECONNECT_MS));
      }
    }
  }
}

/** Resolves with a connected client that reconnects from then on; rejects if it is not accepted. */
function connectOnce(broker: string, options: IClientOptions): Promise<MqttClient> {
  return new Promise((resolve, reject) => {
    const client = connect(broker, {
      ...options,
      clean: true,
      reconnectPeriod: RECONNECT_MS,
      connectTimeout: 5000,
    });
    const fail = (error: Error): void => {
      client.removeAllListeners();
      // What a client that was given up says later concerns nobody.
      client.on('error', () => undefined);
      client.end(true);
      reject(error);
    };
    const onClose = (): void => fail(new Error('the broker closed the connection'));
    client.once('error', fail);
    client.once('close', onClose);
    client.once('connect', () => {
      client.removeListener('error', fail);
      client.removeListener('close', onClose);
      // Lost connections are MQTT.js's to mend; what matters shows as missing acknowledgements.
      client.on('error', (error) =>
        console.error(JSON.stringify({ level: 'warn', message: error.message })),
      );
      resolve(client);
    });
  });
}
