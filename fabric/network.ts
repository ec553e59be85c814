/**
 * Command line: a real Hyperledger Fabric network on this machine.
 *
 *   fabric/network up     --dir DIR [--orgs 4] [--consensus raft|bft] [--block-interval-ms 200]
 *                         [--channel blocktorrent] [--orderers N]
 *   fabric/network deploy --dir DIR
 *   fabric/network status --dir DIR
 *   fabric/network down   --dir DIR [--clean]
 *   fabric/network definitions --dir DIR --members Org1MSP,Org2MSP,...
 *                         [--former Org3MSP,...] [--auditor AuditorMSP]
 *
 * `definitions` is for networks made by other means: it writes what their administrators agree on
 * (packages, collections) into DIR, prints the policies, and needs none of Fabric's programs.
 *
 * Results are JSON on standard output, problems one line on standard error.
 */
import { rm } from 'node:fs/promises';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { AUDITOR_MSP } from '../devledger/src/pki.ts';
import { writeDefinitions } from './src/definition.ts';
import { FabricError } from './src/error.ts';
import { blockHeight } from './src/metrics.ts';
import { DEFAULTS, FabricNetwork, stopAll, type UpOptions } from './src/network.ts';
import { type Consensus, loadPlan, organisationsWithPeer, planFile } from './src/plan.ts';
import { listProcesses } from './src/processes.ts';

const USAGE =
  'usage: fabric/network up|deploy|status|down|definitions --dir DIR\n' +
  '  up: [--orgs 4] [--consensus raft|bft] [--block-interval-ms 200] [--channel NAME]\n' +
  '      [--orderers N]\n' +
  '  down: [--clean] also removes DIR\n' +
  '  definitions: --members MSPID,MSPID,... [--former MSPID,...]\n' +
  '      [--auditor AuditorMSP] writes what administrators agree on into DIR';

function readArguments(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        dir: { type: 'string' },
        orgs: { type: 'string', default: String(DEFAULTS.organisations) },
        consensus: { type: 'string', default: DEFAULTS.consensus },
        'block-interval-ms': { type: 'string', default: String(DEFAULTS.blockIntervalMs) },
        channel: { type: 'string', default: DEFAULTS.channel },
        orderers: { type: 'string' },
        members: { type: 'string' },
        former: { type: 'string', default: '' },
        auditor: { type: 'string', default: AUDITOR_MSP },
        clean: { type: 'boolean', default: false },
      },
    });
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new FabricError('usage', `${reason}\n${USAGE}`, { cause });
  }
}

type Values = ReturnType<typeof readArguments>['values'];

function upOptions(values: Values, dir: string): UpOptions {
  return {
    dir,
    organisations: Number(values.orgs),
    consensus: consensusOf(values.consensus),
    blockIntervalMs: Number(values['block-interval-ms']),
    channel: values.channel,
    ...(values.orderers === undefined ? {} : { orderers: Number(values.orderers) }),
  };
}

function consensusOf(text: string): Consensus {
  if (text === 'raft' || text === 'bft') return text;
  throw new FabricError('usage', `--consensus must be raft or bft, got "${text}"`);
}

async function status(dir: string) {
  const plan = loadPlan(dir);
  if (plan === null) throw new FabricError('usage', `there is no network in ${dir}`);
  const heights = await Promise.all(
    organisationsWithPeer(plan).map(
      async ({ mspId, peer }) =>
        [mspId, await blockHeight(peer.operationsPort, plan.channel)] as const,
    ),
  );
  return {
    state: plan.state,
    consensus: plan.consensus,
    processes: listProcesses(dir),
    blockHeights: Object.fromEntries(heights),
    chaincodes: plan.chaincodes.map(({ name, sequence, packageId }) => ({
      name,
      sequence,
      packageId,
    })),
  };
}

async function definitions({ members, former, auditor }: Values, dir: string) {
  if (members === undefined) throw new FabricError('usage', USAGE);
  const membership = {
    members: members.split(','),
    former: former === '' ? [] : former.split(','),
    keeper: auditor,
  };
  try {
    return await writeDefinitions(membership, dir);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new FabricError('usage', error.message, { cause: error });
  }
}

async function down(dir: string, clean: boolean) {
  const stopped = listProcesses(dir).filter(({ running }) => running);
  await stopAll(dir);
  // Never removes a folder that is not a network's.
  const removed = clean && loadPlan(dir) !== null;
  if (removed) await rm(dir, { recursive: true, force: true });
  return { stopped: stopped.map(({ name }) => name), removed };
}

async function main(argv: readonly string[]): Promise<unknown> {
  const { values, positionals } = readArguments(argv);
  const [command, ...more] = positionals;
  if (values.dir === undefined || more.length > 0) throw new FabricError('usage', USAGE);
  const dir = resolve(values.dir);
  switch (command) {
    case 'up': {
      const network = await FabricNetwork.up(upOptions(values, dir));
      return { network: planFile(network.dir), endpoints: network.endpoints };
    }
    case 'deploy': {
      const network = FabricNetwork.open(dir);
      await network.deploy();
      return { chaincodes: network.plan.chaincodes.map(({ packageId }) => packageId) };
    }
    case 'status':
      return await status(dir);
    case 'down':
      return await down(dir, values.clean);
    case 'definitions':
      return await definitions(values, dir);
    default:
      throw new FabricError('usage', USAGE);
  }
}

try {
  const result = await main(process.argv.slice(2));
  process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
} catch (error) {
  if (!(error instanceof FabricError)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exitCode = error.code === 'usage' ? 2 : 1;
}
