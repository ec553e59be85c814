/**
 * The metrics registry: counts by the names of `metric-table.ts`, written out for Prometheus.
 *
 * Stages get a `Metrics` and call `add`, `set`, `observe`; an unknown name or a missing label does
 * not compile. Nothing here opens a port (see `http.ts`).
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import { KNOWN_LABELS, METRICS, metricName } from './metric-table.ts';

type Table = typeof METRICS;
type Key = keyof Table;
type KeyOf<K extends 'counter' | 'gauge' | 'histogram'> = {
  [N in Key]: Table[N]['kind'] extends K ? N : never;
}[Key];
type LabelsOf<N extends Key> = Table[N]['labels'][number];
/** The labels argument of a metric: nothing for one without labels, all of them otherwise. */
type Labels<N extends Key> = [LabelsOf<N>] extends [never]
  ? []
  : [labels: Readonly<Record<LabelsOf<N>, string>>];

/** What the pieces of the agent count with. */
export interface Metrics {
  /** Adds `amount` (>= 0) to a counter. */
  add<N extends KeyOf<'counter'>>(name: N, amount: number, ...labels: Labels<N>): void;
  /** Sets a gauge; null: its value is not known, and it has none. */
  set<N extends KeyOf<'gauge'>>(name: N, value: number | null, ...labels: Labels<N>): void;
  /** Puts one value (seconds) into a histogram. */
  observe<N extends KeyOf<'histogram'>>(name: N, seconds: number, ...labels: Labels<N>): void;
  /** Sum of a counter or gauge over all its labels; for `status` and tests. */
  total(name: KeyOf<'counter'> | KeyOf<'gauge'>): Promise<number>;
  /** Everything in Prometheus' text format 0.0.4. */
  text(): Promise<string>;
  readonly contentType: string;
}

export interface MetricsOptions {
  /** Also memory, CPU and event loop of the process (`process_*`, `nodejs_*`). */
  readonly processMetrics?: boolean;
}

/** A registry with every metric of the table: counters at zero, gauges without a value until they are set. */
export function createMetrics(options: MetricsOptions = {}): Metrics {
  const registry = new Registry();
  const counters = new Map<string, Counter<string>>();
  const gauges = new Map<string, Gauge<string>>();
  const histograms = new Map<string, Histogram<string>>();
  for (const key of Object.keys(METRICS) as Key[]) {
    const { kind, help, labels } = METRICS[key];
    const base = { name: metricName(key), help, labelNames: labels, registers: [registry] };
    if (kind === 'counter') counters.set(key, new Counter(base));
    else if (kind === 'gauge') {
      const gauge = new Gauge(base);
      // It would begin at 0: a disk without room, a processor at 0 °C, no broker where none is configured.
      if (labels.length === 0) gauge.remove({});
      gauges.set(key, gauge);
    } else histograms.set(key, new Histogram({ ...base, buckets: [...METRICS[key].buckets] }));
  }
  for (const [key, labels] of Object.entries(KNOWN_LABELS)) {
    for (const [label, values] of Object.entries(labels)) {
      for (const value of values) found(counters, key).inc({ [label]: value }, 0);
    }
  }
  if (options.processMetrics === true) collectDefaultMetrics({ register: registry });

  return {
    add: (name, amount, ...labels) => found(counters, name).inc(labels[0] ?? {}, amount),
    set: (name, value, ...labels) => {
      const gauge = found(gauges, name);
      if (value === null) gauge.remove(labels[0] ?? {});
      else gauge.set(labels[0] ?? {}, value);
    },
    observe: (name, seconds, ...labels) =>
      found(histograms, name).observe(labels[0] ?? {}, seconds),
    async total(name) {
      const metric = counters.get(name) ?? found(gauges, name);
      const { values } = await metric.get();
      return values.reduce((sum, { value }) => sum + value, 0);
    },
    text: () => registry.metrics(),
    contentType: registry.contentType,
  };
}

function found<T>(metrics: ReadonlyMap<string, T>, name: string): T {
  const metric = metrics.get(name);
  if (metric === undefined) throw new Error(`no metric is named ${name}`);
  return metric;
}
