/**
 * orderer.yaml of one orderer. Pure: plan in, object out. It starts without a channel and joins
 * by channel participation; its administration takes client certificates of the members only.
 */
import { join } from 'node:path';
import { organisationPki } from '../../devledger/src/pki.ts';
import { tlsRootsOf } from './configtx.ts';
import { ordererTls } from './msp.ts';
import type { NetworkPlan, OrdererPlan } from './plan.ts';

/** The whole of orderer.yaml. */
export function ordererConfig(plan: NetworkPlan, orderer: OrdererPlan): Record<string, unknown> {
  const { cert, key } = ordererTls(orderer.home);
  const ownRoot = organisationPki(plan.dir, orderer.mspId).tlsca;
  const data = join(orderer.home, 'data');
  return {
    General: {
      ListenAddress: '127.0.0.1',
      ListenPort: orderer.port,
      BootstrapMethod: 'none',
      LocalMSPDir: join(orderer.home, 'msp'),
      LocalMSPID: orderer.mspId,
      BCCSP: { Default: 'SW', SW: { Hash: 'SHA2', Security: 256 } },
      TLS: {
        Enabled: true,
        PrivateKey: key,
        Certificate: cert,
        RootCAs: tlsRootsOf(plan),
        ClientAuthRequired: false,
      },
      Cluster: { ClientCertificate: cert, ClientPrivateKey: key, RootCAs: tlsRootsOf(plan) },
    },
    FileLedger: { Location: join(data, 'ledger') },
    Consensus: { WALDir: join(data, 'wal'), SnapDir: join(data, 'snapshot') },
    ChannelParticipation: { Enabled: true, MaxRequestBodySize: '1 MB' },
    Admin: {
      ListenAddress: `127.0.0.1:${orderer.adminPort}`,
      TLS: {
        Enabled: true,
        Certificate: cert,
        PrivateKey: key,
        ClientAuthRequired: true,
        ClientRootCAs: [ownRoot],
      },
    },
    Operations: { ListenAddress: `127.0.0.1:${orderer.operationsPort}`, TLS: { Enabled: false } },
    Metrics: { Provider: 'prometheus' },
  };
}
