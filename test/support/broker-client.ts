/** Clients of our broker, as MQTT.js has them: 3.1.1, and never again once they have ended. */
import { connect, type IClientOptions, type MqttClient } from 'mqtt';

/** A client that is connected; rejects when it is refused, or its connection is closed. */
export async function connected(url: string, options: IClientOptions = {}): Promise<MqttClient> {
  const client = connect(url, { reconnectPeriod: 0, protocolVersion: 4, ...options });
  await new Promise<void>((resolve, reject) => {
    client.once('connect', () => resolve());
    client.on('error', reject);
    client.once('close', () => reject(new Error('closed')));
  });
  return client;
}

/** Resolves when the connection has ended. */
export function closed(client: MqttClient): Promise<void> {
  return new Promise((resolve) => client.once('close', () => resolve()));
}

/** Whether a publish at QoS 1 was acknowledged; a refused one ends the connection. */
export async function publishes(client: MqttClient, topic: string): Promise<boolean> {
  const refused = closed(client).then(() => false);
  const taken = client.publishAsync(topic, '1', { qos: 1 }).then(() => true);
  taken.catch(() => undefined);
  return await Promise.race([refused, taken]);
}
