import { fromHex, toHex } from '@blocktorrent/protocol/bytes.ts';
import { encodeCanonical } from '@blocktorrent/protocol/cbor.ts';
import {
  CHAIN_START,
  chainHash,
  type Reading,
  requireReading,
  type Sample,
} from '@blocktorrent/protocol/reading.ts';
import { readingBytes } from '@blocktorrent/protocol/reading-bytes.ts';
import { describe, expect, it } from 'vitest';
import { nodeSha256 } from '../../agent/src/crypto/node-hasher.ts';
import { codeOf } from '../support/errors.ts';
import { Seeded, seedOfRun } from '../support/seeded.ts';
import { protocolVectors } from '../support/vectors.ts';

const READING: Reading = {
  seq: 5,
  receivedMs: 1_700_000_000_000,
  monotonicMs: 1000,
  bootId: 'boot',
  clockSynchronised: true,
  topic: 'a/b',
  qos: 1,
  dup: false,
  retain: false,
  payload: Uint8Array.of(1, 2, 3),
  sensor: 'room-1',
  deviceSeq: 9,
  deviceMs: 1_699_999_999_000,
  duplicateOf: null,
  refusal: null,
  historical: false,
  samples: [],
};
const SAMPLE: Sample = { sensor: null, name: 't', unit: 'Cel', timeMs: null, value: 1 };
const CHANGES: readonly Partial<Reading>[] = [
  { seq: 6 },
  { receivedMs: 1_700_000_000_001 },
  { monotonicMs: 1001 },
  { bootId: 'boo' },
  { clockSynchronised: false },
  { topic: 'a/c' },
  { qos: 2 },
  { dup: true },
  { retain: true },
  { payload: Uint8Array.of(1, 2) },
  { sensor: null },
  { deviceSeq: 10 },
  { deviceMs: null },
  { duplicateOf: 4 },
  { refusal: 'not JSON' },
  { historical: true },
  { samples: [SAMPLE] },
];

describe('chain of readings', () => {
  it('has the hashes that an independent encoder and hashlib make', () => {
    let head = CHAIN_START;
    for (const { reading, hash } of protocolVectors.chain) {
      const { payload } = reading;
      const whole = { ...reading, payload: fromHex(String(payload)) } as unknown as Reading;
      expect(toHex(chainHash(head, whole, nodeSha256))).toBe(hash);
      head = chainHash(head, whole);
      expect(toHex(head)).toBe(hash);
    }
    expect(toHex(CHAIN_START)).toBe('00'.repeat(32));
  });

  it.each(CHANGES)('ends elsewhere when %o', (change) => {
    const original = toHex(chainHash(CHAIN_START, READING));
    expect(toHex(chainHash(CHAIN_START, { ...READING, ...change }))).not.toBe(original);
  });

  it('is over every field', () => {
    const changed = CHANGES.flatMap((change) => Object.keys(change));
    expect(changed).toEqual(Object.keys(READING));
  });

  it('ends elsewhere when what went before is another', () => {
    const one = chainHash(CHAIN_START, READING);
    const other = chainHash(one, READING);
    expect(toHex(other)).not.toBe(toHex(one));
  });
});

describe('a reading', () => {
  it.each([
    { seq: 0 },
    { seq: 1.5 },
    { receivedMs: -1 },
    { receivedMs: Number.NaN },
    { monotonicMs: 0.5 },
    { monotonicMs: -0 },
    { deviceMs: -1 },
    { deviceSeq: 2 ** 53 },
    { duplicateOf: 5 },
    { duplicateOf: 0 },
    { qos: 3 as 2 },
    { topic: '' },
    { topic: 'x'.repeat(65_536) },
    { topic: '\udc00' },
    { bootId: '' },
    { sensor: '' },
    { refusal: '' },
    { payload: new Uint8Array(1024 * 1024 + 1) },
    { samples: new Array(16_385).fill(SAMPLE) },
    { samples: [{ ...SAMPLE, name: '' }] },
    { samples: [{ ...SAMPLE, value: Number.NaN }] },
    { samples: [{ ...SAMPLE, value: -0 }] },
    { samples: [{ ...SAMPLE, value: '\ud800' }] },
    { samples: [{ ...SAMPLE, timeMs: 0.5 }] },
    { samples: [{ ...SAMPLE, sensor: '' }] },
  ] satisfies Partial<Reading>[])('with %o is refused', async (change) => {
    expect(await codeOf(() => requireReading({ ...READING, ...change }))).toBe('bad-argument');
    expect(await codeOf(() => chainHash(CHAIN_START, { ...READING, ...change }))).toBe(
      'bad-argument',
    );
  });

  it.each([
    { sensor: 'other' },
    { name: 'u' },
    { unit: '' },
    { timeMs: 0 },
    { value: 1.5 },
    { value: '1' },
  ] satisfies Partial<Sample>[])('ends the chain elsewhere when a sample has %o', (change) => {
    const with1 = (sample: Sample) =>
      toHex(chainHash(CHAIN_START, { ...READING, samples: [sample] }));
    expect(with1({ ...SAMPLE, ...change })).not.toBe(with1(SAMPLE));
  });

  it('follows a hash of 32 bytes', async () => {
    expect(await codeOf(() => chainHash(new Uint8Array(31), READING))).toBe('bad-argument');
  });
});

describe('the bytes of a reading', () => {
  const WHOLE = [0, 1, 23, 24, 255, 256, 65_535, 65_536, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1];
  const TEXTS = ['a', 'b'.repeat(23), 'c'.repeat(24), 'd'.repeat(300), 'Kühlraum 3', '漢\u{1f321}'];

  it('are those of the general canonical encoder, whatever the fields', () => {
    const seed = seedOfRun();
    const random = new Seeded(seed);
    for (let n = 0; n < 2000; n += 1) {
      const orNull = <T>(value: T): T | null => (random.integer(0, 3) === 0 ? null : value);
      const whole = () => random.pick(WHOLE);
      const text = () => random.pick(TEXTS);
      const value = random.pick([0, -1.5, 2 ** 60, 'text', '', 'é']);
      const sample = { sensor: orNull(text()), name: text(), unit: '', timeMs: orNull(7), value };
      const reading: Reading = {
        ...READING,
        seq: whole(),
        receivedMs: whole(),
        monotonicMs: whole(),
        bootId: text(),
        clockSynchronised: random.pick([true, false]),
        topic: text(),
        qos: random.pick([0, 1, 2] as const),
        dup: random.pick([true, false]),
        payload: random.bytes(random.pick([0, 1, 23, 24, 300, 5000, 70_000])),
        sensor: orNull(text()),
        deviceSeq: orNull(random.pick([-1, -24, -25, -(2 ** 53 - 1), ...WHOLE])),
        deviceMs: orNull(whole()),
        duplicateOf: orNull(whole()),
        refusal: orNull(text()),
        historical: random.pick([true, false]),
        samples: Array.from({ length: random.pick([0, 1, 30]) }, () => sample),
      };
      const { samples, ...fields } = reading;
      const expected = encodeCanonical([
        'blocktorrent/reading/v1',
        CHAIN_START,
        ...Object.values(fields),
        samples.map((one) => {
          const double = Buffer.alloc(8);
          if (typeof one.value === 'number') double.writeDoubleBE(one.value);
          const last = typeof one.value === 'number' ? Uint8Array.from(double) : one.value;
          return [one.sensor, one.name, one.unit, one.timeMs, last];
        }),
      ]);
      expect(toHex(readingBytes(CHAIN_START, reading)), `seed ${seed}`).toBe(toHex(expected));
    }
  });
});
