/**
 * A whole Fabric network on this machine, from Fabric's own programs: certificates, orderers,
 * peers, the channel, our chaincode. Everything is on the loopback, on free ports.
 * Has the shape of the dev ledger's `Network`, so that one test suite runs on both.
 */
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { stringify } from 'yaml';
import { chaincodeDefinitions } from '../../chaincode/collections.ts';
import { type OrganisationPki, organisationPki } from '../../devledger/src/pki.ts';
import { type Binaries, findBinaries, isVersion2 } from './binaries.ts';
import { startChaincodes } from './chaincode-processes.ts';
import {
  createGenesis,
  joinAll,
  waitUntilLevel,
  waitUntilListening,
  waitUntilReady,
} from './channel.ts';
import { FabricError } from './error.ts';
import { deploy, type FabricChaincode } from './lifecycle.ts';
import { isLeader } from './metrics.ts';
import { createMaterial } from './msp.ts';
import { ordererConfig } from './orderer-config.ts';
import { peerConfig } from './peer-config.ts';
import {
  type Consensus,
  type LedgerSection,
  loadPlan,
  type NetworkPlan,
  organisationsWithPeer,
  type PlanOptions,
  peerOf,
  planNetwork,
  savePlan,
} from './plan.ts';
import { isRunning, killAllNow, listProcesses, startProcess, stopProcess } from './processes.ts';
import { ordererSpec, ownChaincodeCommand, peerSpec } from './specs.ts';

/** Every default, times in milliseconds. */
export const DEFAULTS = {
  organisations: 4,
  consensus: 'raft',
  blockIntervalMs: 200,
  channel: 'blocktorrent',
} as const;

export interface UpOptions {
  /** Folder for certificates, data and logs; absent, empty, or a network made by `up`. */
  readonly dir: string;
  readonly organisations?: number;
  readonly consensus?: Consensus;
  readonly blockIntervalMs?: number;
  readonly channel?: string;
  /** Default: 3 for raft, 4 for bft. */
  readonly orderers?: number;
}

export interface FabricNetworkOptions extends UpOptions {
  /** What to deploy, given the MSP ids with peers; default: this repository's chaincode. */
  readonly chaincodes?: (mspIds: readonly string[]) => readonly FabricChaincode[];
}

/** Connection of one organisation's client, as the agent's `FabricLedgerConfig` has it. */
export interface FabricLedgerConfig extends LedgerSection {
  readonly mspId: string;
}

/** Starts a network with chaincode deployed; when it resolves, transactions can be sent. */
export async function startFabricNetwork(options: FabricNetworkOptions): Promise<FabricNetwork> {
  const dir = resolve(options.dir);
  // Whoever dies, in the middle of the start as well, leaves nothing behind; a network that was
  // started by the command line stays up.
  const killNow = () => killAllNow(dir);
  process.prependOnceListener('exit', killNow);
  try {
    const network = await FabricNetwork.up(options);
    network.endWithThisProcess();
    try {
      await network.deploy(options.chaincodes);
      return network;
    } catch (error) {
      await network.stop();
      throw error;
    }
  } finally {
    process.off('exit', killNow);
  }
}

/** The chaincode of this repository, for these organisations. */
export function ownChaincodes(mspIds: readonly string[]): FabricChaincode[] {
  return chaincodeDefinitions(mspIds).map((definition) => ({
    definition,
    command: ownChaincodeCommand(definition.name),
  }));
}

export class FabricNetwork {
  #plan: NetworkPlan;
  readonly #binaries: Binaries;
  #killOnExit: (() => void) | null = null;

  constructor(plan: NetworkPlan, binaries: Binaries) {
    this.#plan = plan;
    this.#binaries = binaries;
  }

  /** Creates a network, or starts again what does not run of an existing one. FabricError. */
  static async up(options: UpOptions): Promise<FabricNetwork> {
    const binaries = findBinaries();
    const dir = resolve(options.dir);
    const existing = loadPlan(dir);
    if (existing === null) return await create(binaries, { ...DEFAULTS, ...options, dir });
    if (existing.state !== 'ready') {
      throw new FabricError('usage', `the start of the network in ${dir} failed: clean it first`);
    }
    const network = new FabricNetwork(existing, binaries);
    await network.#startAll();
    return network;
  }

  /** The network that `up` made in this folder. Throws FabricError `usage` if there is none. */
  static open(dir: string): FabricNetwork {
    const plan = loadPlan(resolve(dir));
    if (plan === null) throw new FabricError('usage', `there is no network in ${resolve(dir)}`);
    return new FabricNetwork(plan, findBinaries());
  }

  get plan(): NetworkPlan {
    return this.#plan;
  }
  get dir(): string {
    return this.#plan.dir;
  }
  get channel(): string {
    return this.#plan.channel;
  }
  /** Organisations with a peer. */
  get organisations(): readonly OrganisationPki[] {
    return this.#members().map((mspId) => organisationPki(this.dir, mspId));
  }
  get auditor(): OrganisationPki {
    const found = this.#plan.organisations.find(({ peer }) => peer === null);
    return organisationPki(this.dir, found?.mspId ?? '');
  }
  /** `host:port` of each organisation's gateway. */
  get endpoints(): Readonly<Record<string, string>> {
    return Object.fromEntries(
      organisationsWithPeer(this.#plan).map(({ mspId, peer }) => [mspId, `127.0.0.1:${peer.port}`]),
    );
  }

  /** Connection of an organisation's agent, its own peer first; the auditor has no own peer. */
  ledgerConfigFor(mspId: string): FabricLedgerConfig {
    const found = this.#plan.organisations.find((each) => each.mspId === mspId);
    if (found === undefined) {
      throw new RangeError(`organisation ${mspId} is not part of this network`);
    }
    return { mspId, ...found.ledger };
  }

  /** Installs, approves, commits and starts chaincode; see `lifecycle.ts`. */
  async deploy(
    chaincodes: (mspIds: readonly string[]) => readonly FabricChaincode[] = ownChaincodes,
  ): Promise<void> {
    this.#plan = await deploy(this.#binaries, this.#plan, chaincodes(this.#members()));
  }

  /** Stops one organisation's peer; its chaincode and all others go on. */
  async stopPeer(mspId: string, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await stopProcess(this.dir, peerOf(this.#plan, mspId).name, signal);
  }

  /** Starts it again; resolves when it knows all peers that run. */
  async startPeer(mspId: string): Promise<void> {
    const peer = peerOf(this.#plan, mspId);
    await startProcess(this.dir, peerSpec(this.#binaries, peer));
    await waitUntilListening(this.#plan, peer.name, peer.port);
    const running = organisationsWithPeer(this.#plan)
      .filter((each) => isRunning(this.dir, each.peer.name))
      .map((each) => each.mspId);
    await waitUntilReady(this.#plan, running, running.length - 1);
  }

  /** Name of the orderer that leads now; null while there is none. */
  async leader(): Promise<string | null> {
    for (const { name, operationsPort } of this.#plan.orderers) {
      if (await isLeader(operationsPort, this.channel)) return name;
    }
    return null;
  }

  /** Stops one orderer, by name. */
  async stopOrderer(name: string, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await stopProcess(this.dir, this.#orderer(name).name, signal);
  }

  /** Starts it again; resolves when it listens. */
  async startOrderer(name: string): Promise<void> {
    const orderer = this.#orderer(name);
    await startProcess(this.dir, ordererSpec(this.#binaries, orderer));
    await waitUntilListening(this.#plan, orderer.name, orderer.port);
  }

  /** Ends every process; the files stay. */
  async stop(): Promise<void> {
    await stopAll(this.dir);
    if (this.#killOnExit !== null) process.off('exit', this.#killOnExit);
    this.#killOnExit = null;
  }

  /** `stop`, and removes every file. */
  async remove(): Promise<void> {
    await this.stop();
    await rm(this.dir, { recursive: true, force: true });
  }

  /** Kills the network when this process exits without having stopped it, before others clean up. */
  endWithThisProcess(): void {
    this.#killOnExit ??= () => killAllNow(this.dir);
    process.prependOnceListener('exit', this.#killOnExit);
  }

  async #startAll(): Promise<void> {
    await startNodes(this.#binaries, this.#plan);
    await waitUntilReady(this.#plan, this.#members(), this.#members().length - 1);
    await startChaincodes(this.#plan);
    await waitUntilLevel(this.#plan);
  }

  #members(): string[] {
    return organisationsWithPeer(this.#plan).map(({ mspId }) => mspId);
  }

  #orderer(name: string) {
    const found = this.#plan.orderers.find((each) => each.name === name);
    if (found === undefined) throw new FabricError('usage', `there is no orderer ${name}`);
    return found;
  }
}

/** Ends every process of the network in `dir`, complete or not. */
export async function stopAll(dir: string): Promise<void> {
  await Promise.all(listProcesses(dir).map(({ name }) => stopProcess(dir, name)));
}

async function create(binaries: Binaries, options: PlanOptions): Promise<FabricNetwork> {
  const { dir } = options;
  await mkdir(dir, { recursive: true });
  if ((await readdir(dir)).length > 0) {
    throw new FabricError('usage', `${dir} is neither empty nor a network made by "up"`);
  }
  const isFabric2 = await isVersion2(binaries);
  if (isFabric2 && options.consensus === 'bft') {
    throw new FabricError('usage', `${binaries.peer} is Fabric 2.x, SmartBFT needs Fabric 3`);
  }
  const plan = await planNetwork(options);
  savePlan(plan);
  await createMaterial(plan);
  await createGenesis(binaries, plan);
  for (const { mspId, peer } of organisationsWithPeer(plan)) {
    await writeFile(
      join(peer.home, 'core.yaml'),
      stringify(peerConfig(plan, mspId, peer, isFabric2)),
    );
  }
  for (const orderer of plan.orderers) {
    await writeFile(join(orderer.home, 'orderer.yaml'), stringify(ordererConfig(plan, orderer)));
  }
  try {
    await startNodes(binaries, plan);
    await joinAll(binaries, plan);
    const mspIds = organisationsWithPeer(plan).map(({ mspId }) => mspId);
    await waitUntilReady(plan, mspIds, mspIds.length - 1);
  } catch (error) {
    await stopAll(dir);
    throw error;
  }
  const ready = { ...plan, state: 'ready' as const };
  savePlan(ready);
  return new FabricNetwork(ready, binaries);
}

async function startNodes(binaries: Binaries, plan: NetworkPlan): Promise<void> {
  const specs = [
    ...plan.orderers.map((orderer) => ordererSpec(binaries, orderer)),
    ...organisationsWithPeer(plan).map(({ peer }) => peerSpec(binaries, peer)),
  ];
  await Promise.all(specs.map((spec) => startProcess(plan.dir, spec)));
}
