/** The formats of payloads: what each decoder finds, and what it refuses and why. */
import { createDecode, volatileMemory } from '@blocktorrent/agent/ingest/decode.ts';
import { createDecoderMemory } from '@blocktorrent/agent/ingest/decoder-memory.ts';
import type { DecodeRule, DecoderName } from '@blocktorrent/agent/ingest/finding.ts';
import { silentLog } from '@blocktorrent/agent/runtime/log.ts';
import { openDatabase } from '@blocktorrent/agent/runtime/sqlite.ts';
import { encode as encodeMsgpack } from '@msgpack/msgpack';
import { encode as encodeCbor } from 'cborg';
import { describe, expect, it } from 'vitest';
import { aFolder } from '../support/readings.ts';
import { aPayload, aTopic, metric } from '../support/sparkplug.ts';

const NOW_MS = Date.parse('2026-03-01T12:00:00Z');
const text = (value: string): Uint8Array => Buffer.from(value);

function decoderFor(decoder: DecoderName, rule: Partial<DecodeRule> = {}) {
  const decode = createDecode([{ topic: '#', decoder, ...rule }]);
  return (payload: Uint8Array) => {
    const found = decode('site/a', payload, NOW_MS);
    if (found.refusal !== null) throw new Error(found.refusal);
    return found;
  };
}

/** `name value unit time` of each sample, the time relative to now in seconds. */
function lines(found: ReturnType<ReturnType<typeof decoderFor>>): string[] {
  return found.samples.map(({ sensor, name, value, unit, timeMs }) => {
    const time = timeMs === null ? 'now' : (timeMs - NOW_MS) / 1000;
    return `${sensor === null ? '' : `${sensor}: `}${name} = ${value} ${unit} @ ${time}`;
  });
}

describe('SenML', () => {
  const json = decoderFor('senml-json');
  const now = NOW_MS / 1000;

  it('resolves base name, base time, base unit and version, as RFC 8428 §5.1.3 does', () => {
    const pack = [
      {
        bn: 'urn:dev:ow:10e2073a0108006:',
        bt: now,
        bu: 'A',
        bver: 5,
        n: 'voltage',
        u: 'V',
        v: 120.1,
      },
      { n: 'current', t: -5, v: 1.2 },
      { n: 'current', t: -4, v: 1.3 },
    ];
    const found = json(text(JSON.stringify(pack)));
    expect(lines(found)).toEqual([
      'urn:dev:ow:10e2073a0108006:voltage = 120.1 V @ 0',
      'urn:dev:ow:10e2073a0108006:current = 1.2 A @ -5',
      'urn:dev:ow:10e2073a0108006:current = 1.3 A @ -4',
    ]);
    expect(found).toMatchObject({
      sensor: 'urn:dev:ow:10e2073a0108006:',
      deviceMs: NOW_MS,
      historical: false,
    });
  });

  it('takes small times as relative to now (§4.5.3), and none as now', () => {
    const pack = [
      { bn: 'a', bt: -20, v: 1 },
      { t: 5, v: 2 },
      { bt: 0, v: 3 },
    ];
    expect(lines(json(text(JSON.stringify(pack))))).toEqual([
      'a = 1  @ -20',
      'a = 2  @ -15',
      'a = 3  @ now',
    ]);
  });

  it('adds base value and base sum, and knows truth, text and data', () => {
    const pack = [
      { n: 'a', bv: 20, v: 1.5 },
      { n: 'b', bs: 100, s: 5 },
      { n: 'c', bs: 0, vb: true, s: 1 },
      { n: 'd', vs: 'open' },
      { n: 'e', vd: 'AQI' },
    ];
    expect(lines(json(text(JSON.stringify(pack))))).toEqual([
      'a = 21.5  @ now',
      'b sum = 105  @ now',
      'c = 1  @ now',
      'c sum = 1  @ now',
      'd = open  @ now',
      'd sum = 0  @ now',
      'e = AQI  @ now',
      'e sum = 0  @ now',
    ]);
  });

  it('reads the same from CBOR, with its labels, data and decimal fractions', () => {
    const cbor = decoderFor('senml-cbor');
    // RFC 8428 §6: [{-2: "urn:dev:", -3: 1700000000, 0: "t", 1: "Cel", 2: -18.5}, {0: "d", 8: h'0102'}]
    const record = new Map<number, unknown>([
      [-2, 'a:'],
      [-3, now],
      [0, 't'],
      [1, 'Cel'],
      [2, -18.5],
    ]);
    const data = new Map<number, unknown>([
      [0, 'd'],
      [6, -1],
      [8, Uint8Array.of(1, 2)],
    ]);
    expect(lines(cbor(encodeCbor([record, data])))).toEqual([
      'a:t = -18.5 Cel @ 0',
      'a:d = AQI  @ -1',
    ]);
    // 4([-1, 215]) is 21.5
    const fraction = Buffer.from('81a2006174' + '02c4822018d7', 'hex');
    expect(lines(cbor(fraction))).toEqual(['t = 21.5  @ now']);
  });

  it.each([
    ['{"n":"a","v":1}', 'expected an array'],
    ['[]', 'without records'],
    ['[1]', 'must be an object'],
    ['[{"v":1}]', 'without a name'],
    ['[{"n":"a","v":1,"vs":"x"}]', 'v and vs'],
    ['[{"n":"a","v":"1"}]', 'v must be a number'],
    ['[{"n":"a","v":1,"x_":1}]', "'x_' is not understood"],
    ['[{"bver":11,"n":"a","v":1}]', 'version 11'],
    ['[{"n":"a","v":1,"t":-1e12}]', 'is no time'],
    ['[{"n":"a","bv":1e308,"v":1e308}]', 'value of v is none'],
    ['[{"bn":"a"}]', 'no value'],
  ])('refuses %s: %s', (pack, reason) => {
    expect(() => json(text(pack))).toThrow(reason);
  });
});

describe('a plain number', () => {
  const number = decoderFor('number', { unit: 'Cel' });

  it('is stored only where it is not JSON by itself', () => {
    for (const one of ['21.5', '-3', ' 1e3\n', '0']) expect(number(text(one)).samples).toEqual([]);
    expect(lines(number(text('+21.5\r\n')))).toEqual(['value = 21.5 Cel @ now']);
    expect(lines(number(text('.5')))).toEqual(['value = 0.5 Cel @ now']);
    expect(lines(number(text('-00')))).toEqual(['value = 0 Cel @ now']);
  });

  it.each(['', 'NaN', '1e999', '0x10', '1,5', '21.5 C', '9'.repeat(100)])('refuses "%s"', (one) => {
    expect(() => number(text(one))).toThrow('not a number');
  });
});

describe('a CSV line', () => {
  const csv = decoderFor('csv', {
    sensor: '/0',
    time: '/1',
    sequence: '/2',
    values: { t: '/3', door: '/4' },
    separator: ';',
  });

  it('has its columns by number; a name stays text', () => {
    const found = csv(text(`007;2026-03-01T11:59:59Z;42;"-18,5";"a ""b"""\r\n`));
    expect(found).toMatchObject({ sensor: '007', deviceSeq: 42, deviceMs: NOW_MS - 1000 });
    expect(lines(found)).toEqual(['t = -18,5  @ now', 'door = a "b"  @ now']);
    expect(csv(text(`x;${NOW_MS};1;-18.50;`)).deviceMs).toBe(NOW_MS);
    expect(lines(csv(text('x;;;-18.50;')))).toEqual(['t = -18.5  @ now']);
  });

  it.each([
    ['', 'one line of CSV, found 0'],
    ['a;;;1\nb;;;2', 'one line of CSV, found 2'],
    ['a;;', "no value at '/3' or '/4'"],
    ['a;noon;;1', "time at '/1'"],
    ['a;;1.5;1', "sequence at '/2'"],
    [';'.repeat(2000), 'at most 1000 columns'],
  ])('refuses %j', (line, reason) => {
    expect(() => csv(text(line))).toThrow(reason);
  });
});

describe('line protocol', () => {
  const influx = decoderFor('influx');

  it('gives each field of each line, with escapes, types and times', () => {
    const ns = `${NOW_MS - 5000}000000`;
    const found = influx(
      text(
        `# a remark\n\nweather,place=cold\\ room\\,1 temp=-18.5,n=3i,big=9u,ok=t,say="a \\"b\\" = \\\\, c" ${ns}\r\n` +
          'my\\ door open=False,a\\=b=1e-2\n',
      ),
    );
    expect(lines(found)).toEqual([
      'weather,place=cold\\ room\\,1: temp = -18.5  @ -5',
      'weather,place=cold\\ room\\,1: n = 3  @ -5',
      'weather,place=cold\\ room\\,1: big = 9  @ -5',
      'weather,place=cold\\ room\\,1: ok = 1  @ -5',
      'weather,place=cold\\ room\\,1: say = a "b" = \\, c  @ -5',
      'my\\ door: open = 0  @ now',
      'my\\ door: a=b = 0.01  @ now',
    ]);
    expect(found).toMatchObject({ sensor: 'site/a', deviceMs: NOW_MS - 5000 });
  });

  it('names the sensor by the series where there is one only', () => {
    const found = influx(text('w,a=1 x=1\nw,a=1 y=2'));
    expect(found.sensor).toBe('w,a=1');
    expect(lines(found)).toEqual(['x = 1  @ now', 'y = 2  @ now']);
  });

  it.each([
    ['', 'no line'],
    ['# nothing', 'no line'],
    ['weather', 'expected a space and fields'],
    ['weather temp', 'expected field='],
    ['weather temp=', 'expected a value'],
    ['weather temp=abc', 'expected a number'],
    ['weather temp=1 noon', 'the end of the line'],
    ['weather temp=1 -5000000000', 'a time since 1970'],
    ['weather temp="open', 'expected a number'],
    ['weather a=1,', 'line 1: expected field='],
  ])('refuses %j: %s', (line, reason) => {
    expect(() => influx(text(line))).toThrow(reason);
  });
});

describe('CBOR and MessagePack', () => {
  const rule = {
    sensor: '/id',
    sequence: '/n',
    time: '/at',
    values: { t: '/v/t', s: '/v/s', b: '/b', l: '/v/l' },
  };
  const document = { id: 't-1', n: 7, v: { t: -18.5, s: 'open', l: [1, 2] }, b: true };
  const expected = ['t = -18.5  @ now', 's = open  @ now', 'b = 1  @ now', 'l = [1,2]  @ now'];

  it('are read by the pointers of JSON', () => {
    for (const [name, encoded] of [
      ['cbor', encodeCbor({ ...document, at: NOW_MS - 10 })],
      ['msgpack', encodeMsgpack({ ...document, at: NOW_MS - 10 })],
    ] as const) {
      const found = decoderFor(name, rule)(encoded);
      expect(found).toMatchObject({ sensor: 't-1', deviceSeq: 7, deviceMs: NOW_MS - 10 });
      expect(lines(found)).toEqual(expected);
    }
  });

  it('know times of their own, and maps with whole numbers as keys', () => {
    const stamp = encodeMsgpack({ ...document, at: new Date(NOW_MS) });
    expect(decoderFor('msgpack', rule)(stamp).deviceMs).toBe(NOW_MS);
    // {1: 1(1772366400), 2: 5}
    const tagged = Buffer.from(`a201c11a${(NOW_MS / 1000).toString(16)}0205`, 'hex');
    const found = decoderFor('cbor', { time: '/1', value: '/2' })(tagged);
    expect([found.deviceMs, ...lines(found)]).toEqual([NOW_MS, 'value = 5  @ now']);
  });

  it('refuse what lies behind, and what is not there', () => {
    for (const [name, encoded] of [
      ['cbor', encodeCbor(document)],
      ['msgpack', encodeMsgpack(document)],
    ] as const) {
      const decode = decoderFor(name, rule);
      expect(() => decode(Buffer.concat([encoded, encoded]))).toThrow();
      expect(() => decode(encoded.subarray(0, -1))).toThrow();
      expect(() => decoderFor(name, { value: '/x' })(encoded)).toThrow("no value at '/x'");
    }
  });
});

describe('Sparkplug B', () => {
  const rules = [{ topic: 'spBv1.0/#', decoder: 'sparkplug' }] as const;
  const take = (decode: ReturnType<typeof createDecode>, type: string, payload: Uint8Array) => {
    const found = decode(aTopic(type), payload, NOW_MS);
    if (found.refusal !== null) throw new Error(found.refusal);
    return found;
  };
  const session = (bdSeq: number) => metric({ name: 'bdSeq', datatype: 8, long: bdSeq });
  const birth = aPayload(NOW_MS, 0, [
    session(3),
    metric({ name: 'temp', alias: 1, datatype: 9, float: -18.5, unit: 'Cel' }),
    metric({ name: 'count', alias: 2, datatype: 3, int: 5 }),
  ]);

  it('names metrics by the aliases of the birth, and knows signs, units and nothing', () => {
    const decode = createDecode(rules);
    const born = take(decode, 'NBIRTH', birth);
    expect(born).toMatchObject({ sensor: 'plant/edge-1', deviceSeq: 0, deviceMs: NOW_MS });
    expect(lines(born)).toEqual([
      'temp = -18.5 Cel @ now',
      'count = 5  @ now',
      '$online = 1  @ now',
    ]);
    const data = aPayload(NOW_MS, 1, [
      metric({ alias: 1, float: 0.5, timestamp: NOW_MS - 2000 }),
      metric({ alias: 2, int: 0xffffffff }),
      metric({ alias: 1, isNull: true }),
      metric({ alias: 9, int: 1 }),
    ]);
    const found = take(decode, 'NDATA', data);
    expect(found).toMatchObject({ deviceSeq: 1, historical: false });
    expect(lines(found)).toEqual([
      'temp = 0.5 Cel @ -2',
      'count = -1  @ now',
      'alias 9 = 1  @ now',
    ]);
  });

  it('marks what is_historical says', () => {
    const decode = createDecode(rules);
    const old = metric({ name: 'a', int: 1, historical: true, timestamp: NOW_MS - 9e6 });
    const fresh = metric({ name: 'a', int: 1, timestamp: NOW_MS - 9e6 });
    expect(take(decode, 'NDATA', aPayload(NOW_MS, 1, [old])).historical).toBe(true);
    expect(take(decode, 'NDATA', aPayload(NOW_MS, 1, [fresh])).historical).toBe(false);
    expect(take(decode, 'NDATA', aPayload(NOW_MS, 1, [old, fresh])).historical).toBe(false);
  });

  it('keeps aliases over a restart, of devices too, until the next birth of the node', () => {
    const [folder, remove] = aFolder();
    const open = () => openDatabase(`${folder}/decoders.sqlite`);
    try {
      let database = open();
      let decode = createDecode(rules, createDecoderMemory(database, silentLog));
      take(decode, 'NBIRTH', birth);
      const device = metric({ name: 'p', alias: 7, datatype: 10, double: 1.5 });
      take(decode, 'DBIRTH/pump', aPayload(NOW_MS, 1, [device]));
      database.close();
      database = open();
      decode = createDecode(rules, createDecoderMemory(database, silentLog));
      const data = aPayload(NOW_MS, 2, [metric({ alias: 7, double: 2.5 })]);
      const found = take(decode, 'DDATA/pump', data);
      expect([found.sensor, ...lines(found)]).toEqual(['plant/edge-1/pump', 'p = 2.5  @ now']);
      take(decode, 'NBIRTH', birth);
      const alone = ['alias 7 = 2.5  @ now', '$gap = 1  @ now'];
      expect(lines(take(decode, 'DDATA/pump', data))).toEqual(alone);
      database.close();
    } finally {
      remove();
    }
  });

  it('goes on with aliases that the disk does not take, and writes them down when it does', () => {
    const database = openDatabase(':memory:');
    const memory = createDecoderMemory(database, silentLog);
    database.exec('ALTER TABLE memory RENAME TO full');
    memory.put('a', '1');
    memory.put('b', '2');
    expect(memory.get('a')).toBe('1');
    database.exec('ALTER TABLE full RENAME TO memory');
    memory.put('c', '3');
    const again = createDecoderMemory(database, silentLog);
    expect(['a', 'b', 'c', 'd'].map((key) => again.get(key))).toEqual(['1', '2', '3', null]);
    database.close();
  });

  it('writes down many births with one sync, and not before it is told to', () => {
    const database = openDatabase(':memory:');
    const memory = createDecoderMemory(database, silentLog);
    const decode = createDecode(rules, memory.later);
    take(decode, 'NBIRTH', birth);
    for (let device = 0; device < 50; device += 1) {
      take(decode, `DBIRTH/${device}`, aPayload(NOW_MS, null, []));
    }
    const stored = database.prepare('SELECT count(*) FROM memory').pluck();
    expect(stored.get()).toBe(0);
    memory.flush();
    expect(stored.get()).toBe(52);
    database.close();
  });

  it('writes of each birth no more than it says, however much its node has', () => {
    const written: number[] = [];
    const inner = volatileMemory();
    const put = (key: string, value: string) => {
      written.push(value.length);
      inner.put(key, value);
    };
    const decode = createDecode(rules, { ...inner, put });
    take(decode, 'NBIRTH', birth);
    for (let device = 0; device < 200; device += 1) {
      const metrics = Array.from({ length: 20 }, (_, n) => metric({ name: `m${n}`, alias: n }));
      take(decode, `DBIRTH/${device}`, aPayload(NOW_MS, null, metrics));
    }
    expect(written).toHaveLength(202);
    expect(Math.max(...written)).toBeLessThan(1500);
  });

  it('forgets the oldest births where there are too many, and nothing else', () => {
    const database = openDatabase(':memory:');
    const memory = createDecoderMemory(database, silentLog);
    memory.put('cursor', '1');
    for (let n = 0; n < 70; n += 1) memory.put(`spb/g/n/${n}`, 'x'.repeat(2 ** 20));
    const known = Array.from({ length: 70 }, (_, n) => n).filter((n) => memory.get(`spb/g/n/${n}`));
    expect([known[0], known.length, memory.get('cursor')]).toEqual([7, 63, '1']);
    // Again with what is there already.
    createDecoderMemory(database, silentLog).put('spb/g/n/new', 'x'.repeat(2 ** 20));
    expect(memory.get('spb/g/n/7')).toBeNull();
    database.close();
  });

  it('takes the death of the present session as one, and that of an earlier one not', () => {
    const decode = createDecode(rules);
    take(decode, 'NBIRTH', birth);
    const late = take(decode, 'NDEATH', aPayload(null, null, [session(2)]));
    expect([late.historical, late.samples]).toEqual([true, []]);
    const death = take(decode, 'NDEATH', aPayload(null, null, [session(3)]));
    expect([death.historical, ...lines(death)]).toEqual([false, '$online = 0  @ now']);
    const gone = take(decode, 'DDEATH/pump', aPayload(NOW_MS, 1, []));
    expect(lines(gone)).toEqual(['$online = 0  @ now']);
  });

  it('says how many messages of a node are missing, over the turn of the count, and not of late ones', () => {
    const decode = createDecode(rules);
    const gapAt = (type: string, seq: number) =>
      take(decode, type, aPayload(NOW_MS, seq, [])).samples.find(({ name }) => name === '$gap')
        ?.value;
    // The first message after the start shows nothing.
    const steps: readonly (readonly [string, number, number | undefined])[] = [
      ['NDATA', 250, undefined],
      ['DDATA/pump', 251, undefined],
      ['NDATA', 254, 2],
      ['NDATA', 253, undefined],
      ['NDATA', 1, 2],
      ['NDATA', 1, undefined],
      ['NDATA', 2, undefined],
      ['NBIRTH', 0, undefined],
      ['DBIRTH/pump', 1, undefined],
      ['DDATA/pump', 3, 1],
    ];
    for (const [type, seq, gap] of steps)
      expect([type, seq, gapAt(type, seq)]).toEqual([type, seq, gap]);
  });

  it('leaves out commands and states, and refuses what is neither', () => {
    const decode = createDecode(rules);
    expect(take(decode, 'NCMD', text('x')).samples).toEqual([]);
    expect(decode('spBv1.0/STATE/host', text('{}'), NOW_MS).refusal).toBeNull();
    for (const topic of ['spBv1.0/plant/XDATA/edge', 'spBv1.0/plant/NDATA', 'spBv1.0/a/DDATA/b']) {
      expect(decode(topic, birth, NOW_MS).refusal).toMatch(/expected a topic/);
    }
    expect(decode(aTopic('NDATA'), birth.subarray(0, -1), NOW_MS).refusal).not.toBeNull();
    const compressed = Buffer.concat([birth, Buffer.from([0x22, 18]), text('SPBV1.0_COMPRESSED')]);
    expect(decode(aTopic('NDATA'), compressed, NOW_MS).refusal).toMatch(/compressed/);
  });
});
