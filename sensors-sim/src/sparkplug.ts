/**
 * The fleet's Sparkplug B edge node: births with names, units and aliases, then data by alias.
 *
 * Enters: readings of its devices. Leaves: topic and payload, a birth first for each device, and a
 * death when its connection is lost. Always holds: `seq` counts all messages of the node from 0 to
 * 255 and again, from 0 at its birth; a death has the `bdSeq` of the birth before it, and no `seq`.
 */
import protobuf from 'protobufjs/minimal.js';
import { type SensorReading, valuesOf } from './formats.ts';

const PREFIX = 'spBv1.0/site';
const NODE = 'sensors-sim';
const DATATYPE = { double: 10, boolean: 11, uint64: 8 } as const;

export interface SparkplugMessage {
  readonly topic: string;
  readonly payload: Uint8Array;
}

export class SparkplugNode {
  readonly #aliases = new Map<string, number>();
  readonly #born = new Set<string>();
  #seq = 0;
  #session = 0;

  /** What the broker sends when the node is lost, its will; null where it was never born. */
  death(): SparkplugMessage | null {
    if (this.#born.size === 0) return null;
    const payload = protobuf.Writer.create().uint32(18).bytes(bdSeq(this.#session)).finish();
    this.#born.clear();
    this.#session += 1;
    this.#seq = 0;
    return { topic: `${PREFIX}/NDEATH/${NODE}`, payload };
  }

  /** Messages for one reading: what has to be born first, then the data. */
  messages(reading: SensorReading): SparkplugMessage[] {
    const { sensor, timeMs } = reading;
    const messages: SparkplugMessage[] = [];
    if (this.#born.size === 0) {
      this.#born.add('');
      const session = bdSeq(this.#session);
      messages.push(this.#message(`${PREFIX}/NBIRTH/${NODE}`, timeMs, [session]));
    }
    const isBirth = !this.#born.has(sensor);
    this.#born.add(sensor);
    const metrics = Object.entries(valuesOf(reading.measurement)).map(([name, value]) => {
      const datatype = typeof value === 'boolean' ? DATATYPE.boolean : DATATYPE.double;
      const alias = this.#aliasOf(`${sensor}/${name}`);
      const birth = { name, datatype, unit: reading.measurement.unit };
      const data = { alias, value, timeMs, historical: reading.buffered };
      return metric(isBirth ? { ...birth, ...data } : data);
    });
    const type = isBirth ? 'DBIRTH' : 'DDATA';
    messages.push(this.#message(`${PREFIX}/${type}/${NODE}/${sensor}`, timeMs, metrics));
    return messages;
  }

  #aliasOf(name: string): number {
    const alias = this.#aliases.get(name) ?? this.#aliases.size + 1;
    this.#aliases.set(name, alias);
    return alias;
  }

  #message(topic: string, timeMs: number, metrics: readonly Uint8Array[]): SparkplugMessage {
    const writer = protobuf.Writer.create().uint32(8).uint64(timeMs);
    for (const one of metrics) writer.uint32(18).bytes(one);
    writer.uint32(24).uint64(this.#seq);
    this.#seq = (this.#seq + 1) % 256;
    return { topic, payload: writer.finish() };
  }
}

function bdSeq(session: number): Uint8Array {
  return metric({ name: 'bdSeq', datatype: DATATYPE.uint64, long: session });
}

interface MetricFields {
  readonly name?: string;
  readonly alias?: number;
  readonly timeMs?: number;
  readonly datatype?: number;
  readonly historical?: boolean;
  readonly unit?: string;
  readonly long?: number;
  readonly value?: number | boolean;
}

/** An encoded Metric of `sparkplug_b.proto`; the numbers are tags: field << 3 | wire type. */
function metric({ name, alias, timeMs, datatype, historical, unit, long, value }: MetricFields) {
  const writer = protobuf.Writer.create();
  if (name !== undefined) writer.uint32(10).string(name);
  if (alias !== undefined) writer.uint32(16).uint64(alias);
  if (timeMs !== undefined) writer.uint32(24).uint64(timeMs);
  if (datatype !== undefined) writer.uint32(32).uint32(datatype);
  if (historical === true) writer.uint32(40).bool(true);
  if (unit !== undefined) {
    const text = protobuf.Writer.create().uint32(8).uint32(12).uint32(66).string(unit).finish();
    writer
      .uint32(74)
      .bytes(protobuf.Writer.create().uint32(10).string('engUnit').uint32(18).bytes(text).finish());
  }
  if (long !== undefined) writer.uint32(88).uint64(long);
  if (typeof value === 'number') writer.uint32(105).double(value);
  if (typeof value === 'boolean') writer.uint32(112).bool(value);
  return writer.finish();
}
