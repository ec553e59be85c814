/** The doctor's look at each broker: does it let us in, and is the running agent subscribed at it? */
import type { Config } from '../../config/load.ts';
import type { AgentStatus } from '../../controls.ts';
import { VERSION_REFUSED } from '../../ingest/mqtt-connection.ts';
import { linkOf } from '../../mqtt-link.ts';
import { type Finding, fail, ok } from './finding.ts';

type Mqtt = NonNullable<Config['mqtt']>;
type Broker = Mqtt['brokers'][number];

const LOGIN_MS_MAX = 5_000;
const TODO =
  'Is it up, and does a firewall let this machine in? User, password, certificates: section mqtt.';

/** What a running agent knows counts; where there is none, it is tried. */
export async function checkBrokers(config: Config, status: AgentStatus | null): Promise<Finding[]> {
  const { mqtt } = config;
  if (mqtt === undefined || !config.roles.includes('ingest')) return [];
  return Promise.all(
    mqtt.brokers.map(async (broker) => {
      const name = `broker ${broker.url}`;
      const known = status?.brokers.find(({ url }) => url === broker.url);
      if (known?.connected === true) return ok(name, 'the agent is subscribed');
      if (known?.reason != null) return fail(name, known.reason, TODO);
      const refusal = await logIn(config, mqtt, broker);
      return refusal === null ? ok(name, 'lets us in') : fail(name, refusal, TODO);
    }),
  );
}

/**
 * Connects as the agent does, but under a client id of its own: the agent's session, and another
 * agent's connection, stay as they are. Null, or why not.
 */
async function logIn(config: Config, mqtt: Mqtt, broker: Broker): Promise<string | null> {
  const { url, clientId, version, credentials } = linkOf(config, mqtt, broker);
  const { connectAsync } = await import('mqtt');
  let refusal = 'not tried';
  for (const protocolVersion of [5, 4] as const) {
    if (version !== 'auto' && version !== String(protocolVersion)) continue;
    try {
      const options = {
        ...credentials?.(),
        ...{ clientId: `${clientId}-check`, clean: true, protocolVersion },
        ...{ reconnectPeriod: 0, connectTimeout: LOGIN_MS_MAX },
      };
      // Otherwise a broker that hangs up without a word would be waited for without an end.
      const noRetries = false;
      const client = await connectAsync(url, options, noRetries);
      await client.endAsync();
      return null;
    } catch (error) {
      const { message, code } = Object(error) as { message?: string; code?: unknown };
      refusal = message?.trim() || String(code ?? error);
      if (!VERSION_REFUSED.includes(code)) break;
    }
  }
  return refusal;
}
