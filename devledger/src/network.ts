/**
 * A whole trial network on this machine: certificates, chaincode processes and the dev ledger, on
 * free ports of the loopback. Everything starts at the same time; the ledger gets its
 * configuration on standard input once the chaincodes have said where they listen.
 * Chaincode comes as a command and a definition: nothing is imported from it.
 */
import { mkdir, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Child } from './child-process.ts';
import type { ChaincodeDefinition } from './config.ts';
import { createPki, type OrganisationPki, type Pki } from './pki.ts';

/** A chaincode to run: its definition, and a command that prints `{"address":"host:port"}`. */
export interface NetworkChaincode {
  readonly definition: ChaincodeDefinition;
  readonly command: readonly string[];
  /** Added to the environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** A process for each organisation, told its MSP id in CORE_PEER_LOCALMSPID. */
  readonly perOrganisation?: boolean;
}

export interface NetworkOptions {
  /** Folder for certificates, data and logs. */
  readonly dir: string;
  /** Organisations with a peer; the auditor's comes on top. */
  readonly organisations: number;
  readonly chaincodes: (mspIds: readonly string[]) => readonly NetworkChaincode[];
  readonly channel?: string;
  readonly blockIntervalMs?: number;
}

/** Connection of one organisation's client, as the agent's `FabricLedgerConfig` has it. */
export interface NetworkLedgerConfig {
  readonly channel: string;
  readonly mspId: string;
  readonly certFile: string;
  readonly keyFile: string;
  readonly peers: readonly {
    readonly endpoint: string;
    readonly mspId: string;
    readonly tlsRootFile: string;
    readonly hostOverride: string;
  }[];
}

interface Running {
  readonly pki: Pki;
  readonly config: Record<string, unknown>;
  ledger: Child;
  chaincodes: readonly Child[];
  endpoints: Readonly<Record<string, string>>;
}

/** MSP id of the organisation with this number, from 1. */
function mspIdOf(index: number): string {
  return `Org${index}MSP`;
}

export class Network {
  readonly dir: string;
  readonly channel: string;
  readonly organisations: readonly OrganisationPki[];
  readonly auditor: OrganisationPki;
  readonly #running: Running;

  /** Starts everything; when it resolves, transactions can be sent. */
  static async start(options: NetworkOptions): Promise<Network> {
    const { dir, channel = 'blocktorrent' } = options;
    const mspIds = Array.from({ length: options.organisations }, (_, i) => mspIdOf(i + 1));
    await mkdir(join(dir, 'logs'), { recursive: true });
    const children: Child[] = [];
    try {
      const ledger = ledgerChild(dir);
      children.push(ledger);
      const started = options.chaincodes(mspIds).map((chaincode) => ({
        chaincode,
        processes: startChaincode(chaincode, mspIds, dir),
      }));
      const chaincodes = started.flatMap(({ processes }) => processes.map(({ child }) => child));
      children.push(...chaincodes);
      const pki = await createPki(join(dir, 'pki'), options.organisations);
      const config = {
        channel,
        dataDir: join(dir, 'ledger'),
        ...(options.blockIntervalMs === undefined
          ? {}
          : { blockIntervalMs: options.blockIntervalMs }),
        adminSocket: join(dir, 'admin.sock'),
        organisations: organisationConfigs(pki, {}),
        chaincodes: await Promise.all(
          started.map(async ({ chaincode, processes }) => ({
            ...chaincode.definition,
            addresses: await addressesOf(processes),
          })),
        ),
      };
      ledger.send(JSON.stringify(config));
      const endpoints = endpointsOf(await ledger.ready());
      return new this(dir, channel, { pki, config, ledger, chaincodes, endpoints });
    } catch (error) {
      await Promise.all(children.map((child) => child.stop()));
      throw error;
    }
  }

  constructor(dir: string, channel: string, running: Running) {
    this.dir = dir;
    this.channel = channel;
    this.organisations = running.pki.organisations;
    this.auditor = running.pki.auditor;
    this.#running = running;
  }

  /** `host:port` of each organisation's gateway. */
  get endpoints(): Readonly<Record<string, string>> {
    return this.#running.endpoints;
  }

  /** Names and process ids of what runs: the ledger and the chaincodes. */
  get processes(): { name: string; pid: number }[] {
    const { ledger, chaincodes } = this.#running;
    return [ledger, ...chaincodes].map(({ name, process: { pid = 0 } }) => ({ name, pid }));
  }

  /** Connection of an organisation's agent, its own peer first; the auditor has no own peer. */
  ledgerConfigFor(mspId: string): NetworkLedgerConfig {
    const client = [...this.organisations, this.auditor].find((each) => each.mspId === mspId);
    if (client === undefined) {
      throw new RangeError(`organisation ${mspId} is not part of this network`);
    }
    const peers = this.organisations.map((each) => ({
      endpoint: this.#running.endpoints[each.mspId] ?? '',
      mspId: each.mspId,
      tlsRootFile: each.tlsca,
      // TLS has no server name for an address; the certificate says localhost too.
      hostOverride: 'localhost',
    }));
    return {
      channel: this.channel,
      mspId,
      certFile: client.agent,
      keyFile: client.agentKey,
      peers: [
        ...peers.filter((each) => each.mspId === mspId),
        ...peers.filter((each) => each.mspId !== mspId),
      ],
    };
  }

  /** Stops one organisation's peer; others go on. */
  async stopPeer(mspId: string): Promise<void> {
    await this.#admin({ stopPeer: mspId });
  }

  /** Starts it again on the same port. */
  async startPeer(mspId: string): Promise<void> {
    await this.#admin({ startPeer: mspId });
  }

  /** Holds a peer at the newest block: it answers by that state, as one that lags does. */
  async holdPeer(mspId: string): Promise<void> {
    await this.#admin({ holdPeer: mspId });
  }

  /** Lets it catch up. */
  async catchUpPeer(mspId: string): Promise<void> {
    await this.#admin({ catchUpPeer: mspId });
  }

  /** Ends the ledger's process (by default politely) and starts it again on the same ports. */
  async restartLedger(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const running = this.#running;
    await running.ledger.stop(signal);
    running.ledger = ledgerChild(this.dir);
    const organisations = organisationConfigs(running.pki, running.endpoints);
    running.ledger.send(JSON.stringify({ ...running.config, organisations }));
    running.endpoints = endpointsOf(await running.ledger.ready());
  }

  /** Ends every process; the files stay. */
  async stop(): Promise<void> {
    const { ledger, chaincodes } = this.#running;
    await ledger.stop();
    await Promise.all(chaincodes.map((child) => child.stop()));
  }

  /** Removes the folder; call after `stop`. */
  async removeFiles(): Promise<void> {
    await rm(this.dir, { recursive: true, force: true });
  }

  async #admin(request: Record<string, unknown>): Promise<void> {
    const socket = connect(join(this.dir, 'admin.sock'));
    try {
      socket.write(`${JSON.stringify(request)}\n`);
      for await (const line of createInterface({ input: socket })) {
        const answer: { error?: string } = JSON.parse(line);
        if (answer.error !== undefined) {
          throw new Error(`dev ledger: ${answer.error}`);
        }
        return;
      }
      throw new Error('dev ledger: the admin channel closed without an answer');
    } finally {
      socket.destroy();
    }
  }
}

interface ChaincodeProcess {
  readonly mspId: string | null;
  readonly child: Child;
}

function ledgerChild(dir: string): Child {
  const main = join(import.meta.dirname, 'main.ts');
  return new Child({
    name: 'devledger',
    command: [process.execPath, main, '--config', '-'],
    logFile: join(dir, 'logs', 'devledger.log'),
  });
}

function startChaincode(
  chaincode: NetworkChaincode,
  mspIds: readonly string[],
  dir: string,
): ChaincodeProcess[] {
  const { name } = chaincode.definition;
  const owners = chaincode.perOrganisation === true ? mspIds : [null];
  return owners.map((mspId) => ({
    mspId,
    child: new Child({
      name: mspId === null ? name : `${name} of ${mspId}`,
      command: chaincode.command,
      env: { ...chaincode.env, ...(mspId === null ? {} : { CORE_PEER_LOCALMSPID: mspId }) },
      logFile: join(dir, 'logs', `${mspId === null ? name : `${name}-${mspId}`}.log`),
    }),
  }));
}

async function addressesOf(
  processes: readonly ChaincodeProcess[],
): Promise<string | Record<string, string>> {
  const entries = await Promise.all(
    processes.map(async ({ mspId, child }) => {
      const { address } = await child.ready();
      if (typeof address !== 'string') {
        throw new Error('a chaincode must print {"address":"host:port"} when it is ready');
      }
      return [mspId, address] as const;
    }),
  );
  const [first] = entries;
  if (first !== undefined && first[0] === null) {
    return first[1];
  }
  return Object.fromEntries(entries);
}

function organisationConfigs(pki: Pki, endpoints: Readonly<Record<string, string>>) {
  return [
    ...pki.organisations.map((each) => ({
      mspId: each.mspId,
      listen: endpoints[each.mspId] ?? '127.0.0.1:0',
      tlsCert: each.peerTls,
      tlsKey: each.peerTlsKey,
      rootCerts: [each.ca],
    })),
    { mspId: pki.auditor.mspId, rootCerts: [pki.auditor.ca], peerless: true },
  ];
}

function endpointsOf(ready: Record<string, unknown>): Record<string, string> {
  const { endpoints } = ready;
  return typeof endpoints === 'object' && endpoints !== null
    ? Object.fromEntries(Object.entries(endpoints).map(([mspId, each]) => [mspId, String(each)]))
    : {};
}
