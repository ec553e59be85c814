/**
 * A reading in each of the formats that sensors speak; what the gateway's decoders read.
 *
 * Enters: a sensor's measurement. Leaves: the payload and the part of the topic that names the format.
 * Sparkplug is in `sparkplug.ts`: it needs births.
 */
import { encode as encodeMsgpack } from '@msgpack/msgpack';
import { encode as encodeCbor } from 'cborg';
import type { Measurement } from './waveforms/waveform.ts';

/** Formats by the names of the gateway's configuration. */
export const FORMATS = [
  'json',
  'number',
  'csv',
  'influx',
  'senml-json',
  'senml-cbor',
  'cbor',
  'msgpack',
  'sparkplug',
] as const;
export type Format = (typeof FORMATS)[number];

/** One reading, before it has a format. */
export interface SensorReading {
  readonly sensor: string;
  readonly seq: number;
  /** Milliseconds since the Unix epoch. */
  readonly timeMs: number;
  readonly measurement: Measurement;
  /** It waited in the sensor's buffer. */
  readonly buffered: boolean;
}

/** Values by name; the only one is named `value`. */
export function valuesOf(measurement: Measurement): Readonly<Record<string, number | boolean>> {
  return 'fields' in measurement ? measurement.fields : { value: measurement.value };
}

/** The payload in every format but Sparkplug. */
export function encodeReading(
  format: Exclude<Format, 'sparkplug'>,
  reading: SensorReading,
): string | Uint8Array {
  return ENCODERS[format](reading);
}

const ENCODERS: Readonly<
  Record<Exclude<Format, 'sparkplug'>, (reading: SensorReading) => string | Uint8Array>
> = {
  json: (reading) => JSON.stringify(documentOf(reading, new Date(reading.timeMs).toISOString())),
  cbor: (reading) => encodeCbor(documentOf(reading, reading.timeMs)),
  msgpack: (reading) => encodeMsgpack(documentOf(reading, reading.timeMs)),
  number: ({ measurement }) => String(Number(Object.values(valuesOf(measurement))[0])),
  csv: ({ sensor, seq, timeMs, measurement }) =>
    `${[sensor, seq, new Date(timeMs).toISOString(), ...Object.values(valuesOf(measurement)).map(Number)].join(',')}\r\n`,
  influx: ({ sensor, seq, timeMs, measurement }) => {
    const fields = Object.entries(valuesOf(measurement)).map(([name, value]) => `${name}=${value}`);
    return `${sensor.replace(/-\d+$/, '')},sensor=${sensor} ${fields.join(',')},seq=${seq}i ${timeMs}000000\n`;
  },
  'senml-json': (reading) => JSON.stringify(senmlOf(reading)),
  'senml-cbor': (reading) =>
    encodeCbor(
      senmlOf(reading).map(
        (record) => new Map(Object.entries(record).map(([label, value]) => [LABELS[label], value])),
      ),
    ),
};

function documentOf({ sensor, seq, measurement, buffered }: SensorReading, time: string | number) {
  return { sensor, seq, time, ...measurement, ...(buffered ? { buffered } : {}) };
}

/** RFC 8428 §6. */
const LABELS: Readonly<Record<string, number>> = { bn: -2, bt: -3, bu: -4, n: 0, v: 2, vb: 4 };

function senmlOf({ sensor, timeMs, measurement }: SensorReading): Record<string, unknown>[] {
  const base = { bn: `${sensor}:`, bt: timeMs / 1000, bu: measurement.unit };
  return Object.entries(valuesOf(measurement)).map(([n, value], index) => ({
    ...(index === 0 ? base : {}),
    n,
    ...(typeof value === 'boolean' ? { vb: value } : { v: value }),
  }));
}
