/**
 * From the configuration of a broker to what its source is made with.
 *
 * Always holds: files of secrets are read when a connection is made, never kept: a changed password
 * or certificate counts from the next connection on.
 */
import { readFileSync } from 'node:fs';
import type { Config } from './config/schema.ts';
import type { DecoderMemory } from './ingest/finding.ts';
import type { MqttCredentials, MqttSourceOptions, SessionLosses } from './ingest/mqtt-source.ts';

type Mqtt = NonNullable<Config['mqtt']>;
type Broker = Mqtt['brokers'][number];
type Link = Pick<
  MqttSourceOptions,
  | 'url'
  | 'clientId'
  | 'filters'
  | 'version'
  | 'credentials'
  | 'share'
  | 'status'
  | 'keepaliveSeconds'
  | 'sessionExpirySeconds'
  | 'receiveMaximum'
>;

/** Topic on which this agent says that it is there; null for none. */
export function statusTopicOf(config: Config, mqtt: Mqtt): string | null {
  const { organisation, name } = config;
  const topic = mqtt.statusTopic ?? `blocktorrent/${organisation.mspId}/${name}/status`;
  return topic === 'off' ? null : topic;
}

/** The options of a source that the configuration decides. */
export function linkOf(config: Config, mqtt: Mqtt, broker: Broker): Link {
  const topic = statusTopicOf(config, mqtt);
  const { url, version, share, keepaliveSeconds, sessionExpirySeconds, receiveMaximum } = broker;
  return {
    url,
    clientId: broker.clientId ?? `blocktorrent-${config.name}`,
    filters: [...new Set(mqtt.rules.map((rule) => rule.topic))],
    // 3.1.1 has no shared subscriptions: there is nothing to fall back to.
    version: share === undefined ? version : '5',
    credentials: () => credentialsOf(broker),
    ...(share === undefined ? {} : { share }),
    ...(topic === null ? {} : { status: { topic, name: config.name } }),
    keepaliveSeconds,
    sessionExpirySeconds,
    receiveMaximum,
  };
}

/** What is remembered of a broker over restarts: what we subscribed to, and the sessions it forgot. */
export function memoriesOf(
  memory: DecoderMemory,
  { url, clientId }: Broker,
): Required<Pick<MqttSourceOptions, 'subscribed' | 'losses'>> {
  const broker = `${clientId ?? ''}@${url}`;
  const [filtersKey, lossesKey] = [`subscriptions/${broker}`, `sessions-lost/${broker}`];
  const none: SessionLosses = { count: 0, lastMs: null };
  return {
    subscribed: {
      get: () => JSON.parse(memory.get(filtersKey) ?? '[]') as string[],
      put: (filters) => memory.put(filtersKey, JSON.stringify(filters)),
    },
    losses: {
      get: () => JSON.parse(memory.get(lossesKey) ?? JSON.stringify(none)) as SessionLosses,
      put: (losses) => memory.put(lossesKey, JSON.stringify(losses)),
    },
  };
}

function credentialsOf({ username, passwordFile, caFile, certFile, keyFile }: Broker) {
  const credentials: MqttCredentials = {
    ...(username === undefined ? {} : { username }),
    ...(passwordFile === undefined ? {} : { password: firstLine(passwordFile) }),
    ...(caFile === undefined ? {} : { ca: readFileSync(caFile, 'utf8') }),
    ...(certFile === undefined ? {} : { cert: readFileSync(certFile, 'utf8') }),
    ...(keyFile === undefined ? {} : { key: readFileSync(keyFile, 'utf8') }),
  };
  return credentials;
}

function firstLine(path: string): string {
  return readFileSync(path, 'utf8').split(/\r?\n/, 1)[0] ?? '';
}
