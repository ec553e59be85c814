/**
 * An MQTT 3.1.1 broker on aedes, for gateways that have none and for the demo.
 *
 * Enters: connections by TCP or TLS. Leaves: MQTT. Always holds: a message of QoS 1 is in the queues
 * of the sessions that it concerns before it is acknowledged; with a `dataDir` sessions, queues and
 * retained messages survive the process, SIGKILL included. Payloads, packets, connections, sessions
 * and queues are bounded. Subscribers get QoS 1 at most, also where they asked for 2: nothing keeps
 * QoS 2 over a restart.
 */
import type { EventEmitter } from 'node:events';
import { existsSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { AedesOptions, Client } from 'aedes';
import { Access, type Identity, OPEN, readUsers } from './access.ts';
import { Admission } from './admission.ts';
import { type BrokerConfig, DEFAULTS, SESSION_MESSAGES_LIMIT } from './config.ts';
import { DurableAedes } from './durable-aedes.ts';
import { HeldPublishers, PublisherGoneError } from './held-publishers.ts';
import { Journal, JournalError } from './journal.ts';
import { Listeners, type Socket } from './listeners.ts';
import { PasswordChecker, TooManyPasswordsError } from './password.ts';
import { SessionStore } from './session-store.ts';
import { SlowReaders, STUCK_CHECK_SECONDS } from './slow-readers.ts';
import { SYS, sysTopics } from './sys-topics.ts';

export { DEFAULTS } from './config.ts';

type Warn = (message: string, fields: Readonly<Record<string, unknown>>) => void;

export interface BrokerOptions extends Partial<Omit<BrokerConfig, 'listeners'>> {
  readonly host?: string;
  /** 0 for any free port. */
  readonly port?: number;
  /** Instead of `host` and `port`. */
  readonly listeners?: BrokerConfig['listeners'];
  /** Told of refused clients and of dropped messages. */
  readonly warn?: Warn;
}

export interface Broker {
  /** `host:port` that it listens on, the first one where there are several. */
  readonly address: string;
  readonly port: number;
  /** All of them. */
  readonly addresses: readonly string[];
  /** Messages dropped because a queue was full, since the start. */
  dropped(): number;
  /** Messages that wait for this client's acknowledgement. */
  queuedFor(clientId: string): number;
  /** Reads users and certificates again. @throws FileError; then the old ones stay in force */
  reload(): void;
  /** Ends every connection and stops listening. */
  stop(): Promise<void>;
}

/** Bytes of a PUBLISH that are not its payload: topic (2 + 65,535), identifier, with room to spare. */
const PUBLISH_OVERHEAD_BYTES = 65_600;
/** CONNACK codes [MQTT-3.2.2.3]. */
const IDENTIFIER_REJECTED = 2;
const UNAVAILABLE = 3;
const WRONG_NAME = 4;
const EXPIRY_CHECK_SECONDS = 60;
/** What aedes can look for; beyond, it throws. */
const TOPIC_LEVELS_MAX = 100;
/** The longest that a timer takes; with 0 aedes would add a listener for each message that waits. */
const TIMER_MS_MAX = 2 ** 31 - 1;
/** Of a topic, in the log. */
const TOPIC_SHOWN_MAX = 200;

/** Starts the broker; resolves when it listens. Throws on an invalid option, file or taken port. */
export async function startBroker(options: BrokerOptions = {}): Promise<Broker> {
  const settings = { ...DEFAULTS, warn: () => undefined, ...options };
  if (settings.sessionMessagesMax > SESSION_MESSAGES_LIMIT) {
    throw new RangeError(
      `sessionMessagesMax: at most ${SESSION_MESSAGES_LIMIT}, found ${settings.sessionMessagesMax}`,
    );
  }
  const running = new RunningBroker(settings, options);
  await running.start();
  return running;
}

type Settings = Omit<BrokerConfig, 'listeners' | 'dataDir' | 'usersFile'> & {
  readonly host: string;
  readonly port: number;
  readonly warn: Warn;
};

class RunningBroker implements Broker {
  readonly #settings: Settings;
  readonly #usersFile: string | null;
  readonly #access: Access;
  readonly #admission: Admission;
  readonly #journal: Journal | null;
  readonly #store: SessionStore;
  readonly #held: HeldPublishers;
  readonly #slow: SlowReaders;
  readonly #aedes: DurableAedes;
  readonly #listeners: Listeners;
  readonly #identities = new WeakMap<object, Identity>();
  /** Clients that want a session and give no id; aedes makes one up [MQTT-3.1.3-8]. */
  readonly #nameless = new WeakSet<object>();
  /** Topic filters that a connection was granted. */
  readonly #granted = new WeakMap<object, Set<string>>();
  /** The newest connection of each client id. */
  readonly #clients = new Map<string, Client>();
  /** Whose end has been said. */
  readonly #ended = new WeakSet<Client>();
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #startedMs = performance.now();
  #dropped = 0;
  #refused = 0;
  #received = 0;
  #sent = 0;

  constructor(settings: Settings, options: BrokerOptions) {
    const { host, port, warn } = settings;
    this.#settings = settings;
    this.#usersFile = options.usersFile ?? null;
    const users = this.#usersFile === null ? OPEN : readUsers(this.#usersFile);
    this.#access = new Access(users, new PasswordChecker());
    this.#admission = new Admission(settings, () => performance.now());
    this.#journal = openJournal(options.dataDir);
    this.#store = new SessionStore(settings, (id) => this.#onDropped(id), this.#journal);
    this.#held = new HeldPublishers({
      change: () => this.#store.change(),
      nowMs: () => performance.now(),
      onFull: (clientId) => warn('queue is full, publishers wait', { clientId }),
    });
    this.#slow = new SlowReaders((clientId) => this.#store.isWaitedFor(clientId));
    this.#aedes = new DurableAedes(this.#aedesOptions(), this.#store, this.#held);
    this.#listen();
    this.#listeners = new Listeners(options.listeners ?? [{ listen: { host, port } }], {
      admission: this.#admission,
      packetBytesMax: settings.payloadBytesMax + PUBLISH_OVERHEAD_BYTES,
      onSocket: (socket) => void this.#aedes.handle(socket),
      warn,
    });
  }

  get address(): string {
    return this.addresses[0] ?? '';
  }

  get addresses(): readonly string[] {
    return this.#listeners.addresses;
  }

  get port(): number {
    return this.#listeners.port;
  }

  async start(): Promise<void> {
    try {
      await this.#store.restore();
      await this.#aedes.listen();
      await this.#listeners.start();
    } catch (error) {
      await this.stop();
      throw error;
    }
    const every = (seconds: number, work: () => void): void => {
      this.#timers.push(setInterval(work, seconds * 1000));
    };
    every(this.#settings.sysEverySeconds, () => this.#say());
    every(STUCK_CHECK_SECONDS, () =>
      this.#slow.endStuck(this.#clients.values(), performance.now()),
    );
    every(EXPIRY_CHECK_SECONDS, () => void this.#expire());
    this.#say();
  }

  dropped(): number {
    return this.#dropped;
  }

  queuedFor(clientId: string): number {
    return this.#store.queuedFor(clientId);
  }

  reload(): void {
    const users = this.#usersFile === null ? OPEN : readUsers(this.#usersFile);
    this.#listeners.reload();
    this.#access.replace(users);
    for (const client of this.#clients.values()) {
      const identity = this.#identities.get(client);
      if (identity === undefined || this.#access.stands(identity)) continue;
      this.#settings.warn('client ended', { clientId: client.id, reason: 'its user has changed' });
      client.close();
    }
  }

  async stop(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    const closed = this.#listeners.stop();
    await new Promise<void>((resolve) => this.#aedes.close(() => resolve()));
    // Also who has not said who it is, and whom aedes has lost sight of.
    this.#listeners.cut();
    await closed;
    this.#journal?.close();
  }

  #listen(): void {
    const { warn } = this.#settings;
    const aedes = this.#aedes;
    aedes.on('client', (client) => {
      // Cut off while it was beginning; nobody would say that it has gone.
      if (client.closed) return;
      const older = this.#clients.get(client.id);
      this.#clients.set(client.id, client);
      this.#store.attach(client);
      // Of several that come at once aedes ends but one [MQTT-3.1.4-2].
      older?.close();
      const dropped = this.#store.takeDropped(client.id);
      if (dropped > 0)
        warn('messages were dropped for this client', { clientId: client.id, dropped });
    });
    aedes.on('clientDisconnect', (client) => {
      if (this.#clients.get(client.id) === client) this.#clients.delete(client.id);
      this.#store.release(client);
    });
    // An emitter without a listener would end the process.
    (aedes as EventEmitter).on('error', (error: Error) => {
      warn('the broker goes on', { reason: error.message });
    });
    aedes.on('clientError', (client, error) => {
      // Each message that was on its way to it says so as well.
      if (this.#ended.has(client)) return;
      this.#ended.add(client);
      warn('client ended', { clientId: client.id, reason: error.message });
    });
    aedes.on('connectionError', (client, error) => {
      const { remoteAddress: address } = client.conn as Socket;
      warn('connection refused', { reason: error.message, address });
    });
    aedes.on('unsubscribe', (topics, client) => {
      for (const topic of topics) this.#granted.get(client)?.delete(topic);
    });
    aedes.on('publish', (_packet, client) => {
      if (client !== null) this.#received += 1;
    });
  }

  #aedesOptions(): AedesOptions {
    return {
      connectTimeout: DEFAULTS.connectTimeoutMs,
      // aedes would also end who takes all the time and never catches up; `SlowReaders` does not.
      drainTimeout: TIMER_MS_MAX,
      preConnect: (client, { clientId, clean }, done) => {
        if (clientId === '' && clean !== true) this.#nameless.add(client);
        done(null, true);
      },
      authenticate: (client, username, password, done) => {
        const fail = (message: string, returnCode: number) =>
          done(Object.assign(new Error(message), { returnCode }), false);
        this.#identify(client, username, password).then(
          (identity) => {
            if (identity === null) fail('wrong user name or password', WRONG_NAME);
            else if (this.#nameless.has(client)) {
              fail('a session to which nobody could come back', IDENTIFIER_REJECTED);
            } else if (this.#isOfAnother(client.id, identity)) {
              fail("the client id is another user's", IDENTIFIER_REJECTED);
            } else {
              this.#slow.attach(client);
              done(null, true);
            }
          },
          (error: unknown) => {
            if (error instanceof TooManyPasswordsError) fail(error.message, UNAVAILABLE);
            else fail(String(error), UNAVAILABLE);
          },
        );
      },
      authorizePublish: (client, packet, done) => {
        const refusal = this.#refusalOf(client, packet);
        if (refusal !== null) {
          // Nobody is there any more to be ended for it.
          if (client?.closed)
            this.#settings.warn('will refused', { clientId: client.id, reason: refusal });
          done(new Error(refusal));
        } else if (packet.qos === 0 || client === null) done(null);
        else {
          this.#aedes.take(packet, client).then(
            () => done(null),
            (error: Error) => {
              // Nobody is left to whom aedes could answer.
              if (!(error instanceof PublisherGoneError)) done(error);
            },
          );
        }
      },
      authorizeSubscribe: (client, subscription, done) => {
        const identity = this.#identities.get(client);
        const { topic } = subscription;
        const allowed = identity !== undefined && this.#access.maySubscribe(identity, topic);
        if (allowed && this.#hasRoomFor(client, topic)) {
          this.#store.grant(client, subscription, identity.user);
          done(null, subscription);
        } else {
          this.#onRefused(client.id, topic);
          // A null subscription is answered with 128, a failure [MQTT-3.9.3-2].
          done(null, null);
        }
      },
      authorizeForward: (client, packet) => {
        const identity = this.#identities.get(client);
        if (identity === undefined || !this.#access.mayRead(identity, packet.topic)) return null;
        // aedes tells its own parts who connects and who subscribes to what.
        if (packet.topic.startsWith('$') && !packet.topic.startsWith(SYS)) return null;
        const waits = packet.qos > 0 && this.#store.isDraining(client);
        if ((waits || this.#slow.isBehind(client)) && !this.#store.keeps(client, packet)) {
          this.#onDropped(client.id);
          return null;
        }
        this.#sent += 1;
        return packet.qos === 2 ? Object.assign(packet, { qos: 1 }) : packet;
      },
    };
  }

  /** Whether a client may have one more topic filter; then it has. Restored ones are asked for, too. */
  #hasRoomFor(client: object, topic: string): boolean {
    const granted = this.#granted.get(client) ?? new Set();
    this.#granted.set(client, granted);
    if (granted.size < this.#settings.subscriptionsMax) granted.add(topic);
    return granted.has(topic);
  }

  async #identify(
    client: Client,
    username: string | undefined,
    password: Uint8Array | undefined,
  ): Promise<Identity | null> {
    const socket = client.conn as Socket;
    const certificate = this.#listeners.certificateOf(socket);
    const identity = await this.#access.identify(client.id, {
      ...(username === undefined ? {} : { username }),
      ...(password === undefined ? {} : { password }),
      ...(certificate === null ? {} : { certificate }),
    });
    if (identity === null) this.#admission.failed(socket.remoteAddress ?? '');
    else this.#identities.set(client, identity);
    return identity;
  }

  /**
   * Whether a client id is of another user who is still there: its session, or its connection. Who took
   * it over would end the one, and empty the other's queue.
   */
  #isOfAnother(clientId: string, { user }: Identity): boolean {
    const connected = this.#clients.get(clientId);
    const there = connected === undefined ? undefined : this.#identities.get(connected);
    const owner = this.#store.ownerOf(clientId) ?? there?.user ?? null;
    return owner !== null && owner !== user && this.#access.knows(owner);
  }

  /** Why a message is not taken; the client is ended then, as 3.1.1 has no other way to say so. */
  #refusalOf(
    client: Client | null,
    { topic, payload }: { topic: string; payload: string | Buffer },
  ) {
    const { payloadBytesMax } = this.#settings;
    // Of publications aedes has seen to it, of wills nobody has.
    if (topic === '' || /[+#\0]/.test(topic)) return `'${shown(topic)}' is no topic`;
    if (topic.split('/').length > TOPIC_LEVELS_MAX) return `more than ${TOPIC_LEVELS_MAX} levels`;
    if (topic.startsWith('$')) return 'topics that start with $ are reserved';
    if (payload.length > payloadBytesMax)
      return `payload of ${payload.length} bytes is over the cap`;
    const identity = client === null ? undefined : this.#identities.get(client);
    if (identity === undefined || !this.#access.mayPublish(identity, topic)) {
      return `not allowed to publish on '${shown(topic)}'`;
    }
    return null;
  }

  /** The first, then every thousandth: one packet may ask for tens of thousands. */
  #onRefused(clientId: string, topic: string): void {
    this.#refused += 1;
    if (this.#refused % 1000 !== 1) return;
    const fields = { clientId, topic: shown(topic), refused: this.#refused };
    this.#settings.warn('subscription refused', fields);
  }

  #onDropped(clientId: string): void {
    this.#dropped += 1;
    // The first, then every thousandth: a full queue must not flood the log as well.
    if (this.#dropped % 1000 === 1) {
      const { warn } = this.#settings;
      warn('queue is full, message dropped', { clientId, dropped: this.#dropped });
    }
  }

  async #expire(): Promise<void> {
    const { sessionExpirySeconds, warn } = this.#settings;
    try {
      const ended = await this.#store.passed(EXPIRY_CHECK_SECONDS, sessionExpirySeconds);
      for (const [clientId, dropped] of ended) {
        this.#dropped += dropped;
        warn('session has expired', { clientId, dropped });
      }
    } catch (error) {
      warn('sessions could not be looked at', { reason: String(error) });
    }
  }

  #say(): void {
    const { sessions, messages, bytes, retained } = this.#store.counts;
    const topics = sysTopics({
      uptimeSeconds: (performance.now() - this.#startedMs) / 1000,
      connected: this.#clients.size,
      sessions,
      connectionsRefused: this.#admission.refused,
      received: this.#received,
      sent: this.#sent,
      dropped: this.#dropped,
      held: this.#held.messages,
      queued: messages,
      queuedBytes: bytes,
      retained,
    });
    for (const [topic, text] of topics) {
      const payload = Buffer.from(text);
      const packet = { cmd: 'publish', topic, payload, qos: 0, retain: true, dup: false } as const;
      this.#aedes.publish(packet, () => undefined);
    }
  }
}

function shown(topic: string): string {
  return topic.length <= TOPIC_SHOWN_MAX ? topic : `${topic.slice(0, TOPIC_SHOWN_MAX)}…`;
}

function openJournal(dataDir: string | undefined): Journal | null {
  if (dataDir === undefined) return null;
  try {
    makeFolder(dataDir);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const what = `dataDir '${dataDir}': expected a folder that this user can make, found ${reason}`;
    throw new JournalError(what, { cause });
  }
  return new Journal(join(dataDir, 'broker.sqlite'));
}

/** Node.js's own recursive `mkdir` never returns below folders in which nothing can be made, as /proc. */
function makeFolder(folder: string): void {
  if (existsSync(folder)) return;
  makeFolder(dirname(folder));
  mkdirSync(folder, { mode: 0o700 });
}
