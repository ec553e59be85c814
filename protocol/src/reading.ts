/**
 * A reading: one MQTT message as the gateway took it, and its place in the gateway's hash chain.
 *
 * The payload is kept byte for byte: it is the evidence. Each reading's chain hash is over the one
 * before it and everything that was captured, so no reading can be changed, moved, added or left out
 * without changing every later hash; anchors put one of them on the ledger (PROTOCOL §2, §7).
 */
import { sha256 } from '@noble/hashes/sha2.js';
import { ProtocolError } from './errors.ts';
import { LIMITS } from './limits.ts';
import { readingBytes } from './reading-bytes.ts';

/** One value that a decoder found in a payload. */
export interface Sample {
  /** Whose value it is; null where it is the reading's own sensor. */
  readonly sensor: string | null;
  readonly name: string;
  /** As the payload or the rule says it, best UCUM; '' if not known. */
  readonly unit: string;
  /** Milliseconds since the Unix epoch; null where it is the reading's. */
  readonly timeMs: number | null;
  /** A finite number (truth is 1 or 0), or text. */
  readonly value: number | string;
}

/** One MQTT message as it was received, and what its decoder found in it. */
export interface Reading {
  /** Position among all readings of this gateway, from 1, without gaps. */
  readonly seq: number;
  /** When it came in, by the gateway's clock: whole milliseconds since the Unix epoch. */
  readonly receivedMs: number;
  /** When it came in, by a clock that never jumps: whole milliseconds since this boot. */
  readonly monotonicMs: number;
  /** Which boot `monotonicMs` belongs to. */
  readonly bootId: string;
  /** Whether the gateway's clock was known to be right. */
  readonly clockSynchronised: boolean;
  readonly topic: string;
  readonly qos: 0 | 1 | 2;
  readonly dup: boolean;
  readonly retain: boolean;
  readonly payload: Uint8Array;
  /** Name of the sensor, if a decoder found one. */
  readonly sensor: string | null;
  /** The sensor's own sequence number, if it sends one. */
  readonly deviceSeq: number | null;
  /** The sensor's own time, milliseconds since the Unix epoch, if it sends one. */
  readonly deviceMs: number | null;
  /** `seq` of the reading that this one repeats. */
  readonly duplicateOf: number | null;
  /** Why no decoder took it: such a reading is a dead letter. */
  readonly refusal: string | null;
  /** It waited in the sensor's buffer before it was sent. */
  readonly historical: boolean;
  /** Values of a payload that SQLite's JSON functions cannot read; empty where they can. */
  readonly samples: readonly Sample[];
}

/** Length of a chain hash, in bytes. */
export const CHAIN_HASH_BYTES = 32;
/** What the first reading of a gateway follows: 32 zero bytes. Do not change its bytes. */
export const CHAIN_START: Uint8Array = new Uint8Array(CHAIN_HASH_BYTES);

const TEXT_CHARS_MAX = 1000;

/**
 * Chain hash (32 bytes) after `reading`: SHA-256 over canonical CBOR of the domain, the hash before
 * it and every field in the order of `Reading`. `hash` may be another SHA-256, e.g. a faster one.
 * Throws ProtocolError `bad-argument` for a reading out of bounds, as `requireReading`.
 */
export function chainHash(
  previous: Uint8Array,
  reading: Reading,
  hash: (bytes: Uint8Array) => Uint8Array = sha256,
): Uint8Array {
  if (previous.length !== CHAIN_HASH_BYTES) {
    throw new ProtocolError(
      'bad-argument',
      `chain: expected a hash of ${CHAIN_HASH_BYTES} bytes, got ${previous.length}`,
    );
  }
  requireReading(reading);
  return hash(readingBytes(previous, reading));
}

/** Throws ProtocolError `bad-argument`, naming the field, for a reading that no batch can hold. */
export function requireReading(reading: Reading): void {
  const { seq, duplicateOf, payload, topic, qos } = reading;
  requireWhole('seq', seq, 1);
  requireWhole('receivedMs', reading.receivedMs, 0);
  requireWhole('monotonicMs', reading.monotonicMs, 0);
  if (reading.deviceSeq !== null) requireWhole('deviceSeq', reading.deviceSeq, -MAX);
  if (reading.deviceMs !== null) requireWhole('deviceMs', reading.deviceMs, 0);
  if (duplicateOf !== null) {
    requireWhole('duplicateOf', duplicateOf, 1);
    if (duplicateOf >= seq) throw wrong('duplicateOf', `an earlier seq than ${seq}`, duplicateOf);
  }
  if (qos !== 0 && qos !== 1 && qos !== 2) throw wrong('qos', '0, 1 or 2', qos);
  if (payload.length > LIMITS.payloadBytesMax) {
    throw wrong('payload', `at most ${LIMITS.payloadBytesMax} bytes`, payload.length);
  }
  requireText('topic', topic, LIMITS.topicBytesMax);
  requireText('bootId', reading.bootId, LIMITS.nameCharsMax);
  if (reading.sensor !== null) requireText('sensor', reading.sensor, TEXT_CHARS_MAX);
  if (reading.refusal !== null) requireText('refusal', reading.refusal, TEXT_CHARS_MAX);
  if (reading.samples.length > LIMITS.samplesPerReadingMax) {
    throw wrong('samples', `at most ${LIMITS.samplesPerReadingMax}`, reading.samples.length);
  }
  for (const sample of reading.samples) requireSample(sample);
}

function requireSample({ sensor, name, unit, timeMs, value }: Sample): void {
  if (sensor !== null) requireText('samples.sensor', sensor, TEXT_CHARS_MAX);
  requireText('samples.name', name, TEXT_CHARS_MAX);
  if (unit !== '') requireText('samples.unit', unit, LIMITS.nameCharsMax);
  if (timeMs !== null) requireWhole('samples.timeMs', timeMs, 0);
  if (typeof value === 'number') {
    if (Number.isFinite(value) && !Object.is(value, -0)) return;
    throw wrong('samples.value', 'a finite number, or text', value);
  }
  if (value !== '') requireText('samples.value', value, LIMITS.payloadBytesMax);
}

const MAX = Number.MAX_SAFE_INTEGER;

function requireWhole(field: string, value: number, min: number): void {
  if (!Number.isSafeInteger(value) || value < min || Object.is(value, -0)) {
    throw wrong(field, `a whole number >= ${min}`, value);
  }
}

function requireText(field: string, text: string, charsMax: number): void {
  if (text.length < 1 || text.length > charsMax || !text.isWellFormed()) {
    throw wrong(field, `1..${charsMax} characters of well-formed text`, text.length);
  }
}

function wrong(field: string, expected: string, found: number): ProtocolError {
  return new ProtocolError('bad-argument', `reading.${field}: expected ${expected}, got ${found}`);
}
