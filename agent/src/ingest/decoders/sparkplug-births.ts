/**
 * What the births of one edge node have said: name, alias, datatype and unit of each metric.
 *
 * Always holds: aliases are unique within a node, its devices included; a node's birth makes all
 * that was known of it and its devices void. Kept in the memory as JSON, one value for each node.
 */
import type { DecoderMemory } from '../finding.ts';
import { DecodeError } from './decode-error.ts';
import type { SparkplugMetric } from './sparkplug-payload.ts';

export interface BornMetric {
  readonly device: string;
  readonly name: string;
  readonly alias: string | null;
  readonly datatype: number | null;
  readonly unit: string | null;
}

interface Stored {
  readonly session: string | null;
  readonly metrics: readonly BornMetric[];
}

/** Metrics of one node, its devices included. */
const METRICS_MAX = 65_536;

/** `seq` goes from 0 to 255, and begins again. */
const SEQ_MODULUS = 256;

/** One edge node. */
export class NodeMetrics {
  readonly #key: string;
  readonly #memory: DecoderMemory;
  readonly #byName = new Map<string, BornMetric>();
  readonly #byAlias = new Map<string, BornMetric>();
  /** `bdSeq` of the birth. */
  #session: string | null = null;
  /** `seq` of the message to come; null where none has been seen since the start. */
  #nextSeq: number | null = null;

  private constructor(key: string, memory: DecoderMemory) {
    this.#key = key;
    this.#memory = memory;
  }

  /** What the memory knows of `node`. */
  static load(node: string, memory: DecoderMemory): NodeMetrics {
    const known = new NodeMetrics(`sparkplug/${node}`, memory);
    const text = memory.get(known.#key);
    if (text === null) return known;
    const { session, metrics } = JSON.parse(text) as Stored;
    known.#session = session;
    for (const metric of metrics) known.#add(metric);
    return known;
  }

  /** A birth of the node itself; `learn` follows. */
  reborn(session: string | null): void {
    this.#byName.clear();
    this.#byAlias.clear();
    this.#session = session;
  }

  /**
   * Messages missing before the one with this `seq` (0..255, counted over the node and its devices).
   * What comes late, or again, is none of them and leaves no gap: 128 or more are taken for that.
   */
  missingBefore(seq: number, birth: boolean): number {
    const expected = birth ? seq : (this.#nextSeq ?? seq);
    const ahead = (((seq - expected) % SEQ_MODULUS) + SEQ_MODULUS) % SEQ_MODULUS;
    if (ahead >= SEQ_MODULUS / 2) return 0;
    this.#nextSeq = (seq + 1) % SEQ_MODULUS;
    return ahead;
  }

  /** Takes the metrics of a birth of the node (device '') or of one of its devices. */
  learn(device: string, metrics: readonly SparkplugMetric[]): void {
    for (const known of [...this.#byName.values()]) {
      if (known.device === device) this.#remove(known);
    }
    for (const { name, alias, datatype, unit } of metrics) {
      if (name !== null && name !== '') this.#add({ device, name, alias, datatype, unit });
    }
    if (this.#byName.size > METRICS_MAX) {
      this.reborn(null);
      throw new DecodeError(`Sparkplug: a node with more than ${METRICS_MAX} metrics`);
    }
    const stored: Stored = { session: this.#session, metrics: [...this.#byName.values()] };
    this.#memory.put(this.#key, JSON.stringify(stored));
  }

  /** Whether a death is that of the present session; that of an earlier one may come late. */
  dies(session: string | null): boolean {
    return session === null || this.#session === null || session === this.#session;
  }

  /** What the birth said of a metric in the data; null if it was not seen. */
  find(device: string, { name, alias }: SparkplugMetric): BornMetric | null {
    const named = name === null ? undefined : this.#byName.get(`${device}\0${name}`);
    return named ?? (alias === null ? undefined : this.#byAlias.get(alias)) ?? null;
  }

  #add(metric: BornMetric): void {
    this.#byName.set(`${metric.device}\0${metric.name}`, metric);
    if (metric.alias !== null) this.#byAlias.set(metric.alias, metric);
  }

  #remove(metric: BornMetric): void {
    this.#byName.delete(`${metric.device}\0${metric.name}`);
    if (metric.alias !== null) this.#byAlias.delete(metric.alias);
  }
}
