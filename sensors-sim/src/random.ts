/**
 * Seeded randomness: the same seed and name give the same numbers on every machine.
 *
 * `sfc32` (Chris Doty-Humphrey, PractRand) with a state mixed from the seed and a name, so that each
 * sensor has a stream of its own and adding a sensor does not change the others.
 */

/** A stream of pseudo-random numbers; not for secrets. */
export interface Random {
  /** Uniform in [0, 1). */
  uniform(): number;
  /** Uniform in [low, high). */
  between(low: number, high: number): number;
  /** Normal with mean 0 and deviation 1 (Box-Muller). */
  normal(): number;
  /** True with this probability. */
  chance(probability: number): boolean;
}

/** The stream named `name` of `seed` (any safe integer). */
export function createRandom(seed: number, name: string): Random {
  let [a, b, c, d] = mix(`${seed}/${name}`);
  const next = (): number => {
    const t = (((a + b) | 0) + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (c << 21) | (c >>> 11);
    c = (c + t) | 0;
    return (t >>> 0) / 4_294_967_296;
  };
  for (let round = 0; round < 12; round += 1) next();
  return {
    uniform: next,
    between: (low, high) => low + (high - low) * next(),
    normal: () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()),
    chance: (probability) => next() < probability,
  };
}

/** Four 32-bit words from a text (FNV-1a with four offsets). */
function mix(text: string): [number, number, number, number] {
  const word = (offset: number): number => {
    let hash = 0x811c9dc5 ^ offset;
    for (let index = 0; index < text.length; index += 1) {
      hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
    }
    return hash | 0;
  };
  return [word(0), word(0x9e3779b9), word(0x85ebca6b), word(0xc2b2ae35)];
}
