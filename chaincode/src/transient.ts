/**
 * What comes beside a transaction and is never written: the transient map, each field bounded.
 */
import type { Context } from 'fabric-contract-api';
import { Refusal } from './refusal.ts';

/** A field of the transient map, of `bytesMin` to `bytesMax` bytes; errors never show what is in it. */
export function transient(
  ctx: Context,
  name: string,
  bytesMin: number,
  bytesMax: number,
): Uint8Array {
  const value = ctx.stub.getTransient().get(name);
  if (value === undefined || value.length < bytesMin || value.length > bytesMax) {
    const found = value === undefined ? 'nothing' : `${value.length} bytes`;
    throw new Refusal(
      'BAD_ARGUMENT',
      `transient.${name}: expected ${bytesMin}..${bytesMax} bytes, got ${found}`,
    );
  }
  return Uint8Array.from(value);
}
