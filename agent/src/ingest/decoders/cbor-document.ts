/**
 * CBOR (RFC 8949) from outside: any well-formed item, maps with any keys, the usual tags.
 *
 * Leaves: numbers, bigints, text, bytes, arrays, Maps, Dates. Throws what cborg throws, and
 * DecodeError for more arrays, maps, byte strings and tags than `OBJECTS_MAX`: each costs 100 bytes
 * and more. Strings of indefinite length and simple values that have no name are not read.
 */
import { decode, type TagDecoder, Tokenizer, Type } from 'cborg';
import { DecodeError } from './decode-error.ts';
import { OBJECTS_MAX } from './document.ts';

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

const OPTIONS = {
  useMaps: true,
  rejectDuplicateMapKeys: true,
  tags: TAGS,
  allowIndefinite: true,
  allowUndefined: true,
  allowBigInt: true,
};
const OBJECTS = [Type.array, Type.map, Type.bytes, Type.tag];

/** The one item of these bytes. */
export function decodeCbor(bytes: Uint8Array): unknown {
  return decode(bytes, { ...OPTIONS, tokenizer: new CountingTokenizer(bytes, OPTIONS) });
}

class CountingTokenizer extends Tokenizer {
  #objects = 0;

  override next(): ReturnType<Tokenizer['next']> {
    const token = super.next();
    if (OBJECTS.some((type) => Type.equals(token.type, type))) {
      this.#objects += 1;
      if (this.#objects > OBJECTS_MAX) {
        throw new DecodeError(`CBOR: more than ${OBJECTS_MAX} arrays, maps, bytes and tags`);
      }
    }
    return token;
  }
}

function bigNumber(bytes: unknown): bigint {
  if (!(bytes instanceof Uint8Array) || bytes.length > 32) throw new Error('CBOR: bad big number');
  return BigInt(`0x0${Buffer.from(bytes).toString('hex')}`);
}
