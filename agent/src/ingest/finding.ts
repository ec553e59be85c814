/**
 * What decoders take and give: the seam between `decode.ts` and the formats in `decoders/`.
 *
 * A decoder throws DecodeError with the reason for a payload that is none of its format. Whatever
 * else it throws (a library's error, a stack that was too deep) is a reason as well.
 */
import type { Sample } from '@blocktorrent/protocol/reading.ts';

/** One message, as far as a decoder may look at it. */
export interface DecoderInput {
  readonly topic: string;
  readonly payload: Uint8Array;
  /** What relative times are relative to: milliseconds since the Unix epoch. */
  readonly receivedMs: number;
}

/** What a payload says of itself; null where it says nothing. */
export interface Finding {
  readonly sensor: string | null;
  readonly deviceSeq: number | null;
  /** Milliseconds since the Unix epoch, whole. */
  readonly deviceMs: number | null;
  /** Whether it waited in the sensor's buffer. */
  readonly historical: boolean | null;
  /** Values that SQLite's JSON functions cannot find in the payload. */
  readonly samples: readonly Sample[];
}

/** Reads one format. Throws DecodeError with the reason when a payload is none of it. */
export type Decoder = (input: DecoderInput) => Finding;

/** What decoders must still know after a restart, e.g. which alias stands for which metric. */
export interface DecoderMemory {
  get(key: string): string | null;
  /** Durable before its reading is acknowledged, if the disk takes it; never throws for that. */
  put(key: string, value: string): void;
}

/** Format of a payload, as the configuration names it. */
export type DecoderName =
  | 'json'
  | 'number'
  | 'csv'
  | 'influx'
  | 'senml-json'
  | 'senml-cbor'
  | 'cbor'
  | 'msgpack'
  | 'sparkplug';

/** Unit of times that are plain numbers. */
export type TimeUnit = 's' | 'ms' | 'us' | 'ns';

/** One configured rule; what a format has no use for is not there. */
export interface DecodeRule {
  /** MQTT topic filter. */
  readonly topic: string;
  readonly decoder: DecoderName;
  /** JSON pointer (RFC 6901) to the sensor's name; the topic where not given. */
  readonly sensor?: string;
  /** To the sensor's own count. */
  readonly sequence?: string;
  /** To the sensor's time: a number, or ISO 8601. */
  readonly time?: string;
  readonly timeUnit?: TimeUnit;
  /** Of times that are text without an offset: `Z` or `+01:00`; where not given such text is no time. */
  readonly timeOffset?: string;
  /** To a truth value: whether it waited in the sensor's buffer. */
  readonly historical?: string;
  /** What is older than this when it comes waited in a buffer; 0 for never. */
  readonly historicalAfterMs?: number;
  /** To the one value, or to several by name: at least one of them must be in a payload. */
  readonly value?: string;
  readonly values?: Readonly<Record<string, string>>;
  /** Unit of all values. */
  readonly unit?: string;
  /** Units by the names of `values`, before `unit`. */
  readonly units?: Readonly<Record<string, string>>;
  /** To the unit of all values, a text: before `units` and `unit`. */
  readonly unitAt?: string;
  /** Between the columns of CSV. */
  readonly separator?: string;
}
