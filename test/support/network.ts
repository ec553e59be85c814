/**
 * A trial network for a test: certificates, two chaincodes and the dev ledger as processes of
 * their own, in a temporary folder, on free loopback ports. `stop()` removes everything.
 */
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ChaincodeDefinition, chaincodeDefinitions } from '../../chaincode/collections.ts';
import { Network, type NetworkChaincode } from '../../devledger/src/network.ts';

const ROOT = join(import.meta.dirname, '..', '..');

export interface TestNetworkOptions {
  /** Organisations with a peer: Org1MSP..OrgNMSP; AuditorMSP comes on top. */
  readonly organisations: number;
  /** Default: a new temporary folder. */
  readonly dir?: string;
  /** `fixture`: the small chaincode of fixture-chaincode.ts under both names, one process each. */
  readonly chaincode?: 'real' | 'fixture';
  /** Real only: this organisation runs changed chaincode (attacker-chaincode.ts). */
  readonly attacker?: string;
  /** Fixture only: a process for each organisation, so that they can disagree. */
  readonly perOrganisation?: boolean;
  readonly blockIntervalMs?: number;
}

/** A network whose `stop` also removes its folder. */
class TestNetwork extends Network {
  override async stop(): Promise<void> {
    await super.stop();
    await this.removeFiles();
  }
}

export type { TestNetwork };

/** Starts a network; when it resolves, transactions can be sent. */
export async function startNetwork(options: TestNetworkOptions): Promise<TestNetwork> {
  const { organisations, chaincode = 'real', attacker } = options;
  const perOrganisation = options.perOrganisation ?? attacker !== undefined;
  const dir = options.dir ?? (await mkdtemp(join(tmpdir(), 'blocktorrent-')));
  const isReal = chaincode === 'real';
  return await TestNetwork.start({
    dir,
    organisations,
    blockIntervalMs: options.blockIntervalMs ?? 20,
    chaincodes: (mspIds): NetworkChaincode[] =>
      (isReal ? chaincodeDefinitions(mspIds) : fixtureDefinitions(mspIds)).map((definition) => ({
        definition,
        command: isReal ? realCommand(definition.name, attacker) : fixtureCommand(),
        perOrganisation,
        env: { CORE_CHAINCODE_LOGGING_LEVEL: 'ERROR' },
      })),
  });
}

/** As the real ones, but `ledger` has the collections of `keys` too. */
function fixtureDefinitions(mspIds: readonly string[]): ChaincodeDefinition[] {
  const definitions = chaincodeDefinitions(mspIds);
  const collections = definitions.flatMap((each) => each.collections);
  return definitions.map((each) => ({ ...each, collections }));
}

function realCommand(name: string, attacker?: string): string[] {
  const place = ['--listen', '127.0.0.1:0', '--ccid', name];
  if (attacker !== undefined) return [...attackerCommand(attacker, name), ...place];
  const serve = join(ROOT, 'chaincode', 'src', 'serve.ts');
  return [process.execPath, serve, '--chaincode', name, ...place];
}

/** The chaincode of which `attacker`'s process alone is changed; place and TLS are appended. */
export function attackerCommand(attacker: string, name: string): string[] {
  const main = join(ROOT, 'test', 'support', 'attacker-chaincode.ts');
  return [process.execPath, main, attacker, '--chaincode', name];
}

function fixtureCommand(): string[] {
  return [process.execPath, join(ROOT, 'test', 'support', 'fixture-chaincode.ts')];
}
