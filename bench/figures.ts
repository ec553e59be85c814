/**
 * Figures of the benchmarks: samples in, one JSON line out for each (metric, case).
 *
 * `value` is the median of `runs` samples; `ratio` = value / baselineValue, both measured in this run,
 * interleaved, under the same conditions. Further baselines stand in `others`.
 */

/** One line of output. */
export interface Figure {
  readonly bench: string;
  readonly metric: string;
  readonly case: string;
  readonly value: number;
  readonly unit: string;
  readonly p5: number;
  readonly p95: number;
  readonly runs: number;
  readonly baseline?: string;
  readonly baselineValue?: number;
  readonly ratio?: number;
  readonly others?: Readonly<Record<string, number>>;
  /** Calls that failed or were not answered in time; absent where there were none. */
  readonly failed?: number;
}

/** Samples of one metric in one case, with those that they are compared with. */
export interface Measured {
  readonly bench: string;
  readonly metric: string;
  readonly case: string;
  readonly unit: string;
  readonly samples: readonly number[];
  readonly baseline?: { readonly name: string; readonly samples: readonly number[] };
  /** Further baselines: name -> samples. */
  readonly others?: Readonly<Record<string, readonly number[]>>;
  readonly failed?: number;
}

/** The value below which a share `p` (0..1) of the samples lies, linear between neighbours. */
export function percentile(samples: readonly number[], p: number): number {
  if (samples.length === 0) throw new RangeError('a percentile needs at least one sample');
  const sorted = [...samples].sort((a, b) => a - b);
  const at = p * (sorted.length - 1);
  const below = sorted[Math.floor(at)] ?? 0;
  const above = sorted[Math.ceil(at)] ?? 0;
  return below + (above - below) * (at - Math.floor(at));
}

/** The middle sample. */
export function median(samples: readonly number[]): number {
  return percentile(samples, 0.5);
}

/** The line for what was measured; numbers have five significant digits. */
export function figureOf(measured: Measured): Figure {
  const { bench, metric, unit, samples, baseline, others, failed = 0 } = measured;
  const value = median(samples);
  const base = baseline === undefined ? null : median(baseline.samples);
  return {
    bench,
    metric,
    case: measured.case,
    value: short(value),
    unit,
    p5: short(percentile(samples, 0.05)),
    p95: short(percentile(samples, 0.95)),
    runs: samples.length,
    ...(baseline === undefined || base === null
      ? {}
      : { baseline: baseline.name, baselineValue: short(base), ratio: short(value / base) }),
    ...(others === undefined
      ? {}
      : {
          others: Object.fromEntries(
            Object.entries(others).map(([name, list]) => [name, short(median(list))]),
          ),
        }),
    ...(failed === 0 ? {} : { failed }),
  };
}

function short(value: number): number {
  return Number(value.toPrecision(5));
}

/** One run of one contender; returns a sample (or several metrics of the same run). */
export type Contender<T> = (run: number) => Promise<T>;

/**
 * Runs every contender `runs` times, in turn and in changing order, after `warmUps` turns that do
 * not count: the machine's drift meets all of them alike. After `budgetMs` no further turn starts,
 * once each has a sample.
 */
export async function interleave<N extends string, T>(
  contenders: Readonly<Record<N, Contender<T>>>,
  runs: number,
  warmUps = 0,
  budgetMs = Number.POSITIVE_INFINITY,
): Promise<Record<N, T[]>> {
  const names = Object.keys(contenders) as N[];
  const samples = Object.fromEntries(names.map((name) => [name, [] as T[]])) as Record<N, T[]>;
  const startMs = performance.now();
  for (let turn = -warmUps; turn < runs; turn += 1) {
    if (turn > 0 && performance.now() - startMs > budgetMs) break;
    const order = Math.abs(turn) % 2 === 0 ? names : [...names].reverse();
    for (const name of order) {
      const sample = await contenders[name](turn);
      if (turn >= 0) samples[name].push(sample);
    }
  }
  return samples;
}

/** Seconds that `work` takes. */
export async function secondsOf(work: () => Promise<unknown>): Promise<number> {
  const startedMs = performance.now();
  await work();
  return (performance.now() - startedMs) / 1000;
}
