/**
 * Quantities that are mostly quiet: a door, and a shock logger.
 *
 * A door is closed, and open for half a minute some times an hour. A shock logger shows gravity and
 * the road's trembling, and a decaying blow when something is dropped.
 */
import { rounded, type WaveformFactory } from './waveform.ts';

const CLOSED_SECONDS = 400;
const OPEN_SECONDS = 35;
const BLOWS_PER_HOUR = 3;

/** True while the door is open. */
export const door: WaveformFactory = (random) => {
  const wait = (mean: number): number => mean * -Math.log(1 - random.uniform());
  let open = false;
  let changesAt = wait(CLOSED_SECONDS);
  return {
    at(seconds) {
      while (seconds >= changesAt) {
        open = !open;
        changesAt += 1 + wait(open ? OPEN_SECONDS : CLOSED_SECONDS);
      }
      return { value: open, unit: 'open' };
    },
  };
};

/** Acceleration along three axes, in g. */
export const shock: WaveformFactory = (random) => {
  let last = 0;
  let blow = 0;
  return {
    at(seconds) {
      const elapsed = Math.max(0, seconds - last);
      last = seconds;
      blow *= Math.exp(-elapsed / 0.8);
      if (random.chance(1 - Math.exp((-BLOWS_PER_HOUR * elapsed) / 3600))) {
        blow = random.between(2, 12);
      }
      const axis = (rest: number): number =>
        rounded(rest + 0.03 * random.normal() + blow * random.between(-1, 1), 3);
      return { fields: { x: axis(0), y: axis(0), z: axis(1) }, unit: 'g' };
    },
  };
};
