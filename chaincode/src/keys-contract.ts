/**
 * Contract `keys`: takes a file's key, splits it, hands each holder its shard (P §3.2.2).
 *
 * Endorsed by the depositor's organisation alone; key and entropy come in the transient field and
 * are in no block. Each shard goes to its holder's private collection under a name made from the
 * transaction id, with a key-level policy that lets only the holder's peers change it. Nothing
 * that is submitted answers with a secret; `GetShard` does, and is only ever to be evaluated.
 */
import { toBase64 } from '@blocktorrent/protocol/bytes.ts';
import {
  type DealInput,
  dealShards,
  depositIdOf,
  ENTROPY_BYTES,
  IDENTITY_BYTES,
} from '@blocktorrent/protocol/dealing.ts';
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
import { encodeBundle, SHARD_BYTES_MAX } from '@blocktorrent/protocol/shard.ts';
import type { Context } from 'fabric-contract-api';
import { ARGUMENTS } from './arguments.ts';
import { COLLECTORS, requireRole } from './caller.ts';
import { parseArgument } from './checks.ts';
import { BlockTorrentContract, type TransactionsOf } from './contract.ts';
import { putGuarded, putShards } from './key-policies.ts';
import { Refusal } from './refusal.ts';
import { purgeShards } from './shard-purge.ts';
import { ShardReader, sha256Hex } from './shard-reader.ts';
import { getJson } from './state.ts';
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
    await putShards(ctx, holder, shardName(txId, index), shard);
    const reissues = { ...stored.reissues, [index]: txId };
    await putDealing(ctx, { ...stored, reissues });
    return { depositTx: txId, index };
  }

  /**
   * Removes shards from the caller's own collection, with all that its peers kept of them. What the
   * others are told, and who may then expect what, is `audits:Withdraw`: it comes before.
   * Who: an agent or admin, at a peer of its own organisation. When: any time; a shard that was
   * dealt again may be purged again. Effects: the shards are gone, others of the same bundle have
   * moved. Returns those that were there. Event: none (each purge is in its block, by its hash).
   * Errors: BAD_ARGUMENT, NOT_ALLOWED, NOT_FOUND.
   */
  async Purge(ctx: Context, argument: string): Promise<readonly ShardRef[]> {
    const { shards } = parseArgument(argument, ARGUMENTS['keys/keys:Purge']);
    return purgeShards(ctx, requireRole(ctx, 'agent', 'admin'), shards);
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

/** Hands out the shards, one by one, and keeps the dealing under its deposit's id. */
async function putDeal(ctx: Context, depositor: MspId, deal: DealInput): Promise<Dealing> {
  const { dealing, shards } = dealShards(deal);
  const { depositTx, holders } = dealing;
  for (const [i, shard] of shards.entries()) {
    await putShards(ctx, holders[i] ?? '', shardName(depositTx, i + 1), shard);
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
    await putShards(ctx, holder, bundleName(txId), encodeBundle(shards));
    // Here, where nobody else can have been before: the holder's, for the day that it purges a part.
    await putGuarded(ctx, KEYS_KEY.bundlePlace(txId, holder), {}, holder);
  }
}

async function putDealing(ctx: Context, stored: StoredDealing): Promise<void> {
  const own = ctx.clientIdentity.getMSPID();
  await putGuarded(ctx, KEYS_KEY.dealing(stored.dealing.depositTx), stored, own);
}
