/**
 * A cold room: temperature saws between the compressor's two set points, humidity answers it.
 *
 * The temperature rises while the compressor rests and falls while it runs, with a daily swing,
 * sensor drift and noise; a defrost warms it for a quarter of an hour, four times a day.
 */
import { createDrift, rounded, type WaveformFactory, withFaults } from './waveform.ts';

const DAY_SECONDS = 86_400;
const DEFROST_SECONDS = 900;
const DEFROSTS_PER_DAY = 4;
const FAULTS = { gapsPerHour: 0.5, gapSeconds: 20, outlierShare: 0.002 } as const;

/** Compressor cycle from -1 to 1: three quarters of the period up, one quarter down. */
function saw(seconds: number, periodSeconds: number): number {
  const phase = (seconds % periodSeconds) / periodSeconds;
  return phase < 0.75 ? -1 + (2 * phase) / 0.75 : 1 - (2 * (phase - 0.75)) / 0.25;
}

/** How far a defrost has warmed the room, 0 to 1. */
function defrost(seconds: number): number {
  const into = seconds % (DAY_SECONDS / DEFROSTS_PER_DAY);
  return into < DEFROST_SECONDS ? Math.sin((Math.PI * into) / DEFROST_SECONDS) : 0;
}

/** Degrees Celsius around 4. */
export const temperature: WaveformFactory = (random) => {
  const drift = createDrift(random, 0.3, 3600);
  const periodSeconds = random.between(500, 900);
  const phaseSeconds = random.between(0, DAY_SECONDS);
  const inner = {
    at(seconds: number) {
      const time = seconds + phaseSeconds;
      const daily = 0.4 * Math.sin((2 * Math.PI * time) / DAY_SECONDS);
      const noise = 0.05 * random.normal();
      const celsius =
        4 + 0.8 * saw(time, periodSeconds) + daily + 3 * defrost(time) + drift(seconds) + noise;
      return { value: rounded(celsius, 2), unit: 'Cel' };
    },
  };
  return withFaults(inner, random, { ...FAULTS, outlierSize: 40 });
};

/** Relative humidity in percent around 85. */
export const humidity: WaveformFactory = (random) => {
  const drift = createDrift(random, 2, 5400);
  const periodSeconds = random.between(500, 900);
  const phaseSeconds = random.between(0, DAY_SECONDS);
  const inner = {
    at(seconds: number) {
      const time = seconds + phaseSeconds;
      const level = 85 - 3 * saw(time, periodSeconds) + 8 * defrost(time) + drift(seconds);
      return { value: rounded(Math.min(100, level + 0.3 * random.normal()), 1), unit: '%RH' };
    },
  };
  return withFaults(inner, random, { ...FAULTS, outlierSize: 30 });
};
