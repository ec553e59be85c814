/**
 * Sparkplug B (`spBv1.0/GROUP/TYPE/NODE[/DEVICE]`): births name the metrics, data may say aliases.
 *
 * Enters: messages of edge nodes. Leaves: a sample for each metric with a value, and `$online` (1 or
 * 0) for births and deaths. Always holds: what a birth has said is in the memory before its reading
 * is acknowledged; a death of an earlier session (`bdSeq`) changes nothing. A metric whose birth was
 * never seen is named by its alias: the value is kept. Where `seq` shows that messages are missing,
 * sample `$gap` says how many.
 */
import type { Sample } from '@blocktorrent/protocol/reading.ts';
import type { DecodeRule, Decoder, DecoderInput, DecoderMemory, Finding } from '../finding.ts';
import { DecodeError } from './decode-error.ts';
import { sampleValueOf } from './document.ts';
import { sparkplugArray } from './sparkplug-arrays.ts';
import { Births, type BornMetric, dies, missingBefore } from './sparkplug-births.ts';
import {
  readSparkplugPayload,
  type SparkplugMetric,
  type SparkplugPayload,
} from './sparkplug-payload.ts';

const TYPES = ['NBIRTH', 'NDATA', 'NDEATH', 'DBIRTH', 'DDATA', 'DDEATH', 'NCMD', 'DCMD'] as const;
type MessageType = (typeof TYPES)[number];

/** Begins the name of a metric whose birth was never seen. */
export const UNKNOWN_ALIAS = 'alias ';
/** Sample that says how many messages are missing before its reading. */
export const GAP_SAMPLE = '$gap';
/** What a sample has that is our own. */
const OWN = { sensor: null, unit: '', timeMs: null } as const;
/** The will's session number: it is in births and deaths, and no reading. */
const SESSION_METRIC = 'bdSeq';
const NOTHING: Finding = {
  sensor: null,
  deviceSeq: null,
  deviceMs: null,
  historical: null,
  samples: [],
};

interface Place {
  readonly type: MessageType;
  /** `GROUP/NODE`. */
  readonly node: string;
  /** '' for the node itself. */
  readonly device: string;
}

/** The decoder; payloads describe themselves, so a rule has nothing to say. */
export function createSparkplugDecoder(_rule: DecodeRule, memory: DecoderMemory): Decoder {
  const births = new Births(memory);
  return (input) => {
    const place = placeOf(input.topic);
    // The state of a host application, and commands to a node: no readings, but no dead letters.
    if (place === null || place.type.endsWith('CMD')) return NOTHING;
    return findingOf(place, readSparkplugPayload(input.payload), births, input);
  };
}

function placeOf(topic: string): Place | null {
  const [namespace, group = '', word = '', node = '', ...rest] = topic.split('/');
  if (namespace === 'spBv1.0' && group === 'STATE') return null;
  const type = TYPES.find((one) => one === word);
  const [device = ''] = rest;
  const levels = type?.startsWith('D') ? 1 : 0;
  if (namespace !== 'spBv1.0' || type === undefined || node === '' || rest.length !== levels) {
    throw new DecodeError('Sparkplug: expected a topic spBv1.0/GROUP/TYPE/NODE[/DEVICE]');
  }
  return { type, node: `${group}/${node}`, device };
}

function findingOf(
  { type, node, device }: Place,
  payload: SparkplugPayload,
  births: Births,
  { receivedMs }: DecoderInput,
): Finding {
  const { timestampMs, metrics, seq } = payload;
  const birth = type.endsWith('BIRTH');
  const death = type.endsWith('DEATH');
  const edge = births.node(node);
  if (type === 'NBIRTH') births.reborn(edge, sessionOf(payload));
  if (birth) births.learn(edge, device, metrics);
  if (type === 'NDEATH' && !dies(edge, sessionOf(payload))) {
    return { ...NOTHING, sensor: node, historical: true };
  }
  const readings = metrics.filter(({ name }) => name !== SESSION_METRIC);
  const born = births.finder(edge, device);
  const samples = readings.flatMap((metric) => sampleOf(metric, born(metric)));
  if (birth || death) samples.push(online(birth));
  const missing = seq === null ? 0 : missingBefore(edge, seq, type === 'NBIRTH');
  if (missing > 0) samples.push({ ...OWN, name: GAP_SAMPLE, value: missing });
  const times = readings.flatMap((metric) => metric.timestampMs ?? []);
  const deviceMs =
    timestampMs ?? (times.length === 0 ? null : times.reduce((a, b) => Math.max(a, b)));
  const buffered = readings.length > 0 && readings.every((metric) => metric.historical);
  return {
    sensor: device === '' ? node : `${node}/${device}`,
    // It counts to 255 and begins again: only with a time does it tell messages apart.
    deviceSeq: deviceMs === null ? null : seq,
    // A death is the will that was left when the node connected: it is as old as the session.
    deviceMs: type === 'NDEATH' ? receivedMs : deviceMs,
    historical: buffered,
    samples,
  };
}

function sessionOf({ metrics }: SparkplugPayload): string | null {
  const value = metrics.find(({ name }) => name === SESSION_METRIC)?.value ?? null;
  return value === null ? null : String(value);
}

function online(alive: boolean): Sample {
  return { ...OWN, name: '$online', value: Number(alive) };
}

function sampleOf(metric: SparkplugMetric, birth: BornMetric | null): Sample[] {
  const value = sampleValueOf(typed(metric.value, metric.datatype ?? birth?.datatype ?? null));
  const name =
    metric.name || birth?.name || (metric.alias === null ? '' : `${UNKNOWN_ALIAS}${metric.alias}`);
  if (name === '') throw new DecodeError('Sparkplug: a metric without name and alias');
  if (value === null) return [];
  const unit = metric.unit ?? birth?.unit ?? '';
  return [{ sensor: null, name, unit, timeMs: metric.timestampMs, value }];
}

/** Numbers of the datatypes whose wire value is not the value yet. */
const DATATYPE = { int8: 1, int16: 2, int32: 3, int64: 4, dateTime: 13 } as const;

function typed(value: SparkplugMetric['value'], datatype: number | null): unknown {
  if (value instanceof Uint8Array) return sparkplugArray(value, datatype) ?? value;
  if (typeof value !== 'bigint') return value;
  if (datatype === DATATYPE.int8) return BigInt.asIntN(8, value);
  if (datatype === DATATYPE.int16) return BigInt.asIntN(16, value);
  if (datatype === DATATYPE.int32) return BigInt.asIntN(32, value);
  if (datatype === DATATYPE.int64) return BigInt.asIntN(64, value);
  if (datatype === DATATYPE.dateTime) return new Date(Number(value));
  return value;
}
