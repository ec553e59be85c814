/**
 * A broker as a source of messages: connected as long as it can be, with a session that stays.
 *
 * Enters: the broker's address and what to subscribe to. Leaves: messages to the sink, from one
 * connection after the other. Always holds: the session is persistent (clean = 0; MQTT 5 with an
 * expiry), so the broker keeps what comes while nobody is here; at most one connection at a time;
 * waits between attempts are jittered. MQTT 5 first where the version is `auto`, 3.1.1 where that is
 * refused.
 */
import type { IClientOptions } from 'mqtt';
import type { Clock } from '../runtime/clock.ts';
import type { Log } from '../runtime/log.ts';
import { BACKOFF_DEFAULTS, Backoff, type BackoffOptions } from './backoff.ts';
import type { MessageSink } from './ingest.ts';
import { type ConnectionEnd, type Grant, MqttConnection } from './mqtt-connection.ts';

export interface MqttSourceOptions {
  /** `mqtt://`, `mqtts://`, `ws://` or `wss://`, with host and port. */
  readonly url: string;
  /** Names the session at the broker. */
  readonly clientId: string;
  /** Topic filters, subscribed to at QoS 1. */
  readonly filters: readonly string[];
  /** What the session was subscribed to before; unsubscribed from where it is no more in `filters`. */
  readonly subscribed?: SubscriptionMemory;
  /** Keeps what is known of sessions that the broker has forgotten. */
  readonly losses?: SessionLossMemory;
  readonly version: 'auto' | '4' | '5';
  /** Asked for at each connection, so that a password or a certificate may change; may throw. */
  readonly credentials?: () => MqttCredentials;
  /** Group of a shared subscription. */
  readonly share?: string;
  /** Where to say, retained, whether this agent is there; also the topic of the will. */
  readonly status?: { readonly topic: string; readonly name: string };
  readonly keepaliveSeconds?: number;
  /** How long a broker that speaks MQTT 5 keeps the session without us. */
  readonly sessionExpirySeconds?: number;
  /** Largest packet that we take (MQTT 5), and how many unacknowledged ones. */
  readonly packetBytesMax?: number;
  readonly receiveMaximum?: number;
  /** What the broker refused is asked for again after so long. */
  readonly resubscribeMs?: number;
  readonly backoff?: Partial<Omit<BackoffOptions, 'random'>>;
  readonly random: () => number;
  readonly clock: Clock;
  readonly sink: MessageSink;
  readonly log: Log;
  /** Told when the connection comes, or goes. */
  readonly onState?: (state: MqttSourceState) => void;
}

/** What a connection is made with; PEM texts for mqtts and wss. */
export interface MqttCredentials {
  readonly username?: string;
  readonly password?: string;
  /** Certificates to trust, instead of the system's. */
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

/** The filters that the session at the broker may have, over restarts. */
export interface SubscriptionMemory {
  get(): readonly string[];
  put(filters: readonly string[]): void;
}

/** Sessions that a broker had forgotten when we came back: what it kept for us is gone. */
export interface SessionLosses {
  readonly count: number;
  /** The last time, ms since 1970. */
  readonly lastMs: number | null;
}

/** The same over restarts: a person has to see it. */
export interface SessionLossMemory {
  get(): SessionLosses;
  put(losses: SessionLosses): void;
}

/** For status. */
export interface MqttSourceState {
  readonly url: string;
  readonly connected: boolean;
  /** The broker has answered our subscriptions on this connection: from here on it keeps for us. */
  readonly subscribed: boolean;
  /** 4 is MQTT 3.1.1. */
  readonly version: 4 | 5;
  /** Connections that came about, since the start. */
  readonly connections: number;
  /** Why there is no connection; null while there is one. */
  readonly reason: string | null;
  /** What the broker did not grant as asked: filter and reason. */
  readonly refused: readonly string[];
  /** Sessions that the broker had forgotten, since the first start. */
  readonly sessionsLost: number;
  /** The last time, ms since 1970. */
  readonly sessionLostMs: number | null;
}

/** Every default of the source. */
const SOURCE_DEFAULTS = {
  keepaliveSeconds: 30,
  sessionExpirySeconds: 7 * 86_400,
  packetBytesMax: 16 * 1024 * 1024,
  receiveMaximum: 65_535,
  topicAliasMaximum: 1_000,
  connectTimeoutMs: 15_000,
  resubscribeMs: 30_000,
} as const;

type StatusTopic = NonNullable<MqttSourceOptions['status']>;

const NEVER_CONNECTED = { versionRefused: false, wasConnected: false, notAuthorised: false };

/** See the header. */
export class MqttSource {
  readonly #options: MqttSourceOptions;
  readonly #backoff: Backoff;
  #state: MqttSourceState;
  #connection: MqttConnection | null = null;
  #timer: NodeJS.Timeout | null = null;
  #connectedAtMs: number | null = null;
  /** The last attempt ended because of the version. */
  #versionRefused = false;
  #stopped = true;

  constructor(options: MqttSourceOptions) {
    this.#options = options;
    this.#backoff = new Backoff({
      ...BACKOFF_DEFAULTS,
      ...options.backoff,
      random: options.random,
    });
    const { count, lastMs } = options.losses?.get() ?? { count: 0, lastMs: null };
    this.#state = {
      url: options.url,
      connected: false,
      subscribed: false,
      version: options.version === '4' ? 4 : 5,
      connections: 0,
      reason: 'not started',
      refused: [],
      sessionsLost: count,
      sessionLostMs: lastMs,
    };
  }

  get state(): MqttSourceState {
    return this.#state;
  }

  /** Connects, and connects again, until `stop`. */
  start(): void {
    if (!this.#stopped) return;
    this.#stopped = false;
    this.#connect();
  }

  /** Publishes at QoS 0, if there is a connection. */
  publish(topic: string, payload: Uint8Array): void {
    this.#connection?.publish(topic, payload);
  }

  /** Commits and acknowledges what was taken, and leaves; the session stays at the broker. */
  async stop(): Promise<void> {
    this.#stopped = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    await this.#connection?.stop();
    this.#connection = null;
  }

  #connect(): void {
    this.#timer = null;
    const { url, sink } = this.#options;
    try {
      const connection = new MqttConnection(url, this.#clientOptions(), sink, {
        connected: (sessionPresent, expirySeconds) => {
          this.#onExpiry(expirySeconds);
          this.#onConnected(connection, sessionPresent);
        },
        ended: (end) => this.#onEnded(end),
      });
      this.#connection = connection;
    } catch (error) {
      // They may be renewed just now.
      const reason = error instanceof Error ? `${error.message}${filesHint(error)}` : String(error);
      this.#onEnded({ ...NEVER_CONNECTED, reason });
    }
  }

  #onConnected(connection: MqttConnection, sessionPresent: boolean): void {
    const { log, url, clock, status } = this.#options;
    const filters = this.#filters();
    this.#connectedAtMs = clock.monotonicMs();
    const { version, connections } = this.#state;
    this.#setState({ connected: true, connections: connections + 1, reason: null });
    log.info('connected to broker', { url, mqtt: version === 5 ? '5' : '3.1.1', sessionPresent });
    // Also where the session is present: the configuration may have changed since.
    const { subscribed } = this.#options;
    const before = subscribed?.get() ?? [];
    if (!sessionPresent && (before.length > 0 || connections > 0)) {
      this.#noteLoss();
      log.warn('the broker has forgotten our session, and what it kept for us', { url });
    }
    if (status !== undefined) this.#announce(connection, status);
    // Known before the broker knows: a filter that nobody remembers would stay for ever.
    const both = [...new Set([...before, ...filters])];
    if (both.length > before.length) subscribed?.put(both);
    void this.#subscribe(connection, filters).then((answered) =>
      answered ? this.#leave(connection, before) : undefined,
    );
  }

  /** Whether the broker has answered. What it refuses is asked for again: its rules may be put right. */
  async #subscribe(connection: MqttConnection, filters: readonly string[]): Promise<boolean> {
    const { log, url, resubscribeMs } = this.#options;
    let grants: readonly Grant[];
    try {
      grants = await connection.subscribe(filters);
    } catch (error) {
      // The connection has ended; its end says why.
      log.warn('subscription without answer', { url, error });
      return false;
    }
    // An answer to a connection that is over says nothing of the one that is.
    if (this.#connection !== connection) return false;
    const refusals = grants.filter(({ qos }) => qos !== 1);
    const refused = refusals.map(
      ({ filter, qos, reason }) => `${filter}: ${reason ?? `granted QoS ${qos} only`}`,
    );
    const before = this.#state.refused;
    this.#setState({ subscribed: refused.length === 0, refused });
    if (refused.length === 0) {
      if (before.length > 0) log.info('all subscriptions are granted now', { url });
      return true;
    }
    if (refused.join() !== before.join()) log.error('subscription not granted', { url, refused });
    const again = refusals.map(({ filter }) => filter);
    this.#timer = setTimeout(() => {
      this.#timer = null;
      void this.#subscribe(connection, again);
    }, resubscribeMs ?? SOURCE_DEFAULTS.resubscribeMs);
    return true;
  }

  #noteLoss(): void {
    const { losses, clock } = this.#options;
    const sessionsLost = this.#state.sessionsLost + 1;
    const sessionLostMs = clock.nowMs();
    this.#setState({ sessionsLost, sessionLostMs });
    losses?.put({ count: sessionsLost, lastMs: sessionLostMs });
  }

  /** A broker may keep sessions for less than it is asked: what came meanwhile is then gone. */
  #onExpiry(seconds: number | undefined): void {
    const { log, url, sessionExpirySeconds } = this.#options;
    const askedSeconds = sessionExpirySeconds ?? SOURCE_DEFAULTS.sessionExpirySeconds;
    if (seconds === undefined || seconds >= askedSeconds) return;
    const message = 'the broker keeps our session for less than it was asked';
    log.warn(message, { url, seconds, askedSeconds });
  }

  /** Says on the status topic that we are there; nothing else waits for it. */
  #announce(connection: MqttConnection, { topic, name }: StatusTopic): void {
    const { url, log } = this.#options;
    const online = { topic, payload: statusText(name, 'online') };
    const stopped = { topic, payload: statusText(name, 'stopped') };
    connection.announce(online, stopped).catch((error: unknown) => {
      if (!this.#stopped) log.warn('the status topic was not taken', { url, topic, error });
    });
  }

  /** The filters as the broker is asked for them. */
  #filters(): readonly string[] {
    const { filters, share } = this.#options;
    return share === undefined ? filters : filters.map((filter) => `$share/${share}/${filter}`);
  }

  /** Unsubscribes from what has left the configuration; the new filters are granted by now. */
  async #leave(connection: MqttConnection, before: readonly string[]): Promise<void> {
    const { subscribed, url, log } = this.#options;
    const filters = this.#filters();
    const left = before.filter((filter) => !filters.includes(filter));
    try {
      if (left.length > 0) {
        await connection.unsubscribe(left);
        log.info('unsubscribed from what has left the configuration', { url, filters: left });
      }
      if (left.length > 0) subscribed?.put(filters);
    } catch (error) {
      log.warn('not unsubscribed, will be tried with the next connection', { url, error });
    }
  }

  #onEnded(end: ConnectionEnd): void {
    const { log, url, clock, status } = this.#options;
    this.#connection = null;
    if (this.#timer !== null) clearTimeout(this.#timer);
    const uptimeMs = this.#connectedAtMs === null ? 0 : clock.monotonicMs() - this.#connectedAtMs;
    this.#connectedAtMs = null;
    const hint = end.notAuthorised && status !== undefined ? willHint(status) : '';
    const reason = `${end.reason}${hint}`;
    this.#setState({ connected: false, subscribed: false, reason });
    if (this.#stopped) return;
    const other = this.#otherVersion(end);
    if (other !== null) this.#setState({ version: other });
    // The other version at once, but no third time: there may be none that the broker takes.
    const atOnce = other !== null && end.versionRefused && !this.#versionRefused;
    this.#versionRefused = end.versionRefused;
    const waitMs = atOnce ? 0 : this.#backoff.next(uptimeMs);
    log.warn('no connection to broker', { url, reason, waitMs: Math.round(waitMs) });
    this.#timer = setTimeout(() => this.#connect(), waitMs);
  }

  /** The version to try next, if another. Some brokers refuse a version by closing without a word. */
  #otherVersion(end: ConnectionEnd): 4 | 5 | null {
    if (this.#options.version !== 'auto' || end.wasConnected) return null;
    if (end.versionRefused) return this.#state.version === 5 ? 4 : 5;
    const silent = end.reason === 'the connection was closed' && this.#state.connections === 0;
    return silent ? (this.#state.version === 5 ? 4 : 5) : null;
  }

  #setState(change: Partial<MqttSourceState>): void {
    this.#state = { ...this.#state, ...change };
    this.#options.onState?.(this.#state);
  }

  #clientOptions(): IClientOptions {
    const { clientId, credentials, status } = this.#options;
    const settings = { ...SOURCE_DEFAULTS, ...this.#options };
    const base: IClientOptions = {
      ...credentials?.(),
      clientId,
      clean: false,
      keepalive: settings.keepaliveSeconds,
      connectTimeout: SOURCE_DEFAULTS.connectTimeoutMs,
      ...(status === undefined ? {} : { will: willOf(status) }),
    };
    if (this.#state.version === 4) return { ...base, protocolVersion: 4 };
    return {
      ...base,
      protocolVersion: 5,
      properties: {
        sessionExpiryInterval: settings.sessionExpirySeconds,
        receiveMaximum: settings.receiveMaximum,
        maximumPacketSize: settings.packetBytesMax,
        topicAliasMaximum: SOURCE_DEFAULTS.topicAliasMaximum,
      },
    };
  }
}

/** Who says it, and what: `online`, `stopped` (in order), `lost` (by the broker, as our will). */
function statusText(name: string, state: 'online' | 'stopped' | 'lost'): string {
  return JSON.stringify({ name, state });
}

function willOf({ topic, name }: StatusTopic) {
  return { topic, payload: Buffer.from(statusText(name, 'lost')), qos: 1 as const, retain: true };
}

/** Brokers refuse a whole connection for a will that may not be published. */
function willHint({ topic }: StatusTopic): string {
  return ` (user, password, or the right to publish on '${topic}': see mqtt.statusTopic)`;
}

/** OpenSSL does not say of which file it speaks. */
function filesHint(error: NodeJS.ErrnoException): string {
  return error.code?.startsWith('ERR_OSSL') ? ' (caFile, or certFile and its keyFile)' : '';
}
