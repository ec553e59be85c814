/**
 * World state as canonical JSON: sorted keys, no spaces, so that every endorser writes the same.
 *
 * Reads see what was committed before this transaction, never its own writes. `scan` is for
 * queries only: a range read in a transaction that writes would clash with every parallel writer.
 */
import type { Context } from 'fabric-contract-api';

const decoder = new TextDecoder('utf-8', { fatal: true });

/** What is stored under `key`, or null. T is what this chaincode itself wrote there. */
export async function getJson<T>(ctx: Context, key: string): Promise<T | null> {
  const bytes = await ctx.stub.getState(key);
  return bytes.length === 0 ? null : fromJson<T>(bytes);
}

/** Writes `value` under `key`. */
export async function putJson(ctx: Context, key: string, value: unknown): Promise<void> {
  await ctx.stub.putState(key, Buffer.from(canonicalJson(value)));
}

/**
 * Everything below `prefix/`, in key order, from `prefix/from` up to (not including)
 * `prefix/to`; `place` is the part of the key after `prefix/`.
 */
export async function* scan<T>(
  ctx: Context,
  prefix: string,
  range: { from?: string; to?: string } = {},
): AsyncGenerator<{ place: string; value: T }> {
  const start = `${prefix}/${range.from ?? ''}`;
  const end = range.to === undefined ? `${prefix}0` : `${prefix}/${range.to}`;
  for await (const { key, value } of ctx.stub.getStateByRange(start, end)) {
    yield { place: key.slice(prefix.length + 1), value: fromJson<T>(value) };
  }
}

/** The values below `prefix/`, at most `countMax` of them. */
export async function scanValues<T>(ctx: Context, prefix: string, countMax: number): Promise<T[]> {
  const values: T[] = [];
  if (countMax < 1) return values;
  for await (const { value } of scan<T>(ctx, prefix)) {
    values.push(value);
    if (values.length >= countMax) break;
  }
  return values;
}

/**
 * The values below `prefix/GROUP/`, at most `groupMax` of each group and `countMax` altogether: one
 * organisation that writes many cannot crowd out the others'.
 */
export async function scanGroups<T>(
  ctx: Context,
  prefix: string,
  groupMax: number,
  countMax: number,
): Promise<T[]> {
  const values: T[] = [];
  for (let from: string | null = ''; from !== null; ) {
    let group = '';
    let inGroup = 0;
    let next: string | null = null;
    for await (const { place, value } of scan<T>(ctx, prefix, { from })) {
      if (values.length >= countMax) return values;
      const [current = ''] = place.split('/', 1);
      inGroup = current === group ? inGroup + 1 : 1;
      group = current;
      if (inGroup > groupMax) {
        // '0' follows '/': the first place after everything of this group.
        next = `${group}0`;
        break;
      }
      values.push(value);
    }
    from = next;
  }
  return values;
}

/** JSON with keys in code unit order at every level. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) => {
    if (typeof inner !== 'object' || inner === null || Array.isArray(inner)) return inner;
    return Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)));
  });
}

/** The transaction's time: the client's claim, within the peers' time window. */
export function nowMs(ctx: Context): number {
  return Math.floor(ctx.stub.getDateTimestamp().getTime());
}

function fromJson<T>(bytes: Uint8Array): T {
  return JSON.parse(decoder.decode(bytes)) as T;
}
