/**
 * What the organisations have to agree on to run our chaincode, as Fabric's own commands take it:
 * packages, endorsement policies, collections. The same members give the same files everywhere, so
 * the administrators of a network made by other means need nothing else of this folder.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type ChaincodeDefinition, chaincodeDefinitions } from '../../chaincode/collections.ts';
import { outOf } from './configtx.ts';
import { packageChaincode } from './package.ts';

/** Version of the chaincode definitions; not of the contracts, which change by a restart. */
export const VERSION = '0.1.0';

/** One chaincode, for `peer lifecycle chaincode approveformyorg` and `commit`. */
export interface DefinitionFiles {
  readonly name: string;
  readonly version: string;
  readonly packageFile: string;
  /** Value of `--package-id`. */
  readonly packageId: string;
  /** Value of `--signature-policy`. */
  readonly signaturePolicy: string;
  /** Value of `--collections-config`; null where there are no collections. */
  readonly collectionsFile: string | null;
}

/** Who takes part, and who once did. */
export interface Membership {
  /** Organisations with peers. */
  readonly members: readonly string[];
  /** Organisations that have left. Fabric refuses a definition in which a collection is missing. */
  readonly former: readonly string[];
  /** An organisation without peers: as their collections' member it keeps everybody else out. */
  readonly keeper: string;
}

/** Definitions of both chaincodes, with the empty shells of former members' collections. */
export function definitionsFor({ members, former, keeper }: Membership): ChaincodeDefinition[] {
  const back = former.find((mspId) => members.includes(mspId));
  if (back !== undefined || members.includes(keeper)) {
    throw new RangeError(`${back ?? keeper} cannot be a member as well`);
  }
  const current = chaincodeDefinitions(members);
  if (former.length === 0) return current;
  const shells = chaincodeDefinitions(former)
    .flatMap(({ collections }) => collections)
    .map((collection) => ({ ...collection, memberOrgs: [keeper] }));
  return current.map((definition) =>
    definition.collections.length === 0
      ? definition
      : { ...definition, collections: [...definition.collections, ...shells] },
  );
}

/** Writes the files for this membership into `dir`. */
export async function writeDefinitions(
  membership: Membership,
  dir: string,
): Promise<DefinitionFiles[]> {
  await mkdir(dir, { recursive: true });
  const written: DefinitionFiles[] = [];
  for (const definition of definitionsFor(membership)) {
    const { name } = definition;
    written.push({
      name,
      version: VERSION,
      ...(await writePackage(name, VERSION, dir)),
      signaturePolicy: signaturePolicy(definition),
      collectionsFile: await writeCollections(definition, dir),
    });
  }
  return written;
}

/** Writes `NAME_VERSION.tar.gz`. */
export async function writePackage(
  name: string,
  version: string,
  dir: string,
): Promise<{ readonly packageFile: string; readonly packageId: string }> {
  const { bytes, label, packageId } = packageChaincode(name, version);
  const packageFile = join(dir, `${label}.tar.gz`);
  await writeFile(packageFile, bytes);
  return { packageFile, packageId };
}

/** The endorsement policy in Fabric's words: peers, not merely members, endorse. */
export function signaturePolicy({ endorsementPolicy }: ChaincodeDefinition): string {
  return outOf(endorsementPolicy.outOf, endorsementPolicy.mspIds, 'peer');
}

/** Writes `NAME-collections.json`: no collection has an endorsement policy of its own. */
export async function writeCollections(
  { name, collections }: ChaincodeDefinition,
  dir: string,
): Promise<string | null> {
  if (collections.length === 0) return null;
  const file = join(dir, `${name}-collections.json`);
  const configs = collections.map(({ memberOrgs, ...rest }) => ({
    ...rest,
    policy: `OR(${memberOrgs.map((mspId) => `'${mspId}.member'`).join(', ')})`,
  }));
  await writeFile(file, `${JSON.stringify(configs, null, 2)}\n`);
  return file;
}
