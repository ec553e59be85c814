/**
 * The command line of every process of a network, derived from its plan.
 */
import { dirname, join } from 'node:path';
import type { Binaries } from './binaries.ts';
import { chaincodeTls } from './msp.ts';
import { connectionsDir } from './peer-config.ts';
import type { ChaincodePlan, NetworkPlan, OrdererPlan, PeerPlan } from './plan.ts';
import type { ProcessSpec } from './processes.ts';

export function peerSpec(binaries: Binaries, peer: PeerPlan): ProcessSpec {
  return {
    name: peer.name,
    program: binaries.peer,
    args: ['node', 'start'],
    cwd: peer.home,
    env: { FABRIC_CFG_PATH: peer.home, BLOCKTORRENT_CONNECTIONS: connectionsDir(peer) },
  };
}

export function ordererSpec(binaries: Binaries, orderer: OrdererPlan): ProcessSpec {
  return {
    name: orderer.name,
    program: binaries.orderer,
    args: [],
    cwd: orderer.home,
    env: { FABRIC_CFG_PATH: orderer.home },
  };
}

/** One organisation's process of a chaincode; `ports` of the plan has one for each. */
export function chaincodeSpec(
  plan: NetworkPlan,
  chaincode: ChaincodePlan,
  mspId: string,
): ProcessSpec {
  const tls = chaincodeTls(plan.dir, mspId);
  const [program = process.execPath, ...args] = chaincode.command;
  return {
    name: chaincodeProcessName(chaincode.name, mspId),
    program,
    args: [
      ...args,
      '--listen',
      `127.0.0.1:${chaincode.ports[mspId]}`,
      '--ccid',
      chaincode.packageId,
      '--tls-key',
      tls.serverKey,
      '--tls-cert',
      tls.serverCert,
      '--tls-client-ca',
      tls.ca,
    ],
    cwd: plan.dir,
    env: { CORE_PEER_LOCALMSPID: mspId },
  };
}

export function chaincodeProcessName(chaincode: string, mspId: string): string {
  return `chaincode.${chaincode}.${mspId}`;
}

/** Our chaincode's command: `chaincode/src/serve.ts --chaincode NAME`. */
export function ownChaincodeCommand(name: string): string[] {
  const root = dirname(dirname(import.meta.dirname));
  return [process.execPath, join(root, 'chaincode', 'src', 'serve.ts'), '--chaincode', name];
}
