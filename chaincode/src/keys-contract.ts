/**
 * Contract `keys`: takes a file's key, splits it, hands each holder its shard (P §3.2.2).
 *
 * Endorsed by the depositor's organisation alone; key and entropy come in the transient field and
 * are in no block. Each shard goes to its holder's private collection under a name made from the
 * transaction id, with a key-level policy that lets only the holder's peers change it. Nothing
 * that is submitted answers with a secret; `GetShard` does, and is only ever to be evaluated.
 */
import { createHash } from 'node:crypto';
import { toBase64 } from '@blocktorrent/protocol/bytes.ts';
import {
  type DealInput,
  dealShards,
  depositIdOf,
  ENTROPY_BYTES,
  IDENTITY_BYTES,
} from '@blocktorrent/protocol/dealing.ts';
import { ProtocolError } from '@blocktorrent/protocol/errors.ts';
import {
  type Base64,
  bundleName,
  type Dealing,
  type MspId,
  type ShardRef,
  shardCollection,
  shardName,
  TRANSIENT,
} from '@blocktorrent/protocol/ledger-api.ts';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import {
  BUNDLE_BYTES_MAX,
  decodeBundle,
  encodeBundle,
  SHARD_BYTES_MAX,
} from '@blocktorrent/protocol/shard.ts';
import type { Context } from 'fabric-contract-api';
import { ARGUMENTS } from './arguments.ts';
import { COLLECTORS, requireRole } from './caller.ts';
import { parseArgument } from './checks.ts';
import { BlockTorrentContract, type TransactionsOf } from './contract.ts';
import { peersOfAll } from './key-policies.ts';
import { Refusal } from './refusal.ts';
import { getJson, putJson } from './state.ts';
import { KEYS_KEY } from './state-keys.ts';
import { transient } from './transient.ts';

/** A dealing and its shards, in the holders' order. */
type Dealt = ReturnType<typeof dealShards>;

/** A dealing as it is stored: with who deposited it. */
interface StoredDealing {
  readonly depositor: MspId;
  readonly dealing: Dealing;
  /** Transaction whose bundles hold the shards; absent where each stands under its own name. */
  readonly bundle?: string;
  /**
   * Transactions that stored a shard again, by its index. Here, because the dealing's own policy
   * guards it: a key that is first written at the re-issue anybody could write, and keep, before.
   */
  readonly reissues?: Readonly<Record<string, string>>;
}

export class KeysContract extends BlockTorrentContract implements TransactionsOf<'keys/keys'> {
  constructor() {
    super('keys');
  }

  /**
   * Splits the transient identity among the holders; returns what everybody may know.
   * Who: an agent or gateway of a member: of an organisation that has a collection of its own. When: any time;
   * `records` decides later whether the dealing is the right one.
   * Effects: a shard in each holder's collection, and the dealing under the transaction's id.
   * Event: none. Errors: BAD_ARGUMENT, NOT_ALLOWED, BAD_KEY (the identity is another recipient's).
   */
  async Deposit(ctx: Context, argument: string): Promise<Dealing> {
    const input = parseArgument(argument, ARGUMENTS['keys/keys:Deposit']);
    const depositor = await requireDepositor(ctx);
    const identity = transient(ctx, TRANSIENT.identity, IDENTITY_BYTES, IDENTITY_BYTES);
    const entropy = transient(ctx, TRANSIENT.entropy, ENTROPY_BYTES, ENTROPY_BYTES);
    return putDeal(ctx, depositor, { identity, entropy, txId: ctx.stub.getTxID(), input });
  }

  /**
   * `Deposit` for many files at once, of at most `shardsPerDepositMax` shards: all of them or none.
   * The transient `identity` holds the identities one after the other. Each dealing is a deposit
   * of its own, with the id `depositIdOf(transaction, file)`.
   * Who, when, effects: as `Deposit`, for each. Event: none.
   * Errors: BAD_ARGUMENT, TOO_LARGE, NOT_ALLOWED, BAD_KEY.
   */
  async DepositMany(ctx: Context, argument: string): Promise<readonly Dealing[]> {
    const { deposits } = parseArgument(argument, ARGUMENTS['keys/keys:DepositMany']);
    const depositor = await requireDepositor(ctx);
    const bytes = deposits.length * IDENTITY_BYTES;
    const identities = transient(ctx, TRANSIENT.identity, bytes, bytes);
    const entropy = transient(ctx, TRANSIENT.entropy, ENTROPY_BYTES, ENTROPY_BYTES);
    const txId = ctx.stub.getTxID();
    const deals = deposits.map((input, i) =>
      dealShards({
        identity: identities.subarray(i * IDENTITY_BYTES, (i + 1) * IDENTITY_BYTES),
        entropy,
        txId: depositIdOf(txId, input.fileId),
        input,
      }),
    );
    await putBundles(ctx, txId, deals);
    for (const { dealing } of deals) await putDealing(ctx, { depositor, dealing, bundle: txId });
    return deals.map(({ dealing }) => dealing);
  }

  /**
   * Stores a deposited shard again, the same bytes under a new name, for a holder whose peer was away.
   * Who: an agent or gateway of the depositor, while it is a member. When: any time after the deposit.
   * Effects: the shard in its holder's collection, where to find it in the deposit's entry. Event: none.
   * Errors: BAD_ARGUMENT, NOT_ALLOWED, NOT_FOUND, WRONG_DEALING, NOT_HOLDER, BAD_DIGEST.
   */
  async Reissue(ctx: Context, argument: string): Promise<ShardRef> {
    const input = parseArgument(argument, ARGUMENTS['keys/keys:Reissue']);
    const caller = await requireDepositor(ctx);
    const { depositTx, index, holder, fileId } = input;
    const stored = await getJson<StoredDealing>(ctx, KEYS_KEY.dealing(depositTx));
    if (stored === null) throw new Refusal('NOT_FOUND', `there is no deposit ${depositTx}`);
    const { depositor, dealing } = stored;
    if (caller !== depositor) {
      throw new Refusal('NOT_ALLOWED', `${depositTx} was deposited by ${depositor}, not ${caller}`);
    }
    if (fileId !== dealing.fileId) {
      throw new Refusal('WRONG_DEALING', `${depositTx} is of file ${dealing.fileId}`);
    }
    if (dealing.holders[index - 1] !== holder) {
      throw new Refusal('NOT_HOLDER', `shard ${index} of ${depositTx} is not for ${holder}`);
    }
    const shard = transient(ctx, TRANSIENT.shards, 1, SHARD_BYTES_MAX);
    const hash = sha256Hex(shard);
    const pinned = dealing.shardHashes[index - 1];
    if (hash !== pinned) {
      throw new Refusal('BAD_DIGEST', `shard ${index}: expected SHA-256 ${pinned}, got ${hash}`);
    }
    const txId = ctx.stub.getTxID();
    await putShard(ctx, holder, shardName(txId, index), shard);
    const reissues = { ...stored.reissues, [index]: txId };
    await putDealing(ctx, { ...stored, reissues });
    return { depositTx: txId, index };
  }

  /**
   * The public dealing of a deposit, or null.
   * Who: anybody on the channel. Effects: none. Errors: BAD_ARGUMENT.
   */
  async GetDealing(ctx: Context, argument: string): Promise<Dealing | null> {
    const { depositTx } = parseArgument(argument, ARGUMENTS['keys/keys:GetDealing']);
    const stored = await getJson<StoredDealing>(ctx, KEYS_KEY.dealing(depositTx));
    return stored?.dealing ?? null;
  }

  /**
   * A shard of the caller's own collection, as stored or as last re-issued, or null. Evaluate
   * this, never submit it: a submitted transaction's response is in the block.
   * Who: an agent, at a peer of its own organisation. Effects: none. Errors: BAD_ARGUMENT, NOT_ALLOWED.
   */
  async GetShard(ctx: Context, argument: string): Promise<{ shard: Base64 } | null> {
    const ref = parseArgument(argument, ARGUMENTS['keys/keys:GetShard']);
    const shard = await new ShardReader(ctx, requireRole(ctx, 'agent')).shard(ref);
    return shard === null ? null : { shard: toBase64(shard) };
  }

  /**
   * `GetShard` for many, in order. What one `DepositMany` brought is read once.
   * Evaluate this, never submit it.
   * Who: an agent, at a peer of its own organisation. Effects: none. Errors: BAD_ARGUMENT, NOT_ALLOWED.
   */
  async GetShards(ctx: Context, argument: string): Promise<(Base64 | null)[]> {
    const { shards } = parseArgument(argument, ARGUMENTS['keys/keys:GetShards']);
    const reader = new ShardReader(ctx, requireRole(ctx, 'agent'));
    const found: (Base64 | null)[] = [];
    for (const ref of shards) {
      const shard = await reader.shard(ref);
      found.push(shard === null ? null : toBase64(shard));
    }
    return found;
  }
}

/** Finds shards of one organisation; reads each of its bundles once. */
class ShardReader {
  readonly #ctx: Context;
  readonly #mspId: MspId;
  readonly #collection: string;
  readonly #bundles = new Map<string, ReadonlyMap<string, Uint8Array>>();

  constructor(ctx: Context, mspId: MspId) {
    this.#ctx = ctx;
    this.#mspId = mspId;
    this.#collection = shardCollection(mspId);
  }

  /**
   * As stored or as last re-issued; null where it is not there. Anybody can write under the name
   * that a shard of a bundle would have alone: it is not looked at there.
   */
  async shard({ depositTx, index }: ShardRef): Promise<Uint8Array | null> {
    const { pinned, bundle, reissue } = await this.#placeOf(depositTx, index);
    const found =
      bundle === null
        ? await this.#private(shardName(depositTx, index), LIMITS.evidenceBytesMax)
        : ((await this.#bundle(bundle)).get(pinned) ?? null);
    if (found !== null || reissue === null) return found;
    return await this.#private(shardName(reissue, index), LIMITS.evidenceBytesMax);
  }

  /**
   * Where a shard is, by its deposit's entry. Who dealt it may have written anything there, and
   * must not keep the holder from reading the shards of others: what makes no sense says nothing.
   */
  async #placeOf(
    depositTx: string,
    index: number,
  ): Promise<{ pinned: string; bundle: string | null; reissue: string | null }> {
    const bytes = await this.#ctx.stub.getState(KEYS_KEY.dealing(depositTx));
    const stored = parsed(bytes) as {
      dealing?: { shardHashes?: Readonly<Record<number, unknown>> };
      bundle?: unknown;
      reissues?: Readonly<Record<string, unknown>>;
    } | null;
    return {
      pinned: idOrNull(stored?.dealing?.shardHashes?.[index - 1]) ?? '',
      bundle: idOrNull(stored?.bundle),
      reissue: idOrNull(stored?.reissues?.[index]),
    };
  }

  /** Shards of a bundle by their SHA-256; none where it is not there, or is no bundle. */
  async #bundle(txId: string): Promise<ReadonlyMap<string, Uint8Array>> {
    const known = this.#bundles.get(txId);
    if (known !== undefined) return known;
    const bytes = await this.#private(bundleName(txId), BUNDLE_BYTES_MAX);
    const byHash = new Map(shardsOf(bytes).map((shard) => [sha256Hex(shard), shard]));
    this.#bundles.set(txId, byHash);
    return byHash;
  }

  /** A private value; null where there is none, where it never reached this peer, or is too long. */
  async #private(name: string, bytesMax: number): Promise<Uint8Array | null> {
    try {
      const value = await this.#ctx.stub.getPrivateData(this.#collection, name);
      return value.length === 0 || value.length > bytesMax ? null : value;
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      if (error.message.includes(NEVER_ARRIVED)) return null;
      if (!error.message.includes('collection')) throw error;
      throw new Refusal('NOT_ALLOWED', `${this.#mspId} has no collection at this peer`, {
        cause: error,
      });
    }
  }
}

/** The JSON in `bytes`; null where there is none. */
function parsed(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString());
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

/** A transaction's id or a SHA-256, or null. */
function idOrNull(value: unknown): string | null {
  return typeof value === 'string' && /^[0-9a-f]{64}$/.test(value) ? value : null;
}

/** A bundle's shards; none where it is no bundle. */
function shardsOf(bytes: Uint8Array | null): Uint8Array[] {
  try {
    return bytes === null ? [] : decodeBundle(bytes);
  } catch (error) {
    if (error instanceof ProtocolError) return [];
    throw error;
  }
}

/**
 * The caller's organisation, if it is a member. `keys` does not see the consortium's own list, which
 * is another chaincode's: what its administrators have agreed on, too, is a collection for each
 * member. A deposit of a former member that still has one is of no use: `records` takes no record.
 * What is asked for is a name that only this transaction makes: a read of one that others can write
 * beforehand would let them hold up every deposit (MVCC_READ_CONFLICT).
 */
async function requireDepositor(ctx: Context): Promise<MspId> {
  const mspId = requireRole(ctx, ...COLLECTORS);
  try {
    await ctx.stub.getPrivateDataHash(shardCollection(mspId), ctx.stub.getTxID());
  } catch (error) {
    if (!(error instanceof Error) || !error.message.includes('collection')) throw error;
    throw new Refusal('NOT_ALLOWED', `${mspId} is no member: it has no collection for shards`);
  }
  return mspId;
}

/** Fabric's words for private data that is on the ledger by its hash but never reached this peer. */
const NEVER_ARRIVED = 'private data matching public hash version is not available';

/** Hands out the shards, one by one, and keeps the dealing under its deposit's id. */
async function putDeal(ctx: Context, depositor: MspId, deal: DealInput): Promise<Dealing> {
  const { dealing, shards } = dealShards(deal);
  const { depositTx, holders } = dealing;
  for (const [i, shard] of shards.entries()) {
    await putShard(ctx, holders[i] ?? '', shardName(depositTx, i + 1), shard);
  }
  await putDealing(ctx, { depositor, dealing });
  return dealing;
}

/** Hands out the shards of many dealings: one private value for each holder, however many. */
async function putBundles(ctx: Context, txId: string, deals: readonly Dealt[]): Promise<void> {
  const bundles = new Map<MspId, Uint8Array[]>();
  for (const { dealing, shards } of deals) {
    for (const [i, shard] of shards.entries()) {
      const holder = dealing.holders[i] ?? '';
      const bundle = bundles.get(holder) ?? [];
      bundle.push(shard);
      bundles.set(holder, bundle);
    }
  }
  for (const [holder, shards] of bundles) {
    await putShard(ctx, holder, bundleName(txId), encodeBundle(shards));
  }
}

async function putDealing(ctx: Context, stored: StoredDealing): Promise<void> {
  await putOwned(ctx, KEYS_KEY.dealing(stored.dealing.depositTx), stored);
}

/** Stores shards where only their holder reads them and only its peers may change them. */
async function putShard(
  ctx: Context,
  holder: MspId,
  name: string,
  shard: Uint8Array,
): Promise<void> {
  const collection = shardCollection(holder);
  await ctx.stub.putPrivateData(collection, name, shard);
  await ctx.stub.setPrivateDataValidationParameter(collection, name, peersOfAll([holder]));
}

/** Writes a public document that only the caller's own peers may change later. */
async function putOwned(ctx: Context, key: string, value: unknown): Promise<void> {
  await putJson(ctx, key, value);
  await ctx.stub.setStateValidationParameter(key, peersOfAll([ctx.clientIdentity.getMSPID()]));
}

function sha256Hex(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
