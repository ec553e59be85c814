/**
 * What a network consists of, and where: organisations, peers, orderers, their ports and folders.
 * Enters: how many of what. Leaves: the plan, kept as DIR/network.json. Nothing is started here.
 * An organisation that orders runs its orderer beside its peer, under the same MSP.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { AUDITOR_MSP, organisationPki } from '../../devledger/src/pki.ts';
import { FabricError } from './error.ts';
import { freePorts } from './ports.ts';

export type Consensus = 'raft' | 'bft';

export interface PeerPlan {
  /** Also the process's name: `peer.Org1MSP`. */
  readonly name: string;
  /** Configuration, MSP and data. */
  readonly home: string;
  readonly port: number;
  readonly operationsPort: number;
  /** Fabric opens it even where chaincode runs as a service; nothing uses it. */
  readonly chaincodePort: number;
}
export interface OrdererPlan {
  readonly name: string;
  readonly mspId: string;
  readonly home: string;
  readonly port: number;
  readonly adminPort: number;
  readonly operationsPort: number;
}
/** The section `ledger` of the agent's configuration. */
export interface LedgerSection {
  readonly channel: string;
  readonly certFile: string;
  readonly keyFile: string;
  readonly peers: readonly {
    readonly endpoint: string;
    readonly mspId: string;
    readonly tlsRootFile: string;
    /** TLS names no numeric addresses: the certificate is for `localhost` as well. */
    readonly hostOverride: string;
  }[];
}
export interface OrganisationPlan {
  readonly mspId: string;
  /** null: the auditor, who goes through everybody else's peer. */
  readonly peer: PeerPlan | null;
  readonly ledger: LedgerSection;
}
/** One chaincode on the channel: every organisation runs a process of its own. */
export interface ChaincodePlan {
  readonly name: string;
  readonly version: string;
  readonly sequence: number;
  readonly packageId: string;
  /** Program and first arguments; address, identifier and TLS files are appended. */
  readonly command: readonly string[];
  /** Port of each organisation's process. */
  readonly ports: Readonly<Record<string, number>>;
  /** JSON of what was agreed on; another text needs the next sequence number. */
  readonly agreed: string;
}
/** Contents of DIR/network.json. */
export interface NetworkPlan {
  readonly state: 'starting' | 'ready';
  readonly dir: string;
  readonly channel: string;
  readonly consensus: Consensus;
  readonly blockIntervalMs: number;
  readonly organisations: readonly OrganisationPlan[];
  readonly orderers: readonly OrdererPlan[];
  readonly chaincodes: readonly ChaincodePlan[];
}

export interface PlanOptions {
  readonly dir: string;
  /** Organisations with a peer, 1..64. */
  readonly organisations: number;
  readonly consensus: Consensus;
  readonly blockIntervalMs: number;
  readonly channel: string;
  /** Default: 4 for bft (one may lie), 3 for raft (one may be down). */
  readonly orderers?: number;
}

const ORDERERS = { raft: 3, bft: 4 } as const;

/** Chooses ports and names. Throws FabricError `usage` on numbers out of range. */
export async function planNetwork(options: PlanOptions): Promise<NetworkPlan> {
  const { consensus, channel, blockIntervalMs } = options;
  const dir = resolve(options.dir);
  const ordererCount = options.orderers ?? ORDERERS[consensus];
  requireRange('organisations', options.organisations, 1, 64);
  requireRange('orderers', ordererCount, consensus === 'bft' ? 4 : 1, 16);
  requireRange('blockIntervalMs', blockIntervalMs, 10, 60_000);
  const mspIds = Array.from({ length: options.organisations }, (_, i) => `Org${i + 1}MSP`);
  const ports = await freePorts(3 * (mspIds.length + ordererCount));
  const port = (): number => {
    const next = ports.pop();
    if (next === undefined) throw new Error('more ports used than asked for');
    return next;
  };
  const peers = mspIds.map((mspId) => ({
    mspId,
    name: `peer.${mspId}`,
    home: join(dir, mspId, 'peer'),
    port: port(),
    operationsPort: port(),
    chaincodePort: port(),
  }));
  const orderers = Array.from({ length: ordererCount }, (_, i) => {
    const mspId = mspIds[i % mspIds.length] ?? '';
    const label = `orderer${i + 1}`;
    return {
      name: `${label}.${mspId}`,
      mspId,
      home: join(dir, mspId, label),
      port: port(),
      adminPort: port(),
      operationsPort: port(),
    };
  });
  const organisations = [...mspIds, AUDITOR_MSP].map((mspId) => {
    const peer = peers.find((each) => each.mspId === mspId);
    return {
      mspId,
      peer: peer === undefined ? null : withoutMspId(peer),
      ledger: ledgerSection(dir, channel, mspId, peers),
    };
  });
  return {
    state: 'starting',
    dir,
    channel,
    consensus,
    blockIntervalMs,
    organisations,
    orderers,
    chaincodes: [],
  };
}

/** Organisations that have a peer, in order. */
export function organisationsWithPeer(
  plan: NetworkPlan,
): (OrganisationPlan & { readonly peer: PeerPlan })[] {
  return plan.organisations.flatMap((each) =>
    each.peer === null ? [] : [{ ...each, peer: each.peer }],
  );
}

/** Throws FabricError `usage` for an organisation without a peer. */
export function peerOf(plan: NetworkPlan, mspId: string): PeerPlan {
  const found = plan.organisations.find((each) => each.mspId === mspId)?.peer;
  if (found === undefined || found === null) {
    throw new FabricError('usage', `organisation ${mspId} has no peer in this network`);
  }
  return found;
}

export function planFile(dir: string): string {
  return join(dir, 'network.json');
}

/** Reads DIR/network.json; null if there is none. */
export function loadPlan(dir: string): NetworkPlan | null {
  try {
    return JSON.parse(readFileSync(planFile(dir), 'utf8')) as NetworkPlan;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
    throw error;
  }
}

/** Writes DIR/network.json in one step. */
export function savePlan(plan: NetworkPlan): void {
  const file = planFile(plan.dir);
  writeFileSync(`${file}.part`, `${JSON.stringify(plan, null, 2)}\n`);
  renameSync(`${file}.part`, file);
}

function ledgerSection(
  dir: string,
  channel: string,
  mspId: string,
  peers: readonly { mspId: string; port: number }[],
): LedgerSection {
  const client = organisationPki(dir, mspId);
  const own = peers.filter((each) => each.mspId === mspId);
  const others = peers.filter((each) => each.mspId !== mspId);
  return {
    channel,
    certFile: client.agent,
    keyFile: client.agentKey,
    peers: [...own, ...others].map((each) => ({
      endpoint: `127.0.0.1:${each.port}`,
      mspId: each.mspId,
      tlsRootFile: organisationPki(dir, each.mspId).tlsca,
      hostOverride: 'localhost',
    })),
  };
}

function withoutMspId({ mspId: _, ...peer }: PeerPlan & { readonly mspId: string }): PeerPlan {
  return peer;
}

function requireRange(name: string, value: number, min: number, max: number): void {
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new FabricError('usage', `${name} must be ${min}..${max}, got ${value}`);
  }
}
