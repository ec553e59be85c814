/**
 * SenML (RFC 8428): a pack of records, resolved to samples (§4.6), for JSON and CBOR alike.
 *
 * Enters: the pack, its labels as the text of JSON. Leaves: a finding. A sample's name is the
 * resolved name (base name + name), its time is absolute. A time below 2^28 s is relative to now
 * (§4.5.3), and a record without any is from now. A sum is a sample whose name ends in ` sum`.
 */
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import type { Sample } from '@blocktorrent/protocol/reading.ts';
import type { DecoderInput, Finding } from '../finding.ts';
import { DecodeError } from './decode-error.ts';

/** SenML version that is understood; packs say so by `bver`. */
const VERSION = 10;
/** The same with units of the secondary registry (RFC 9100 §3): they are kept as they are, too. */
const VERSION_SECONDARY_UNITS = 26;
const RELATIVE_BELOW_SECONDS = 2 ** 28;
const VALUES = ['v', 'vs', 'vb', 'vd'] as const;

export type SenmlRecord = ReadonlyMap<string, unknown>;

/** What holds from one record on to the next. */
interface Base {
  name: string;
  timeSeconds: number;
  unit: string;
  value: number;
  sum: number | null;
}

/** Resolves a pack, each of its records as `recordOf` gives it. Throws DecodeError. */
export function resolveSenml(
  pack: unknown,
  recordOf: (record: unknown) => SenmlRecord,
  { receivedMs }: Pick<DecoderInput, 'receivedMs'>,
): Finding {
  if (!Array.isArray(pack)) throw new DecodeError('SenML: expected an array of records');
  if (pack.length === 0) throw new DecodeError('SenML: a pack without records');
  if (pack.length > LIMITS.samplesPerReadingMax) {
    throw new DecodeError(`SenML: at most ${LIMITS.samplesPerReadingMax} records`);
  }
  const records = pack.map(recordOf);
  const base: Base = { name: '', timeSeconds: 0, unit: '', value: 0, sum: null };
  const samples: Sample[] = [];
  for (const record of records) {
    takeBase(record, base);
    samples.push(...samplesOf(record, base, receivedMs));
  }
  if (samples.length === 0) throw new DecodeError('SenML: no value in the pack');
  const times = samples.flatMap(({ timeMs }) => (timeMs === null ? [] : [timeMs]));
  const sensor = text(records[0], 'bn') ?? '';
  return {
    sensor: sensor === '' ? null : sensor,
    deviceSeq: null,
    deviceMs: times.length === 0 ? null : times.reduce((a, b) => Math.max(a, b)),
    historical: null,
    samples,
  };
}

function takeBase(record: SenmlRecord, base: Base): void {
  for (const label of record.keys()) {
    // §4.4: "must understand" fields; none is known.
    if (label.endsWith('_')) throw new DecodeError(`SenML: the field '${label}' is not understood`);
  }
  const version = number(record, 'bver') ?? VERSION;
  if (version > VERSION && version !== VERSION_SECONDARY_UNITS)
    throw new DecodeError(
      `SenML: version ${version}, expected at most ${VERSION}, or ${VERSION_SECONDARY_UNITS}`,
    );
  base.name = text(record, 'bn') ?? base.name;
  base.timeSeconds = number(record, 'bt') ?? base.timeSeconds;
  base.unit = text(record, 'bu') ?? base.unit;
  base.value = number(record, 'bv') ?? base.value;
  base.sum = number(record, 'bs') ?? base.sum;
}

function samplesOf(record: SenmlRecord, base: Base, receivedMs: number): Sample[] {
  const found = VALUES.filter((label) => record.has(label));
  if (found.length > 1) throw new DecodeError(`SenML: ${found.join(' and ')} in one record`);
  const [label] = found;
  const sum = number(record, 's');
  if (label === undefined && sum === null) return [];
  const name = base.name + (text(record, 'n') ?? '');
  if (name === '') throw new DecodeError('SenML: a record without a name');
  const unit = text(record, 'u') ?? base.unit;
  const timeMs = timeOf(base.timeSeconds + (number(record, 't') ?? 0), receivedMs);
  const samples: Sample[] = [];
  if (label !== undefined) {
    samples.push({ sensor: null, name, unit, timeMs, value: recordValue(record, label, base) });
  }
  if (sum !== null || base.sum !== null) {
    const value = (base.sum ?? 0) + (sum ?? 0);
    samples.push({ sensor: null, name: `${name} sum`, unit, timeMs, value: value + 0 });
  }
  return samples;
}

function recordValue(
  record: SenmlRecord,
  label: (typeof VALUES)[number],
  base: Base,
): number | string {
  if (label === 'v') {
    const value = base.value + (number(record, 'v') ?? 0);
    if (Number.isFinite(value)) return value + 0;
  } else if (label === 'vb') {
    const value = record.get('vb');
    if (typeof value === 'boolean') return Number(value);
  } else {
    const value = record.get(label);
    if (typeof value === 'string') return value.toWellFormed();
    if (label === 'vd' && value instanceof Uint8Array) {
      return Buffer.from(value).toString('base64url');
    }
  }
  throw new DecodeError(`SenML: the value of ${label} is none`);
}

function timeOf(seconds: number, receivedMs: number): number | null {
  if (seconds === 0) return null;
  const ms = Math.round(seconds * 1000);
  const timeMs = seconds < RELATIVE_BELOW_SECONDS ? receivedMs + ms : ms;
  if (timeMs >= 0 && Number.isSafeInteger(timeMs)) return timeMs + 0;
  throw new DecodeError(`SenML: ${seconds} s is no time`);
}

function number(record: SenmlRecord, label: string): number | null {
  const value = record.get(label);
  if (value === undefined) return null;
  const found = typeof value === 'bigint' ? Number(value) : value;
  if (typeof found === 'number' && Number.isFinite(found)) return found;
  throw new DecodeError(`SenML: ${label} must be a number`);
}

function text(record: SenmlRecord | undefined, label: string): string | null {
  const value = record?.get(label);
  if (value === undefined) return null;
  if (typeof value === 'string' && value.isWellFormed()) return value;
  throw new DecodeError(`SenML: ${label} must be text`);
}
