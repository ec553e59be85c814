/**
 * Chaincode lifecycle, as the administrators of all organisations together would run it: install,
 * approve, commit. Enters: definitions and commands. Leaves: a plan with the chaincodes in it,
 * which are agreed on by all and run as one process for each organisation.
 */
import { join } from 'node:path';
import type { ChaincodeDefinition } from '../../chaincode/collections.ts';
import type { Binaries } from './binaries.ts';
import { startChaincodes, stopChaincodes, writeConnections } from './chaincode-processes.ts';
import { waitUntilLevel } from './channel.ts';
import { signaturePolicy, VERSION, writeCollections, writePackage } from './definition.ts';
import { FabricError } from './error.ts';
import { packageChaincode } from './package.ts';
import { endorserFlags, ordererFlags, runPeer } from './peer-cli.ts';
import { type ChaincodePlan, type NetworkPlan, organisationsWithPeer, savePlan } from './plan.ts';
import { freePorts } from './ports.ts';

/** A chaincode to deploy; the command gets the arguments of `chaincodeSpec` appended. */
export interface FabricChaincode {
  readonly definition: ChaincodeDefinition;
  readonly command: readonly string[];
}

/**
 * Installs, approves, commits and starts; what is agreed on already is only started anew: the
 * contract itself is no part of what is agreed on. Can be repeated after a failure.
 * Throws FabricError.
 */
export async function deploy(
  binaries: Binaries,
  plan: NetworkPlan,
  chaincodes: readonly FabricChaincode[],
): Promise<NetworkPlan> {
  const mspIds = organisationsWithPeer(plan).map(({ mspId }) => mspId);
  const wanted = await Promise.all(chaincodes.map((each) => planChaincode(plan, each, mspIds)));
  const others = plan.chaincodes.filter(({ name }) => !wanted.some((each) => each.name === name));
  const deployed = { ...plan, chaincodes: [...others, ...wanted] };
  const changed = wanted.flatMap((chaincode, index) => {
    const definition = chaincodes[index]?.definition;
    const before = plan.chaincodes.find(({ name }) => name === chaincode.name);
    return definition === undefined || before?.sequence === chaincode.sequence
      ? []
      : [{ chaincode, definition }];
  });
  await stopChaincodes(deployed);
  await writeConnections(deployed);
  await Promise.all([
    startChaincodes(deployed),
    ...changed.map(({ chaincode }) => install(binaries, plan, chaincode, mspIds)),
  ]);
  // One after the other, each noted when it is committed: the next attempt goes on from there.
  let committed = plan.chaincodes;
  for (const { chaincode, definition } of changed) {
    const flags = await definitionFlags(plan, chaincode, definition);
    await Promise.all(mspIds.map((mspId) => approve(binaries, plan, mspId, chaincode, flags)));
    await waitUntilLevel(plan);
    await runPeer(binaries, plan, mspIds[0] ?? '', [
      ...['lifecycle', 'chaincode', 'commit', ...flags],
      ...ordererFlags(plan),
      ...endorserFlags(plan, mspIds),
    ]);
    committed = [...committed.filter(({ name }) => name !== chaincode.name), chaincode];
    savePlan({ ...plan, chaincodes: committed });
  }
  await waitUntilLevel(plan);
  savePlan(deployed);
  return deployed;
}

async function planChaincode(
  plan: NetworkPlan,
  { definition, command }: FabricChaincode,
  mspIds: readonly string[],
): Promise<ChaincodePlan> {
  const { name } = definition;
  const { packageId } = packageChaincode(name, VERSION);
  const agreed = JSON.stringify({ definition, packageId });
  const before = plan.chaincodes.find((each) => each.name === name);
  if (before !== undefined) {
    const sequence = before.agreed === agreed ? before.sequence : before.sequence + 1;
    return { ...before, command, packageId, agreed, sequence };
  }
  const ports = await freePorts(mspIds.length);
  return {
    name,
    version: VERSION,
    sequence: 1,
    packageId,
    command,
    ports: Object.fromEntries(mspIds.map((mspId, i) => [mspId, ports[i] ?? 0])),
    agreed,
  };
}

async function install(
  binaries: Binaries,
  plan: NetworkPlan,
  chaincode: ChaincodePlan,
  mspIds: readonly string[],
): Promise<void> {
  const folder = join(plan.dir, 'channel');
  const { packageFile } = await writePackage(chaincode.name, chaincode.version, folder);
  await Promise.all(
    mspIds.map(async (mspId) => {
      await unlessDone('already successfully installed', async () => {
        await runPeer(binaries, plan, mspId, ['lifecycle', 'chaincode', 'install', packageFile]);
      });
    }),
  );
}

async function approve(
  binaries: Binaries,
  plan: NetworkPlan,
  mspId: string,
  chaincode: ChaincodePlan,
  flags: readonly string[],
): Promise<void> {
  await unlessDone('with unchanged content', async () => {
    await runPeer(binaries, plan, mspId, [
      ...['lifecycle', 'chaincode', 'approveformyorg', ...flags],
      ...['--package-id', chaincode.packageId, ...ordererFlags(plan)],
    ]);
  });
}

/** Lets Fabric's complaint pass that the very same has been done before. */
async function unlessDone(complaint: string, step: () => Promise<void>): Promise<void> {
  try {
    await step();
  } catch (error) {
    if (!(error instanceof FabricError && error.message.includes(complaint))) throw error;
  }
}

/** What approvals and the commit must agree on. */
async function definitionFlags(
  plan: NetworkPlan,
  { name, version, sequence }: ChaincodePlan,
  definition: ChaincodeDefinition,
): Promise<string[]> {
  const flags = [
    ...['--channelID', plan.channel, '--name', name, '--version', version],
    ...['--sequence', String(sequence)],
    ...['--signature-policy', signaturePolicy(definition)],
  ];
  const file = await writeCollections(definition, join(plan.dir, 'channel'));
  return file === null ? flags : [...flags, '--collections-config', file];
}
