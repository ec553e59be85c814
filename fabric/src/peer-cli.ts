/**
 * Fabric's `peer` and `osnadmin` commands as an organisation's administrator.
 */
import { organisationPki } from '../../devledger/src/pki.ts';
import type { Binaries } from './binaries.ts';
import { FabricError } from './error.ts';
import { adminMsp } from './msp.ts';
import { type NetworkPlan, peerOf } from './plan.ts';
import { isRunning } from './processes.ts';
import { type Output, run } from './run.ts';

/** Runs `peer ARGS` against an organisation's own peer, signed by its administrator. */
export async function runPeer(
  binaries: Binaries,
  plan: NetworkPlan,
  mspId: string,
  args: readonly string[],
): Promise<Output> {
  const peer = peerOf(plan, mspId);
  return await run(binaries.peer, args, {
    cwd: plan.dir,
    env: {
      FABRIC_CFG_PATH: peer.home,
      FABRIC_LOGGING_SPEC: 'warn',
      CORE_PEER_LOCALMSPID: mspId,
      CORE_PEER_MSPCONFIGPATH: adminMsp(plan.dir, mspId),
      CORE_PEER_ADDRESS: `127.0.0.1:${peer.port}`,
    },
  });
}

/** Flags by which a `peer` command reaches the ordering service: the first orderer that runs. */
export function ordererFlags(plan: NetworkPlan): string[] {
  const orderer = plan.orderers.find(({ name }) => isRunning(plan.dir, name));
  if (orderer === undefined) throw new FabricError('start', 'no orderer of this network runs');
  return [
    '--orderer',
    `127.0.0.1:${orderer.port}`,
    '--tls',
    '--cafile',
    organisationPki(plan.dir, orderer.mspId).tlsca,
  ];
}

/** Flags that name these organisations' peers as endorsers. */
export function endorserFlags(plan: NetworkPlan, mspIds: readonly string[]): string[] {
  return mspIds.flatMap((mspId) => [
    '--peerAddresses',
    `127.0.0.1:${peerOf(plan, mspId).port}`,
    '--tlsRootCertFiles',
    organisationPki(plan.dir, mspId).tlsca,
  ]);
}
