/**
 * The network of a ledger benchmark: N organisations, 200 ms blocks, our chaincode `keys` and the
 * bare one beside it, each as one process an organisation; on the dev ledger or on real Fabric.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ChaincodeDefinition, chaincodeDefinitions } from '../../chaincode/collections.ts';
import { Network, type NetworkLedgerConfig } from '../../devledger/src/network.ts';
import { startFabricNetwork } from '../../fabric/src/network.ts';
import { ownChaincodeCommand } from '../../fabric/src/specs.ts';
import { BARE } from './bare-chaincode.ts';

export const BLOCK_INTERVAL_MS = 200;

/** What a benchmark needs of a network. */
export interface BenchNetwork {
  readonly dir: string;
  readonly mspIds: readonly string[];
  ledgerConfigFor(mspId: string): NetworkLedgerConfig;
  stop(): Promise<void>;
}

interface BenchChaincode {
  readonly definition: ChaincodeDefinition;
  readonly command: readonly string[];
}

/** `keys` as it is deployed, and the bare chaincode: endorsed by any one organisation as well. */
export function benchChaincodes(mspIds: readonly string[]): BenchChaincode[] {
  const own = chaincodeDefinitions(mspIds)
    .filter(({ name }) => name === 'keys')
    .map((definition) => ({ definition, command: ownChaincodeCommand(definition.name) }));
  const bare = join(import.meta.dirname, 'bare-chaincode.ts');
  return [
    ...own,
    {
      definition: {
        name: BARE.chaincode,
        endorsementPolicy: { outOf: 1, mspIds },
        collections: [],
      },
      // The server asks for one of our two names; what it serves is the bare one.
      command: [process.execPath, bare, '--chaincode', 'keys'],
    },
  ];
}

/** Starts one in a temporary folder; when it resolves, transactions can be sent. */
export async function startBenchNetwork(
  ledger: 'dev' | 'fabric',
  organisations: number,
): Promise<BenchNetwork> {
  const parent = await mkdtemp(join(tmpdir(), 'blocktorrent-bench-'));
  const dir = join(parent, 'network');
  try {
    const network =
      ledger === 'fabric'
        ? await startFabricNetwork({
            dir,
            organisations,
            blockIntervalMs: BLOCK_INTERVAL_MS,
            chaincodes: benchChaincodes,
          })
        : await startDevNetwork(dir, organisations);
    return {
      dir,
      mspIds: network.organisations.map(({ mspId }) => mspId),
      ledgerConfigFor: (mspId) => network.ledgerConfigFor(mspId),
      stop: async () => {
        await network.stop();
        await rm(parent, { recursive: true, force: true });
      },
    };
  } catch (error) {
    await rm(parent, { recursive: true, force: true });
    throw error;
  }
}

async function startDevNetwork(dir: string, organisations: number): Promise<Network> {
  return await Network.start({
    dir,
    organisations,
    blockIntervalMs: BLOCK_INTERVAL_MS,
    chaincodes: (mspIds) =>
      benchChaincodes(mspIds).map(({ definition, command }) => ({
        definition,
        command: [...command, '--listen', '127.0.0.1:0', '--ccid', definition.name],
        perOrganisation: true,
        env: { CORE_CHAINCODE_LOGGING_LEVEL: 'ERROR' },
      })),
  });
}
