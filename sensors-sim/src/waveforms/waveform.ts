/**
 * What every simulated quantity is: a function from a moment to a measurement, with a memory.
 *
 * Enters: the simulated time, which never goes back. Leaves: a measurement, or null in a gap. Always
 * holds: no clock and no randomness but what is passed in.
 */
import type { Random } from '../random.ts';

/** One number with its unit, or several under names. */
export type Measurement =
  | { readonly value: number | boolean; readonly unit: string }
  | { readonly fields: Readonly<Record<string, number>>; readonly unit: string };

/** A sensor's quantity over time. */
export interface Waveform {
  /** The measurement `seconds` after the start; null while the sensor says nothing. */
  at(seconds: number): Measurement | null;
}

/** Makes a waveform whose phase, drift and faults come from `random`. */
export type WaveformFactory = (random: Random) => Waveform;

/** Rounds as an instrument of that many decimals would. */
export function rounded(value: number, decimals: number): number {
  return Number(value.toFixed(decimals));
}

/** A slow wander around zero (Ornstein-Uhlenbeck), for drift. */
export function createDrift(
  random: Random,
  deviation: number,
  timeConstantSeconds: number,
): (seconds: number) => number {
  let level = random.normal() * deviation;
  let last = 0;
  return (seconds) => {
    const decay = Math.exp(-Math.max(0, seconds - last) / timeConstantSeconds);
    level = level * decay + random.normal() * deviation * Math.sqrt(1 - decay * decay);
    last = seconds;
    return level;
  };
}

/** Wraps a waveform with what real sensors do: silences of a while, and a wild value now and then. */
export function withFaults(
  inner: Waveform,
  random: Random,
  faults: {
    /** Silences an hour, and how long each lasts on average. */
    readonly gapsPerHour: number;
    readonly gapSeconds: number;
    /** Share of readings that are outliers, and what is added to their value. */
    readonly outlierShare: number;
    readonly outlierSize: number;
  },
): Waveform {
  let gapUntil = -1;
  let last = 0;
  return {
    at(seconds) {
      const elapsed = Math.max(0, seconds - last);
      last = seconds;
      const measurement = inner.at(seconds);
      if (seconds < gapUntil) return null;
      if (random.chance(1 - Math.exp((-faults.gapsPerHour * elapsed) / 3600))) {
        gapUntil = seconds + faults.gapSeconds * -Math.log(1 - random.uniform());
        return null;
      }
      if (measurement === null || !random.chance(faults.outlierShare)) return measurement;
      if (!('value' in measurement) || typeof measurement.value === 'boolean') return measurement;
      const sign = random.chance(0.5) ? 1 : -1;
      return { ...measurement, value: rounded(measurement.value + sign * faults.outlierSize, 2) };
    },
  };
}
