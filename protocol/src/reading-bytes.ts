/**
 * The bytes that a reading's chain hash is over: canonical CBOR (RFC 8949 §4.2.1), written by hand.
 *
 * Enters: the hash before it and a reading that `requireReading` has taken. Leaves: the very bytes
 * that `encodeCanonical` gives for the same array; a test compares them. It exists because every
 * reading of a gateway passes here, and a general encoder takes several times as long.
 * The bytes are a view of one buffer that the next call writes over: hash them at once.
 */
import type { Reading, Sample } from './reading.ts';

const DOMAIN = 'blocktorrent/reading/v1';
const FIELDS = 19;
const SAMPLE_FIELDS = 5;
const TEXT_HEAD_BYTES = 9;
/** Buffers larger than this are not kept. */
const KEPT_BYTES_MAX = 64 * 1024;

const MAJOR_UNSIGNED = 0x00;
const MAJOR_NEGATIVE = 0x20;
const MAJOR_BYTES = 0x40;
const MAJOR_TEXT = 0x60;
const MAJOR_ARRAY = 0x80;
const FALSE = 0xf4;
const TRUE = 0xf5;
const NULL = 0xf6;

const encoder = new TextEncoder();
let bytes: Uint8Array<ArrayBuffer>;
let view: DataView;
let at: number;
/** Behind what all readings begin with, which is never written again. */
let begun: number;
begin();

/** See the header. `previous` are 32 bytes. */
export function readingBytes(previous: Uint8Array, reading: Reading): Uint8Array {
  if (bytes.length > KEPT_BYTES_MAX) begin();
  at = begun;
  putBytes(previous);
  putWhole(reading.seq);
  putWhole(reading.receivedMs);
  putWhole(reading.monotonicMs);
  putText(reading.bootId);
  putTruth(reading.clockSynchronised);
  putText(reading.topic);
  putWhole(reading.qos);
  putTruth(reading.dup);
  putTruth(reading.retain);
  putBytes(reading.payload);
  putTextOrNull(reading.sensor);
  putWholeOrNull(reading.deviceSeq);
  putWholeOrNull(reading.deviceMs);
  putWholeOrNull(reading.duplicateOf);
  putTextOrNull(reading.refusal);
  putTruth(reading.historical);
  putHead(MAJOR_ARRAY, reading.samples.length);
  for (const sample of reading.samples) putSample(sample);
  return bytes.subarray(0, at);
}

function begin(): void {
  take(new Uint8Array(4096));
  at = 0;
  putHead(MAJOR_ARRAY, FIELDS);
  putText(DOMAIN);
  begun = at;
}

function putSample({ sensor, name, unit, timeMs, value }: Sample): void {
  putHead(MAJOR_ARRAY, SAMPLE_FIELDS);
  putTextOrNull(sensor);
  putText(name);
  putText(unit);
  putWholeOrNull(timeMs);
  if (typeof value === 'string') putText(value);
  else {
    // IEEE 754 double, big-endian: CBOR's shortest forms know no whole number beyond 2^53.
    putHead(MAJOR_BYTES, 8);
    view.setFloat64(at, value);
    at += 8;
  }
}

function take(buffer: Uint8Array<ArrayBuffer>): void {
  bytes = buffer;
  view = new DataView(buffer.buffer);
}

/** Makes room for `more` bytes. */
function reserve(more: number): void {
  if (at + more <= bytes.length) return;
  const larger = new Uint8Array(Math.max(2 * bytes.length, at + more));
  larger.set(bytes.subarray(0, at));
  take(larger);
}

/** A head with room for 8 more bytes behind it. */
function putHead(major: number, value: number): void {
  reserve(TEXT_HEAD_BYTES + 8);
  if (value < 24) {
    bytes[at++] = major + value;
  } else if (value < 0x100) {
    bytes[at++] = major + 24;
    bytes[at++] = value;
  } else if (value < 0x1_0000) {
    bytes[at++] = major + 25;
    view.setUint16(at, value);
    at += 2;
  } else if (value < 0x1_0000_0000) {
    bytes[at++] = major + 26;
    view.setUint32(at, value);
    at += 4;
  } else {
    bytes[at++] = major + 27;
    view.setUint32(at, Math.floor(value / 0x1_0000_0000));
    view.setUint32(at + 4, value >>> 0);
    at += 8;
  }
}

function putWhole(value: number): void {
  if (value < 0) putHead(MAJOR_NEGATIVE, -1 - value);
  else putHead(MAJOR_UNSIGNED, value);
}

function putWholeOrNull(value: number | null): void {
  if (value === null) putSimple(NULL);
  else putWhole(value);
}

function putTruth(value: boolean): void {
  putSimple(value ? TRUE : FALSE);
}

function putSimple(code: number): void {
  reserve(1);
  bytes[at++] = code;
}

function putBytes(value: Uint8Array): void {
  putHead(MAJOR_BYTES, value.length);
  reserve(value.length);
  bytes.set(value, at);
  at += value.length;
}

function putTextOrNull(value: string | null): void {
  if (value === null) putSimple(NULL);
  else putText(value);
}

function putText(value: string): void {
  const { length } = value;
  reserve(TEXT_HEAD_BYTES + 8 + 3 * length);
  const start = at;
  putHead(MAJOR_TEXT, length);
  // ASCII nearly always; otherwise written again, with the length of its UTF-8.
  for (let index = 0; index < length; index += 1) {
    const code = value.charCodeAt(index);
    if (code >= 0x80) {
      at = start;
      putUtf8(value);
      return;
    }
    bytes[at++] = code;
  }
}

function putUtf8(value: string): void {
  const encoded = encoder.encode(value);
  putHead(MAJOR_TEXT, encoded.length);
  bytes.set(encoded, at);
  at += encoded.length;
}
