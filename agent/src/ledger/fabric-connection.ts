/**
 * Connections to gateway peers: one gRPC client and one gateway session for each, opened when
 * first used. The Fabric and gRPC libraries are loaded then too, so that an agent starts fast.
 */
import { readFile } from 'node:fs/promises';
import type { ChannelInterface, Client } from '@grpc/grpc-js';
import type { Gateway } from '@hyperledger/fabric-gateway';
import type { FabricLedgerConfig, GatewayPeerConfig } from './fabric-config.ts';
import { LedgerError } from './ledger.ts';
import type { MessageSigner } from './signer.ts';

/** Reconnects start fast; a peer that restarts must not cost seconds. */
const CHANNEL_OPTIONS = {
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.min_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 1_000,
  // Fabric's peers refuse keepalives more often than once a minute.
  'grpc.keepalive_time_ms': 120_000,
  'grpc.keepalive_timeout_ms': 20_000,
  'grpc.max_receive_message_length': -1,
  'grpc.max_send_message_length': -1,
} as const;

/** gRPC connectivity states (grpc.connectivityState); the library itself is loaded later. */
const READY = 2;
const TRANSIENT_FAILURE = 3;
/** A peer that failed is passed over for so long while others answer. */
const FAILED_LATELY_MS = 2_000;

interface Session {
  readonly client: Client;
  readonly gateway: Gateway;
}

/** One gateway peer. */
export class FabricConnection {
  readonly peer: GatewayPeerConfig;
  readonly #config: FabricLedgerConfig;
  readonly #signer: () => Promise<MessageSigner>;
  #session: Promise<Session> | null = null;
  #closed = false;
  #failedAtMs = Number.NEGATIVE_INFINITY;

  /** `signer`: of our identity; all peers' sessions share one. */
  constructor(
    peer: GatewayPeerConfig,
    config: FabricLedgerConfig,
    signer: () => Promise<MessageSigner>,
  ) {
    this.peer = peer;
    this.#config = config;
    this.#signer = signer;
  }

  /**
   * The session, once the peer can be reached; throws LedgerError 'unavailable'.
   * `failFast`: at the first failed connection, or at once if one failed a moment ago, because
   * another peer may be up; otherwise reconnects for `connectMs`.
   */
  async gateway(connectMs: number, failFast: boolean): Promise<Gateway> {
    if (this.#closed) {
      const text = 'the ledger connection has been closed';
      throw new LedgerError('unavailable', text, null, { step: 'connect' });
    }
    this.#session ??= this.#open().catch((error: unknown) => {
      // A token that is not plugged in, a file on a disk that comes later: tried again.
      this.#session = null;
      throw error;
    });
    const { client, gateway } = await this.#session;
    if (!(await this.#connected(client.getChannel(), connectMs, failFast))) {
      this.#failedAtMs = performance.now();
      const message = `peer ${this.peer.endpoint} of ${this.peer.mspId} cannot be reached`;
      throw new LedgerError('unavailable', message, null, { step: 'connect' });
    }
    return gateway;
  }

  close(): void {
    this.#closed = true;
    this.#session?.then(
      ({ client }) => client.close(),
      () => undefined,
    );
  }

  async #connected(
    channel: ChannelInterface,
    connectMs: number,
    failFast: boolean,
  ): Promise<boolean> {
    const giveUpMs = performance.now() + connectMs;
    for (;;) {
      const state: number = channel.getConnectivityState(true);
      if (state === READY) {
        return true;
      }
      const failedLately = performance.now() - this.#failedAtMs < FAILED_LATELY_MS;
      const hopeless = failFast && (state === TRANSIENT_FAILURE || failedLately);
      const leftMs = giveUpMs - performance.now();
      if (this.#closed || hopeless || leftMs <= 0) {
        return false;
      }
      await new Promise<void>((resolve) => {
        // Called with an error at the deadline; the loop looks at the time itself.
        channel.watchConnectivityState(state, Date.now() + leftMs, () => resolve());
      });
    }
  }

  async #open(): Promise<Session> {
    const { certFile, mspId } = this.#config;
    const { endpoint, tlsRootFile, hostOverride } = this.peer;
    const [grpc, fabric, certificate, signer, tlsRoot] = await Promise.all([
      import('@grpc/grpc-js'),
      import('@hyperledger/fabric-gateway'),
      readFile(certFile),
      this.#signer(),
      readFile(tlsRootFile),
    ]);
    const client = new grpc.Client(endpoint, grpc.credentials.createSsl(tlsRoot), {
      ...CHANNEL_OPTIONS,
      ...(hostOverride === undefined ? {} : { 'grpc.ssl_target_name_override': hostOverride }),
    });
    const gateway = fabric.connect({
      client,
      identity: { mspId, credentials: certificate },
      signer,
      hash: fabric.hash.none,
    });
    return { client, gateway };
  }
}
