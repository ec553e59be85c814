/**
 * What the benchmark's sensors send, and how fast: JSON of 120 bytes, as a small sensor would.
 */
import { connectAsync, type MqttClient } from 'mqtt';

/** Rules of the gateway for these payloads, as YAML. */
export const RULES =
  "[{ topic: 'site/#', sensor: /sensor, sequence: /n, time: /time, values: { value: /value } }]";
export const PAYLOAD_BYTES = 120;
const SENSORS = 50;
const IN_FLIGHT_MAX = 2000;
const TICK_MS = 5;

/** The n-th payload, `sentMs` (with fractions) by this machine's clock. */
export function payloadOf(n: number, sentMs: number): string {
  const value = (20 + 5 * Math.sin(n / 500) + ((n * 7919) % 100) / 200).toFixed(2);
  const time = Math.round(sentMs);
  const text = `{"sensor":"t-${n % SENSORS}","n":${n},"time":${time},"value":${value},"sent":${sentMs.toFixed(3)}`;
  return `${text},"unit":"Cel","pad":"`.padEnd(PAYLOAD_BYTES - 2, 'x').concat('"}');
}

function topicOf(n: number): string {
  return `site/t-${n % SENSORS}`;
}

/** A publisher of its own connection. */
export class Load {
  readonly #client: MqttClient;
  #n = 0;

  private constructor(client: MqttClient) {
    this.#client = client;
  }

  static async connect(url: string): Promise<Load> {
    return new Load(await connectAsync(url, { reconnectPeriod: 0 }));
  }

  /** Publishes `count` readings at QoS 1 as fast as the broker takes them. */
  async flood(count: number): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      let sent = 0;
      let done = 0;
      const more = (): void => {
        while (sent < count && sent - done < IN_FLIGHT_MAX) {
          sent += 1;
          this.#publish((error) => {
            if (error) reject(error);
            done += 1;
            if (done === count) resolve();
            else more();
          });
        }
      };
      more();
    });
  }

  /** Publishes `count` readings at QoS 1, `perSecond` of them a second, evenly. */
  async pace(count: number, perSecond: number): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      let sent = 0;
      let done = 0;
      const startedMs = performance.now();
      const tick = setInterval(() => {
        const due = Math.min(count, ((performance.now() - startedMs) * perSecond) / 1000);
        for (; sent < due; sent += 1) {
          this.#publish((error) => {
            if (error) reject(error);
            done += 1;
            if (done === count) resolve();
          });
        }
        if (sent === count) clearInterval(tick);
      }, TICK_MS);
    });
  }

  async stop(): Promise<void> {
    await this.#client.endAsync();
  }

  #publish(callback: (error?: Error) => void): void {
    this.#n += 1;
    const sentMs = performance.timeOrigin + performance.now();
    this.#client.publish(topicOf(this.#n), payloadOf(this.#n, sentMs), { qos: 1 }, callback);
  }
}
