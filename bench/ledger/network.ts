/**
 * The network of a ledger benchmark: N organisations, 200 ms blocks, our chaincode `keys` and the
 * bare one beside it, each as one process an organisation; on the dev ledger or on real Fabric.
 */
import { rmSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CHAINCODE } from '@blocktorrent/protocol/ledger-api.ts';
import { type ChaincodeDefinition, chaincodeDefinitions } from '../../chaincode/collections.ts';
import { Network, type NetworkLedgerConfig } from '../../devledger/src/network.ts';
import { startFabricNetwork } from '../../fabric/src/network.ts';
import { BARE } from './bare-chaincode.ts';

export const BLOCK_INTERVAL_MS = 200;

/** Several times: what was killed a moment ago may have written once more. */
const REMOVE = { recursive: true, force: true, maxRetries: 5 } as const;

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

/**
 * `keys` as it is deployed, but for a transaction that the benchmark adds, and the bare chaincode:
 * endorsed by any one organisation as well.
 */
export function benchChaincodes(mspIds: readonly string[]): BenchChaincode[] {
  const own = chaincodeDefinitions(mspIds)
    .filter(({ name }) => name === CHAINCODE.keys)
    .map((definition) => ({ definition, command: commandOf('private-chaincode.ts') }));
  return [
    ...own,
    {
      definition: {
        name: BARE.chaincode,
        endorsementPolicy: { outOf: 1, mspIds },
        collections: [],
      },
      command: commandOf('bare-chaincode.ts'),
    },
  ];
}

/** The server asks for one of our two names, whatever it serves. */
function commandOf(file: string): string[] {
  return [process.execPath, join(import.meta.dirname, file), '--chaincode', CHAINCODE.keys];
}

/**
 * Starts one in a temporary folder; when it resolves, transactions can be sent. It ends, and its
 * folder goes, with this process at the latest.
 */
export async function startBenchNetwork(
  ledger: 'dev' | 'fabric',
  organisations: number,
): Promise<BenchNetwork> {
  const parent = await mkdtemp(join(tmpdir(), 'blocktorrent-bench-'));
  const dir = join(parent, 'network');
  const removeNow = () => rmSync(parent, REMOVE);
  process.once('exit', removeNow);
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
        process.off('exit', removeNow);
        await rm(parent, REMOVE);
      },
    };
  } catch (error) {
    process.off('exit', removeNow);
    await rm(parent, REMOVE);
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
