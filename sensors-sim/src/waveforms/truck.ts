/**
 * A truck's GPS: it drives a round of waypoints with a speed that changes smoothly, stops at each,
 * and loses its position in tunnels. Positions carry the receiver's error of a few metres.
 */
import { createDrift, rounded, type WaveformFactory, withFaults } from './waveform.ts';

/** Depots and ports, degrees north and east; the legs between them are straight. */
const ROUND = [
  [53.5413, 9.9845],
  [53.0793, 8.8017],
  [52.3759, 9.732],
  [52.2689, 10.5268],
  [53.8655, 10.6866],
] as const;
const METRES_PER_DEGREE = 111_195;
const STOP_SECONDS = 1200;
const CRUISE_METRES_PER_SECOND = 22;
/** The speed is constant over steps of this length, however often the position is read. */
const STEP_SECONDS = 10;
/** A reading that comes later than this after the one before finds the truck moved this far only. */
const STEPS_MAX = 8640;

function metresBetween(from: readonly [number, number], to: readonly [number, number]): number {
  const north = (to[0] - from[0]) * METRES_PER_DEGREE;
  const east = (to[1] - from[1]) * METRES_PER_DEGREE * Math.cos((from[0] * Math.PI) / 180);
  return Math.hypot(north, east);
}

/** Latitude and longitude in degrees, speed in km/h. */
export const truck: WaveformFactory = (random) => {
  const traffic = createDrift(random, 5, 600);
  let leg = Math.floor(random.between(0, ROUND.length));
  let driven = 0;
  let standing = 0;
  let speed = 0;
  let time = 0;
  const ends = (): [readonly [number, number], readonly [number, number]] => {
    const from = ROUND[leg % ROUND.length] ?? ROUND[0];
    return [from, ROUND[(leg + 1) % ROUND.length] ?? ROUND[0]];
  };
  const step = (elapsed: number): void => {
    standing = Math.max(0, standing - elapsed);
    const wanted = standing > 0 ? 0 : Math.max(3, CRUISE_METRES_PER_SECOND + traffic(time));
    speed += (wanted - speed) * (1 - Math.exp(-elapsed / 15));
    driven += speed * elapsed;
    if (driven < metresBetween(...ends())) return;
    leg += 1;
    driven = 0;
    standing = STOP_SECONDS;
  };
  const inner = {
    at(seconds: number) {
      for (let count = 0; time < seconds && count < STEPS_MAX; count += 1) {
        const elapsed = Math.min(STEP_SECONDS, seconds - time);
        time += elapsed;
        step(elapsed);
      }
      time = Math.max(time, seconds);
      const [from, to] = ends();
      const share = driven / metresBetween(from, to);
      const error = (): number => (3 * random.normal()) / METRES_PER_DEGREE;
      const fields = {
        lat: rounded(from[0] + (to[0] - from[0]) * share + error(), 6),
        lon: rounded(from[1] + (to[1] - from[1]) * share + error(), 6),
        speed: rounded(Math.max(0, speed * 3.6 + 0.2 * random.normal()), 1),
      };
      return { fields, unit: 'deg' };
    },
  };
  return withFaults(inner, random, {
    gapsPerHour: 1,
    gapSeconds: 40,
    outlierShare: 0,
    outlierSize: 0,
  });
};
