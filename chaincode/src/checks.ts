/**
 * Small checks that build up the shape of an argument, each with its bound.
 *
 * In: a value from JSON.parse and its path. Out: the same value, typed, or a Refusal
 * `BAD_ARGUMENT: path: expected ..., got ...`. Objects take exactly the named fields.
 */
import { decodeRecipient } from '@blocktorrent/protocol/age.ts';
import { ProtocolError } from '@blocktorrent/protocol/errors.ts';
import { describe } from '@blocktorrent/protocol/fields.ts';
import type { Base64, Hex, MspId } from '@blocktorrent/protocol/ledger-api.ts';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import { MSP_ID } from '../collections.ts';
import { Refusal } from './refusal.ts';

/** Returns `value` as T or throws a Refusal that names `path`. */
export type Check<T> = (value: unknown, path: string) => T;

/** Marks a check of a field that may be absent. */
const OPTIONAL = Symbol('optional');

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;
const FAULT_ID = /^[0-9a-f]{64}\.\d{1,3}$/;
const AGE_MAGIC = Buffer.from('age-encryption.org/v1\n');

/** The argument's JSON text as T. Throws a Refusal on anything but that JSON. */
export function parseArgument<T>(argument: string, check: Check<T>): T {
  let value: unknown;
  try {
    value = JSON.parse(argument);
  } catch (cause) {
    throw new Refusal('BAD_ARGUMENT', 'expected one argument, a JSON object', { cause });
  }
  return check(value, 'argument');
}

/** For a field of an object that may be left out; given, it must pass. */
export function optional<T>(check: Check<T>): Check<T> {
  return Object.assign((value: unknown, path: string) => check(value, path), { [OPTIONAL]: true });
}

/** An object of one of the `shapes`, told apart by its text field `kind`. */
export function byKind<T extends { readonly kind: string }>(
  shapes: {
    readonly [K in T['kind']]: Check<T & { readonly kind: K }>;
  },
): Check<T> {
  const kinds = Object.keys(shapes) as T['kind'][];
  return (value, path) => {
    const kind = oneOf(...kinds)(requireObject(value, path).kind, `${path}.kind`);
    return shapes[kind](value, path);
  };
}

/** Exactly the text `expected`. */
export function literal<T extends string>(expected: T): Check<T> {
  return oneOf(expected);
}

/** An object with exactly the fields of `shape`, those marked `optional` if they are there. */
export function object<T extends object>(shape: { [K in keyof T]-?: Check<T[K]> }): Check<T> {
  const names = Object.keys(shape) as (keyof T & string)[];
  return (value, path) => {
    const given = requireObject(value, path);
    const unknown = Object.keys(given).find((key) => !Object.hasOwn(shape, key));
    if (unknown !== undefined) {
      throw new Refusal('BAD_ARGUMENT', `${path}: unknown field "${unknown.slice(0, 64)}"`);
    }
    const result: Partial<T> = {};
    for (const name of names) {
      if (OPTIONAL in shape[name] && !Object.hasOwn(given, name)) continue;
      result[name] = shape[name](given[name], `${path}.${name}`);
    }
    return result as T;
  };
}

/** A list of countMin..countMax items. */
export function list<T>(item: Check<T>, countMin: number, countMax: number): Check<T[]> {
  return (value, path) => {
    if (!Array.isArray(value) || value.length < countMin || value.length > countMax) {
      throw wrong(path, `a list of ${countMin}..${countMax} items`, value);
    }
    return value.map((one: unknown, index) => item(one, `${path}[${index}]`));
  };
}

/** A list without repeats. */
export function distinct<T>(item: Check<T>, countMin: number, countMax: number): Check<T[]> {
  const items = list(item, countMin, countMax);
  return (value, path) => {
    const checked = items(value, path);
    if (new Set(checked).size !== checked.length) {
      throw new Refusal('BAD_ARGUMENT', `${path}: expected no item twice`);
    }
    return checked;
  };
}

/** An object from MSP ids to values. */
export function byMspId<T>(item: Check<T>): Check<Record<MspId, T>> {
  return (value, path) => {
    const entries = Object.entries(requireObject(value, path));
    if (entries.length < 1 || entries.length > LIMITS.membersMax) {
      throw wrong(path, `1..${LIMITS.membersMax} organisations`, value);
    }
    return Object.fromEntries(
      entries.map(([key, one]) => [mspId(key, path), item(one, `${path}.${key}`)]),
    );
  };
}

/** Well-formed text of charsMin..charsMax characters. */
export function text(charsMin: number, charsMax: number): Check<string> {
  return (value, path) => {
    if (typeof value !== 'string' || value.length < charsMin || value.length > charsMax) {
      throw wrong(path, `text of ${charsMin}..${charsMax} characters`, value);
    }
    if (!value.isWellFormed()) throw wrong(path, 'well-formed Unicode', value);
    return value;
  };
}

/** A whole number min..max. */
export function integer(min: number, max: number): Check<number> {
  return (value, path) => {
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < min || value > max) {
      throw wrong(path, `a whole number ${min}..${max}`, value);
    }
    return value;
  };
}

/** One of the given texts. */
export function oneOf<T extends string>(...allowed: readonly T[]): Check<T> {
  return (value, path) => {
    const found = allowed.find((one) => one === value);
    if (found === undefined) throw wrong(path, `one of ${allowed.join(', ')}`, value);
    return found;
  };
}

/** Lower-case hex of exactly `byteLength` bytes. */
export function hex(byteLength: number): Check<Hex> {
  const pattern = new RegExp(`^[0-9a-f]{${2 * byteLength}}$`);
  return (value, path) => {
    if (typeof value !== 'string' || !pattern.test(value)) {
      throw wrong(path, `${byteLength} bytes as lower-case hex`, value);
    }
    return value;
  };
}

/** Canonical base64 of 1..bytesMax bytes. */
export function base64(bytesMax: number): Check<Base64> {
  return (value, path) => {
    if (typeof value !== 'string' || value === '') throw wrong(path, 'base64', value);
    // The length in characters first: nothing too long is decoded.
    const bytes = value.length > 4 * Math.ceil(bytesMax / 3) ? null : Buffer.from(value, 'base64');
    if (bytes === null || bytes.length > bytesMax) {
      throw new Refusal('TOO_LARGE', `${path}: expected at most ${bytesMax} bytes`);
    }
    if (bytes.toString('base64') !== value) throw wrong(path, 'canonical base64', value);
    return value;
  };
}

/** An age file (its first line is looked at) of at most bytesMax bytes, as base64. */
export function ageFile(bytesMax: number): Check<Base64> {
  const check = base64(bytesMax);
  return (value, path) => {
    const checked = check(value, path);
    const start = Buffer.from(checked.slice(0, 32), 'base64').subarray(0, AGE_MAGIC.length);
    if (!start.equals(AGE_MAGIC)) throw wrong(path, 'an age v1 file', value);
    return checked;
  };
}

/** true or false. */
export const boolean: Check<boolean> = (value, path) => {
  if (typeof value !== 'boolean') throw wrong(path, 'true or false', value);
  return value;
};

/** An MSP id that can name a collection. */
export const mspId: Check<MspId> = (value, path) => {
  if (typeof value !== 'string' || !MSP_ID.test(value)) throw wrong(path, 'an MSP id', value);
  return value;
};

/** A peer's name: letters, digits, '.', '_', '-'. */
export const name: Check<string> = (value, path) => {
  if (typeof value !== 'string' || value.length > LIMITS.nameCharsMax || !NAME.test(value)) {
    throw wrong(path, `a name of 1..${LIMITS.nameCharsMax} letters, digits, '.', '_', '-'`, value);
  }
  return value;
};

/** An age X25519 recipient, `age1...`. */
export const recipient: Check<string> = (value, path) => {
  if (typeof value !== 'string' || value.length > 128) throw wrong(path, 'age1...', value);
  try {
    decodeRecipient(value);
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    throw new Refusal('BAD_ARGUMENT', `${path}: ${error.message}`, { cause: error });
  }
  return value;
};

/** A fault's id: transaction and place in it, `txId.index`. */
export const faultId: Check<string> = (value, path) => {
  if (typeof value !== 'string' || !FAULT_ID.test(value)) {
    throw wrong(path, 'a fault id TXID.INDEX', value);
  }
  return value;
};

/** Milliseconds since the Unix epoch, up to the year 2286 (13 digits). */
export const timeMs: Check<number> = integer(0, 9_999_999_999_999);

function requireObject(value: unknown, path: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw wrong(path, 'an object', value);
  }
  return value as Record<string, unknown>;
}

function wrong(path: string, expected: string, value: unknown): Refusal {
  const found = value === undefined ? 'nothing' : describe(value);
  return new Refusal('BAD_ARGUMENT', `${path}: expected ${expected}, got ${found}`);
}
