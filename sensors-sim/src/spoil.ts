/**
 * Payloads that no decoder should take: cut off, noise, or nested without an end.
 *
 * Enters: a good payload and its format. Leaves: a bad one; of formats of which a part may be whole
 * (half a number is a number) noise only. Always holds: noise is no UTF-8, no CBOR, and ends as
 * MessagePack and protobuf before it is at its end.
 */
import type { Format } from './formats.ts';
import type { Random } from './random.ts';

/** Formats of which the first half is never whole. */
const CUTTABLE: readonly Format[] = ['json', 'senml-json', 'cbor', 'senml-cbor', 'msgpack'];
const NESTED: readonly Format[] = ['json', 'senml-json'];
const NOISE_BYTES = 24;
const LEVELS = 5_000;

/** A bad payload in place of `payload`. */
export function spoil(
  payload: string | Uint8Array,
  format: Format,
  random: Random,
): string | Uint8Array {
  const kind = random.uniform();
  if (CUTTABLE.includes(format) && kind < 0.5) return payload.slice(0, payload.length >> 1);
  if (NESTED.includes(format) && kind < 0.6) return '['.repeat(LEVELS);
  const bytes = Array.from({ length: NOISE_BYTES }, () => Math.floor(random.between(0, 256)));
  return Uint8Array.from([0xff, 0xfe, ...bytes]);
}
