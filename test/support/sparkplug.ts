/** Sparkplug B payloads for tests, written by protobufjs from the field numbers of the specification. */
import protobuf from 'protobufjs/minimal.js';

export interface MetricFields {
  readonly name?: string;
  readonly alias?: number;
  readonly timestamp?: number;
  readonly datatype?: number;
  readonly historical?: boolean;
  readonly isNull?: boolean;
  readonly unit?: string;
  readonly int?: number;
  readonly long?: number;
  readonly float?: number;
  readonly double?: number;
  readonly bool?: boolean;
  readonly string?: string;
  readonly bytes?: Uint8Array;
  /** A long beyond 2^53, in decimal. */
  readonly longText?: string;
}

/** A topic of edge node `edge-1` in group `plant`: `NDATA`, or `DDATA/pump`. */
export function aTopic(type: string): string {
  const [word = '', ...device] = type.split('/');
  return ['spBv1.0', 'plant', word, 'edge-1', ...device].join('/');
}

/** An encoded Metric. */
export function metric(fields: MetricFields): Uint8Array {
  const writer = protobuf.Writer.create();
  if (fields.name !== undefined) writer.uint32(10).string(fields.name);
  if (fields.alias !== undefined) writer.uint32(16).uint64(fields.alias);
  if (fields.timestamp !== undefined) writer.uint32(24).uint64(fields.timestamp);
  if (fields.datatype !== undefined) writer.uint32(32).uint32(fields.datatype);
  if (fields.historical === true) writer.uint32(40).bool(true);
  if (fields.isNull === true) writer.uint32(56).bool(true);
  if (fields.unit !== undefined) {
    const value = protobuf.Writer.create().uint32(8).uint32(12).uint32(66).string(fields.unit);
    const set = protobuf.Writer.create().uint32(10).string('engUnit');
    writer.uint32(74).bytes(set.uint32(18).bytes(value.finish()).finish());
  }
  if (fields.int !== undefined) writer.uint32(80).uint32(fields.int);
  if (fields.long !== undefined) writer.uint32(88).uint64(fields.long);
  if (fields.float !== undefined) writer.uint32(101).float(fields.float);
  if (fields.double !== undefined) writer.uint32(105).double(fields.double);
  if (fields.bool !== undefined) writer.uint32(112).bool(fields.bool);
  if (fields.string !== undefined) writer.uint32(122).string(fields.string);
  if (fields.bytes !== undefined) writer.uint32(130).bytes(fields.bytes);
  if (fields.longText !== undefined) writer.uint32(88).uint64(fields.longText);
  return writer.finish();
}

/** An encoded Payload. */
export function aPayload(
  timestampMs: number | null,
  seq: number | null,
  metrics: readonly Uint8Array[],
): Uint8Array {
  const writer = protobuf.Writer.create();
  if (timestampMs !== null) writer.uint32(8).uint64(timestampMs);
  for (const one of metrics) writer.uint32(18).bytes(one);
  if (seq !== null) writer.uint32(24).uint64(seq);
  return writer.finish();
}
