/**
 * The channel: its first block, orderers and peers that join, and the moment from which it can be
 * used. "Joined" is not "ready": private data that is deposited before gossip is complete is lost,
 * so ready means that every peer knows every other one and an orderer leads.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { organisationPki } from '../../devledger/src/pki.ts';
import type { Binaries } from './binaries.ts';
import { configtx, PROFILE } from './configtx.ts';
import { blockHeight, isLeader, peersKnown } from './metrics.ts';
import { ordererTls } from './msp.ts';
import { runPeer } from './peer-cli.ts';
import { type NetworkPlan, type OrdererPlan, organisationsWithPeer } from './plan.ts';
import { requireRunning } from './processes.ts';
import { run } from './run.ts';
import { listens, waitFor } from './wait.ts';

const START_TIMEOUT_MS = 30_000;
const READY_TIMEOUT_MS = 90_000;

/** The channel's first block. */
function genesisBlock(plan: NetworkPlan): string {
  return join(plan.dir, 'channel', 'genesis.block');
}

/** Writes configtx.yaml and the first block. */
export async function createGenesis(binaries: Binaries, plan: NetworkPlan): Promise<void> {
  const folder = join(plan.dir, 'channel');
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'configtx.yaml'), stringify(configtx(plan)));
  await run(binaries.configtxgen, [
    ...['-configPath', folder, '-profile', PROFILE],
    ...['-channelID', plan.channel, '-outputBlock', genesisBlock(plan)],
  ]);
}

/** Waits until every orderer and peer listens, then lets them join. */
export async function joinAll(binaries: Binaries, plan: NetworkPlan): Promise<void> {
  await Promise.all([
    ...plan.orderers.map(async (orderer) => {
      await waitUntilListening(plan, orderer.name, orderer.adminPort);
      await joinOrderer(binaries, plan, orderer);
    }),
    ...organisationsWithPeer(plan).map(async ({ mspId, peer }) => {
      await waitUntilListening(plan, peer.name, peer.port);
      await runPeer(binaries, plan, mspId, ['channel', 'join', '-b', genesisBlock(plan)]);
    }),
  ]);
}

/** Waits until a leader orders and each of `mspIds`' peers knows `others` peers by gossip. */
export async function waitUntilReady(
  plan: NetworkPlan,
  mspIds: readonly string[],
  others: number,
): Promise<void> {
  const peers = organisationsWithPeer(plan).filter(({ mspId }) => mspIds.includes(mspId));
  await Promise.all([
    waitFor('an orderer that leads', READY_TIMEOUT_MS, async () => {
      const leads = await Promise.all(
        plan.orderers.map(({ operationsPort }) => isLeader(operationsPort, plan.channel)),
      );
      return leads.includes(true) ? null : 'none of the orderers leads';
    }),
    ...peers.map(({ peer }) =>
      waitFor(`${peer.name} knows the others`, READY_TIMEOUT_MS, async () => {
        requireRunning(plan.dir, peer.name);
        const known = await peersKnown(peer.operationsPort, plan.channel);
        return known === others ? null : `knows ${known ?? 'none'} of ${others} other peers`;
      }),
    ),
  ]);
}

/** Waits until all peers have committed the same blocks. */
export async function waitUntilLevel(plan: NetworkPlan): Promise<void> {
  const peers = organisationsWithPeer(plan);
  await waitFor('peers at the same height', START_TIMEOUT_MS, async () => {
    const heights = await Promise.all(
      peers.map(({ peer }) => blockHeight(peer.operationsPort, plan.channel)),
    );
    return new Set(heights).size === 1 ? null : `heights are ${heights.join(', ')}`;
  });
}

/** Waits until a process of the network listens; throws FabricError with its log if it died. */
export async function waitUntilListening(
  plan: NetworkPlan,
  name: string,
  port: number,
): Promise<void> {
  await waitFor(`${name} listens`, START_TIMEOUT_MS, async () => {
    requireRunning(plan.dir, name);
    return (await listens(port)) ? null : `nobody listens at port ${port}`;
  });
}

async function joinOrderer(
  binaries: Binaries,
  plan: NetworkPlan,
  orderer: OrdererPlan,
): Promise<void> {
  const { cert, key } = ordererTls(orderer.home);
  await run(binaries.osnadmin, [
    ...['channel', 'join', '--channelID', plan.channel, '--config-block', genesisBlock(plan)],
    ...['--orderer-address', `127.0.0.1:${orderer.adminPort}`],
    ...['--ca-file', organisationPki(plan.dir, orderer.mspId).tlsca],
    ...['--client-cert', cert, '--client-key', key],
  ]);
}
