/** A sensor's time, as formats spell it, in whole milliseconds since the Unix epoch. */
import type { TimeUnit } from '../finding.ts';

/** ECMAScript's range of time values, in milliseconds. */
const TIME_MS_MAX = 8.64e15;
const ISO_TIME =
  /^(\d{4}-\d{2}-(\d{2}))[Tt ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?([Zz]|[+-]\d{2}:?\d{2})$/;
const PER_MS: Readonly<Record<TimeUnit, number>> = { s: 0.001, ms: 1, us: 1e3, ns: 1e6 };

/**
 * From a number in `unit`, ISO 8601 or a Date; null for what is no time since 1970. `offset` is that of
 * text which says none, `Z` or `+01:00`; without it such text is no time.
 */
export function timeMsOf(value: unknown, unit: TimeUnit, offset = ''): number | null {
  let timeMs = Number.NaN;
  if (typeof value === 'number' || typeof value === 'bigint') {
    timeMs = Math.round(Number(value) / PER_MS[unit]) + 0;
  } else if (value instanceof Date) timeMs = value.getTime();
  else if (typeof value === 'string') timeMs = isoTimeMs(value, offset);
  return timeMs >= 0 && timeMs <= TIME_MS_MAX ? timeMs : null;
}

/** NaN for what is none, and for a day that its month has not: `Date` would take the next month's. */
function isoTimeMs(text: string, offset: string): number {
  const [time = '', day, ofMonth = ''] = ISO_TIME.exec(text) ?? ISO_TIME.exec(text + offset) ?? [];
  if (day === undefined) return Number.NaN;
  if (ofMonth > '28') {
    const midnight = new Date(`${day}T00:00:00Z`).getTime();
    if (Number.isNaN(midnight)) return midnight;
    if (!new Date(midnight).toISOString().startsWith(day)) return Number.NaN;
  }
  return Date.parse(time);
}
