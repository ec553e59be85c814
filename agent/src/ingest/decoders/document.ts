/**
 * Payloads that are a document (JSON, CBOR, MessagePack, a CSV line): sensor, sequence, time, values
 * and their unit are found by JSON pointers (RFC 6901), the same for each of these formats.
 *
 * Enters: a decoded document. Leaves: a finding. Throws DecodeError for a document in which none of
 * the rule's values is there, and for a sequence, time or unit that is none.
 */
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import type { Sample } from '@blocktorrent/protocol/reading.ts';
import type { DecodeRule, Finding } from '../finding.ts';
import { DecodeError } from './decode-error.ts';
import { timeMsOf } from './time.ts';

/** Deeper nesting than this is refused: tools that read the batch later have limits of their own. */
const DEPTH_MAX = 64;
/** Arrays, maps and the like of one binary document: each takes far more memory than its byte. */
export const OBJECTS_MAX = 65_536;
const SENSOR_CHARS_MAX = 200;

/** A place in an array (RFC 6901 §4); `length` is none. */
const INDEX = /^(0|[1-9]\d*)$/;

const NO_SAMPLES: readonly Sample[] = [];

type Pointer = readonly string[];
interface Place {
  readonly name: string;
  readonly pointer: string;
  readonly at: Pointer;
  /** Has a whole number in it, which may be an index, or a name. */
  readonly numbered: boolean;
}

interface ValuePlace extends Place {
  /** Where the document does not say it; '' if not known. */
  readonly unit: string;
}

export interface DocumentOptions {
  /** The format's name in messages. */
  readonly format: string;
  /**
   * Which values go into the finding: all, because SQLite cannot read the payload; or those that its
   * JSON paths do not reach, because a whole number stands for an index in them.
   */
  readonly samples: 'all' | 'beyond-paths';
}

/** A reader for one rule. Throws RangeError when one of its pointers is no JSON pointer. */
export function createDocumentReader(
  rule: DecodeRule,
  options: DocumentOptions,
): (document: unknown) => Finding {
  const sensorAt = placeOf('sensor', rule.sensor);
  const sequenceAt = placeOf('sequence', rule.sequence);
  const timeAt = placeOf('time', rule.time);
  const historicalAt = placeOf('historical', rule.historical);
  const pointers = { ...(rule.value === undefined ? {} : { value: rule.value }), ...rule.values };
  const valuesAt = Object.entries(pointers).flatMap(([name, pointer]) => {
    const place = placeOf(name, pointer);
    return place === null ? [] : { ...place, unit: rule.units?.[name] ?? rule.unit ?? '' };
  });
  const wanted = valuesAt.map(({ pointer }) => `'${pointer}'`).join(' or ');
  const numberedAt = valuesAt.filter(({ numbered }) => numbered);
  const unitAt = placeOf('unit', rule.unitAt);
  const beyondPaths = options.samples === 'beyond-paths';
  return (document) => {
    if (depthExceeds(document, DEPTH_MAX)) {
      throw new DecodeError(`${options.format} nested deeper than ${DEPTH_MAX} levels`);
    }
    if (!valuesAt.some(({ at }) => find(document, at) !== undefined)) {
      throw new DecodeError(`no value at ${wanted}`);
    }
    const unit = unitAt === null ? null : unitOf(document, unitAt, beyondPaths);
    return {
      sensor: sensorAt === null ? null : sensorOf(document, sensorAt),
      deviceSeq: sequenceAt === null ? null : sequenceOf(document, sequenceAt),
      deviceMs: timeAt === null ? null : timeOf(document, timeAt, rule),
      historical: historicalAt === null ? null : historicalOf(document, historicalAt),
      samples: samplesOf(document, beyondPaths ? numberedAt : valuesAt, { unit, beyondPaths }),
    };
  };
}

function placeOf(name: string, pointer: string | undefined): Place | null {
  if (pointer === undefined) return null;
  if (!/^(\/([^~/]|~[01])*)*$/.test(pointer)) {
    throw new RangeError(`expected a JSON pointer, found '${pointer}'`);
  }
  const parts = pointer.split('/').slice(1);
  const at = parts.map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
  return { name, pointer, at, numbered: at.some((part) => INDEX.test(part)) };
}

function find(document: unknown, pointer: Pointer): unknown {
  let value = document;
  for (const name of pointer) {
    if (typeof value !== 'object' || value === null || value instanceof Uint8Array) {
      return undefined;
    }
    if (value instanceof Map) value = value.has(name) ? value.get(name) : value.get(indexOf(name));
    else if (Array.isArray(value) && !INDEX.test(name)) return undefined;
    else if (!Object.hasOwn(value, name)) return undefined;
    else value = (value as Readonly<Record<string, unknown>>)[name];
  }
  return value;
}

/** Whether a whole number in the pointer is the name of a field here, and no index. */
function hasNumberAsName(document: unknown, pointer: Pointer): boolean {
  return pointer.some((part, index) => {
    return INDEX.test(part) && !Array.isArray(find(document, pointer.slice(0, index)));
  });
}

/** The whole number that a part of a pointer may also mean: CBOR has maps with such keys. */
function indexOf(name: string): number | undefined {
  return /^(0|-?[1-9]\d{0,14})$/.test(name) ? Number(name) : undefined;
}

function depthExceeds(value: unknown, max: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (value instanceof Uint8Array || value instanceof Date) return false;
  if (max === 0) return true;
  if (value instanceof Map) {
    for (const child of value.values()) if (depthExceeds(child, max - 1)) return true;
    return false;
  }
  const fields = value as Readonly<Record<string, unknown>>;
  // Parsed documents have no fields but their own.
  for (const name in fields) {
    const child = fields[name];
    if (typeof child === 'object' && depthExceeds(child, max - 1)) return true;
  }
  return false;
}

function sensorOf(document: unknown, { at, pointer }: Place): string | null {
  const value = find(document, at);
  if (value === undefined || value === null) return null;
  const text = typeof value === 'number' || typeof value === 'bigint' ? String(value) : value;
  if (typeof text === 'string' && text !== '' && text.length <= SENSOR_CHARS_MAX) {
    if (text.isWellFormed()) return text;
  }
  throw new DecodeError(`sensor at '${pointer}': expected a name, found ${shown(value)}`);
}

function sequenceOf(document: unknown, { at, pointer }: Place): number | null {
  const found = find(document, at);
  if (found === undefined || found === null) return null;
  const value = typeof found === 'bigint' ? Number(found) : found;
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value + 0;
  throw new DecodeError(
    `sequence at '${pointer}': expected a whole number >= 0, found ${shown(found)}`,
  );
}

function timeOf(
  document: unknown,
  { at, pointer }: Place,
  { timeUnit: unit = 'ms', timeOffset }: DecodeRule,
): number | null {
  const found = find(document, at);
  if (found === undefined || found === null) return null;
  const timeMs = timeMsOf(found, unit, timeOffset);
  if (timeMs !== null) return timeMs;
  throw new DecodeError(
    `time at '${pointer}': expected a time since 1970 in ${unit} or ISO 8601${timeOffset === undefined ? ' with its offset' : ''}, found ${shown(found)}`,
  );
}

function historicalOf(document: unknown, { at, pointer }: Place): boolean | null {
  const value = find(document, at);
  if (value === undefined || value === null) return null;
  if (value === true || value === 1 || value === '1' || value === 'true') return true;
  if (value === false || value === 0 || value === '0' || value === 'false') return false;
  throw new DecodeError(
    `historical at '${pointer}': expected true or false, found ${shown(value)}`,
  );
}

/** Null where the document says none: also where a JSON path, which the views go by, finds none. */
function unitOf(document: unknown, { at, pointer }: Place, beyondPaths: boolean): string | null {
  const value = beyondPaths && hasNumberAsName(document, at) ? null : find(document, at);
  if (value === undefined || value === null || value === '') return null;
  if (typeof value === 'string' && value.length <= LIMITS.nameCharsMax && value.isWellFormed()) {
    return value;
  }
  throw new DecodeError(
    `unit at '${pointer}': expected a text of at most ${LIMITS.nameCharsMax} characters, found ${shown(value)}`,
  );
}

interface SampleOptions {
  /** What the document says; null for nothing. */
  readonly unit: string | null;
  readonly beyondPaths: boolean;
}

function samplesOf(
  document: unknown,
  places: readonly ValuePlace[],
  { unit, beyondPaths }: SampleOptions,
): readonly Sample[] {
  // The usual case of JSON: nothing is made for it.
  if (places.length === 0) return NO_SAMPLES;
  return places.flatMap(({ name, at, unit: usual }) => {
    if (beyondPaths && !hasNumberAsName(document, at)) return [];
    const value = sampleValueOf(find(document, at));
    if (value === null) return [];
    return [{ sensor: null, name, unit: unit ?? usual, timeMs: null, value }];
  });
}

/** A decoded value as a sample holds it; null where there is nothing to hold. */
export function sampleValueOf(value: unknown): number | string | null {
  if (value === undefined || value === null || value === '') return null;
  if (typeof value === 'boolean' || typeof value === 'bigint') return Number(value);
  if (typeof value === 'number') return Number.isFinite(value) ? value + 0 : null;
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString();
  if (value instanceof Uint8Array) return Buffer.from(value).toString('base64');
  return (typeof value === 'string' ? value : JSON.stringify(plainOf(value))).toWellFormed();
}

function shown(value: unknown): string {
  const text = shownWhole(value);
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

function shownWhole(value: unknown): string {
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  return JSON.stringify(plainOf(value)) ?? String(value);
}

/** Of the same shape, in what JSON has: maps as objects, bytes as base64, as samples have them. */
function plainOf(value: unknown): unknown {
  if (typeof value === 'bigint') return Number(value);
  if (typeof value === 'symbol') throw new DecodeError('CBOR: a break in the place of a value');
  if (typeof value !== 'object' || value === null || value instanceof Date) return value;
  if (value instanceof Uint8Array) return Buffer.from(value).toString('base64');
  if (Array.isArray(value)) return value.map(plainOf);
  const entries = value instanceof Map ? [...value] : Object.entries(value);
  return Object.fromEntries(entries.map(([key, child]) => [String(key), plainOf(child)]));
}
