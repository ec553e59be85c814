/** Waiting for what an MQTT.js client says; its typed emitter does not fit `events.once`. */
import type { MqttClient } from 'mqtt';

/** Resolves at the next event of this name. */
export function mqttEvent(
  client: MqttClient,
  name: 'connect' | 'close' | 'message',
): Promise<void> {
  return new Promise((resolve) => client.once(name, () => resolve()));
}
