/**
 * The Sparkplug B payload (Eclipse Tahu `sparkplug_b.proto`), as far as readings need it.
 *
 * Enters: bytes. Leaves: timestamp, sequence and metrics. Throws RangeError where they end too early.
 * Fields that are not looked at (data sets, templates, metadata) are skipped, not read.
 */

import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import protobuf from 'protobufjs/minimal.js';
import { DecodeError } from './decode-error.ts';

type Reader = protobuf.Reader;

export interface SparkplugMetric {
  readonly name: string | null;
  readonly alias: string | null;
  /** Milliseconds since the Unix epoch. */
  readonly timestampMs: number | null;
  /** Number of the datatype; null where the birth has said it. */
  readonly datatype: number | null;
  readonly historical: boolean;
  /** Property `engUnit`; null if not given. */
  readonly unit: string | null;
  readonly isNull: boolean;
  /** As it is on the wire, unsigned; null where `isNull`, and for what is skipped. */
  readonly value: bigint | number | boolean | string | Uint8Array | null;
}

export interface SparkplugPayload {
  readonly timestampMs: number | null;
  readonly seq: number | null;
  readonly metrics: readonly SparkplugMetric[];
}

/** What a birth may carry besides readings' values. */
const METRICS_MAX = LIMITS.samplesPerReadingMax;
const COMPRESSED = 'SPBV1.0_COMPRESSED';

/** Reads a payload. Throws DecodeError or RangeError. */
export function readSparkplugPayload(bytes: Uint8Array): SparkplugPayload {
  const reader = protobuf.Reader.create(bytes);
  let timestampMs: number | null = null;
  let seq: number | null = null;
  const metrics: SparkplugMetric[] = [];
  while (reader.pos < reader.len) {
    const tag = reader.uint32();
    if (tag === VARINT(1)) timestampMs = timeOf(uint64(reader));
    else if (tag === BYTES(2)) metrics.push(readMetric(reader, reader.uint32() + reader.pos));
    else if (tag === VARINT(3)) seq = seqOf(uint64(reader));
    else if (tag === BYTES(4)) requirePlain(reader.string());
    else reader.skipType(tag & 7);
    if (metrics.length > METRICS_MAX) throw new DecodeError(`more than ${METRICS_MAX} metrics`);
  }
  return { timestampMs, seq, metrics };
}

/**
 * The payload of a command that asks an edge node for its births: no `seq`, its time, and the metric
 * by its name [tck-id-payloads-ncmd-seq, tck-id-operational-behavior-data-commands-rebirth-name].
 */
export function rebirthCommand(timeMs: number): Uint8Array {
  const metric = protobuf.Writer.create()
    .uint32(BYTES(1))
    .string('Node Control/Rebirth')
    .uint32(VARINT(3))
    .uint64(timeMs)
    .uint32(VARINT(4))
    .uint32(BOOLEAN)
    .uint32(VARINT(14))
    .bool(true)
    .finish();
  return protobuf.Writer.create()
    .uint32(VARINT(1))
    .uint64(timeMs)
    .uint32(BYTES(2))
    .bytes(metric)
    .finish();
}

/** Number of the datatype. */
const BOOLEAN = 11;
const VARINT = (field: number): number => field << 3;
const BYTES = (field: number): number => (field << 3) | 2;
const FLOAT = (field: number): number => (field << 3) | 5;
const DOUBLE = (field: number): number => (field << 3) | 1;

const METRIC_FIELDS = new Map<number, (reader: Reader) => Partial<SparkplugMetric>>([
  [BYTES(1), (reader) => ({ name: reader.string() })],
  [VARINT(2), (reader) => ({ alias: String(uint64(reader)) })],
  [VARINT(3), (reader) => ({ timestampMs: timeOf(uint64(reader)) })],
  [VARINT(4), (reader) => ({ datatype: reader.uint32() })],
  [VARINT(5), (reader) => ({ historical: reader.bool() })],
  [VARINT(7), (reader) => ({ isNull: reader.bool() })],
  [BYTES(9), (reader) => ({ unit: readUnit(reader, end(reader)) })],
  [VARINT(10), (reader) => ({ value: BigInt(reader.uint32()) })],
  [VARINT(11), (reader) => ({ value: uint64(reader) })],
  [FLOAT(12), (reader) => ({ value: reader.float() })],
  [DOUBLE(13), (reader) => ({ value: reader.double() })],
  [VARINT(14), (reader) => ({ value: reader.bool() })],
  [BYTES(15), (reader) => ({ value: reader.string() })],
  [BYTES(16), (reader) => ({ value: reader.bytes() })],
]);

function readMetric(reader: Reader, endAt: number): SparkplugMetric {
  const metric: SparkplugMetric = {
    name: null,
    alias: null,
    timestampMs: null,
    datatype: null,
    historical: false,
    isNull: false,
    unit: null,
    value: null,
  };
  while (reader.pos < endAt) {
    const tag = reader.uint32();
    const read = METRIC_FIELDS.get(tag);
    if (read === undefined) reader.skipType(tag & 7);
    else Object.assign(metric, read(reader));
  }
  if (reader.pos !== endAt) throw new DecodeError('Sparkplug: a metric is cut off');
  return metric.isNull ? { ...metric, value: null } : metric;
}

/** The text at key `engUnit` of a PropertySet; null also for one that no batch can hold. */
function readUnit(reader: Reader, endAt: number): string | null {
  const keys: string[] = [];
  const values: (string | null)[] = [];
  while (reader.pos < endAt) {
    const tag = reader.uint32();
    if (tag === BYTES(1)) keys.push(reader.string());
    else if (tag === BYTES(2)) values.push(readText(reader, end(reader)));
    else reader.skipType(tag & 7);
  }
  if (reader.pos !== endAt) throw new DecodeError('Sparkplug: properties are cut off');
  const unit = values[keys.indexOf('engUnit')] ?? '';
  return unit === '' || unit.length > LIMITS.nameCharsMax ? null : unit;
}

function readText(reader: Reader, endAt: number): string | null {
  let text: string | null = null;
  while (reader.pos < endAt) {
    const tag = reader.uint32();
    if (tag === BYTES(8)) text = reader.string();
    else reader.skipType(tag & 7);
  }
  if (reader.pos !== endAt) throw new DecodeError('Sparkplug: a property is cut off');
  return text;
}

function end(reader: Reader): number {
  return reader.uint32() + reader.pos;
}

function uint64(reader: Reader): bigint {
  return BigInt(String(reader.uint64()));
}

function timeOf(value: bigint): number {
  const timeMs = Number(value);
  if (Number.isSafeInteger(timeMs)) return timeMs;
  throw new DecodeError(`Sparkplug: ${value} is no time`);
}

/** 0..255 by the specification; nodes that count further are let be, as far as numbers go. */
function seqOf(value: bigint): number {
  const seq = Number(value);
  if (Number.isSafeInteger(seq)) return seq;
  throw new DecodeError(`Sparkplug: ${value} is no seq`);
}

function requirePlain(uuid: string): void {
  if (uuid === COMPRESSED) throw new DecodeError('Sparkplug: compressed payloads are not read');
}
