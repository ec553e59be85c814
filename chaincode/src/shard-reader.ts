/**
 * Where an organisation's shards are in its own collection, and reading them.
 *
 * In: a deposit's id and an index. Out: the stored bytes, or null. A shard stands alone under its
 * own name, or in a bundle with others of its transaction; what is left of a bundle after a purge
 * has another name, which the holder's pointer gives; a re-issue is found by the deposit's entry.
 * Who dealt may have written anything anywhere: what makes no sense says nothing.
 */
import { createHash } from 'node:crypto';
import { ProtocolError } from '@blocktorrent/protocol/errors.ts';
import {
  bundleName,
  type GetShardInput,
  type MspId,
  restName,
  type ShardRef,
  shardCollection,
  shardName,
} from '@blocktorrent/protocol/ledger-api.ts';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import { BUNDLE_BYTES_MAX, decodeBundle } from '@blocktorrent/protocol/shard.ts';
import type { Context } from 'fabric-contract-api';
import { Refusal } from './refusal.ts';
import { KEYS_KEY } from './state-keys.ts';

/** Where to look for a shard, by its deposit's entry. */
export interface ShardPlace {
  /** SHA-256 by the dealing, '' where it is not known. */
  readonly pinned: string;
  /** Transaction of the bundle that it is in; null where it stands alone. */
  readonly bundle: string | null;
  /** Transaction that stored it again, or null. */
  readonly reissue: string | null;
}

/** Finds shards of one organisation; reads each of its bundles once. */
export class ShardReader {
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
   * that a shard of a bundle would have alone, or had before it was purged: without the right hash
   * it is looked at only where it belongs, and last.
   */
  async shard({ depositTx, index, hash }: GetShardInput): Promise<Uint8Array | null> {
    const name = shardName(depositTx, index);
    if (hash !== undefined) {
      // The bytes prove themselves: no other read can make them more right.
      const alone = await this.#shardAt(name);
      if (alone !== null && sha256Hex(alone) === hash) return alone;
    }
    const { pinned, bundle, reissue } = await this.placeOf({ depositTx, index });
    const found =
      bundle === null ? await this.#shardAt(name) : await this.#bundled(bundle, hash ?? pinned);
    if (reissue === null || (found !== null && sha256Hex(found) === pinned)) return found;
    return (await this.#shardAt(shardName(reissue, index))) ?? found;
  }

  /** Where a shard is, as the deposit's entry says. */
  async placeOf({ depositTx, index }: ShardRef): Promise<ShardPlace> {
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

  /** Name under which a bundle is now: its own, or that of what the last purge left of it. */
  async nameOf(bundle: string): Promise<string> {
    const bytes = await this.#ctx.stub.getState(KEYS_KEY.bundlePlace(bundle, this.#mspId));
    const place = parsed(bytes) as { rest?: unknown } | null;
    const rest = idOrNull(place?.rest);
    return rest === null ? bundleName(bundle) : restName(rest, bundle);
  }

  /** A private value; null where there is none, where it never reached this peer, or is too long. */
  async privateValue(name: string, bytesMax: number): Promise<Uint8Array | null> {
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

  #shardAt(name: string): Promise<Uint8Array | null> {
    return this.privateValue(name, LIMITS.evidenceBytesMax);
  }

  /** The shard with that SHA-256 of a bundle; the pointer is asked only where it has gone from there. */
  async #bundled(bundle: string, hash: string): Promise<Uint8Array | null> {
    const found = (await this.#bundleAt(bundleName(bundle))).get(hash);
    if (found !== undefined) return found;
    const name = await this.nameOf(bundle);
    return name === bundleName(bundle) ? null : ((await this.#bundleAt(name)).get(hash) ?? null);
  }

  /** Shards of a bundle by their SHA-256; none where it is not there, or is no bundle. */
  async #bundleAt(name: string): Promise<ReadonlyMap<string, Uint8Array>> {
    const known = this.#bundles.get(name);
    if (known !== undefined) return known;
    const bytes = await this.privateValue(name, BUNDLE_BYTES_MAX);
    const byHash = new Map(shardsOf(bytes).map((shard) => [sha256Hex(shard), shard]));
    this.#bundles.set(name, byHash);
    return byHash;
  }
}

/** Fabric's words for private data that is on the ledger by its hash but never reached this peer. */
const NEVER_ARRIVED = 'private data matching public hash version is not available';

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
export function shardsOf(bytes: Uint8Array | null): Uint8Array[] {
  try {
    return bytes === null ? [] : decodeBundle(bytes);
  } catch (error) {
    if (error instanceof ProtocolError) return [];
    throw error;
  }
}

/** SHA-256 as lower-case hex. */
export function sha256Hex(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
