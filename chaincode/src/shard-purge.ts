/**
 * Purging shards from their holder's collection, with everything that its peers ever kept of them.
 *
 * In: which shards, and of which files. Out: those that were there and are purged by this
 * transaction. A shard alone under its name goes with the name. Of a bundle all the others are moved
 * to a name made from this transaction's id, which nobody can write to before, the holder's pointer is
 * set to it, and the bundle is purged. Always holds: only a shard that says itself that it is the
 * file's is purged: a deposit whose entry points at somebody else's shard takes nothing away.
 */
import { ProtocolError } from '@blocktorrent/protocol/errors.ts';
import {
  type MspId,
  type PurgeInput,
  restName,
  type ShardRef,
  shardCollection,
  shardName,
} from '@blocktorrent/protocol/ledger-api.ts';
import {
  BUNDLE_BYTES_MAX,
  decodeShard,
  encodeBundle,
  SHARD_BYTES_MAX,
} from '@blocktorrent/protocol/shard.ts';
import type { Context } from 'fabric-contract-api';
import { putGuarded, putShards } from './key-policies.ts';
import { Refusal } from './refusal.ts';
import { ShardReader, shardsOf } from './shard-reader.ts';
import { KEYS_KEY } from './state-keys.ts';

type ToPurge = PurgeInput['shards'][number];

/** A bundle of which shards are taken out. */
interface OpenBundle {
  readonly name: string;
  readonly shards: readonly Uint8Array[];
  readonly rest: readonly Uint8Array[];
}

/** Purges those of `shards` that `holder` has. @throws Refusal NOT_FOUND where that is none */
export async function purgeShards(
  ctx: Context,
  holder: MspId,
  shards: readonly ToPurge[],
): Promise<ShardRef[]> {
  const reader = new ShardReader(ctx, holder);
  const bundles = new Map<string, OpenBundle>();
  const purged: ShardRef[] = [];
  for (const wanted of shards) {
    const { depositTx, index } = wanted;
    const { bundle, reissue } = await reader.placeOf(wanted);
    let isThere = false;
    for (const id of [
      ...(bundle === null ? [depositTx] : []),
      ...(reissue === null ? [] : [reissue]),
    ]) {
      if (await purgeAlone(ctx, reader, holder, shardName(id, index), wanted)) isThere = true;
    }
    if (bundle !== null) {
      const before = bundles.get(bundle) ?? (await openBundle(ctx, reader, holder, bundle));
      const rest = before.rest.filter((shard) => !isOf(shard, wanted));
      bundles.set(bundle, { ...before, rest });
      isThere ||= rest.length < before.rest.length;
    }
    if (isThere) purged.push({ depositTx, index });
  }
  if (purged.length === 0) throw new Refusal('NOT_FOUND', `${holder} holds none of these shards`);
  for (const [bundle, open] of bundles) await purgeFromBundle(ctx, holder, bundle, open);
  return purged;
}

async function purgeAlone(
  ctx: Context,
  reader: ShardReader,
  holder: MspId,
  name: string,
  wanted: ToPurge,
): Promise<boolean> {
  const shard = await valueAt(ctx, reader, holder, name, SHARD_BYTES_MAX);
  if (shard === null || !isOf(shard, wanted)) return false;
  await ctx.stub.purgePrivateData(shardCollection(holder), name);
  return true;
}

async function openBundle(
  ctx: Context,
  reader: ShardReader,
  holder: MspId,
  bundle: string,
): Promise<OpenBundle> {
  const name = await reader.nameOf(bundle);
  const shards = shardsOf(await valueAt(ctx, reader, holder, name, BUNDLE_BYTES_MAX));
  return { name, shards, rest: shards };
}

async function purgeFromBundle(
  ctx: Context,
  holder: MspId,
  bundle: string,
  { name, shards, rest }: OpenBundle,
): Promise<void> {
  if (rest.length === shards.length) return;
  await ctx.stub.purgePrivateData(shardCollection(holder), name);
  if (rest.length === 0) return;
  const txId = ctx.stub.getTxID();
  await putShards(ctx, holder, restName(txId, bundle), encodeBundle(rest));
  await putGuarded(ctx, KEYS_KEY.bundlePlace(bundle, holder), { rest: txId }, holder);
}

/**
 * What is stored under a name, if it can be a shard or a bundle by its length; otherwise null.
 * @throws Refusal NOT_FOUND where this peer has not got it
 */
async function valueAt(
  ctx: Context,
  reader: ShardReader,
  holder: MspId,
  name: string,
  bytesMax: number,
): Promise<Uint8Array | null> {
  const value = await reader.privateValue(name, bytesMax);
  if (value !== null) return value;
  const hash = await ctx.stub.getPrivateDataHash(shardCollection(holder), name);
  if (hash.length === 0) return null;
  // Too long to be what it should be: somebody's junk, which must not stop the rest.
  if ((await reader.privateValue(name, Number.POSITIVE_INFINITY)) !== null) return null;
  throw new Refusal('NOT_FOUND', `${name} never reached this peer: ask another one of ${holder}`);
}

/** Whether these bytes are the shard of that file with that index. */
function isOf(bytes: Uint8Array, { fileId, index }: ToPurge): boolean {
  try {
    const shard = decodeShard(bytes);
    return shard.fileId === fileId && shard.index === index;
  } catch (error) {
    if (error instanceof ProtocolError) return false;
    throw error;
  }
}
