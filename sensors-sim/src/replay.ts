/**
 * A recording as messages: lines of CSV with time, topic and payload.
 *
 * Enters: CSV (RFC 4180) with a header that names `time` (milliseconds, or ISO 8601), `topic`, and
 * `payload` (text) or `payload_base64`. Leaves: the messages in the order of the file, each so long
 * after the first as it was recorded. Always holds: payloads go out byte for byte as they are there;
 * a line without time or topic is an error that names it, before anything is published.
 */
import { readFileSync, statSync } from 'node:fs';
import { parse } from 'csv-parse/sync';
import type { Fleet, SensorMessage } from './fleet.ts';

const FILE_BYTES_MAX = 256 * 1024 * 1024;
/** [MQTT-1.5.3] */
const TOPIC_BYTES_MAX = 65_535;

/** Reads a recording. Throws RangeError that names what is wrong. */
export function readRecording(path: string): SensorMessage[] {
  const { size } = statSync(path);
  if (size > FILE_BYTES_MAX) {
    throw new RangeError(`${path}: expected at most ${FILE_BYTES_MAX} bytes, found ${size}`);
  }
  return parseRecording(readFileSync(path, 'utf8'));
}

/** The same for text. */
export function parseRecording(text: string): SensorMessage[] {
  const lines: Record<string, string>[] = parse(text, { columns: true, bom: true });
  if (lines.length === 0) throw new RangeError('expected lines below the header, found none');
  let firstMs: number | null = null;
  let lastMs = 0;
  return lines.map(({ time = '', topic = '', payload, payload_base64: base64 }, index) => {
    const wrong = (what: string) => new RangeError(`line ${index + 2}: ${what}`);
    const timeMs = /^-?\d+$/.test(time) ? Number(time) : Date.parse(time);
    if (!Number.isFinite(timeMs)) throw wrong(`expected a time, found "${time}"`);
    if (topic === '' || /[+#\0]/.test(topic) || Buffer.byteLength(topic) > TOPIC_BYTES_MAX) {
      throw wrong(`expected a topic, found "${topic.slice(0, 100)}"`);
    }
    if (payload === undefined && base64 === undefined) {
      throw wrong('expected payload or payload_base64, found neither');
    }
    firstMs ??= timeMs;
    // What was recorded out of order goes out in the order of the file.
    lastMs = Math.max(lastMs, timeMs - firstMs);
    const bytes = payload ?? Buffer.from(base64 ?? '', 'base64');
    const marks = { bad: false, repeat: false };
    return { topic, sensor: topic, seq: index + 1, afterMs: lastMs, payload: bytes, ...marks };
  });
}

/** A fleet that says what was recorded, and then nothing more. */
export function replayFleet(messages: readonly SensorMessage[]): Fleet {
  let at = 0;
  return { next: () => messages[at++] ?? null };
}
