/**
 * Who plays in the demo, and how each comes on stage: ledger, chaincodes, broker, sensors, one agent
 * for each organisation, the auditor. The scenario tests use the same cast.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import type { AgentStatus } from '@blocktorrent/agent/controls.ts';
import { callControl } from '@blocktorrent/agent/runtime/control-client.ts';
import { DEFAULT_SCHEME } from '@blocktorrent/protocol/dealing.ts';
import type { KeyScheme, MspId } from '@blocktorrent/protocol/ledger-api.ts';
import { chaincodeDefinitions } from '../chaincode/collections.ts';
import { Network, type NetworkLedgerConfig } from '../devledger/src/network.ts';
import type { OrganisationPki } from '../devledger/src/pki.ts';
import { startFabricNetwork } from '../fabric/src/network.ts';
import { writeAgentConfig } from './house-config.ts';
import type { Processes, ReadyLine } from './processes.ts';

const ROOT = resolve(import.meta.dirname, '..');
const BLOCKTORRENT = join(ROOT, 'agent/bin/blocktorrent.js');
/** Readings a second over the whole fleet, and how many sensors it has. */
const RATE = 40;
const SENSORS = 12;

export interface CastOptions {
  readonly organisations: number;
  readonly workDir: string;
  readonly processes: Processes;
  readonly signal: AbortSignal;
  /** Where the simulator's log goes. */
  readonly sensorLog: string;
  readonly batch?: object;
  readonly logLevel?: 'debug' | 'info';
  /** How the organisations vote; 'approve' unless said. */
  readonly vote?: 'manual' | 'approve';
  /** What the ledger runs on; the dev ledger unless said. */
  readonly ledger?: 'dev' | 'fabric';
  /** Every agent's section `upkeep`. */
  readonly upkeep?: object;
  /** More of each agent's section `overlay`. */
  readonly overlayOf?: (mspId: MspId) => object;
  /** Address of a broker that runs already; one is started unless said. */
  readonly broker?: string;
  /** The gateway's way to each peer of the ledger, `host:port` to the same; direct unless said. */
  readonly gatewayEndpoint?: (endpoint: string) => Promise<string>;
  /** What the gateway runs, an installed `blocktorrent.js`; the checkout's own unless said. */
  readonly gatewayScript?: string;
  /** More of the gateway's environment. */
  readonly gatewayEnv?: Readonly<Record<string, string>>;
  /** How keys are split; the consortium's default unless said. */
  readonly scheme?: KeyScheme;
  /** Shards that a key is split into; 3 unless said. */
  readonly shards?: number;
  readonly onStep?: (text: string) => void;
}

/** What the cast needs of a network; the dev ledger's and Fabric's are both one. */
export interface CastNetwork {
  readonly organisations: readonly OrganisationPki[];
  readonly auditor: OrganisationPki;
  ledgerConfigFor(mspId: MspId): NetworkLedgerConfig;
  stop(): Promise<void>;
}

export interface Cast {
  readonly source: MspId;
  /** The other organisation that is killed, or whose place an attacker takes. */
  readonly second: MspId;
  readonly sensorLog: string;
  readonly network: CastNetwork;
  readonly configs: ReadonlyMap<MspId, { path: string; dataDir: string }>;
  startSensors(args?: readonly string[]): Promise<void>;
  startAgent(mspId: MspId, onLog?: (line: string) => void): Promise<void>;
  startAttacker(): Promise<void>;
  /** The gateway's status. */
  status(): Promise<AgentStatus>;
  closeBatch(): Promise<void>;
  /** Runs a `blocktorrent` command as the auditor; returns what it printed. */
  auditor(args: readonly string[]): Promise<string>;
  /** Runs a `blocktorrent` command as an organisation. */
  command(mspId: MspId, args: readonly string[]): Promise<string>;
}

/** The demo's policy: k = 2, n = 3, 2 approvals (and 2 of 3 receipts). */
const POLICY = {
  k: 2,
  n: 3,
  replicas: 3,
  receiptsMin: 2,
  approvals: 2,
  auditExpiryMsMax: 7 * 86_400_000,
};

/** Starts everything but the sensors; resolves when every organisation is registered. */
export async function castAndStart(options: CastOptions): Promise<Cast> {
  const { processes, sensorLog, onStep = () => undefined } = options;
  const brokerStarting =
    options.broker === undefined
      ? startBroker(processes, ['--listen', '127.0.0.1:0'])
      : Promise.resolve({ address: options.broker });
  // Awaited below; the network is to be there, or stopped, whatever becomes of the broker.
  brokerStarting.catch(() => undefined);
  const network = await startNetwork(options);
  onStep(
    options.ledger === 'fabric'
      ? 'a Fabric network runs: a peer and two chaincodes for each organisation, orderers'
      : 'dev ledger (one process, no consensus: for trying and testing) and two chaincodes run',
  );
  const broker = `mqtt://${(await brokerStarting).address}`;
  const configs = await writeConfigs(options, network, broker);
  const mspIds = network.organisations.map((each) => each.mspId);
  const [source = '', second = ''] = [mspIds[0], mspIds.at(-1)];

  const run = (mspId: MspId, args: readonly string[]) => {
    const config = configs.get(mspId)?.path ?? '';
    return processes.run(
      `blocktorrent ${args[0]}${args[0] === 'audit' ? ` ${args[1]}` : ''}`,
      BLOCKTORRENT,
      [...args, '--config', config],
    );
  };
  const dataDirOf = (mspId: MspId) => configs.get(mspId)?.dataDir ?? '';
  const cast: Cast = {
    source,
    second,
    sensorLog,
    network,
    configs,
    command: run,
    auditor: (args) => run(network.auditor.mspId, args),
    status: async () => (await callControl(dataDirOf(source), 'status', null)) as AgentStatus,
    closeBatch: async () => void (await callControl(dataDirOf(source), 'close-batch', null)),
    async startSensors(args = []) {
      await processes.start({
        name: 'sensors',
        script: join(ROOT, 'sensors-sim/src/main.ts'),
        args: [
          ...['--broker', broker, '--log', sensorLog, '--seed', '7'],
          ...['--sensors', String(SENSORS), '--rate', String(RATE), ...args],
        ],
        waitForLine: false,
      });
    },
    async startAgent(mspId, onLog) {
      const config = configs.get(mspId)?.path ?? '';
      await processes.start({
        name: `agent ${mspId}`,
        script: (mspId === source ? options.gatewayScript : undefined) ?? BLOCKTORRENT,
        args: ['run', '--config', config],
        waitForLine: false,
        ...(mspId === source ? { env: options.gatewayEnv ?? {} } : {}),
        ...(onLog === undefined ? {} : { onLog }),
      });
    },
    async startAttacker() {
      const config = configs.get(second)?.path ?? '';
      await processes.end(`agent ${second}`, 'SIGKILL');
      await processes.start({
        name: 'attacker',
        script: join(ROOT, 'demo/attacker.ts'),
        args: [config],
        waitForLine: true,
      });
    },
  };
  await found(cast, options);
  for (const mspId of mspIds) await cast.startAgent(mspId);
  await registered(cast, mspIds.length, options);
  onStep(`${mspIds.length} agents run, registered on the ledger; ${source} is also the gateway`);
  return cast;
}

/** Starts our broker as the process `broker`; its ready line has its `address`. */
export function startBroker(processes: Processes, args: readonly string[]): Promise<ReadyLine> {
  const script = join(ROOT, 'broker/src/main.ts');
  return processes.start({ name: 'broker', script, args, waitForLine: true });
}

async function startNetwork(options: CastOptions): Promise<CastNetwork> {
  const dir = join(options.workDir, 'net');
  const network =
    options.ledger === 'fabric'
      ? await startFabricNetwork({ dir, organisations: options.organisations })
      : await startDevLedger(dir, options.organisations);
  if (options.signal.aborted) await network.stop();
  options.signal.throwIfAborted();
  options.signal.addEventListener('abort', () => void network.stop(), { once: true });
  return network;
}

function startDevLedger(dir: string, organisations: number): Promise<Network> {
  return Network.start({
    dir,
    organisations,
    chaincodes: (mspIds) =>
      chaincodeDefinitions([...mspIds]).map((definition) => ({
        definition,
        command: [
          process.execPath,
          join(ROOT, 'chaincode/src/serve.ts'),
          ...['--chaincode', definition.name, '--listen', '127.0.0.1:0', '--ccid', definition.name],
        ],
      })),
  });
}

async function writeConfigs(options: CastOptions, network: CastNetwork, broker: string) {
  const configs = new Map<MspId, { path: string; dataDir: string }>();
  const { batch = { maxAgeMs: 3_000 } } = options;
  for (const [index, { mspId, overlay }] of [...network.organisations, network.auditor].entries()) {
    const audits = mspId === network.auditor.mspId;
    const { mspId: _, peers, ...rest } = network.ledgerConfigFor(mspId);
    const ledger = { ...rest, peers: index === 0 ? await rerouted(peers, options) : peers };
    const config = await writeAgentConfig({
      mspId,
      name: index === 0 ? 'gateway-1' : audits ? 'auditor' : 'admin',
      dir: join(options.workDir, mspId),
      roles: audits ? ['audit'] : index === 0 ? ['ingest', 'store'] : ['store'],
      ledger,
      certificates: resolve(overlay, '..'),
      overlay: options.overlayOf?.(mspId) ?? {},
      ...(options.upkeep === undefined ? {} : { upkeep: options.upkeep }),
      ...(index === 0 ? { broker, batch } : {}),
      ...(options.logLevel === undefined ? {} : { logLevel: options.logLevel }),
      ...(audits ? {} : { vote: options.vote ?? 'approve' }),
    });
    configs.set(mspId, config);
  }
  return configs;
}

/** The ledger's peers as the gateway reaches them. */
function rerouted(peers: NetworkLedgerConfig['peers'], { gatewayEndpoint }: CastOptions) {
  if (gatewayEndpoint === undefined) return peers;
  return Promise.all(
    peers.map(async (peer) => ({ ...peer, endpoint: await gatewayEndpoint(peer.endpoint) })),
  );
}

/** The consortium is founded by its first organisation, with every member's overlay root. */
async function found(cast: Cast, { workDir, scheme, shards }: CastOptions): Promise<void> {
  const { network } = cast;
  const members = await Promise.all(
    network.organisations.map(async ({ mspId, tlsca }) => ({
      mspId,
      name: `Organisation ${mspId}`,
      weight: 1,
      overlayRoots: [await readFile(tlsca, 'utf8')],
    })),
  );
  const { mspId, tlsca } = network.auditor;
  const auditors = [{ mspId, name: 'Auditor', overlayRoots: [await readFile(tlsca, 'utf8')] }];
  const path = join(workDir, 'consortium.json');
  const policy = { ...POLICY, n: shards ?? POLICY.n, scheme: scheme ?? DEFAULT_SCHEME };
  await writeFile(path, JSON.stringify({ members, auditors, policy }));
  await cast.command(cast.source, ['consortium', 'found', path]);
}

/** Waits until every organisation's agent stands on the ledger, as the gateway sees it. */
async function registered(
  cast: Cast,
  count: number,
  { processes, signal }: CastOptions,
): Promise<void> {
  for (;;) {
    processes.requireAlive();
    const status = await cast.status().catch(() => null);
    const subscribed = status?.brokers.every((broker) => broker.connected) ?? false;
    if (status !== null && status.peers >= count && subscribed) return;
    await setTimeout(100, undefined, { signal });
  }
}
