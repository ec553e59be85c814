/** The Sparkplug B decoder against the examples and rules of Sparkplug 3.0. */
import { createDecode } from '@blocktorrent/agent/ingest/decode.ts';
import { describe, expect, it } from 'vitest';
import { aPayload, aTopic, metric } from '../support/sparkplug.ts';

const NOW_MS = Date.parse('2026-03-01T12:00:00Z');
const hex = (value: string): Uint8Array => Buffer.from(value, 'hex');

describe('Sparkplug B, types and nulls', () => {
  const decode = createDecode([{ topic: '#', decoder: 'sparkplug' }]);
  const samplesOf = (...metrics: Uint8Array[]) => {
    const found = decode(aTopic('NDATA'), aPayload(NOW_MS, null, metrics), NOW_MS);
    if (found.refusal !== null) throw new Error(found.refusal);
    return found.samples.map(({ name, value }) => [name, value]);
  };
  const of = (datatype: number, more: object) => metric({ name: 'm', datatype, ...more });

  it.each([
    ['Int8', 1, { int: 0xff }, -1],
    ['Int16', 2, { int: 0x8000 }, -32768],
    ['Int32', 3, { int: 0x80000000 }, -(2 ** 31)],
    ['Int64', 4, { longText: '18446744073709551615' }, -1],
    ['UInt8', 5, { int: 255 }, 255],
    ['UInt32', 7, { long: 0xffffffff }, 0xffffffff],
    ['UInt64', 8, { longText: '18446744073709551615' }, 2 ** 64],
    ['Float', 9, { float: -18.5 }, -18.5],
    ['Double', 10, { double: 0.1 }, 0.1],
    ['Boolean', 11, { bool: true }, 1],
    ['String', 12, { string: 'ü' }, 'ü'],
    ['DateTime', 13, { long: 1363896240000 }, '2013-03-21T20:04:00.000Z'],
    ['Bytes', 17, { bytes: Uint8Array.of(1, 2, 3) }, 'AQID'],
  ])('%s', (_name, datatype, fields, value) => {
    expect(samplesOf(of(datatype, fields))).toEqual([['m', value]]);
  });

  // Sparkplug 3.0, "Array Types". Some of its examples are not what its text says: little-endian here.
  it.each([
    ['Int8Array', 22, 'e97b', [-23, 123]],
    ['Int16Array', 23, 'd08a3075', [-30000, 30000]],
    ['Int32Array', 24, 'fffffffffaafcb12', [-1, 315338746]],
    ['Int32Array', 24, '15cd5b07b168de3a', [123456789, 987654321]],
    [
      'Int64Array',
      25,
      'ce0672ac189cbac4c4ba9c18ac7206ce',
      [-4270929666821191986n, -3601064768563266876n].map(Number),
    ],
    ['UInt8Array', 26, '17fa', [23, 250]],
    ['UInt16Array', 27, '1e0088cc', [30, 52360]],
    ['UInt32Array', 28, '3400000049fb55c4', [52, 3293969225]],
    [
      'UInt64Array',
      29,
      '3400000000000000d99e02d1b27637e4',
      [52n, 16444743074749521625n].map(Number),
    ],
    ['FloatArray', 30, 'a4709d3f98aeb242', [1.23, 89.341].map(Math.fround)],
    ['DoubleArray', 31, 'd7a205685bb528408e171c6f4cf78f40', [12.354213, 1022.9123213]],
    ['BooleanArray', 32, '0c00000034d0', [0, 0, 1, 1, 0, 1, 0, 0, 1, 1, 0, 1]],
    ['BooleanArray', 32, '0c00000034df', [0, 0, 1, 1, 0, 1, 0, 0, 1, 1, 0, 1]],
    ['StringArray', 33, '4142430068656c6c6f00', ['ABC', 'hello']],
    ['StringArray', 33, '00', ['']],
    [
      'DateTimeArray',
      34,
      'c7d0907524010000b8bab89781010000',
      ['2009-10-21T05:27:55.335Z', '2022-06-24T21:57:55.000Z'],
    ],
    ['Int8Array', 22, '', []],
    ['StringArray', 33, '', []],
  ])('%s %i: %s', (_name, datatype, bytes, list) => {
    expect(samplesOf(of(datatype, { bytes: hex(bytes) }))).toEqual([['m', JSON.stringify(list)]]);
  });

  it.each([
    [23, '010203'],
    [25, '00'],
    [32, '0c0000'],
    [32, '0c00000034'],
    [32, 'ffffffff34d0'],
    [33, '4142'],
  ])('bytes that are no array of datatype %i stay bytes: %s', (datatype, bytes) => {
    const base64 = Buffer.from(bytes, 'hex').toString('base64');
    expect(samplesOf(of(datatype, { bytes: hex(bytes) }))).toEqual([['m', base64]]);
  });

  it('gives no sample for what is null, also where a value is there; nor for sets and templates', () => {
    const nothing = of(9, { isNull: true });
    const odd = of(9, { isNull: true, float: 5 });
    // dataset_value (17) and template_value (18), with something in them.
    const set = Buffer.concat([metric({ name: 's', datatype: 16 }), hex('8a01020801')]);
    const template = Buffer.concat([metric({ name: 't', datatype: 19 }), hex('9201020a00')]);
    const plain = metric({ name: 'p', datatype: 9, float: 1 });
    expect(samplesOf(nothing, odd, set, template, plain)).toEqual([['p', 1]]);
  });

  it('says of a death the time of its arrival, and of what has no time no sequence', () => {
    const take = (type: string, timeMs: number | null, seq: number | null) => {
      const found = decode(aTopic(type), aPayload(timeMs, seq, []), NOW_MS);
      if (found.refusal !== null) throw new Error(found.refusal);
      return [found.deviceMs, found.deviceSeq];
    };
    // The will has the time of the connection.
    expect(take('NDEATH', NOW_MS - 1e6, null)).toEqual([NOW_MS, null]);
    expect(take('NDATA', NOW_MS - 1, 7)).toEqual([NOW_MS - 1, 7]);
    expect(take('NDATA', null, 8)).toEqual([null, null]);
  });

  it('takes a death without a session for one, and refuses a metric that is cut off', () => {
    const session = metric({ name: 'bdSeq', datatype: 8, long: 3 });
    const online = (type: string, ...metrics: Uint8Array[]) => {
      const found = decode(aTopic(type), aPayload(NOW_MS, null, metrics), NOW_MS);
      return found.refusal ?? found.samples.find(({ name }) => name === '$online')?.value;
    };
    expect(online('NBIRTH', session)).toBe(1);
    expect(online('NDEATH')).toBe(0);
    // A name of 100 bytes in a metric of 4.
    const cut = Buffer.concat([hex('12040a646161'), Buffer.alloc(200, 0x61)]);
    const { refusal } = decode(aTopic('NDATA'), cut, NOW_MS);
    expect(refusal).toBe('Sparkplug: a metric is cut off');
  });

  it('keeps the values of a birth whose unit is too long for a batch, without that', () => {
    const unitOf = (unit: string) => {
      const born = [metric({ name: 'a', alias: 1, datatype: 9, float: 1, unit })];
      const ingest = createDecode([{ topic: '#', decoder: 'sparkplug' }]);
      ingest(aTopic('NBIRTH'), aPayload(NOW_MS, 0, born), NOW_MS);
      const data = aPayload(NOW_MS, 1, [metric({ alias: 1, float: 2 })]);
      return Object(ingest(aTopic('NDATA'), data, NOW_MS)).samples;
    };
    expect(unitOf('m'.repeat(64))).toMatchObject([{ name: 'a', value: 2, unit: 'm'.repeat(64) }]);
    expect(unitOf('m'.repeat(65))).toMatchObject([{ name: 'a', value: 2, unit: '' }]);
  });

  it('does not take the alias of one device for another’s, nor of the node', () => {
    const take = (type: string, metrics: Uint8Array[]) => {
      const found = decode(aTopic(type), aPayload(NOW_MS, null, metrics), NOW_MS);
      if (found.refusal !== null) throw new Error(found.refusal);
      return found.samples.map(({ name }) => name);
    };
    take('NBIRTH', [metric({ name: 'a', alias: 1, int: 1 })]);
    take('DBIRTH/pump', [metric({ name: 'b', alias: 2, int: 1 })]);
    expect(take('NDATA', [metric({ alias: 2, int: 1 })])).toEqual(['alias 2']);
    expect(take('DDATA/fan', [metric({ alias: 2, int: 1 })])).toEqual(['alias 2']);
    expect(take('DDATA/pump', [metric({ alias: 2, int: 1 })])).toEqual(['b']);
    take('NBIRTH', [metric({ name: 'a', alias: 1, int: 1 })]);
    expect(take('DDATA/pump', [metric({ alias: 2, int: 1 })])).toEqual(['alias 2']);
  });

  it('makes a dead letter of what no batch can hold, not an exception', () => {
    // seq 2^64 - 1 is no seq; a metric's time beyond what a clock can say is none.
    const seq = Buffer.concat([aPayload(NOW_MS, null, []), hex('18ffffffffffffffffff01')]);
    const time = Buffer.concat([metric({ name: 'm', int: 1 }), hex('18ffffffffffffffffff01')]);
    expect(() => samplesOf(time)).toThrow('is no time');
    expect(decode(aTopic('NDATA'), seq, NOW_MS).refusal).toMatch('is no seq');
  });
});
