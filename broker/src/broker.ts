/**
 * A small MQTT 3.1.1 broker on aedes, for gateways that have none and for the demo.
 *
 * Enters: TCP connections. Leaves: MQTT. Always holds: payloads and packets are capped, and the
 * messages that wait for an absent persistent session are bounded; both bounds are in `DEFAULTS`.
 * Subscribers get QoS 1 at most, also where they asked for 2: nothing keeps QoS 2 over a restart.
 * Sessions and retained messages live in memory: they end with the process.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { Aedes } from 'aedes';
import { capPackets } from './packet-cap.ts';
import { SessionStore } from './session-store.ts';

/** Every default of the broker, with units. */
export const DEFAULTS = {
  host: '127.0.0.1',
  port: 1883,
  /** Payload of one PUBLISH. */
  payloadBytesMax: 1024 * 1024,
  /** Messages queued for one persistent session; the newest are dropped when it is full. */
  sessionMessagesMax: 60_000,
  /** Payload bytes queued for all sessions together. */
  queuedBytesMax: 256 * 1024 * 1024,
  /** Nothing comes from a client that waits longer than this with its CONNECT. */
  connectTimeoutMs: 10_000,
} as const;

/** Identifiers are 16 bits: above this, a session's messages could not all be in flight. */
const SESSION_MESSAGES_LIMIT = 65_000;
/** Bytes of a PUBLISH that are not its payload: topic (2 + 65,535), identifier, with room to spare. */
const PUBLISH_OVERHEAD_BYTES = 65_600;

export interface BrokerOptions {
  readonly host?: string;
  /** 0 for any free port. */
  readonly port?: number;
  readonly payloadBytesMax?: number;
  readonly sessionMessagesMax?: number;
  readonly queuedBytesMax?: number;
  /** Told of refused clients and of dropped messages. */
  readonly warn?: (message: string, fields: Readonly<Record<string, unknown>>) => void;
}

export interface Broker {
  /** `host:port` that it listens on. */
  readonly address: string;
  readonly port: number;
  /** Messages dropped because a queue was full, since the start. */
  dropped(): number;
  /** Messages that wait for this client's acknowledgement. */
  queuedFor(clientId: string): number;
  /** Ends every connection and stops listening. */
  stop(): Promise<void>;
}

/** Starts the broker; resolves when it listens. Throws on an invalid option or a taken port. */
export async function startBroker(options: BrokerOptions = {}): Promise<Broker> {
  const settings = { ...DEFAULTS, warn: () => undefined, ...options };
  if (settings.sessionMessagesMax > SESSION_MESSAGES_LIMIT) {
    throw new RangeError(
      `sessionMessagesMax: at most ${SESSION_MESSAGES_LIMIT}, found ${settings.sessionMessagesMax}`,
    );
  }
  const warn: NonNullable<BrokerOptions['warn']> = settings.warn;
  let dropped = 0;
  const store = new SessionStore(settings, (clientId) => {
    dropped += 1;
    // The first, then every thousandth: a full queue must not flood the log as well.
    if (dropped % 1000 === 1) warn('queue is full, message dropped', { clientId, dropped });
  });
  const aedes = await Aedes.createBroker({
    persistence: store,
    connectTimeout: DEFAULTS.connectTimeoutMs,
    authorizePublish(_client, packet, callback) {
      if (packet.topic.startsWith('$'))
        callback(new Error('topics that start with $ are reserved'));
      else if (packet.payload.length <= settings.payloadBytesMax) callback(null);
      else callback(new Error(`payload of ${packet.payload.length} bytes is over the cap`));
    },
    authorizeForward: (_client, packet) =>
      packet.qos === 2 ? Object.assign(packet, { qos: 1 }) : packet,
  } as ConstructorParameters<typeof Aedes>[0]);
  aedes.on('clientDisconnect', (client) => store.release(client.id));
  aedes.on('clientError', (client, error) => {
    warn('client ended', { clientId: client.id, reason: error.message });
  });
  aedes.on('connectionError', (_client, error) => {
    warn('connection refused', { reason: error.message });
  });
  const server = createServer((socket: Socket) => {
    socket.setNoDelay(true);
    aedes.handle(capPackets(socket, settings.payloadBytesMax + PUBLISH_OVERHEAD_BYTES));
  });
  await listen(server, settings.port, settings.host);
  const bound = server.address();
  if (bound === null || typeof bound === 'string') throw new Error('the broker has no TCP address');
  return {
    address: `${settings.host}:${bound.port}`,
    port: bound.port,
    dropped: () => dropped,
    queuedFor: (clientId) => store.queuedFor(clientId),
    async stop() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      await new Promise<void>((resolve) => aedes.close(() => resolve()));
      await closed;
    },
  };
}

function listen(server: Server, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.removeListener('error', reject);
      resolve();
    });
  });
}
