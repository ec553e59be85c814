/**
 * The channel's first configuration, as configtxgen reads it. Pure: plan in, object out.
 *
 * Policies differ from Fabric's samples where those trust more than needed: chaincode is agreed on,
 * and the channel changed, by a majority of the organisations that have peers (the auditor has no
 * say); only orderers sign blocks.
 */
import { join } from 'node:path';
import { organisationPki } from '../../devledger/src/pki.ts';
import { ordererTls, publicMsp } from './msp.ts';
import { type NetworkPlan, type OrdererPlan, organisationsWithPeer } from './plan.ts';

/** Name of the profile in configtx.yaml. */
export const PROFILE = 'BlockTorrent';

const signature = (rule: string) => ({ Type: 'Signature', Rule: rule });
const implicit = (rule: string) => ({ Type: 'ImplicitMeta', Rule: rule });

/** `OutOf(n, 'Org1MSP.role', ...)`. */
export function outOf(count: number, mspIds: readonly string[], role: string): string {
  return `OutOf(${count}, ${mspIds.map((mspId) => `'${mspId}.${role}'`).join(', ')})`;
}

/** More than half of `mspIds`, in this role. */
export function majorityOf(mspIds: readonly string[], role: string): string {
  return outOf(Math.floor(mspIds.length / 2) + 1, mspIds, role);
}

/** The whole of configtx.yaml. */
export function configtx(plan: NetworkPlan): Record<string, unknown> {
  const mspIds = organisationsWithPeer(plan).map(({ mspId }) => mspId);
  const channelPolicies = {
    Readers: implicit('ANY Readers'),
    Writers: implicit('ANY Writers'),
    Admins: implicit('MAJORITY Admins'),
  };
  return {
    Profiles: {
      [PROFILE]: {
        Policies: channelPolicies,
        // V3_0 is what BFT needs; Fabric 2.5 knows V2_0 only.
        Capabilities: plan.consensus === 'bft' ? { V3_0: true } : { V2_0: true },
        Orderer: ordererGroup(plan),
        Application: {
          Organizations: plan.organisations.map(({ mspId, peer }) => ({
            ...organisation(plan, mspId),
            ...(peer === null ? {} : { AnchorPeers: [{ Host: '127.0.0.1', Port: peer.port }] }),
            Policies: {
              Readers: signature(orRoles(mspId, ['admin', 'peer', 'client'])),
              Writers: signature(orRoles(mspId, ['admin', 'client'])),
              Admins: signature(orRoles(mspId, ['admin'])),
              Endorsement: signature(orRoles(mspId, ['peer'])),
            },
          })),
          Policies: {
            Readers: implicit('ANY Readers'),
            Writers: implicit('ANY Writers'),
            Admins: signature(majorityOf(mspIds, 'admin')),
            LifecycleEndorsement: signature(majorityOf(mspIds, 'peer')),
            Endorsement: signature(majorityOf(mspIds, 'peer')),
          },
          Capabilities: { V2_5: true },
        },
      },
    },
  };
}

function ordererGroup(plan: NetworkPlan): Record<string, unknown> {
  const mspIds = [...new Set(plan.orderers.map(({ mspId }) => mspId))];
  const interval = `${plan.blockIntervalMs}ms`;
  return {
    OrdererType: plan.consensus === 'bft' ? 'BFT' : 'etcdraft',
    BatchTimeout: interval,
    BatchSize: {
      MaxMessageCount: 500,
      AbsoluteMaxBytes: '10 MB',
      PreferredMaxBytes: '2 MB',
    },
    ...(plan.consensus === 'bft' ? bft(plan.orderers, interval) : raft(plan.orderers)),
    Organizations: mspIds.map((mspId) => ({
      ...organisation(plan, mspId),
      OrdererEndpoints: plan.orderers
        .filter((each) => each.mspId === mspId)
        .map(({ port }) => `127.0.0.1:${port}`),
      Policies: {
        Readers: signature(orRoles(mspId, ['admin', 'orderer'])),
        Writers: signature(orRoles(mspId, ['admin', 'orderer'])),
        Admins: signature(orRoles(mspId, ['admin'])),
      },
    })),
    Policies: {
      Readers: implicit('ANY Readers'),
      Writers: implicit('ANY Writers'),
      Admins: implicit('MAJORITY Admins'),
      // BFT: configtxgen puts "a quorum of the consenters" in its place.
      BlockValidation: signature(outOf(1, mspIds, 'orderer')),
    },
    Capabilities: { V2_0: true },
  };
}

function raft(orderers: readonly OrdererPlan[]): Record<string, unknown> {
  return {
    EtcdRaft: {
      Consenters: orderers.map(({ home, port }) => ({
        Host: '127.0.0.1',
        Port: port,
        ClientTLSCert: ordererTls(home).cert,
        ServerTLSCert: ordererTls(home).cert,
      })),
      // Shorter than Fabric's 500 ms: all are on one machine. A new leader after 2-4 s.
      Options: {
        TickInterval: '200ms',
        ElectionTick: 10,
        HeartbeatTick: 1,
        MaxInflightBlocks: 5,
        SnapshotIntervalSize: '16 MB',
      },
    },
  };
}

function bft(orderers: readonly OrdererPlan[], interval: string): Record<string, unknown> {
  return {
    ConsenterMapping: orderers.map(({ home, port, mspId }, index) => ({
      ID: index + 1,
      Host: '127.0.0.1',
      Port: port,
      MSPID: mspId,
      Identity: join(home, 'msp', 'signcerts', 'cert.pem'),
      ClientTLSCert: ordererTls(home).cert,
      ServerTLSCert: ordererTls(home).cert,
    })),
    // Shorter than Fabric's defaults, for one machine: a dead leader is replaced sooner.
    SmartBFT: {
      RequestBatchMaxInterval: interval,
      RequestForwardTimeout: '2s',
      RequestComplainTimeout: '5s',
      RequestAutoRemoveTimeout: '3m0s',
      ViewChangeResendInterval: '2s',
      ViewChangeTimeout: '10s',
      LeaderHeartbeatTimeout: '10s',
      LeaderHeartbeatCount: 10,
      CollectTimeout: '1s',
      IncomingMessageBufferSize: 200,
      RequestPoolSize: 100_000,
    },
  };
}

function organisation(plan: NetworkPlan, mspId: string): Record<string, unknown> {
  return { Name: mspId, ID: mspId, MSPDir: publicMsp(plan.dir, mspId) };
}

function orRoles(mspId: string, roles: readonly string[]): string {
  return `OR(${roles.map((role) => `'${mspId}.${role}'`).join(', ')})`;
}

/** Root certificates that orderers accept from clients of their cluster and administration. */
export function tlsRootsOf(plan: NetworkPlan): string[] {
  return organisationsWithPeer(plan).map(({ mspId }) => organisationPki(plan.dir, mspId).tlsca);
}
