/**
 * The decoders against the examples that the specifications of their formats give: RFC 6901 §5, RFC
 * 8428 §5 and §6, RFC 8949 Appendix A, RFC 4180 §2, MessagePack, InfluxDB line protocol. Those of Sparkplug
 * are in `formats-sparkplug.test.ts`.
 */
import { createDecode } from '@blocktorrent/agent/ingest/decode.ts';
import type { DecodeRule, DecoderName } from '@blocktorrent/agent/ingest/finding.ts';
import { encode as encodeCbor } from 'cborg';
import { describe, expect, it } from 'vitest';

const NOW_MS = Date.parse('2026-03-01T12:00:00Z');
const text = (value: string): Uint8Array => Buffer.from(value);
const hex = (value: string): Uint8Array => Buffer.from(value.replaceAll(/\s/g, ''), 'hex');

function find(decoder: DecoderName, payload: Uint8Array, rule: Partial<DecodeRule> = {}) {
  const decode = createDecode([{ topic: '#', decoder, ...rule }]);
  const found = decode('site/a', payload, NOW_MS);
  if (found.refusal !== null) throw new Error(found.refusal);
  return found;
}

/** Name, value and unit of each sample. */
function values(decoder: DecoderName, payload: Uint8Array, rule: Partial<DecodeRule> = {}) {
  const { samples } = find(decoder, payload, rule);
  return samples.map(({ name, value, unit }) => [name, value, ...(unit === '' ? [] : [unit])]);
}

/** The one value, read by a pointer. */
function valueAt(decoder: DecoderName, payload: Uint8Array, value = '/0') {
  return values(decoder, payload, { value })[0]?.[1];
}

describe('JSON pointers', () => {
  // RFC 6901 §5; what has `"` in its name is refused by the configuration.
  const document = {
    foo: ['bar', 'baz'],
    '': 0,
    'a/b': 1,
    'c%d': 2,
    'e^f': 3,
    'g|h': 4,
    'i\\j': 5,
    ' ': 7,
    'm~n': 8,
    '7': [{ '01': 9 }],
  };
  const there = [
    '',
    '/foo',
    '/foo/0',
    '/',
    '/a~1b',
    '/c%d',
    '/e^f',
    '/g|h',
    '/i\\j',
    '/ ',
    '/m~0n',
  ];

  it.each([...there, '/7', '/7/0', '/7/0/01'])('find %j, as RFC 6901 §5 has it', (value) => {
    expect(find('json', text(JSON.stringify(document)), { value }).refusal).toBeNull();
  });

  it.each(['/foo/2', '/foo/-', '/foo/01', '/foo/length', '/foo/0/0', '/7/01', '/a/b', '/toString'])(
    'find nothing at %j',
    (value) => {
      const none = `no value at '${value}'`;
      expect(() => find('json', text(JSON.stringify(document)), { value })).toThrow(none);
    },
  );

  it('store a value where a whole number is a name: JSON paths know it as an index only', () => {
    const rule = { values: { a: '/1', b: '/list/1' } };
    expect(values('json', text('{"1":20.5,"list":[3,4]}'), rule)).toEqual([['a', 20.5]]);
    expect(values('json', text('{"list":[3,4]}'), rule)).toEqual([]);
  });
});

describe('times as text, ISO 8601 with an offset', () => {
  const timeOf = (time: string) =>
    find('json', text(JSON.stringify({ v: 1, time })), { value: '/v', time: '/time' }).deviceMs;

  it.each([
    // RFC 3339 §5.8.
    ['1985-04-12T23:20:50.52Z', '1985-04-12T23:20:50.520Z'],
    ['1996-12-19T16:39:57-08:00', '1996-12-20T00:39:57.000Z'],
    ['1996-12-19 16:39:57-0800', '1996-12-20T00:39:57.000Z'],
    ['1937-01-01T12:00:27.87+00:20', null],
    ['2024-02-29t12:00z', '2024-02-29T12:00:00.000Z'],
    ['2024-02-28T24:00:00Z', '2024-02-29T00:00:00.000Z'],
    ['2026-03-01T12:00:00.123456789Z', '2026-03-01T12:00:00.123Z'],
  ])('%s is %s', (time, expected) => {
    if (expected === null) expect(() => timeOf(time)).toThrow('expected a time since 1970');
    else expect(timeOf(time)).toBe(Date.parse(expected));
  });

  it('have the offset of the rule where they say none', () => {
    const rule = { value: '/v', time: '/time' };
    const at = (time: string, timeOffset: string) =>
      find('json', text(JSON.stringify({ v: 1, time })), { ...rule, timeOffset }).deviceMs;
    // What CURRENT_TIMESTAMP of SQLite is.
    expect(at('2026-03-01 12:00:00', 'Z')).toBe(NOW_MS);
    expect(at('2026-03-01T13:00:00.250', '+01:00')).toBe(NOW_MS + 250);
    expect(at('2026-03-01T10:00:00-02:00', '+01:00')).toBe(NOW_MS);
    for (const time of ['2026-02-29 12:00:00', '2026-03-01', '12:00']) {
      expect(() => at(time, 'Z')).toThrow('ISO 8601, found');
    }
  });

  it.each([
    '2026-02-29T12:00:00Z',
    '2026-04-31T12:00:00+01:00',
    '2026-13-01T12:00:00Z',
    '2026-00-01T12:00:00Z',
    '2026-03-01T25:00:00Z',
    '2026-03-01T12:00:00',
    '2026-03-01',
    '1990-12-31T23:59:60Z',
  ])('%s is none', (time) => {
    expect(() => timeOf(time)).toThrow("time at '/time'");
  });
});

describe('SenML, the examples of RFC 8428', () => {
  const json = (pack: unknown) => find('senml-json', text(JSON.stringify(pack)));

  it('§5.1.1: one record', () => {
    const [sample] = json([{ n: 'urn:dev:ow:10e2073a01080063', u: 'Cel', v: 23.1 }]).samples;
    expect(sample).toMatchObject({ name: 'urn:dev:ow:10e2073a01080063', unit: 'Cel', value: 23.1 });
    expect(sample?.timeMs).toBeNull();
  });

  it('§5.1.3: many records with a base time, whose units differ', () => {
    const name = 'urn:dev:ow:10e2073a01080063';
    const { samples, deviceMs, historical } = json([
      { bn: name, bt: 1320067464, bu: '%RH', v: 20 },
      { u: 'lon', v: 24.30621 },
      { u: 'lat', v: 60.07965 },
      { t: 60, v: 20.3 },
      { u: 'lon', t: 60, v: 24.30622 },
      { u: '%EL', t: 150, v: 98 },
    ]);
    expect(samples.map(({ unit, timeMs }) => [unit, (timeMs ?? 0) / 1000 - 1320067464])).toEqual([
      ['%RH', 0],
      ['lon', 0],
      ['lat', 0],
      ['%RH', 60],
      ['lon', 60],
      ['%EL', 150],
    ]);
    expect(samples.every((sample) => sample.name === name)).toBe(true);
    expect([deviceMs, historical]).toEqual([1320067614000, true]);
  });

  it('§5.1.5: each type of value', () => {
    const pack = [
      { bn: 'urn:dev:ow:10e2073a01080063:', n: 'temp', u: 'Cel', v: 23.1 },
      { n: 'label', vs: 'Machine Room' },
      { n: 'open', vb: false },
      { n: 'nfc-reader', vd: 'aGkgCg' },
    ];
    expect(values('senml-json', text(JSON.stringify(pack)))).toEqual([
      ['urn:dev:ow:10e2073a01080063:temp', 23.1, 'Cel'],
      ['urn:dev:ow:10e2073a01080063:label', 'Machine Room'],
      ['urn:dev:ow:10e2073a01080063:open', 0],
      ['urn:dev:ow:10e2073a01080063:nfc-reader', 'aGkgCg'],
    ]);
  });

  it('§6: the bytes of the CBOR example, the same as its JSON', () => {
    const bytes = hex(`
      87 a7 21 78 1b 75 72 6e 3a 64 65 76 3a 6f 77 3a 31 30 65 32 30 37 33 61 30 31 30 38 30 30 36 3a
      22 fb 41 d3 03 a1 5b 00 10 62 23 61 41 20 05 00 67 76 6f 6c 74 61 67 65 01 61 56 02 fb 40 5e 06
      66 66 66 66 66 a3 00 67 63 75 72 72 65 6e 74 06 24 02 fb 3f f3 33 33 33 33 33 33 a3 00 67 63 75
      72 72 65 6e 74 06 23 02 fb 3f f4 cc cc cc cc cc cd a3 00 67 63 75 72 72 65 6e 74 06 22 02 fb 3f
      f6 66 66 66 66 66 66 a3 00 67 63 75 72 72 65 6e 74 06 21 02 f9 3e 00 a3 00 67 63 75 72 72 65 6e
      74 06 20 02 fb 3f f9 99 99 99 99 99 9a a3 00 67 63 75 72 72 65 6e 74 06 00 02 fb 3f fb 33 33 33
      33 33 33`);
    const current = [1.2, 1.3, 1.4, 1.5, 1.6, 1.7].map((v, index) => ({
      n: 'current',
      t: index - 5,
      v,
    }));
    const bn = 'urn:dev:ow:10e2073a0108006:';
    const first = { bn, bt: 1276020076.001, bu: 'A', bver: 5, n: 'voltage', u: 'V', v: 120.1 };
    const fromCbor = find('senml-cbor', bytes);
    expect(fromCbor).toEqual(json([first, ...current]));
    expect(fromCbor.samples.map(({ timeMs }) => timeMs)).toEqual([
      1276020076001, 1276020071001, 1276020072001, 1276020073001, 1276020074001, 1276020075001,
      1276020076001,
    ]);
  });

  it('§6: every label of CBOR is the one of JSON, and none comes twice', () => {
    const record = {
      bver: 10,
      bn: 'b',
      bt: 1e9,
      bu: 'W',
      bv: 1,
      bs: 2,
      n: 'n',
      u: 'J',
      s: 3,
      t: 4,
      ut: 5,
    };
    const labels = [-1, -2, -3, -4, -5, -6, 0, 1, 5, 6, 7];
    const numbered = Object.values(record).map((value, index) => [labels[index], value] as const);
    for (const [label, name, value] of [
      [2, 'v', 6],
      [3, 'vs', 'x'],
      [4, 'vb', true],
    ] as const) {
      const found = find(
        'senml-cbor',
        encodeCbor([new Map<unknown, unknown>([...numbered, [label, value]])]),
      );
      expect(found).toEqual(json([{ ...record, [name]: value }]));
    }
    const data = [new Map<unknown, unknown>([...numbered, [8, hex('fffe')]])];
    expect(find('senml-cbor', encodeCbor(data))).toEqual(json([{ ...record, vd: '__4' }]));
    const twice = encodeCbor([new Map<unknown, unknown>([...numbered, [2, 6], ['v', 7]])]);
    expect(() => find('senml-cbor', twice)).toThrow('v twice in one record');
  });

  it('§4.5.3: what is below 2^28 s is relative to now, what is not counts from 1970', () => {
    const timeOf = (record: object) => json([{ n: 'a', v: 1, ...record }]).samples[0]?.timeMs;
    expect(timeOf({ t: 2 ** 28 - 1 })).toBe(NOW_MS + (2 ** 28 - 1) * 1000);
    expect(timeOf({ t: 2 ** 28 })).toBe(2 ** 28 * 1000);
    expect(timeOf({ bt: 2 ** 28 - 1, t: 1 })).toBe(2 ** 28 * 1000);
    expect(timeOf({ bt: -10, t: 10 })).toBeNull();
    expect(timeOf({ t: -0.5 })).toBe(NOW_MS - 500);
  });

  it('§4.4 and RFC 9100: version 10, 26 with secondary units, and none that is not known', () => {
    const pack = (bver: number) => [{ bver, bn: 'a', u: 'km/h', v: 50 }];
    expect(json(pack(10)).samples).toEqual(json(pack(26)).samples);
    for (const bver of [11, 25, 27, 42]) expect(() => json(pack(bver))).toThrow('SenML: version');
  });

  it('§4.1 and §4.5.4: base fields hold until the next one, a missing value or sum is 0', () => {
    const pack = [
      { bn: 'a:', bu: 'W', bv: 10, n: 'x', v: 1 },
      { n: 'y', v: 2 },
      { bn: 'b:', bv: 0, bs: 5, n: 'x', v: 3 },
      { n: 'y', s: 1, u: 'J' },
      { bu: 'V' },
      { n: 'z', vs: '' },
    ];
    expect(values('senml-json', text(JSON.stringify(pack)))).toEqual([
      ['a:x', 11, 'W'],
      ['a:y', 12, 'W'],
      ['b:x', 3, 'W'],
      ['b:x sum', 5, 'W'],
      ['b:y sum', 6, 'J'],
      ['b:z', '', 'V'],
      ['b:z sum', 5, 'V'],
    ]);
  });
});

describe('CBOR, the examples of RFC 8949 Appendix A', () => {
  /** Each stands in an array of one element. */
  const read = (item: string) => valueAt('cbor', hex(`81${item}`));

  it.each([
    ['00', 0],
    ['1903e8', 1000],
    ['1b000000e8d4a51000', 1e12],
    ['1bffffffffffffffff', 2 ** 64],
    ['c249010000000000000000', 2 ** 64],
    ['3bffffffffffffffff', -(2 ** 64)],
    ['c349010000000000000000', -(2 ** 64)],
    ['3903e7', -1000],
    ['f98000', 0],
    ['f93e00', 1.5],
    ['fa47c35000', 100000],
    ['f90001', 2 ** -24],
    ['fbc010666666666666', -4.1],
    ['f4', 0],
    ['f5', 1],
    ['c074323031332d30332d32315432303a30343a30305a', '2013-03-21T20:04:00Z'],
    ['c11a514b67b0', '2013-03-21T20:04:00.000Z'],
    ['c1fb41d452d9ec200000', '2013-03-21T20:04:00.500Z'],
    ['4401020304', 'AQIDBA=='],
    ['62c3bc', 'ü'],
    ['64f0908591', '𐅑'],
    ['8301820203820405', '[1,[2,3],[4,5]]'],
    ['a201020304', '{"1":2,"3":4}'],
    ['a26161016162820203', '{"a":1,"b":[2,3]}'],
    ['9f018202039f0405ffff', '[1,[2,3],[4,5]]'],
    ['bf61610161629f0203ffff', '{"a":1,"b":[2,3]}'],
    ['a1616282430102031bffffffffffffffff', '{"b":["AQID",18446744073709552000]}'],
    ['5f42010243030405ff', 'AQIDBAU='],
    ['7f657374726561646d696e67ff', 'streaming'],
    ['7fff', undefined],
    ['5fff', ''],
    ['d74401020304', 'AQIDBA=='],
    ['d818456449455446', 'ZElFVEY='],
    ['d82076687474703a2f2f7777772e6578616d706c652e636f6d', 'http://www.example.com'],
    // §3.4.4: 273.15 and 1.5, and a tag of 64 bits.
    ['c48221196ab3', 273.15],
    ['c5822003', 1.5],
    ['dbffffffffffffffff01', 1],
    ['82f001', '[null,1]'],
    ['82f8ff01', '[null,1]'],
  ])('%s is %j', (item, value) => {
    expect(read(item)).toBe(value);
  });

  it.each(['f97c00', 'f97e00', 'f9fc00', 'f6', 'f0', 'f8ff', '60'])('%s is no value', (item) => {
    expect(read(item)).toBeUndefined();
  });

  // Appendix F: not well-formed.
  it.each([
    ...['18', '1c', 'ff', '62 61', '9f 01', 'a1 01', 'bf 01 ff', 'bf 61 76 ff ff', 'fc', 'c1'],
    ...[
      '5f 00 ff',
      '5f 21 ff',
      '5f 61 00 ff',
      '5f 80 ff',
      '5f c0 00 ff',
      '5f e0 ff',
      '7f 41 00 ff',
    ],
    ...[
      '5f 5f 41 00 ff ff',
      '7f 7f 61 00 ff ff',
      '5f 41 00',
      '7f 61 00',
      '5f',
      '7f',
      'f8',
      'f8 00',
    ],
    ...['f8 18', 'f8 1f'],
    // §5.6: a name twice; and a number that nobody means.
    ...['a2 6161 01 6161 02', `c2 58 21 ${'01'.repeat(33)}`],
  ])('%s is no CBOR', (item) => {
    expect(() => read(item)).toThrow();
  });
});

describe('MessagePack, the types of its specification', () => {
  const read = (item: string) => valueAt('msgpack', hex(`91${item}`));

  it.each([
    ['7f', 127],
    ['e0', -32],
    ['ccff', 255],
    ['cdffff', 65535],
    ['ceffffffff', 2 ** 32 - 1],
    ['cf0000000100000000', 2 ** 32],
    ['cfffffffffffffffff', 2 ** 64],
    ['d080', -128],
    ['d18000', -32768],
    ['d280000000', -(2 ** 31)],
    ['d38000000000000000', -(2 ** 63)],
    ['ca3fc00000', 1.5],
    ['cb3ff8000000000000', 1.5],
    ['c2', 0],
    ['c3', 1],
    ['a2c3bc', 'ü'],
    ['d90161', 'a'],
    ['da000161', 'a'],
    ['db0000000161', 'a'],
    ['c403010203', 'AQID'],
    ['c50003010203', 'AQID'],
    ['c600000003010203', 'AQID'],
    ['920102', '[1,2]'],
    ['dc00020102', '[1,2]'],
    ['dd000000020102', '[1,2]'],
    ['81a16101', '{"a":1}'],
    ['de0001a161c403010203', '{"a":"AQID"}'],
    ['df00000001a16101', '{"a":1}'],
    // Extension -1: 32, 64 and 96 bits of time.
    ['d6ff514b67b0', '2013-03-21T20:04:00.000Z'],
    ['d7ff77359400514b67b0', '2013-03-21T20:04:00.500Z'],
    ['c70cff1dcd650000000000514b67b0', '2013-03-21T20:04:00.500Z'],
    ['d4052a', '{"type":5,"data":"Kg=="}'],
    ['c70305010203', '{"type":5,"data":"AQID"}'],
    ['c8000305010203', '{"type":5,"data":"AQID"}'],
    ['c90000000305010203', '{"type":5,"data":"AQID"}'],
  ])('%s is %j', (item, value) => {
    expect(read(item)).toBe(value);
  });

  it.each(['c1', 'd90261', 'cd00', 'c9000000', '92 01', '81 a161'])('%s is none', (item) => {
    expect(() => read(item)).toThrow(/messagepack|msgpack/i);
  });

  it('is one item: what follows it is said to be none of it', () => {
    expect(() => find('msgpack', hex('0102'), { value: '' })).toThrow('not msgpack: Extra 1 of 2');
  });
});

describe('CSV, RFC 4180 §2', () => {
  const columns = (line: string) => {
    const rule = { values: { a: '/0', b: '/1', c: '/2' } };
    return values('csv', text(line), rule).map(([, value]) => value);
  };

  it.each([
    ['aaa,bbb,ccc\r\n', ['aaa', 'bbb', 'ccc']],
    ['aaa,bbb,ccc', ['aaa', 'bbb', 'ccc']],
    ['"aaa","b\r\nbb","ccc"', ['aaa', 'b\r\nbb', 'ccc']],
    ['"aaa","b""bb","c,c"', ['aaa', 'b"bb', 'c,c']],
    ['\ufeff"aaa",,"1.50"', ['aaa', 1.5]],
    // Beyond it: spaces beside a separator are not kept, columns may be missing.
    [' 1 , -2e3', [1, -2000]],
  ])('%j', (line, expected) => {
    expect(columns(line)).toEqual(expected);
  });

  it.each(['aaa,b"bb,ccc', '"aaa"x,b,c', '"aaa'])('%j is none', (line) => {
    expect(() => columns(line)).toThrow();
  });
});

describe('line protocol, the examples of its reference', () => {
  it.each([
    ['my\\ Measurement fieldKey="string value"', 'my\\ Measurement', ['fieldKey', 'string value']],
    ['m fieldKey="\\"string\\" within a string"', 'm', ['fieldKey', '"string" within a string']],
    ['m,tag\\ Key1=tag\\ Value1 fieldKey=100', 'm,tag\\ Key1=tag\\ Value1', ['fieldKey', 100]],
    [
      'm,tagKey=🍭 fieldKey="Launch 🚀" 1556813561098000000',
      'm,tagKey=🍭',
      ['fieldKey', 'Launch 🚀'],
    ],
    ['m,path=C:\\x f\\,a\\=b\\ c="D:\\\\y"', 'm,path=C:\\x', ['f,a=b c', 'D:\\y']],
    ['m\\,a=b,t\\==\\,x f=-1.234456e+78', 'm\\,a=b,t\\==\\,x', ['f', -1.234456e78]],
    ['m f=-12485903i', 'm', ['f', -12485903]],
    ['m f=12485903u', 'm', ['f', 12485903]],
    ['m f="true"', 'm', ['f', 'true']],
    ['m f="a, b=c d\ne"', 'm', ['f', 'a, b=c d\ne']],
    ['m f=1\r\n', 'm', ['f', 1]],
    ['m f=true\r\n\r\n', 'm', ['f', 1]],
  ])('%j', (line, sensor, value) => {
    const found = find('influx', text(line));
    expect(found.sensor).toBe(sensor);
    expect(values('influx', text(line))).toEqual([value]);
  });

  it.each(['t', 'T', 'true', 'True', 'TRUE', 'f', 'F', 'false', 'False', 'FALSE'])(
    '%s is a truth value',
    (word) => {
      expect(values('influx', text(`m f=${word}`))).toEqual([['f', Number(/^t/i.test(word))]]);
    },
  );

  it.each([
    ['ns', '1556813561098000000'],
    ['us', '1556813561098000'],
    ['ms', '1556813561098'],
    ['s', '1556813561'],
  ] as const)('times in %s', (timeUnit, time) => {
    const { deviceMs } = find('influx', text(`m f=1 ${time}\n`), { timeUnit });
    expect(deviceMs).toBe(timeUnit === 's' ? 1556813561000 : 1556813561098);
  });

  it('says no time where its lines say none, and the newest where some do', () => {
    expect(find('influx', text('m f=1')).deviceMs).toBeNull();
    const some = text('m f=1\nm f=2 1556813561098000000\nm f=3 1556813561097000000');
    expect(find('influx', some).deviceMs).toBe(1556813561098);
  });

  it.each([
    [',t=1 f=1', 'line 1: expected a measurement'],
    ['m,t f=1', 'line 1: expected a measurement and tag=value'],
    ['m,t= f=1', 'line 1: expected a measurement and tag=value'],
    ['m, f=1', 'line 1: expected a measurement and tag=value'],
    ['m,t=1=2 f=1', 'line 1: expected a measurement and tag=value'],
    ['m f=-5u', 'found "-5u"'],
    ['m f=1.5i', 'found "1.5i"'],
    ['# a\n\nm f="a\nb"\nm g=abc', 'line 5: expected a number, true, false or "text", found "abc"'],
  ])('%j is refused: %s', (line, reason) => {
    expect(() => find('influx', text(line))).toThrow(reason);
  });
});
