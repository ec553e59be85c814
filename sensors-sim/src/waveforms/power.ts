/**
 * A power meter on a cold room's supply: a base load, the compressor's steps with its inrush, and
 * the working day on top.
 */
import { rounded, type WaveformFactory, withFaults } from './waveform.ts';

const DAY_SECONDS = 86_400;

/** Active power in watts. */
export const power: WaveformFactory = (random) => {
  const periodSeconds = random.between(500, 900);
  const phaseSeconds = random.between(0, DAY_SECONDS);
  const compressorWatts = random.between(1800, 3200);
  const inner = {
    at(seconds: number) {
      const time = seconds + phaseSeconds;
      const into = time % periodSeconds;
      const runs = into < periodSeconds / 4;
      const inrush = runs ? 1.5 * Math.exp(-into / 2) : 0;
      const day = Math.max(0, Math.sin((2 * Math.PI * time) / DAY_SECONDS));
      const watts = 240 + 350 * day + (runs ? compressorWatts * (1 + inrush) : 0);
      return { value: rounded(watts * (1 + 0.01 * random.normal()), 1), unit: 'W' };
    },
  };
  return withFaults(inner, random, {
    gapsPerHour: 0.2,
    gapSeconds: 10,
    outlierShare: 0.001,
    outlierSize: 5000,
  });
};
