/** Taking PUBLISH packets out of a broker's bytes, compared with the parser of MQTT.js. */

import type { Message } from '@blocktorrent/agent/ingest/ingest.ts';
import { propertySamples } from '@blocktorrent/agent/ingest/message-properties.ts';
import {
  MqttPacketError,
  PublishReader,
  type PublishReaderOptions,
} from '@blocktorrent/agent/ingest/mqtt-publish-reader.ts';
import { generate, type Packet, parser } from 'mqtt-packet';
import { describe, expect, it } from 'vitest';
import { Seeded, seedOfRun } from '../support/seeded.ts';

interface Taken {
  readonly publications: Message[];
  readonly others: Packet[];
}

/** Everything that a reader makes of `chunks`, with the other packets parsed. */
function read(chunks: readonly Buffer[], options: Partial<PublishReaderOptions> = {}): Taken {
  const publications: Message[] = [];
  const others: Packet[] = [];
  const version = options.version ?? 4;
  const rest = parser({ protocolVersion: version });
  rest.on('packet', (packet) => others.push(packet));
  const reader = new PublishReader({
    version,
    packetBytesMax: null,
    topicAliasMaximum: 10,
    publish({ payload, ...publication }) {
      const { buffer, byteOffset, length } = payload;
      publications.push({ ...publication, payload: Buffer.from(buffer, byteOffset, length) });
    },
    // Whole packets: nothing of the next one is waited for.
    other: (packets) => expect(rest.parse(packets)).toBe(0),
    ...options,
  });
  for (const chunk of chunks) reader.push(chunk);
  return { publications, others };
}

/** Numbers from 0 up to, not including, 1. */
function fractions(seed: number): () => number {
  const seeded = new Seeded(seed);
  return () => seeded.integer(0, 2 ** 30 - 1) / 2 ** 30;
}

/** `bytes` in pieces of 1 to `max`. */
function cut(bytes: Buffer, max: number, random: () => number): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = 1 + Math.floor(random() * max);
    pieces.push(bytes.subarray(at, at + length));
    at += length;
  }
  return pieces;
}

function aPacket(random: () => number, version: 4 | 5): Packet {
  const kind = Math.floor(random() * 5);
  if (kind === 0) return { cmd: 'pingresp' };
  if (kind === 1) return { cmd: 'puback', messageId: 1 + Math.floor(random() * 65_535) };
  const qos = random() < 0.5 ? 0 : 1;
  const payloadBytes = Math.floor(random() ** 4 * 20_000);
  return {
    cmd: 'publish',
    topic: `site/${'ä'.repeat(Math.floor(random() * 5))}${Math.floor(random() * 50)}`,
    payload: Buffer.alloc(payloadBytes, Math.floor(random() * 256)),
    qos,
    dup: qos === 1 && random() < 0.2,
    retain: random() < 0.2,
    messageId: 1 + Math.floor(random() * 65_535),
    ...(version === 5 && random() < 0.5
      ? { properties: { userProperties: { a: 'b' }, messageExpiryInterval: 7 } }
      : {}),
  };
}

describe('PublishReader', () => {
  for (const version of [4, 5] as const) {
    it(`finds what the parser of MQTT.js finds, however the bytes are cut, version ${version}`, () => {
      const seed = seedOfRun();
      const random = fractions(seed);
      for (let turn = 0; turn < 12; turn += 1) {
        const packets = Array.from({ length: 40 }, () => aPacket(random, version));
        const bytes = Buffer.concat(
          packets.map((packet) => generate(packet, { protocolVersion: version })),
        );
        const expected: Packet[] = [];
        const oracle = parser({ protocolVersion: version });
        oracle.on('packet', (packet) => expected.push(packet));
        oracle.parse(Buffer.from(bytes));
        const max = [1, 3, 100, 65_536][turn % 4] ?? 1;
        const { publications, others } = read(cut(bytes, max, random), { version });
        const published = expected.flatMap((packet) => (packet.cmd === 'publish' ? [packet] : []));
        expect(published.length, `seed ${seed}`).toBeGreaterThan(5);
        expect(publications, `seed ${seed}`).toEqual(
          published.map(({ topic, payload, qos, dup, retain, messageId, properties }) => ({
            topic,
            payload,
            qos,
            dup,
            retain,
            messageId: qos === 0 ? null : messageId,
            ...(properties === undefined ? {} : { properties: propertySamples(properties) }),
          })),
        );
        expect(others, `seed ${seed}`).toEqual(expected.filter(({ cmd }) => cmd !== 'publish'));
      }
    });
  }

  it('copies nothing of a packet that came in one piece', () => {
    const bytes = generate({ ...PUBLISH, payload: 'hello' });
    const [publication] = read([bytes]).publications;
    expect(publication?.payload).toEqual(Buffer.from('hello'));
    expect(publication?.payload.buffer).toBe(bytes.buffer);
  });

  it('knows a topic by its alias, until another takes it', () => {
    const packets = [
      { topic: 'a', properties: { topicAlias: 2 } },
      { topic: '', properties: { topicAlias: 2 } },
      { topic: 'b', properties: { topicAlias: 2 } },
      { topic: '', properties: { topicAlias: 2 } },
    ].map((some) => generate({ ...PUBLISH, ...some }, { protocolVersion: 5 }));
    const { publications } = read(packets, { version: 5 });
    expect(publications.map(({ topic }) => topic)).toEqual(['a', 'a', 'b', 'b']);
  });

  it.each([
    ['QoS 3', Buffer.from([0x36, 5, 0, 1, 97, 0, 1]), 'QoS 3'],
    ['QoS 2', Buffer.from([0x34, 5, 0, 1, 97, 0, 1]), 'QoS 2'],
    ['no topic', Buffer.from([0x30, 2, 0, 0]), 'without topic'],
    ['no length of a topic', Buffer.from([0x30, 1, 0]), 'without topic'],
    ['a topic that is longer than the packet', Buffer.from([0x30, 3, 0, 9, 97]), 'ends in'],
    ['no packet identifier', Buffer.from([0x32, 3, 0, 1, 97]), 'ends in its topic'],
    ['packet identifier 0', Buffer.from([0x32, 5, 0, 1, 97, 0, 0]), 'identifier 0'],
    ['a length of five bytes', Buffer.from([0x30, 255, 255, 255, 255, 1]), 'four bytes'],
    ['the same of another packet', Buffer.from([0xd0, 255, 255, 255, 255, 1]), 'four bytes'],
  ])('refuses %s', (_what, bytes, message) => {
    expect(() => read([bytes])).toThrow(MqttPacketError);
    expect(() => read([bytes])).toThrow(message);
  });

  it.each([
    ['an alias above what we allowed', { topic: 'a', properties: { topicAlias: 11 } }, '1 to 10'],
    ['an alias that nobody gave', { topic: '', properties: { topicAlias: 3 } }, 'unknown alias 3'],
  ])('refuses %s', (_what, some, message) => {
    const bytes = generate({ ...PUBLISH, ...some }, { protocolVersion: 5 });
    expect(() => read([bytes], { version: 5 })).toThrow(message);
  });

  it('refuses properties that have no end, and no topic at all, in version 5', () => {
    const open = Buffer.from([0x30, 5, 0, 1, 97, 9, 38]);
    expect(() => read([open], { version: 5 })).toThrow(MqttPacketError);
    // A user property whose value says that it is longer than the packet.
    const long = Buffer.from([0x30, 11, 0, 1, 97, 7, 38, 0, 1, 98, 0, 200, 99]);
    expect(() => read([long], { version: 5 })).toThrow(MqttPacketError);
    expect(() => read([Buffer.from([0x30, 3, 0, 0, 0])], { version: 5 })).toThrow('without topic');
  });

  it('refuses a packet of version 5 that ends before its properties, whatever stands behind it', () => {
    for (const behind of [[], [0], [1, 0], [0x30, 4, 0, 1, 97, 0]]) {
      const cutOff = Buffer.from([0x30, 3, 0, 1, 97, ...behind]);
      expect(() => read([cutOff], { version: 5 })).toThrow(MqttPacketError);
    }
  });

  it('refuses a packet larger than we allowed before its bytes have come', () => {
    // 2 MiB are announced, three bytes are there.
    const head = Buffer.from([0x30, 0x80, 0x80, 0x80, 0x01]);
    expect(() => read([head], { packetBytesMax: 1024 })).toThrow('we have allowed 1024');
    expect(read([head]).publications).toEqual([]);
  });

  it('throws nothing but MqttPacketError on 5,000 mutated streams', () => {
    const seed = seedOfRun();
    const random = fractions(seed);
    for (let turn = 0; turn < 5000; turn += 1) {
      const version = random() < 0.5 ? 4 : 5;
      const bytes = Buffer.concat(
        [aPacket(random, version), aPacket(random, version)].map((packet) =>
          generate(packet, { protocolVersion: version }),
        ),
      ).subarray(0, 200);
      for (let change = 0; change < 3; change += 1) {
        bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
      }
      try {
        read(cut(bytes, 60, random), { version, other: () => undefined });
      } catch (error) {
        if (!(error instanceof MqttPacketError)) throw new Error(`seed ${seed}`, { cause: error });
      }
    }
  });
});

const PUBLISH = {
  cmd: 'publish' as const,
  topic: 'a',
  payload: 'x',
  qos: 1 as const,
  dup: false,
  retain: false,
  messageId: 1,
};
