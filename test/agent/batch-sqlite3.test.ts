/** A closed batch as somebody sees it who has nothing but the `sqlite3` tool. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { batchRulesOf } from '@blocktorrent/agent/batch/batch-rule.ts';
import { createDecode, volatileMemory } from '@blocktorrent/agent/ingest/decode.ts';
import type { DecodeRule } from '@blocktorrent/agent/ingest/finding.ts';
import type { Message } from '@blocktorrent/agent/ingest/ingest.ts';
import { encode as encodeMsgpack } from '@msgpack/msgpack';
import { encode as encodeCbor } from 'cborg';
import { afterEach, expect, it } from 'vitest';
import { createIngest, openStore } from '../support/ingest.ts';
import { aFolder } from '../support/readings.ts';
import { Seeded, seedOfRun } from '../support/seeded.ts';
import { aPayload, aTopic, metric } from '../support/sparkplug.ts';
import { requireTool, runTool } from '../support/tools.ts';

const NOW_MS = Date.parse('2026-03-01T12:00:00.250Z');
const MONOTONIC_MS = 77_000;
const ended: (() => void)[] = [];
afterEach(() => {
  for (const end of ended.splice(0)) end();
});

const RULES: readonly DecodeRule[] = [
  {
    topic: 'json',
    decoder: 'json',
    values: { value: '/v', odd: '/a\\b', named: '/7', listed: '/l/0' },
    sensor: '/s',
    sequence: '/n',
    time: '/t',
    unit: 'Cel',
  },
  {
    topic: 'units/json',
    decoder: 'json',
    values: { a: '/a/v', b: '/b', c: '/7' },
    unit: 'W',
    units: { b: '%RH' },
    unitAt: '/a/u',
  },
  {
    topic: 'units/cbor',
    decoder: 'cbor',
    values: { a: '/a/v', b: '/b', c: '/7' },
    unit: 'W',
    units: { b: '%RH' },
    unitAt: '/a/u',
  },
  { topic: 'number', decoder: 'number', unit: 'Cel' },
  { topic: 'csv', decoder: 'csv', value: '/0' },
  { topic: 'influx', decoder: 'influx' },
  { topic: 'senml-json', decoder: 'senml-json' },
  { topic: 'senml-cbor', decoder: 'senml-cbor' },
  { topic: 'cbor', decoder: 'cbor', value: '/v' },
  { topic: 'msgpack', decoder: 'msgpack', value: '/v' },
  { topic: 'spBv1.0/#', decoder: 'sparkplug' },
];
const GOOD: readonly (readonly [topic: string, payload: Uint8Array])[] = [
  ['json', Buffer.from('{"v":1,"s":"t-1"}')],
  ['number', Buffer.from(' 2\n')],
  ['csv', Buffer.from('3,"a ""b"""\r\n')],
  ['influx', Buffer.from('influx value=4 1772366399000000000')],
  ['senml-json', Buffer.from('[{"n":"value","v":5}]')],
  [
    'senml-cbor',
    encodeCbor([
      new Map<number, unknown>([
        [0, 'value'],
        [2, 6],
      ]),
    ]),
  ],
  ['cbor', encodeCbor({ v: 7 })],
  ['msgpack', encodeMsgpack({ v: 8 })],
  [aTopic('NDATA'), aPayload(NOW_MS, 1, [metric({ name: 'value', datatype: 9, float: 9 })])],
];

/** What comes back are rows of the closed batch that these messages have become. */
async function ask(messages: readonly Partial<Message>[], ...queries: readonly string[]) {
  const [folder, remove] = aFolder();
  ended.push(remove);
  const store = openStore(folder, { rules: batchRulesOf(RULES) });
  const ingest = createIngest(store, {
    decode: createDecode(RULES, volatileMemory()),
    clock: { nowMs: () => NOW_MS, monotonicMs: () => MONOTONIC_MS },
    clockSynchronised: () => false,
  });
  const from = { acknowledge: () => 1, abandon: (reason: string) => expect.fail(reason) };
  for (const message of messages) {
    const plain = { topic: 'json', payload: Buffer.from('x'), qos: 1, dup: false, retain: false };
    ingest.take({ ...plain, messageId: 1, ...message } as Message, from);
  }
  ingest.stop();
  const path = store.closeCurrent()?.path ?? '';
  store.stop();
  const answers: Record<string, unknown>[][] = [];
  for (const query of queries) {
    const answer = (await runTool('sqlite3', ['-readonly', '-json', path, query])).toString();
    answers.push(answer === '' ? [] : JSON.parse(answer));
  }
  return answers;
}

it('shows the values of every format, and what the batch is', async (context) => {
  requireTool('sqlite3', context);
  const messages = GOOD.map(([topic, payload]) => ({ topic, payload }));
  const [latest, hourly, meta, check] = await ask(
    messages,
    "SELECT value, unit FROM latest WHERE name = 'value' ORDER BY 1",
    'SELECT sum(count) AS n, min(hour) AS hour FROM hourly',
    "SELECT value FROM meta WHERE key IN ('gateway', 'count') ORDER BY key",
    'PRAGMA integrity_check',
  );
  expect(latest?.map(({ value }) => value)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
  expect(hourly).toEqual([{ n: 9, hour: '2026-03-01T11:00:00Z' }]);
  expect(meta?.map(({ value }) => value)).toEqual(['9', 'gateway-1']);
  expect(check).toEqual([{ integrity_check: 'ok' }]);
});

it('has the views, tables and columns that FORMATS.md says, and no others', async (context) => {
  requireTool('sqlite3', context);
  const [columns = []] = await ask(
    [{ payload: Buffer.from('{"v":1}') }],
    `SELECT v.name AS view, c.name AS name FROM sqlite_schema v, pragma_table_info(v.name) c
     WHERE v.type IN ('view', 'table') ORDER BY v.name, c.cid`,
  );
  const has = new Map<unknown, unknown[]>();
  for (const { view, name } of columns) has.set(view, [...(has.get(view) ?? []), name]);
  const text = readFileSync(resolve(import.meta.dirname, '../../docs/FORMATS.md'), 'utf8');
  const rows = text.slice(text.indexOf('## What a batch file shows')).matchAll(/^\|(.*)\|$/gm);
  const said = new Map<unknown, unknown[]>();
  for (const [, row = ''] of rows) {
    const [view = '', , list = ''] = row.split('|');
    const name = /`(\w+)`/.exec(view)?.[1];
    const names = [...list.replaceAll(/\([^)]*\)/g, '').matchAll(/`(\w+)`/g)].map(([, one]) => one);
    if (name !== undefined) said.set(name, names);
  }
  expect(said).toEqual(has);
});

it('shows each of the times, the boot, the clock and every mark', async (context) => {
  requireTool('sqlite3', context);
  const counted = (n: number, t: number) => Buffer.from(`{"v":20,"s":"t-1","n":${n},"t":${t}}`);
  const same = { topic: 'json', payload: Buffer.from('{"v":20}') };
  const [rows, dead, shown] = await ask(
    [
      { payload: counted(1, NOW_MS - 5), retain: true },
      { payload: counted(2, NOW_MS - 3_600_000) },
      { payload: counted(1, NOW_MS - 5) },
      same,
      same,
      { ...same, dup: true },
      { payload: Buffer.from('{'), qos: 0, messageId: null },
      { payload: counted(3, 1) },
    ],
    `SELECT seq, received_ms, received_at, monotonic_ms, boot_id, clock_synchronised AS sync, qos,
       dup, retain, device_seq, device_ms, historical, duplicate_of FROM readings`,
    'SELECT seq, topic, refusal, CAST(payload AS TEXT) AS payload FROM dead_letters',
    "SELECT group_concat(seq) AS seqs FROM (SELECT seq FROM samples WHERE name = 'value')",
  );
  const common = {
    received_ms: NOW_MS,
    received_at: '2026-03-01T12:00:00.250Z',
    monotonic_ms: MONOTONIC_MS,
    boot_id: 'boot-1',
    sync: 0,
    qos: 1,
  };
  const marks: [number, number, number, number | null, number | null, number, number | null][] = [
    [1, 0, 1, 1, NOW_MS - 5, 0, null],
    [2, 0, 0, 2, NOW_MS - 3_600_000, 1, null],
    [3, 0, 0, 1, NOW_MS - 5, 0, 1],
    [4, 0, 0, null, null, 0, null],
    [5, 0, 0, null, null, 0, null],
    [6, 1, 0, null, null, 0, 5],
    [8, 0, 0, 3, 1, 1, null],
  ];
  expect(rows).toEqual(
    marks.map(([seq, dup, retain, device_seq, device_ms, historical, duplicate_of]) => ({
      seq,
      ...common,
      dup,
      retain,
      device_seq,
      device_ms,
      historical,
      duplicate_of,
    })),
  );
  expect(dead).toEqual([{ seq: 7, topic: 'json', refusal: expect.any(String), payload: '{' }]);
  expect(shown).toEqual([{ seqs: '1,2,4,5,8' }]);
});

it('shows values whose pointer has a backslash, or a whole number that is a name, and no others', async (context) => {
  requireTool('sqlite3', context);
  const payload = Buffer.from(JSON.stringify({ 'a\\b': 1, '7': 2, l: [3] }));
  const nothing = Buffer.from(JSON.stringify({ v: '', l: [null] }));
  const [rows] = await ask(
    [{ payload }, { payload: nothing }],
    'SELECT name, value FROM samples ORDER BY value',
  );
  expect(rows?.map(({ name, value }) => `${name}=${value}`)).toEqual([
    'odd=1',
    'named=2',
    'listed=3',
  ]);
});

it('shows each value with the unit that its payload says, or else its rule', async (context) => {
  requireTool('sqlite3', context);
  const documents = [
    { a: { v: 1, u: 'mW' }, b: 2, 7: 3 },
    { a: { v: 4, u: null }, b: 5 },
    { a: { u: '' }, b: 6, 7: 7 },
  ];
  const wrong = { a: { v: 7, u: 8 } };
  const shown = `SELECT group_concat(value || ' ' || unit) AS said FROM (SELECT CAST(s.value AS INTEGER) AS value,
    unit FROM samples s JOIN readings USING (seq) WHERE topic = `;
  const [json, cbor, dead] = await ask(
    [...documents, wrong].flatMap((document) => [
      { topic: 'units/json', payload: Buffer.from(JSON.stringify(document)) },
      { topic: 'units/cbor', payload: encodeCbor(document) },
    ]),
    `${shown}'units/json' ORDER BY 1)`,
    `${shown}'units/cbor' ORDER BY 1)`,
    'SELECT refusal FROM dead_letters',
  );
  const said = '1 mW,2 mW,3 mW,4 W,5 %RH,6 %RH,7 W';
  expect([json, cbor]).toEqual([[{ said }], [{ said }]]);
  expect(dead).toHaveLength(2);
  expect(dead?.[0]?.refusal).toBe(
    "unit at '/a/u': expected a text of at most 64 characters, found 8",
  );
});

it('gives back every payload byte for byte, whatever its format and its bytes', async (context) => {
  requireTool('sqlite3', context);
  const seed = seedOfRun();
  const random = new Seeded(`payloads ${seed}`);
  const messages = Array.from({ length: 600 }, () => {
    const [topic, good] = random.pick(GOOD);
    const payload = Uint8Array.from(good);
    const kind = random.integer(0, 2);
    if (kind === 0) return { topic, payload };
    if (kind === 1) payload[random.integer(0, payload.length - 1)] = random.integer(0, 255);
    return { topic, payload: kind === 1 ? payload : random.bytes(random.integer(0, 300)) };
  });
  const [rows] = await ask(messages, 'SELECT hex(payload) AS hex FROM reading ORDER BY seq');
  const sent = messages.map(({ payload }) => Buffer.from(payload).toString('hex').toUpperCase());
  expect(
    rows?.map(({ hex }) => hex),
    `SEED=${seed}`,
  ).toEqual(sent);
});
