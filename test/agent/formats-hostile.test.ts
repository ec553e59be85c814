/** Whatever comes as a payload, in any format: never an exception; and all formats in one batch. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { verifyBatch } from '@blocktorrent/agent/audit/verify-batch.ts';
import { batchRulesOf } from '@blocktorrent/agent/batch/batch-rule.ts';
import { createDecode, volatileMemory } from '@blocktorrent/agent/ingest/decode.ts';
import type { DecodeRule, DecoderName } from '@blocktorrent/agent/ingest/finding.ts';
import { openReadOnly } from '@blocktorrent/agent/runtime/sqlite.ts';
import { encode as encodeMsgpack } from '@msgpack/msgpack';
import { encode as encodeCbor } from 'cborg';
import { describe, expect, it } from 'vitest';
import { createIngest, openStore } from '../support/ingest.ts';
import { aFolder } from '../support/readings.ts';
import { aPayload, aTopic, metric } from '../support/sparkplug.ts';

const NOW_MS = Date.parse('2026-03-01T12:00:00Z');
const text = (value: string): Uint8Array => Buffer.from(value);

const VALUE = { value: '/v' } as const;
const ALL: Readonly<Record<DecoderName, Partial<DecodeRule>>> = {
  json: VALUE,
  number: {},
  csv: { value: '/0' },
  influx: {},
  'senml-json': {},
  'senml-cbor': {},
  cbor: VALUE,
  msgpack: VALUE,
  sparkplug: {},
};

/** Payloads that were made to hurt. */
function hostile(): Uint8Array[] {
  const deep = (open: number, count: number) => Buffer.alloc(count, open);
  const many = (head: string) => Buffer.from(head, 'hex');
  return [
    new Uint8Array(0),
    text('{"v":'.repeat(100_000)),
    text(`{"v":${'['.repeat(300_000)}${']'.repeat(300_000)}}`),
    text(`[${'{"n":"a","v":1},'.repeat(20_000)}{"n":"a","v":1}]`),
    text(`[${'0,'.repeat(400_000)}0]`),
    text('{"__proto__":{"v":1},"v":{"constructor":1}}'),
    text(`${'a'.repeat(1_000_000)}`),
    text(`${'"'.repeat(999_999)}`),
    text(`m ${'a=1,'.repeat(200_000)}b=1`),
    text('m a=1\n'.repeat(100_000)),
    text(' \n'.repeat(500_000)),
    text('\\'.repeat(1_000_000)),
    Buffer.from([0x22, 0xff, 0x22]),
    Buffer.from('efbbbf31', 'hex'),
    deep(0x81, 1_000_000),
    deep(0x91, 1_000_000),
    deep(0x9f, 1_000_000),
    deep(0xc1, 1_000_000),
    deep(0x0b, 1_000_000),
    deep(0xff, 1_000_000),
    many('9bffffffffffffffff'),
    many('9a7fffffff'),
    many('bb00ffffffffffffff'),
    many('5b7fffffffffffffff'),
    many('c4821b7fffffffffffffff1bffffffffffffffff'),
    many('ddffffffff'),
    many('dfffffffff'),
    many('c6ffffffff'),
    many('dd000fffff'.repeat(20)),
    many('df000fffff'.repeat(20)),
    Buffer.concat([many('9a000ffff0'), deep(0xa0, 0xffff0)]),
    Buffer.concat([many('dd000ffff0'), deep(0x80, 0xffff0)]),
    text(`m,a=${'b'.repeat(500_000)},${'c'.repeat(500_000)}`),
    many('12ffffffff0f'),
    many('12ffffffffffffffffff01'),
    Buffer.concat(Array.from({ length: 20_000 }, () => Buffer.from('12020a00', 'hex'))),
  ];
}

describe('every decoder', () => {
  it('has a reason or a reading for whatever comes, never an exception, and soon', () => {
    const payloads = hostile();
    for (const [name, rule] of Object.entries(ALL)) {
      const topic = name === 'sparkplug' ? aTopic('NBIRTH') : 'site/a';
      const decode = createDecode([{ topic: '#', decoder: name as DecoderName, ...rule }]);
      const from = createIngestOver(decode);
      for (const payload of payloads) from.take(topic, payload);
      expect(from.readings(), name).toBe(payloads.length);
      from.end();
    }
  });

  it('refuses what asks for more memory than its bytes are worth, before it is there', () => {
    const refusalOf = (decoder: DecoderName, payload: Uint8Array) => {
      const decode = createDecode([{ topic: '#', decoder, ...ALL[decoder] }]);
      return decode('site/a', payload, NOW_MS).refusal;
    };
    const bytes = (head: string, body: number) =>
      Buffer.concat([Buffer.from(head, 'hex'), Buffer.alloc(70_000, body)]);
    // 8 MiB of empty places for each 5 bytes.
    const claims = Buffer.from('dd000fffff'.repeat(20), 'hex');
    expect(refusalOf('msgpack', claims)).toBe('MessagePack: it is cut off');
    expect(refusalOf('msgpack', bytes('dd00011170', 0x80))).toMatch(/more than 65536/);
    for (const body of [0x80, 0xa0, 0x40]) {
      expect(refusalOf('cbor', bytes('9a00011170', body))).toMatch(/more than 65536/);
    }
    const series = `m,t=${'a'.repeat(900)} ${'a=1,'.repeat(16_000)}b=1\nn a=1`;
    expect(refusalOf('influx', text(series))).toMatch(/characters of names/);
    // As many as fit into one commit would take gigabytes.
    const short = `m,t=${'a'.repeat(900)} ${'a=1,'.repeat(1_000)}b=1\nn a=1`;
    expect(refusalOf('influx', text(short))).toMatch(/characters of names/);
    const usual = `m,t=${'a'.repeat(150)} ${'field=1.5,'.repeat(20)}b=1\n`.repeat(700);
    expect(refusalOf('influx', text(usual.replace('m', 'n')))).toBeNull();
    const names = `[{"bn":"${'a'.repeat(980)}","n":"x","v":1}${',{"n":"y","v":1}'.repeat(16_000)}]`;
    expect(refusalOf('senml-json', text(names))).toMatch(/characters of names/);
  });

  it('keeps little of the topics and devices that it is told of, however many there are', () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const heapMiB = () => {
      collect();
      return process.memoryUsage().heapUsed / 2 ** 20;
    };
    const number = createDecode([{ topic: '#', decoder: 'number' }]);
    const sparkplug = createDecode([{ topic: '#', decoder: 'sparkplug' }]);
    const before = heapMiB();
    for (let n = 0; n < 1500; n += 1) {
      // A string of its own, as one from the wire is.
      number(Buffer.from(`${n}/${'x'.repeat(65_000)}`).toString(), text('1'), NOW_MS);
    }
    for (let n = 0; n < 60_000; n += 1) {
      sparkplug(aTopic(`DDATA/${n}`), Uint8Array.of(0x18, n & 127), NOW_MS);
    }
    expect(heapMiB() - before).toBeLessThan(30);
    // What they keep must be alive until here.
    expect([number('a', text('1'), 0), sparkplug('a', text('1'), 0)]).toHaveLength(2);
  });

  it('takes random bytes and cut and flipped payloads without an exception', () => {
    const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 1e9));
    console.log(`formats fuzz: SEED=${seed}`);
    let state = seed;
    const next = (below: number) => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    const good: Record<DecoderName, Uint8Array> = {
      json: text('{"v":1.5,"t":[1,{"a":"b"}]}'),
      number: text('-12.50e3'),
      csv: text('a,"b ""c""",3,,5\r\n'),
      influx: text('w,a=b\\ c t=1.5,s="x" 1700000000000000000\nw t=1i'),
      'senml-json': text('[{"bn":"a","bt":1700000000,"n":"t","v":1},{"n":"u","vs":"x"}]'),
      'senml-cbor': encodeCbor([
        new Map<number, unknown>([
          [0, 'a'],
          [2, 1.5],
        ]),
      ]),
      cbor: encodeCbor({ v: [1, { a: 'b' }, Uint8Array.of(1)] }),
      msgpack: encodeMsgpack({ v: [1, { a: 'b' }, Uint8Array.of(1), new Date(0)] }),
      sparkplug: aPayload(NOW_MS, 1, [metric({ name: 'a', alias: 1, int: 1, unit: 'V' })]),
    };
    for (const [name, rule] of Object.entries(ALL)) {
      const decoder = name as DecoderName;
      const decode = createDecode([{ topic: '#', decoder, ...rule }]);
      const topic = decoder === 'sparkplug' ? aTopic('NBIRTH') : 'site/a';
      expect(decode(topic, good[decoder], NOW_MS).refusal, name).toBeNull();
      for (let round = 0; round < 1000; round += 1) {
        const bytes = Uint8Array.from(good[decoder]);
        for (let flips = next(4); flips >= 0; flips -= 1) bytes[next(bytes.length)] = next(256);
        decode(topic, bytes.subarray(0, 1 + next(bytes.length)), NOW_MS);
      }
    }
  });
});

/** A stage over a real batch, so that what is found must also fit into it. */
function createIngestOver(decode: ReturnType<typeof createDecode>) {
  const [folder, remove] = aFolder();
  const store = openStore(folder);
  const ingest = createIngest(store, { decode, maxReadings: 5 });
  const delivery = { acknowledge: (ids: readonly number[]) => ids.length, abandon: fail };
  return {
    take(topic: string, payload: Uint8Array) {
      const message = { topic, payload, qos: 1, dup: false, retain: false, messageId: 1 } as const;
      ingest.take(message, delivery);
    },
    readings() {
      ingest.flush();
      return store.nextSeq - 1;
    },
    end() {
      store.stop();
      remove();
    },
  };
}

function fail(reason: string): void {
  throw new Error(reason);
}

describe('a batch of all formats', () => {
  it('shows their values by its views, stores none twice, and its chain holds', () => {
    const [folder, remove] = aFolder();
    const rules: DecodeRule[] = [
      { topic: 'json', decoder: 'json', value: '/v' },
      { topic: 'number', decoder: 'number', unit: 'Cel' },
      { topic: 'csv', decoder: 'csv', value: '/0' },
      { topic: 'influx', decoder: 'influx' },
      { topic: 'senml', decoder: 'senml-json' },
      { topic: 'senml-cbor', decoder: 'senml-cbor' },
      { topic: 'cbor', decoder: 'cbor', value: '/v' },
      { topic: 'msgpack', decoder: 'msgpack', value: '/v' },
    ];
    const payloads: Record<string, Uint8Array> = {
      json: text('{"v":1}'),
      number: text('2'),
      csv: text('3'),
      influx: text('influx value=4'),
      senml: text('[{"n":"value","v":5}]'),
      'senml-cbor': encodeCbor([
        new Map<number, unknown>([
          [0, 'value'],
          [2, 6],
        ]),
      ]),
      cbor: encodeCbor({ v: 7 }),
      msgpack: encodeMsgpack({ v: 8 }),
    };
    const store = openStore(folder, { rules: batchRulesOf(rules) });
    const ingest = createIngest(store, { decode: createDecode(rules, volatileMemory()) });
    const delivery = { acknowledge: () => 1, abandon: fail };
    for (const [topic, payload] of Object.entries(payloads)) {
      const message = { topic, payload, qos: 1, dup: false, retain: false, messageId: 1 } as const;
      ingest.take(message, delivery);
    }
    ingest.stop();
    const path = store.closeCurrent()?.path ?? '';
    store.stop();
    const database = openReadOnly(path);
    const latest = database.prepare(
      "SELECT sensor, value FROM latest WHERE name = 'value' ORDER BY 2",
    );
    expect(latest.raw().all()).toEqual(
      Object.keys(payloads).map((topic, index) => [topic, index + 1]),
    );
    expect(database.prepare('SELECT count(*) FROM sample').pluck().get()).toBe(6);
    expect(database.prepare('SELECT sum(count) FROM hourly').pluck().get()).toBe(8);
    database.close();
    expect(verifyBatch(path)).toMatchObject({ readings: 8, deadLetters: 0 });
    remove();
  });
});
