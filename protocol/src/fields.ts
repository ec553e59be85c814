/**
 * Reads the fields of a decoded CBOR map or of parsed JSON, strictly: exactly the named keys,
 * each of the kind and within the bound that is asked for.
 *
 * In: an unknown value and what it is called. Out: typed values, or ProtocolError `malformed`
 * (`too-large` past a bound) that names the field, what was expected and what was found.
 */
import { ProtocolError } from './errors.ts';
import { LIMITS } from './limits.ts';

/** The fields of one object, read one by one by name. */
export class Fields {
  readonly #of: string;
  readonly #values: ReadonlyMap<string, unknown>;

  /** `value` must be a plain object with exactly `keys`; `of` names it in errors. */
  constructor(of: string, value: unknown, keys: readonly string[]) {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw new ProtocolError('malformed', `${of}: expected an object`);
    }
    const found = Object.keys(value);
    const unknown = found.find((key) => !keys.includes(key));
    if (unknown !== undefined) {
      throw new ProtocolError('malformed', `${of}: unknown field "${unknown.slice(0, 64)}"`);
    }
    const missing = keys.find((key) => !found.includes(key));
    if (missing !== undefined) {
      throw new ProtocolError('malformed', `${of}: field "${missing}" is missing`);
    }
    this.#of = of;
    this.#values = new Map(Object.entries(value));
  }

  /** Must be the number `expected`; ProtocolError `bad-version` otherwise. */
  version<V extends number>(name: string, expected: V): V {
    const value = this.#values.get(name);
    if (value !== expected) {
      throw new ProtocolError(
        'bad-version',
        `${this.#of}.${name}: expected ${expected}, got ${describe(value)}`,
      );
    }
    return expected;
  }

  /** A whole number min..max. */
  integer(name: string, min: number, max: number): number {
    const value = this.#values.get(name);
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < min || value > max) {
      throw this.#wrong(name, `a whole number ${min}..${max}`);
    }
    return value;
  }

  /** Text of 1..charsMax characters. */
  text(name: string, charsMax: number = LIMITS.nameCharsMax): string {
    const value = this.#values.get(name);
    if (typeof value !== 'string' || value.length < 1 || value.length > charsMax) {
      throw this.#wrong(name, `text of 1..${charsMax} characters`);
    }
    return value;
  }

  /** One of the given texts. */
  oneOf<T extends string>(name: string, allowed: readonly T[]): T {
    const value = this.#values.get(name);
    const found = allowed.find((one) => one === value);
    if (found === undefined) throw this.#wrong(name, `one of ${allowed.join(', ')}`);
    return found;
  }

  /** Exactly `length` bytes, copied. */
  bytes(name: string, length: number): Uint8Array {
    return this.bytesWithin(name, length, length);
  }

  /** lengthMin..lengthMax bytes, copied. */
  bytesWithin(name: string, lengthMin: number, lengthMax: number): Uint8Array {
    const value = this.#values.get(name);
    if (!(value instanceof Uint8Array) || value.length < lengthMin) {
      throw this.#wrong(name, `${lengthMin}..${lengthMax} bytes`);
    }
    if (value.length > lengthMax) {
      throw new ProtocolError(
        'too-large',
        `${this.#of}.${name}: expected at most ${lengthMax} bytes, got ${value.length}`,
      );
    }
    return Uint8Array.from(value);
  }

  /** A list of countMin..countMax items, unread. */
  list(name: string, countMin: number, countMax: number): readonly unknown[] {
    const value = this.#values.get(name);
    if (!Array.isArray(value) || value.length < countMin || value.length > countMax) {
      throw this.#wrong(name, `a list of ${countMin}..${countMax} items`);
    }
    return value;
  }

  /** The value as it is. */
  raw(name: string): unknown {
    return this.#values.get(name);
  }

  #wrong(name: string, expected: string): ProtocolError {
    const value = describe(this.#values.get(name));
    return new ProtocolError(
      'malformed',
      `${this.#of}.${name}: expected ${expected}, got ${value}`,
    );
  }
}

/** Short description of a value for an error: its kind and size, never the content of bytes. */
export function describe(value: unknown): string {
  if (value === null || typeof value === 'number' || typeof value === 'boolean') return `${value}`;
  if (typeof value === 'string') return `text of ${value.length} characters`;
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  if (Array.isArray(value)) return `a list of ${value.length} items`;
  return typeof value;
}
