/**
 * Which transfer limits hold now: by the time of day, and by whether the network is metered.
 *
 * Enters: the configured limits, the local time, whether bytes cost money. Leaves: the limits. The
 * first exception that fits holds, as a whole; where none does, the general limits.
 */
import type { TransferLimits } from './types.ts';

/** Limits that hold at some times only; without a condition, always. */
export interface LimitException extends TransferLimits {
  /** Local times of day, `HH:MM`; from later than until goes over midnight. */
  readonly from?: string | undefined;
  readonly until?: string | undefined;
  /** Only where the network is, or is not, metered. */
  readonly metered?: boolean | undefined;
}

/** The general limits and the exceptions from them, in order. */
export interface LimitSchedule extends TransferLimits {
  readonly limits: readonly LimitException[];
}

/** The limits at a time (its local hour and minute count). */
export function limitsAt(schedule: LimitSchedule, now: Date, metered: boolean): TransferLimits {
  const minute = now.getHours() * 60 + now.getMinutes();
  const holds = (exception: LimitException) =>
    (exception.metered === undefined || exception.metered === metered) &&
    isWithin(minute, minuteOf(exception.from ?? '00:00'), minuteOf(exception.until ?? '24:00'));
  return schedule.limits.find(holds) ?? schedule;
}

function isWithin(minute: number, from: number, until: number): boolean {
  return from <= until ? minute >= from && minute < until : minute >= from || minute < until;
}

function minuteOf(time: string): number {
  const [hours = 0, minutes = 0] = time.split(':').map(Number);
  return hours * 60 + minutes;
}
