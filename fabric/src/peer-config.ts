/**
 * core.yaml of one peer. Pure: plan in, object out. Written in full where Fabric would fall back to
 * nothing (authentication filters, system chaincodes), otherwise only what we mean to differ.
 * Everything listens on the loopback; Docker is never asked.
 */
import { join } from 'node:path';
import { organisationPki } from '../../devledger/src/pki.ts';
import { type NetworkPlan, organisationsWithPeer, type PeerPlan } from './plan.ts';

/** A proposal's time may differ from the peer's by this much (Fabric's default is 15 minutes). */
const TIME_WINDOW = '2m';

/** Peers for which a second between two signs of life is enough. */
const PEERS_PER_SECOND = 4;

/** Folder of our external builder, which holds bin/detect, bin/build and bin/release. */
export const BUILDER_DIR = join(import.meta.dirname, '..', 'builder');

/** Where a peer's builder looks for CHAINCODE.json. */
export function connectionsDir(peer: PeerPlan): string {
  return join(peer.home, 'connections');
}

/** The whole of core.yaml. `isFabric2`: without the filter that Fabric 3 has against wrong times. */
export function peerConfig(
  plan: NetworkPlan,
  mspId: string,
  peer: PeerPlan,
  isFabric2: boolean,
): Record<string, unknown> {
  const pki = organisationPki(plan.dir, mspId);
  const address = `127.0.0.1:${peer.port}`;
  const data = join(peer.home, 'data');
  return {
    peer: {
      id: peer.name,
      networkId: plan.channel,
      address,
      addressAutoDetect: false,
      listenAddress: address,
      chaincodeListenAddress: `127.0.0.1:${peer.chaincodePort}`,
      chaincodeAddress: `127.0.0.1:${peer.chaincodePort}`,
      localMspId: mspId,
      localMspType: 'bccsp',
      mspConfigPath: join(peer.home, 'msp'),
      fileSystemPath: data,
      BCCSP: { Default: 'SW', SW: { Hash: 'SHA2', Security: 256 } },
      tls: {
        enabled: true,
        clientAuthRequired: false,
        cert: { file: pki.peerTls },
        key: { file: pki.peerTlsKey },
        rootcert: { file: pki.tlsca },
      },
      authentication: { timewindow: TIME_WINDOW },
      handlers: {
        authFilters: [
          { name: 'DefaultAuth' },
          { name: 'ExpirationCheck' },
          // Fabric 2.5 ends at a name it does not know; chaincode/src/time-window.ts looks as well.
          ...(isFabric2 ? [] : [{ name: 'TimeWindowCheck' }]),
        ],
        decorators: [{ name: 'DefaultDecorator' }],
        endorsers: { escc: { name: 'DefaultEndorsement' } },
        validators: { vscc: { name: 'DefaultValidation' } },
      },
      gateway: {
        enabled: true,
        endorsementTimeout: '30s',
        broadcastTimeout: '30s',
        dialTimeout: '10s',
      },
      discovery: {
        enabled: true,
        authCacheEnabled: true,
        authCacheMaxSize: 1000,
        authCachePurgeRetentionRatio: 0.75,
        orgMembersAllowedAccess: false,
      },
      limits: {
        concurrency: { endorserService: 2500, deliverService: 2500, gatewayService: 500 },
      },
      deliveryclient: {
        blockGossipEnabled: false,
        reconnectTotalTimeThreshold: '3600s',
        connTimeout: '3s',
        // A peer must find its orderers again soon after they were away.
        reConnectBackoffThreshold: '5s',
        // BFT: how long a source of blocks may hide one before another is asked.
        blockCensorshipTimeoutKey: '10s',
        minimalReconnectInterval: '100ms',
        policy: 'cluster',
      },
      gossip: gossip(address, organisationsWithPeer(plan).length),
    },
    vm: { endpoint: '' },
    chaincode: {
      mode: 'net',
      installTimeout: '60s',
      startuptimeout: '60s',
      executetimeout: '30s',
      externalBuilders: [
        {
          name: 'blocktorrent-service',
          path: BUILDER_DIR,
          propagateEnvironment: ['BLOCKTORRENT_CONNECTIONS'],
        },
      ],
      system: { _lifecycle: 'enable', cscc: 'enable', lscc: 'enable', qscc: 'enable' },
      logging: { level: 'info', shim: 'warning' },
    },
    ledger: {
      state: { stateDatabase: 'goleveldb', totalQueryLimit: 100_000 },
      history: { enableHistoryDatabase: false },
      pvtdataStore: { purgeInterval: 100 },
      snapshots: { rootDir: join(data, 'snapshots') },
    },
    operations: { listenAddress: `127.0.0.1:${peer.operationsPort}`, tls: { enabled: false } },
    metrics: { provider: 'prometheus' },
  };
}

/**
 * Faster than Fabric's defaults, so that the mesh is complete in seconds instead of half a minute;
 * the more peers, the slower again: each message is signed, passed on and checked by all, which
 * takes up a machine that runs many of them, and busy peers take each other for dead.
 */
function gossip(address: string, peers: number): Record<string, unknown> {
  const seconds = Math.min(4, Math.max(1, Math.round(peers / PEERS_PER_SECOND)));
  const interval = `${seconds}s`;
  return {
    bootstrap: address,
    endpoint: address,
    externalEndpoint: address,
    useLeaderElection: false,
    orgLeader: true,
    membershipTrackerInterval: '1s',
    aliveTimeInterval: interval,
    aliveExpirationTimeout: `${10 * seconds}s`,
    reconnectInterval: '2s',
    publishStateInfoInterval: interval,
    requestStateInfoInterval: interval,
    pvtData: {
      // Each block whose private data is out of reach holds the next one up for this long.
      pullRetryThreshold: '5s',
      pushAckTimeout: '3s',
      transientstoreMaxBlockRetention: 20_000,
      btlPullMargin: 10,
      reconcileBatchSize: 10,
      reconcileSleepInterval: '10s',
      reconciliationEnabled: true,
      implicitCollectionDisseminationPolicy: { requiredPeerCount: 0, maxPeerCount: 1 },
    },
    state: { enabled: false },
  };
}
