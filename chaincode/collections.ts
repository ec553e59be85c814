/**
 * What has to be deployed: the two chaincodes, who must endorse them, and their collections.
 *
 * `ledger` needs a majority of the organisations that have peers, as an explicit OutOf: Fabric's
 * own MAJORITY counts organisations without peers too. `keys` needs any one of them, with one
 * private collection for each organisation (design: PROTOCOL §6). requiredPeerCount is 0 because
 * an organisation with one peer could otherwise never endorse (design: FABRIC, private data).
 */
import { CHAINCODE, type MspId, shardCollection } from '@blocktorrent/protocol/ledger-api.ts';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';

/** Fabric's StaticCollectionConfig, by the names that the deployments use. */
export interface CollectionDefinition {
  readonly name: string;
  /** Organisations whose peers keep the data. */
  readonly memberOrgs: readonly MspId[];
  /** Only clients of a member organisation may read, at any peer. */
  readonly memberOnlyRead: boolean;
  /** Every organisation's client may deposit. */
  readonly memberOnlyWrite: boolean;
  readonly requiredPeerCount: number;
  /** Peers that the endorser sends the data to. */
  readonly maxPeerCount: number;
  /** Blocks until the data expires; 0 is never. */
  readonly blockToLive: number;
}

/** One chaincode as a channel has to define it. */
export interface ChaincodeDefinition {
  readonly name: string;
  /** `outOf` peers of distinct organisations among `mspIds`. */
  readonly endorsementPolicy: { readonly outOf: number; readonly mspIds: readonly MspId[] };
  readonly collections: readonly CollectionDefinition[];
}

/** MSP ids that can be part of a collection's name (Fabric allows letters, digits, _ and -). */
export const MSP_ID = /^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/;

const MAX_PEER_COUNT = 8;

/**
 * Definitions of both chaincodes for organisations with peers, in order of MSP id.
 * Throws RangeError on none, too many, a repeated one, or an MSP id that cannot name a collection.
 */
export function chaincodeDefinitions(members: readonly MspId[]): ChaincodeDefinition[] {
  const mspIds = [...new Set(members)].sort();
  if (mspIds.length !== members.length || members.length < 1) {
    throw new RangeError(`expected distinct organisations, got "${members.join(', ')}"`);
  }
  if (mspIds.length > LIMITS.membersMax) {
    throw new RangeError(
      `expected at most ${LIMITS.membersMax} organisations, got ${mspIds.length}`,
    );
  }
  const odd = mspIds.find((mspId) => !MSP_ID.test(mspId));
  if (odd !== undefined) throw new RangeError(`MSP id "${odd}" cannot name a collection`);
  return [
    {
      name: CHAINCODE.ledger,
      endorsementPolicy: { outOf: Math.floor(mspIds.length / 2) + 1, mspIds },
      collections: [],
    },
    {
      name: CHAINCODE.keys,
      endorsementPolicy: { outOf: 1, mspIds },
      collections: mspIds.map((mspId) => ({
        name: shardCollection(mspId),
        memberOrgs: [mspId],
        memberOnlyRead: true,
        memberOnlyWrite: false,
        requiredPeerCount: 0,
        maxPeerCount: MAX_PEER_COUNT,
        blockToLive: 0,
      })),
    },
  ];
}
