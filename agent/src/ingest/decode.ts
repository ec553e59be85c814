/**
 * From a message to what it says of itself: sensor, sequence, time, and values that are not JSON.
 *
 * Enters: a topic and a payload. Leaves: a finding, or the reason why no decoder took it. Always
 * holds: never throws, whatever the bytes; the first rule whose topic filter fits decides. Each
 * format is one file in `decoders/`, and one line in `DECODERS`.
 */
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import { matchesFilter } from '@blocktorrent/protocol/topic-filter.ts';
import { createCborDecoder } from './decoders/cbor.ts';
import { createCsvDecoder } from './decoders/csv.ts';
import { DecodeError } from './decoders/decode-error.ts';
import { createInfluxDecoder } from './decoders/influx.ts';
import { createJsonDecoder } from './decoders/json.ts';
import { createMsgpackDecoder } from './decoders/msgpack.ts';
import { createNumberDecoder } from './decoders/number.ts';
import { createSenmlCborDecoder } from './decoders/senml-cbor.ts';
import { createSenmlJsonDecoder } from './decoders/senml-json.ts';
import { createSparkplugDecoder } from './decoders/sparkplug.ts';
import type { DecodeRule, Decoder, DecoderMemory, DecoderName, Finding } from './finding.ts';

export type { DecodeRule } from './finding.ts';

/** Finding of a message, or why it is a dead letter. */
export type Decoded =
  | (Omit<Finding, 'historical'> & {
      readonly historical: boolean;
      readonly refusal: null;
      /** Topic filter of the rule that decided. */
      readonly rule: string;
    })
  | { readonly refusal: string };

/** Decodes a message by the first rule that fits its topic; `receivedMs` since the Unix epoch. */
export type Decode = (topic: string, payload: Uint8Array, receivedMs: number) => Decoded;

type CreateDecoder = (rule: DecodeRule, memory: DecoderMemory) => Decoder;

const DECODERS: Readonly<Record<DecoderName, CreateDecoder>> = {
  json: createJsonDecoder,
  number: createNumberDecoder,
  csv: createCsvDecoder,
  influx: createInfluxDecoder,
  'senml-json': createSenmlJsonDecoder,
  'senml-cbor': createSenmlCborDecoder,
  cbor: createCborDecoder,
  msgpack: createMsgpackDecoder,
  sparkplug: createSparkplugDecoder,
};

/** Topics whose rule is remembered; more, and longer ones, are looked up each time. */
const TOPICS_REMEMBERED_MAX = 10_000;
const TOPIC_REMEMBERED_CHARS_MAX = 1_000;
const REFUSAL_CHARS_MAX = 300;
/** Names, units and texts of all samples of one payload; a commit holds as many payloads as fit. */
const TEXT_CHARS_MAX = 8 * LIMITS.payloadBytesMax;
const TEXT_CHARS_FREE = 64 * 1024;
const TEXT_CHARS_PER_BYTE = 16;
/** Default of a rule's `historicalAfterMs`. */
const HISTORICAL_AFTER_MS = 60_000;

/** A decoder for all topics. Throws RangeError on a rule that no decoder can follow. */
export function createDecode(
  rules: readonly DecodeRule[],
  memory: DecoderMemory = volatileMemory(),
): Decode {
  const decoders = rules.map((rule) => ({
    filter: rule.topic,
    format: rule.decoder,
    historicalAfterMs: rule.historicalAfterMs ?? HISTORICAL_AFTER_MS,
    decoder: DECODERS[rule.decoder](rule, memory),
  }));
  type Choice = (typeof decoders)[number] | null;
  const known = new Map<string, Choice>();
  const choiceOf = (topic: string): Choice => {
    const remembered = known.get(topic);
    if (remembered !== undefined) return remembered;
    const found = decoders.find(({ filter }) => matchesFilter(filter, topic)) ?? null;
    if (known.size < TOPICS_REMEMBERED_MAX && topic.length <= TOPIC_REMEMBERED_CHARS_MAX) {
      known.set(topic, found);
    }
    return found;
  };
  return (topic, payload, receivedMs) => {
    const choice = choiceOf(topic);
    if (choice === null) return { refusal: 'no rule for this topic' };
    try {
      const finding = choice.decoder({ topic, payload, receivedMs });
      requireFew(finding.samples, payload.length);
      return {
        sensor: finding.sensor ?? sensorOfTopic(topic),
        deviceSeq: finding.deviceSeq,
        deviceMs: finding.deviceMs,
        historical: finding.historical ?? isLate(finding, receivedMs, choice.historicalAfterMs),
        samples: finding.samples,
        refusal: null,
        rule: choice.filter,
      };
    } catch (error) {
      const reason = reasonOf(error, choice.format);
      return { refusal: reason.toWellFormed().slice(0, REFUSAL_CHARS_MAX).toWellFormed() };
    }
  };
}

/** A memory that ends with the process. */
export function volatileMemory(): DecoderMemory {
  const values = new Map<string, string>();
  return {
    get: (key) => values.get(key) ?? null,
    put: (key, value) => void values.set(key, value),
  };
}

/** What a library says of a payload does not always name the format. */
function reasonOf(error: unknown, format: DecoderName): string {
  if (error instanceof DecodeError) return error.message;
  return `not ${format}: ${error instanceof Error ? error.message : String(error)}`;
}

function isLate({ deviceMs }: Finding, receivedMs: number, afterMs: number): boolean {
  return deviceMs !== null && afterMs > 0 && receivedMs - deviceMs > afterMs;
}

/** A few bytes must not become gigabytes: names of series, base names and aliases repeat. */
function requireFew(samples: Finding['samples'], payloadBytes: number): void {
  const max = LIMITS.samplesPerReadingMax;
  if (samples.length > max) {
    throw new DecodeError(`${samples.length} values in one payload, at most ${max}`);
  }
  let chars = 0;
  for (const { sensor, name, unit, value } of samples) {
    chars += (sensor?.length ?? 0) + name.length + unit.length;
    if (typeof value === 'string') chars += value.length;
  }
  const charsMax = Math.min(TEXT_CHARS_MAX, TEXT_CHARS_FREE + TEXT_CHARS_PER_BYTE * payloadBytes);
  if (chars > charsMax) {
    throw new DecodeError(`${chars} characters of names and texts, at most ${charsMax}`);
  }
}

/** Where a payload does not name its sensor, the topic does; a very long one names nobody. */
function sensorOfTopic(topic: string): string | null {
  return topic.length <= LIMITS.reasonCharsMax ? topic : null;
}
