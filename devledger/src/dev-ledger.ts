/**
 * The dev ledger put together: one channel, one gateway peer for each organisation, one orderer,
 * one database. Organisations' peers can be stopped and started one by one.
 */
import { readFile } from 'node:fs/promises';
import type { ChaincodeTarget } from './chaincode-stream.ts';
import { Committer } from './committer.ts';
import type { ChaincodeConfig, Config, OrganisationConfig } from './config.ts';
import { Gateway, type GatewayContext } from './gateway.ts';
import { MspRegistry } from './identity.ts';
import { Orderer } from './orderer.ts';
import { Peer } from './peer.ts';
import { Store } from './store.ts';

interface Seat {
  readonly peer: Peer;
  readonly gateway: Gateway;
  /** `host:port`; after the first start with the port that was really taken. */
  listen: string;
}

/** No such organisation, or it has no peer. */
export class UnknownPeerError extends Error {
  override readonly name = 'UnknownPeerError';
}

export class DevLedger {
  readonly #config: Config;
  readonly #store: Store;
  readonly #orderer: Orderer;
  readonly #seats: ReadonlyMap<string, Seat>;

  /** Reads every file that the configuration names; nothing listens before `start`. */
  static async open(config: Config, nowMs: () => number = Date.now): Promise<DevLedger> {
    const definitions = await Promise.all(
      config.organisations.map(async ({ mspId, rootCerts }) => ({
        mspId,
        rootCerts: await Promise.all(rootCerts.map((file) => readFile(file, 'utf8'))),
      })),
    );
    const store = new Store(config.dataDir);
    const peers = await Promise.all(
      config.organisations
        .filter((each) => each.peerless !== true)
        .map((each) => openPeer(each, config, store)),
    );
    return new DevLedger(config, store, new MspRegistry(definitions, nowMs), peers, nowMs);
  }

  constructor(
    config: Config,
    store: Store,
    msps: MspRegistry,
    peers: readonly Peer[],
    nowMs: () => number,
  ) {
    const { channel, timeWindowMs, chaincodes } = config;
    const committer = new Committer(store, chaincodes, peers, nowMs);
    this.#config = config;
    this.#store = store;
    this.#orderer = new Orderer(committer, config.blockIntervalMs, config.blockTransactionsMax);
    const context: GatewayContext = {
      rules: { channel, msps, nowMs, timeWindowMs },
      store,
      orderer: this.#orderer,
      peers,
      chaincodes,
    };
    const seat = (peer: Peer): [string, Seat] => {
      const { listen } = config.organisations.find((each) => each.mspId === peer.mspId) ?? {};
      const place = listen ?? '127.0.0.1:0';
      return [peer.mspId, { peer, gateway: new Gateway(context, peer), listen: place }];
    };
    this.#seats = new Map(peers.map(seat));
  }

  /** Starts every peer and waits until every chaincode has registered with every one. */
  async start(): Promise<void> {
    await Promise.all([...this.#seats.keys()].map((mspId) => this.startPeer(mspId)));
    await Promise.all([...this.#seats.values()].map(({ peer }) => peer.ready()));
  }

  /** Commits what is queued and closes everything. */
  stop(): void {
    this.#orderer.cut();
    for (const mspId of this.#seats.keys()) {
      this.stopPeer(mspId);
    }
    this.#store.close();
  }

  /** Starts an organisation's peer on its port; it catches up with what other members hold. */
  async startPeer(mspId: string): Promise<void> {
    const seat = this.#seat(mspId);
    if (seat.peer.isUp) {
      return;
    }
    for (const { name, collections } of this.#config.chaincodes) {
      for (const collection of collections.filter((each) => each.memberOrgs.includes(mspId))) {
        this.#store.reconcile(mspId, name, collection);
      }
    }
    seat.peer.start();
    const port = await seat.gateway.start(seat.listen);
    seat.listen = seat.listen.replace(/:\d+$/, `:${port}`);
    seat.peer.endpoint = seat.listen;
  }

  /** Stops an organisation's peer: its listener, its simulations, its share of private data. */
  stopPeer(mspId: string): void {
    const { gateway, peer } = this.#seat(mspId);
    gateway.stop();
    peer.stop();
  }

  /** Holds an organisation's peer at the newest block, or lets it catch up. */
  holdPeer(mspId: string, isHeld: boolean): void {
    const { peer } = this.#seat(mspId);
    if (isHeld) peer.hold();
    else peer.catchUp();
  }

  /** Resolves when this peer's chaincodes have registered. */
  async peerReady(mspId: string): Promise<void> {
    await this.#seat(mspId).peer.ready();
  }

  /** Number of blocks. */
  height(): number {
    return this.#store.height();
  }

  /** `host:port` of each organisation's gateway. */
  endpoints(): Record<string, string> {
    return Object.fromEntries([...this.#seats].map(([mspId, { listen }]) => [mspId, listen]));
  }

  #seat(mspId: string): Seat {
    const seat = this.#seats.get(mspId);
    if (seat === undefined) {
      throw new UnknownPeerError(`organisation ${mspId} has no peer here`);
    }
    return seat;
  }
}

async function openPeer(
  { mspId, tlsCert, tlsKey }: OrganisationConfig,
  config: Config,
  store: Store,
): Promise<Peer> {
  const { chaincodes, executeTimeoutMs } = config;
  return new Peer({
    mspId,
    certificate: await readFile(tlsCert ?? '', 'utf8'),
    key: await readFile(tlsKey ?? '', 'utf8'),
    store,
    chaincodes,
    targets: await Promise.all(chaincodes.map((each) => targetOf(each, mspId))),
    executeTimeoutMs,
  });
}

async function targetOf(
  { name, addresses, tls }: ChaincodeConfig,
  mspId: string,
): Promise<ChaincodeTarget> {
  const address = typeof addresses === 'string' ? addresses : addresses[mspId];
  if (address === undefined) {
    throw new UnknownPeerError(`chaincode ${name} has no address for ${mspId}`);
  }
  if (tls === undefined) {
    return { name, address };
  }
  const rootCert = await readFile(tls.rootCert);
  const { cert, key } = tls;
  return cert === undefined || key === undefined
    ? { name, address, tls: { rootCert } }
    : { name, address, tls: { rootCert, cert: await readFile(cert), key: await readFile(key) } };
}
