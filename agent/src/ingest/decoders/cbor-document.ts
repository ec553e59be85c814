/**
 * CBOR (RFC 8949) from outside: any well-formed item, maps with any keys, the usual tags.
 *
 * Leaves: numbers, bigints, text, bytes, arrays, Maps, Dates; what a tag without a meaning here holds;
 * null for simple values without one. Throws what cborg throws, and DecodeError for more arrays,
 * maps, byte strings, tags and parts of strings than `OBJECTS_MAX`: each costs 100 bytes and more.
 */
import { decode, type TagDecoder, Token, Tokenizer, Type } from 'cborg';
import { DecodeError } from './decode-error.ts';
import { OBJECTS_MAX } from './document.ts';

/** Tags that mean something here. */
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
  /** Bigfloat: the same to the base of 2. */
  5: (content) => {
    const [exponent, mantissa] = content() as unknown[];
    return Number(mantissa) * 2 ** Number(exponent);
  },
};
const CONTENT: TagDecoder = (content) => content();

const OPTIONS = {
  useMaps: true,
  rejectDuplicateMapKeys: true,
  // An item with another tag is what it holds (§3.4): the text of a URI, the bytes of a UUID.
  tags: new Proxy(TAGS, { get: (tags, tag: string) => tags[Number(tag)] ?? CONTENT }),
  allowIndefinite: true,
  allowUndefined: true,
  allowBigInt: true,
};
const OBJECTS = [Type.array, Type.map, Type.bytes, Type.tag];

/** The one item of these bytes. */
export function decodeCbor(bytes: Uint8Array): unknown {
  return decode(bytes, { ...OPTIONS, tokenizer: new CountingTokenizer(bytes, OPTIONS) });
}

/** First bytes of strings of indefinite length, and what ends them (§3.2.3). */
const OPEN_BYTES = 0x5f;
const OPEN_TEXT = 0x7f;
const BREAK = 0xff;
/** Simple values without a meaning: in the byte itself, or in the next one (§3.3). */
const SIMPLE_FIRST = 0xe0;
const SIMPLE_LAST = 0xf3;
const SIMPLE_NEXT = 0xf8;
const SIMPLE_NEXT_FIRST = 32;

class CountingTokenizer extends Tokenizer {
  #objects = 0;

  override next(): Token {
    const byte = this.data[this._pos] ?? 0;
    if (byte === OPEN_BYTES) {
      return new Token(Type.bytes, Buffer.concat(this.#parts(Type.bytes) as Uint8Array[]));
    }
    if (byte === OPEN_TEXT) return new Token(Type.string, this.#parts(Type.string).join(''));
    if ((byte >= SIMPLE_FIRST && byte <= SIMPLE_LAST) || byte === SIMPLE_NEXT) {
      return this.#simple(byte);
    }
    const token = super.next();
    if (OBJECTS.some((type) => Type.equals(token.type, type))) this.#count();
    return token;
  }

  #parts(type: Type): unknown[] {
    const parts: unknown[] = [];
    for (this._pos += 1; this.data[this._pos] !== BREAK; ) {
      if (this.done()) throw new DecodeError('CBOR: a string without its end');
      const token = super.next();
      this.#count();
      if (!Type.equals(token.type, type)) {
        throw new DecodeError('CBOR: something else within a string');
      }
      parts.push(token.value);
    }
    this._pos += 1;
    return parts;
  }

  #simple(byte: number): Token {
    const next = byte === SIMPLE_NEXT;
    if (next && (this.data[this._pos + 1] ?? 0) < SIMPLE_NEXT_FIRST) {
      throw new DecodeError('CBOR: a simple value in two bytes that has one');
    }
    this._pos += next ? 2 : 1;
    return new Token(Type.null, null);
  }

  #count(): void {
    this.#objects += 1;
    if (this.#objects > OBJECTS_MAX) {
      throw new DecodeError(`CBOR: more than ${OBJECTS_MAX} arrays, maps, bytes and tags`);
    }
  }
}

function bigNumber(bytes: unknown): bigint {
  if (!(bytes instanceof Uint8Array) || bytes.length > 32) throw new Error('CBOR: bad big number');
  return BigInt(`0x0${Buffer.from(bytes).toString('hex')}`);
}
