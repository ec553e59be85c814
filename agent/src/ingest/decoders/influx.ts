/**
 * InfluxDB line protocol: `measurement,tag=a,tag=b field=1.5,other=2i 1700000000000000000`.
 *
 * Each line's series (measurement and tags, as written) is the sensor, each field a sample. Times
 * are nanoseconds unless the rule says otherwise. No library in JavaScript that parses it is kept
 * up; the syntax is small: https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol
 */
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import type { Sample } from '@blocktorrent/protocol/reading.ts';
import type { DecodeRule, Decoder, TimeUnit } from '../finding.ts';
import { DecodeError } from './decode-error.ts';
import { numberOf, textOf } from './text.ts';
import { timeMsOf } from './time.ts';

/** A measurement and its tags: names end at a comma, a space or an `=` that is not escaped. */
const SERIES =
  /(?:[^\\ ,\n]|\\[^\n])+(?:,(?:[^\\ ,=\n]|\\[^\n])+=(?:[^\\ ,=\n]|\\[^\n])+)*(?![^ \n])/y;
const FIELD_KEY = /(?:[^\\ ,=\n]|\\[^\n])+=/y;
/** Text may have line breaks. */
const TEXT_VALUE = /"((?:[^"\\]|\\[\s\S])*)"/y;
const PLAIN_VALUE = /[^ ,\r\n]+/y;
const TIME = / +(-?\d{1,20})/y;
const LINE_END = /[ \r]*(?:\n|$)/y;
const NO_READING = /(?:[ \t\r]*\n|[ \t]*#[^\n]*(?:\n|$))*[ \t\r]*/y;

/** Signed and unsigned whole numbers. */
const WHOLE = /^([+-]?\d+i|\d+u)$/;
const TRUE = new Set(['t', 'T', 'true', 'True', 'TRUE']);
const FALSE = new Set(['f', 'F', 'false', 'False', 'FALSE']);

/** A decoder for one rule. */
export function createInfluxDecoder(rule: DecodeRule): Decoder {
  const unit = rule.unit ?? '';
  const timeUnit = rule.timeUnit ?? 'ns';
  return ({ payload }) => {
    const lines = new Lines(textOf(payload), timeUnit, unit);
    const samples: Sample[] = [];
    while (lines.more()) {
      for (const sample of lines.next()) samples.push(sample);
      if (samples.length > LIMITS.samplesPerReadingMax) {
        throw new DecodeError(`at most ${LIMITS.samplesPerReadingMax} fields in one payload`);
      }
    }
    const [first] = samples;
    if (first === undefined) throw new DecodeError('no line of line protocol');
    const alone = samples.every(({ sensor }) => sensor === first.sensor);
    const times = samples.flatMap(({ timeMs }) => (timeMs === null ? [] : [timeMs]));
    return {
      sensor: alone ? first.sensor : null,
      deviceSeq: null,
      deviceMs: times.length === 0 ? null : times.reduce((a, b) => Math.max(a, b)),
      historical: null,
      samples: alone ? samples.map((sample) => ({ ...sample, sensor: null })) : samples,
    };
  };
}

/** Reads line by line, from left to right. */
class Lines {
  readonly #text: string;
  readonly #timeUnit: TimeUnit;
  readonly #unit: string;
  #at = 0;

  constructor(text: string, timeUnit: TimeUnit, unit: string) {
    this.#text = text;
    this.#timeUnit = timeUnit;
    this.#unit = unit;
  }

  /** Skips empty lines and comments; whether a line follows. */
  more(): boolean {
    this.#take(NO_READING);
    return this.#at < this.#text.length;
  }

  next(): Sample[] {
    const series = this.#need(SERIES, 'a measurement and tag=value')[0];
    this.#need(/ +/y, 'a space and fields');
    const fields: { name: string; value: number | string }[] = [];
    do {
      const key = this.#need(FIELD_KEY, 'field=')[0].slice(0, -1);
      fields.push({ name: key.replace(/\\([ ,=])/g, '$1'), value: this.#value() });
    } while (this.#take(/,/y) !== null);
    const time = this.#take(TIME)?.[1];
    const timeMs = time === undefined ? null : timeMsOf(BigInt(time), this.#timeUnit);
    if (time !== undefined && timeMs === null) throw this.#wrong(`a time since 1970`);
    this.#need(LINE_END, 'a time or the end of the line');
    return fields.map((field) => ({ sensor: series, unit: this.#unit, timeMs, ...field }));
  }

  #value(): number | string {
    const text = this.#take(TEXT_VALUE)?.[1];
    if (text !== undefined) return text.replace(/\\(["\\])/g, '$1');
    const plain = this.#need(PLAIN_VALUE, 'a value')[0];
    if (TRUE.has(plain)) return 1;
    if (FALSE.has(plain)) return 0;
    const value = numberOf(WHOLE.test(plain) ? plain.slice(0, -1) : plain);
    if (value !== null) return value;
    this.#at -= plain.length;
    throw this.#wrong('a number, true, false or "text"');
  }

  #take(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.#at;
    const match = pattern.exec(this.#text);
    if (match !== null) this.#at = pattern.lastIndex;
    return match;
  }

  #need(pattern: RegExp, expected: string): RegExpExecArray {
    const match = this.#take(pattern);
    if (match === null) throw this.#wrong(expected);
    return match;
  }

  #wrong(expected: string): DecodeError {
    const found = this.#text.slice(this.#at, this.#at + 20);
    const line = this.#text.slice(0, this.#at).split('\n').length;
    return new DecodeError(
      `line protocol, line ${line}: expected ${expected}, found ${JSON.stringify(found)}`,
    );
  }
}
