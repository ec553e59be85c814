/**
 * CBOR (RFC 8949) from outside: any well-formed item, maps with any keys, the usual tags.
 *
 * Leaves: numbers, bigints, text, bytes, arrays, Maps, Dates. Throws what cborg throws.
 */
import { decode, type TagDecoder } from 'cborg';

/** Tags that mean something here; an item with another one is refused. */
const TAGS: Record<number, TagDecoder> = {
  /** Date and time as text. */
  0: (content) => content(),
  /** Seconds since 1970. */
  1: (content) => new Date(Number(content()) * 1000),
  2: (content) => bigNumber(content()),
  3: (content) => -1n - bigNumber(content()),
  /** Decimal fraction: exponent and mantissa. */
  4: (content) => {
    const [exponent, mantissa] = content() as unknown[];
    return Number(`${String(mantissa)}e${String(exponent)}`);
  },
  /** "This is CBOR". */
  55799: (content) => content(),
};

/** The one item of these bytes. */
export function decodeCbor(bytes: Uint8Array): unknown {
  return decode(bytes, { useMaps: true, rejectDuplicateMapKeys: true, tags: TAGS });
}

function bigNumber(bytes: unknown): bigint {
  if (!(bytes instanceof Uint8Array) || bytes.length > 32) throw new Error('CBOR: bad big number');
  return BigInt(`0x0${Buffer.from(bytes).toString('hex')}`);
}
