/** Decoding and duplicates: what is taken, what is refused and why, what repeats what. */
import { createDecode, type DecodeRule } from '@blocktorrent/agent/ingest/decode.ts';
import { Duplicates } from '@blocktorrent/agent/ingest/duplicates.ts';
import { matchesFilter } from '@blocktorrent/protocol/topic-filter.ts';
import { describe, expect, it } from 'vitest';
import { RULES } from '../support/ingest.ts';
import { aReading } from '../support/readings.ts';

/** When the tests' messages come in. */
const NOW_MS = Date.parse('2026-03-01T12:00:01Z');
const decode = at(RULES);

function at(rules: readonly DecodeRule[]) {
  const inner = createDecode(rules);
  return (topic: string, payload: Uint8Array) => inner(topic, payload, NOW_MS);
}

const bytes = (value: unknown): Uint8Array =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value));

describe('the JSON decoder', () => {
  it('finds sensor, sequence and time, as ISO 8601 or milliseconds', () => {
    const time = '2026-03-01T12:00:00.250Z';
    const said = { sensor: 't-1', deviceSeq: 7, deviceMs: Date.parse(time), refusal: null };
    const found = { ...said, historical: false, samples: [], rule: 'site/#' };
    expect(decode('site/a', bytes({ sensor: 't-1', seq: 7, time, value: 1 }))).toEqual(found);
    const inMs = { sensor: 't-1', seq: 7, time: Date.parse(time), fields: { lat: 1 } };
    expect(decode('site/a', bytes(inMs))).toEqual(found);
  });

  it('names the sensor by its topic where the payload does not', () => {
    expect(decode('site/a', bytes({ value: false }))).toEqual({
      sensor: 'site/a',
      deviceSeq: null,
      deviceMs: null,
      historical: false,
      samples: [],
      rule: 'site/#',
      refusal: null,
    });
    // A batch holds names of 1,000 characters, topics of 65,535 bytes; a payload's name may have 200.
    const named = at([{ topic: '#', decoder: 'json', value: '/v', sensor: '/s' }]);
    const sensorAt = (topic: string) => Object(named(topic, bytes({ v: 1 }))).sensor;
    expect(sensorAt('a'.repeat(1000))).toHaveLength(1000);
    expect(sensorAt('a'.repeat(1001))).toBeNull();
    const refusalOf = (s: string) => named('a', bytes({ v: 1, s })).refusal;
    expect(refusalOf('n'.repeat(200))).toBeNull();
    expect(refusalOf('n'.repeat(201))).toMatch("sensor at '/s': expected a name");
  });

  it('marks what waited in a buffer: as the payload says, or by its age', () => {
    const json = { topic: '#', decoder: 'json', value: '/v', time: '/t' } as const;
    const marks = (rule: DecodeRule, payload: object) => at([rule])('a', bytes(payload));
    const old = { v: 1, t: NOW_MS - 60_001 };
    expect(marks(json, old)).toHaveProperty('historical', true);
    expect(marks(json, { v: 1, t: NOW_MS - 60_000 })).toHaveProperty('historical', false);
    expect(marks({ ...json, historicalAfterMs: 0 }, old)).toHaveProperty('historical', false);
    const said = { ...json, historical: '/old' };
    expect(marks(said, { ...old, old: false })).toHaveProperty('historical', false);
    expect(marks(said, { v: 1, old: true })).toHaveProperty('historical', true);
    expect(marks(said, { v: 1, old: 'x' }).refusal).toMatch(/^historical at '\/old'/);
  });

  it('takes times in the unit that the rule names', () => {
    for (const [timeUnit, factor] of [
      ['s', 0.001],
      ['us', 1e3],
      ['ns', 1e6],
    ] as const) {
      const rule = { topic: '#', decoder: 'json', value: '/v', time: '/t', timeUnit } as const;
      const found = at([rule])('a', bytes({ v: 1, t: NOW_MS * factor }));
      expect(found).toHaveProperty('deviceMs', NOW_MS);
    }
  });

  const refused: Readonly<Record<string, [unknown, RegExp]>> = {
    'what is cut off': ['{"sensor":"t-1","se', /^not JSON: /],
    'an empty payload': ['', /^not JSON: /],
    'a payload without any of the values': [{ sensor: 't-1' }, /^no value at '\/value' or /],
    'a number': ['12', /^no value/],
    'a sequence that is no whole number': [{ seq: 'x', value: 1 }, /^sequence at '\/seq': .*"x"/],
    'a sequence below zero': [{ seq: -1, value: 1 }, /^sequence at/],
    'a time that is none': [{ time: 'noon', value: 1 }, /^time at '\/time': .*"noon"/],
    'a time outside of what a clock can say': [{ time: 1e300, value: 1 }, /^time at/],
    'a sensor that is no name': [{ sensor: {}, value: 1 }, /^sensor at/],
    'deep nesting': [`{"value":${'['.repeat(100_000)}${']'.repeat(100_000)}}`, /nested deeper/],
  };
  for (const [what, [payload, reason]] of Object.entries(refused)) {
    it(`refuses ${what}, with the reason`, () => {
      const { refusal } = decode('site/a', bytes(payload));
      expect(refusal).toMatch(reason);
      expect(refusal?.length).toBeLessThanOrEqual(300);
    });
  }

  it('refuses what is not UTF-8', () => {
    expect(decode('site/a', Uint8Array.of(0x22, 0xff, 0x22)).refusal).toBe('not UTF-8');
  });

  it('refuses topics that no rule fits, and takes the first rule that fits', () => {
    expect(decode('elsewhere', bytes({ value: 1 })).refusal).toBe('no rule for this topic');
    const two = at([
      { topic: 'a/+', decoder: 'json', value: '/x' },
      { topic: '#', decoder: 'json', value: '/y' },
    ]);
    expect(two('a/b', bytes({ y: 1 })).refusal).toBe("no value at '/x'");
    expect(two('a/b/c', bytes({ y: 1 })).refusal).toBeNull();
  });
});

describe('topic filters', () => {
  it('mean what MQTT says [MQTT-4.7]', () => {
    const fits = [
      'a/b|a/b',
      '#|a/b',
      'a/#|a',
      'a/#|a/b/c',
      '+/b|a/b',
      '+|',
      'a/+|a/',
      '$SYS/#|$SYS/x',
    ];
    const fails = ['a/b|a/c', 'a/b|a', 'a|a/b', '+|a/b', '#|$SYS/x', '+/x|$SYS/x', 'a/#|ab'];
    const check = (pair: string): boolean => {
      const [filter = '', topic = ''] = pair.split('|');
      return matchesFilter(filter, topic);
    };
    expect(fits.filter((pair) => !check(pair))).toEqual([]);
    expect(fails.filter(check)).toEqual([]);
  });
});

describe('duplicates', () => {
  it('are the same sensor, sequence and time, whether or not the broker says DUP', () => {
    const known = new Duplicates();
    expect(known.check(aReading(1), 1)).toBeNull();
    expect(known.check(aReading(2), 2)).toBeNull();
    expect(known.check(aReading(1), 3)).toBe(1);
    expect(known.check(aReading(1, { dup: true }), 4)).toBe(1);
  });

  it('are not a sensor that counts from 1 again after its restart', () => {
    const known = new Duplicates();
    known.check(aReading(1), 1);
    expect(known.check(aReading(1, { deviceMs: 1.8e12 }), 2)).toBeNull();
  });

  it('are not two topics of a sensor that counts each of them', () => {
    const known = new Duplicates();
    known.check(aReading(1, { topic: 'site/t-1/temperature' }), 1);
    expect(known.check(aReading(1, { topic: 'site/t-1/humidity' }), 2)).toBeNull();
  });

  it('are, of a sensor that counts but knows no time, only what has the same payload, too', () => {
    const known = new Duplicates();
    const counted = (payload: string) =>
      aReading(1, { deviceMs: null, payload: Buffer.from(payload) });
    expect(known.check(counted('{"seq":1,"v":20}'), 1)).toBeNull();
    // It was switched off and counts from 1 again.
    expect(known.check(counted('{"seq":1,"v":21}'), 2)).toBeNull();
    expect(known.check(counted('{"seq":1,"v":20}'), 3)).toBe(1);
  });

  it('are, without a sequence, what the broker sends again with the same payload', () => {
    const known = new Duplicates();
    const plain = { sensor: null, deviceSeq: null, deviceMs: null } as const;
    expect(known.check(aReading(1, plain), 1)).toBeNull();
    expect(known.check(aReading(1, plain), 2)).toBeNull();
    expect(known.check(aReading(1, { ...plain, dup: true }), 3)).toBe(2);
    expect(known.check(aReading(2, { ...plain, dup: true }), 4)).toBeNull();
  });

  it('are, without a sequence, what is retained and has come before', () => {
    const known = new Duplicates();
    const plain = { sensor: null, deviceSeq: null, deviceMs: null } as const;
    expect(known.check(aReading(1, { ...plain, retain: true }), 1)).toBeNull();
    expect(known.check(aReading(1, { ...plain, retain: true }), 2)).toBe(1);
    expect(known.check(aReading(2, { ...plain, retain: true }), 3)).toBeNull();
    expect(known.check(aReading(1, plain), 4)).toBeNull();
  });

  it('forget readings whose commit failed, and nothing else', () => {
    const known = new Duplicates();
    known.check(aReading(1), 1);
    known.check(aReading(2), 2);
    known.forget([aReading(1), aReading(2)], 2);
    expect(known.check(aReading(2), 2)).toBeNull();
    expect(known.check(aReading(1), 3)).toBe(1);
  });

  it('remember the newest, at least their capacity and less than twice as many', () => {
    const known = new Duplicates(3);
    known.learn([1, 2, 3, 4, 5].map((seq) => aReading(seq)));
    expect([2, 3, 4, 5].map((seq) => known.check(aReading(seq), 9))).toEqual([2, 3, 4, 5]);
    known.check(aReading(6), 6);
    expect(known.check(aReading(1), 9)).toBeNull();
    expect(known.check(aReading(3), 9)).toBeNull();
    expect([4, 5, 6].map((seq) => known.check(aReading(seq), 9))).toEqual([4, 5, 6]);
  });

  it('learn also from repetitions what first came before all that they are shown', () => {
    const known = new Duplicates();
    known.learn([aReading(8, { ...aReading(2), seq: 8, duplicateOf: 2 })]);
    expect(known.check(aReading(2), 9)).toBe(2);
    expect(known.check(aReading(8), 10)).toBeNull();
  });

  it('check as fast when they are full as when they are empty', () => {
    const known = new Duplicates(60_000);
    const durationOf = (from: number): number => {
      const startedMs = performance.now();
      for (let seq = from; seq < from + 60_000; seq += 1) known.check(aReading(seq), seq);
      return performance.now() - startedMs;
    };
    const empty = durationOf(1);
    const full = [60_001, 120_001, 180_001].map(durationOf);
    // Taking the oldest out of one full Map made it 8 to 15 times as slow.
    expect(Math.min(...full)).toBeLessThan(5 * empty);
  });
});
