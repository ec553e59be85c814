/** Other sources of a private database: rows of somebody's table, files of a watched folder. */
import {
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { newestSample } from '@blocktorrent/agent/batch/newest-sample.ts';
import { parseConfig } from '@blocktorrent/agent/config/load.ts';
import {
  CURSOR_SAMPLE,
  canonicalRow,
  TableSource,
} from '@blocktorrent/agent/ingest/table-source.ts';
import {
  WATCHED_FOLDER_MIGRATION,
  WatchedFolder,
  type WatchedFolderOptions,
} from '@blocktorrent/agent/ingest/watched-folder.ts';
import { FILE_QUEUE_MIGRATIONS, FileQueue } from '@blocktorrent/agent/runtime/file-queue.ts';
import { silentLog } from '@blocktorrent/agent/runtime/log.ts';
import { migrate } from '@blocktorrent/agent/runtime/migrate.ts';
import { type Database, openDatabase, openReadOnly } from '@blocktorrent/agent/runtime/sqlite.ts';
import type { Reading } from '@blocktorrent/protocol/reading.ts';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { gatewayConfig, startGateway, type TestGateway } from '../support/gateway.ts';
import { createIngest, openStore } from '../support/ingest.ts';
import { startNode } from '../support/process.ts';
import { aFolder } from '../support/readings.ts';
import { Seeded, seedOfRun } from '../support/seeded.ts';

const PROCESS = fileURLToPath(new URL('../support/sources-process.ts', import.meta.url));
const KILLS = process.env.BLOCKTORRENT_LONG === '1' ? 100 : 8;
const RULES = '[{ topic: "t/#", value: /value, sequence: /id }, { topic: "n/#", decoder: number }]';
const cleanUps: (() => unknown)[] = [];
let folder: string;
let rows: Database;
const path = (...names: string[]): string => join(folder, ...names);

beforeEach(() => {
  const [made, remove] = aFolder();
  folder = made;
  cleanUps.push(remove);
  rows = openDatabase(path('rows.sqlite'));
  rows.exec('CREATE TABLE row (id INTEGER PRIMARY KEY, value REAL, note TEXT)');
  cleanUps.push(() => rows.close());
  mkdirSync(path('in'));
});
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

function insert(count: number): void {
  rows.transaction(() => {
    for (let n = 0; n < count; n += 1) rows.exec("INSERT INTO row (value, note) VALUES (1.5, 'x')");
  })();
}

function aGateway(table: string, more = ''): { gateway: TestGateway; readings: Reading[] } {
  const file = path('rows.sqlite');
  const sources = `sources: { tables: [{ file: '${file}', topic: t/rows, everyMs: 100, ${table} }] }`;
  const text = gatewayConfig(folder, RULES, [], `${sources}\n${more}`);
  const gateway = startGateway(folder, text, {}, { start: false });
  const readings: Reading[] = [];
  gateway.gateway.taps.add('#', (reading) => readings.push(reading));
  gateway.gateway.start();
  return { gateway, readings };
}

const textOf = ({ payload }: Reading): string => Buffer.from(payload).toString();

describe('a table', () => {
  it('gives a reading for each row, in order, with the row as canonical JSON', async () => {
    insert(2);
    rows.exec("INSERT INTO row VALUES (9007199254740991, NULL, 'é\"')");
    const { gateway, readings } = aGateway('table: row, cursor: id');
    cleanUps.push(() => gateway.stop());
    await vi.waitFor(() => expect(readings).toHaveLength(3));
    expect(readings.map(textOf)).toEqual([
      '{"id":1,"note":"x","value":1.5}',
      '{"id":2,"note":"x","value":1.5}',
      '{"id":9007199254740991,"note":"é\\"","value":null}',
    ]);
    expect(readings.map(({ samples }) => samples.at(-1)?.value)).toEqual([1, 2, 9007199254740991]);
    expect(gateway.gateway.tables).toMatchObject([{ kind: 'table', reason: null }]);
    await expect.poll(() => gateway.metrics.total('ingestTableRows')).toBe(3);
  });

  it('goes on where it was, over restarts, also where its batches have gone', async () => {
    insert(5);
    const first = aGateway('table: row', 'batch: { maxReadings: 1 }');
    await vi.waitFor(() => expect(first.readings).toHaveLength(5));
    await first.gateway.stop();
    rmSync(path('batches'), { recursive: true });
    insert(1);
    // Without a value they are dead letters, and passed all the same.
    const second = aGateway('table: row, columns: [note]');
    await vi.waitFor(() => expect(second.readings.map(textOf)).toEqual(['{"note":"x"}']));
    expect(second.readings[0]?.refusal).not.toBeNull();
    await second.gateway.stop();
    rmSync(path('decoders.sqlite'));
    insert(1);
    const third = aGateway('table: row');
    cleanUps.push(() => third.gateway.stop());
    await vi.waitFor(() => expect(third.readings.map(({ deviceSeq }) => deviceSeq)).toEqual([7]));
  });

  it('is read in pages of bytes as well as of rows, whatever is in it', async () => {
    rows.exec(
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION SELECT i + 1 FROM n WHERE i < 30) \
      INSERT INTO row SELECT i, 1, printf('%.*c', 1000000, 'x') FROM n",
    );
    const pages: number[] = [];
    let page = 0;
    let taken: (() => void) | undefined;
    const source = new TableSource({
      ...{ file: path('rows.sqlite'), table: 'row', cursor: 'id', topic: 't', everyMs: 60_000 },
      ...{
        rowsMax: 500,
        newest: () => null,
        log: silentLog,
        remember: () => undefined,
        openReadOnly,
      },
      admits: () => true,
      sink: {
        take: (message, from) => {
          page += 1;
          taken = () => void from.acknowledge(Array.from({ length: page }, () => 1));
          expect(message.payload.length).toBeGreaterThan(1_000_000);
        },
        flush: () => {
          taken?.();
          pages.push(page);
          page = 0;
          taken = undefined;
        },
      },
    });
    cleanUps.push(() => source.stop());
    source.start();
    await vi.waitFor(() => expect(pages).toEqual([9, 9, 9, 3]));
  });

  it.each([
    ['a column that is not unique', 'table: row, cursor: note', 'note of row is not unique'],
    ['a column that is not there', 'table: row, cursor: nothing', 'no column nothing'],
    ['a table that is not there', 'table: nothing', 'has no table nothing'],
    ['a column that is unique in part', 'table: part, cursor: k', 'k of part is not unique'],
  ])('says why nothing comes of %s', async (_title, table, says) => {
    rows.exec('CREATE TABLE part (k INTEGER); CREATE UNIQUE INDEX some ON part (k) WHERE k > 5');
    const { gateway, readings } = aGateway(table);
    cleanUps.push(() => gateway.stop());
    insert(1);
    await vi.waitFor(() => expect(gateway.gateway.tables[0]?.reason).toContain(says));
    expect(readings).toEqual([]);
  });

  it('is read again when it can be', async () => {
    const { gateway, readings } = aGateway('table: later');
    cleanUps.push(() => gateway.stop());
    await vi.waitFor(() => expect(gateway.gateway.tables[0]?.reason).not.toBeNull());
    rows.exec('CREATE TABLE later (value REAL); INSERT INTO later VALUES (2)');
    await vi.waitFor(() => expect(readings.map(textOf)).toEqual(['{"value":2}']));
    expect(gateway.gateway.tables[0]?.reason).toBeNull();
    // A pipe in its place would be waited for without an end.
    renameSync(path('rows.sqlite'), path('away.sqlite'));
    mkdirSync(path('rows.sqlite'));
    await vi.waitFor(() => expect(gateway.gateway.tables[0]?.reason).toMatch(/is no file$/));
  });

  it('may have any name, text for a cursor, and rows without one, which are left out', async () => {
    const name = '"o""d"';
    rows.exec(`CREATE TABLE ${name} ("i d" TEXT UNIQUE, value REAL)`);
    rows.exec(`INSERT INTO ${name} VALUES (NULL, 1), ('b', 3), ('a', 2)`);
    const { gateway, readings } = aGateway(`table: 'o"d', cursor: 'i d', columns: [value]`);
    cleanUps.push(() => gateway.stop());
    await vi.waitFor(() => expect(readings).toHaveLength(2));
    rows.exec(`INSERT INTO ${name} VALUES (NULL, 5), ('c', 4)`);
    await vi.waitFor(() => expect(readings).toHaveLength(3));
    expect(readings.map(textOf)).toEqual(['{"value":2}', '{"value":3}', '{"value":4}']);
  });

  it('gives no row again whose sync failed: it is in the batch', async () => {
    const store = openStore(path('batches'));
    cleanUps.push(() => store.stop());
    let broken = true;
    const failing = {
      get nextSeq() {
        return store.nextSeq;
      },
      write: (readings: readonly Reading[]) => store.write(readings),
      sync: () => (broken ? Promise.reject(new Error('disk failed')) : store.sync()),
      syncNow() {
        if (broken) throw new Error('disk failed');
        store.syncNow();
      },
    };
    const remembered: unknown[] = [];
    insert(3);
    const source = new TableSource({
      ...{ file: path('rows.sqlite'), table: 'row', cursor: 'id', columns: ['value'] },
      ...{ topic: 't/rows', everyMs: 10, rowsMax: 2, log: silentLog, openReadOnly },
      newest: () => newestSample(store.newestFirst(), 't/rows', CURSOR_SAMPLE),
      remember: (cursor) => remembered.push(cursor),
      admits: () => true,
      sink: createIngest(failing, { maxDelayMs: 1e6 }),
    });
    cleanUps.push(() => source.stop());
    source.start();
    // It has looked again, and no row is known to be on the disk.
    await vi.waitFor(() => expect(store.nextSeq).toBe(4));
    expect(remembered).toEqual([]);
    broken = false;
    insert(1);
    await vi.waitFor(() => expect(store.durable.lastSeq).toBe(4));
    const cursors = [...store.recent(100)].map(({ samples }) => samples.at(-1)?.value);
    expect(cursors).toEqual([1, 2, 3, 4]);
  });

  it('that somebody else has locked stops nothing but itself', async () => {
    rows.exec('PRAGMA journal_mode = DELETE; CREATE TABLE kept (value REAL)');
    rows.exec('BEGIN EXCLUSIVE; INSERT INTO kept VALUES (2)');
    const { gateway, readings } = aGateway('table: kept');
    cleanUps.push(() => gateway.stop());
    const reason = () => gateway.gateway.tables[0]?.reason;
    const startedMs = performance.now();
    await vi.waitFor(() => expect(reason()).toBe('database is locked'));
    // SQLite waits in the thread of the agent: without a limit of its own for 5 s.
    expect(performance.now() - startedMs).toBeLessThan(4_000);
    rows.exec('COMMIT');
    await vi.waitFor(() => expect(readings.map(textOf)).toEqual(['{"value":2}']));
  });

  it('whose numbers begin again is said', async () => {
    rows.exec('CREATE TABLE again (id INTEGER PRIMARY KEY); INSERT INTO again VALUES (7)');
    const { gateway, readings } = aGateway('table: again, cursor: id');
    cleanUps.push(() => gateway.stop());
    await vi.waitFor(() => expect(readings).toHaveLength(1));
    const reason = () => gateway.gateway.tables[0]?.reason;
    rows.exec('DELETE FROM again; INSERT INTO again VALUES (1)');
    await vi.waitFor(() => expect(reason()).toMatch(/up to "id" 7 have been taken, .*newest is 1/));
    rows.exec('INSERT INTO again VALUES (8)');
    await vi.waitFor(() => expect(readings.map(textOf)).toEqual(['{"id":7}', '{"id":8}']));
  });

  it('writes what JSON has no word for as text', () => {
    const row = { b: new Uint8Array([1, 255]), a: 2n ** 60n, c: Number.POSITIVE_INFINITY, A: 1e21 };
    expect(canonicalRow(row)).toBe(
      '{"A":1e+21,"a":"1152921504606846976","b":"Af8=","c":"Infinity"}',
    );
  });

  it('needs a topic that a rule reads, and one of its own', () => {
    const read = (topics: string[]) => {
      const tables = topics.map((topic) => `{ file: f, table: t, topic: '${topic}' }`).join(', ');
      const text = gatewayConfig(folder, RULES, [], `sources: { tables: [${tables}] }`);
      return parseConfig(text, 'a.yaml', {});
    };
    expect(() => read(['x/y'])).toThrow('a topic that one of `mqtt.rules` fits');
    expect(() => read(['t/a', 't/a'])).toThrow(
      'sources.tables[1].topic: expected a topic of its own',
    );
    expect(() => read([])).toThrow('mqtt.brokers: expected at least one broker');
    expect(() => read(['n/a'])).toThrow('has the decoder json');
  });

  it('and folders are wrong where what is done with their files would never end', () => {
    const read = (...folders: string[]) => {
      const text = `sources: { folders: [${folders.map((one) => `{ ${one} }`).join(', ')}] }`;
      return parseConfig(gatewayConfig(path('data'), RULES, [], text), path('a.yaml'), {});
    };
    const move = (from: string, to: string) => `path: ${from}, after: move, moveTo: ${to}`;
    const data = read('path: in').dataDir;
    expect(() => read(`path: ${data}`)).toThrow('[0].path: expected a folder outside `dataDir`');
    expect(() => read(`path: ${data}/spool/`)).toThrow('a folder outside `dataDir`');
    expect(() => read('path: in', `path: ${path('in')}`)).toThrow('[1].path: expected another');
    expect(() => read(move('in', './in/'))).toThrow('[0].moveTo: expected a folder that is not');
    expect(() => read(move('a', 'b'), 'path: b')).toThrow('[0].moveTo: expected');
    expect(read(move('in', 'in/done'), `path: ${data}-2`).sources.folders).toHaveLength(2);
  });
});

describe('a folder', () => {
  let database: Database;
  let queue: FileQueue;
  let nowMs = 0;

  beforeEach(() => {
    database = openDatabase(path('state.sqlite'));
    cleanUps.push(() => database.close());
    migrate(database, [...FILE_QUEUE_MIGRATIONS, WATCHED_FOLDER_MIGRATION]);
    queue = new FileQueue(database, () => 0);
    nowMs = 0;
  });

  /** Looks once, as a process that has just started does. */
  function look(watched: WatchedFolder): void {
    watched.start();
    watched.stop();
  }
  const watch = (options: Partial<WatchedFolderOptions> = {}): WatchedFolder =>
    new WatchedFolder({
      path: path('in'),
      stableMs: 0,
      everyMs: 1e6,
      recipients: [],
      after: 'keep',
      database,
      queue,
      monotonicMs: () => nowMs,
      log: silentLog,
      onTaken: () => undefined,
      ...options,
    });
  const taken = (): string[] =>
    queue
      .list(1000)
      .map(({ inputPath }) => inputPath)
      .reverse();

  it('gives each complete file once, and a changed one again', () => {
    writeFileSync(path('in', 'a.txt'), '1');
    for (const name of ['.hidden', 'b.tmp', 'c.part', 'd~']) writeFileSync(path('in', name), '1');
    mkdirSync(path('in', 'folder'));
    symlinkSync(path('rows.sqlite'), path('in', 'link'));
    look(watch());
    look(watch());
    expect(taken()).toEqual([path('in', 'a.txt')]);
    renameSync(path('in', 'b.tmp'), path('in', 'b.txt'));
    writeFileSync(path('in', 'a.txt'), '22');
    look(watch());
    look(watch());
    expect(taken().slice(1)).toEqual([path('in', 'a.txt'), path('in', 'b.txt')]);
  });

  it('waits until a file has not changed for the time that is set', () => {
    const watched = watch({ stableMs: 1000 });
    writeFileSync(path('in', 'a.txt'), '1');
    look(watched);
    nowMs = 900;
    writeFileSync(path('in', 'a.txt'), '12');
    utimesSync(path('in', 'a.txt'), 1, 1);
    look(watched);
    nowMs = 1800;
    look(watched);
    expect(taken()).toEqual([]);
    nowMs = 1900;
    look(watched);
    expect(taken()).toHaveLength(1);
  });

  it('gives at most 200 files at one look, and does not ask the queue for each', () => {
    for (let n = 0; n < 201; n += 1) writeFileSync(path('in', `${n}`), '');
    look(watch());
    expect(taken()).toHaveLength(200);
    look(watch());
    expect(new Set(taken()).size).toBe(201);
    const asked = vi.spyOn(queue, 'get');
    look(watch());
    expect(asked).not.toHaveBeenCalled();
  });

  it('takes the others where one cannot be taken, or not be moved away, and says which', () => {
    const watched = watch({ after: 'move', moveTo: path('rows.sqlite', 'no-folder') });
    writeFileSync(path('in', 'a'), '1');
    look(watched);
    queue.update(1, { stage: 'available' });
    writeFileSync(path('in', 'b'), '1');
    look(watched);
    expect(taken()).toEqual([path('in', 'a'), path('in', 'b')]);
    expect(watched.state.reason).toMatch('ENOTDIR');
    rmSync(path('in', 'a'));
    look(watched);
    expect(watched.state.reason).toBeNull();
    // M\xe4rz in ISO 8859-1, as old instruments write it.
    writeFileSync(Buffer.concat([Buffer.from(path('in', 'M')), Buffer.from('e4727a', 'hex')]), '1');
    writeFileSync(path('in', 'März'), '1');
    look(watched);
    expect(taken()).toHaveLength(3);
    expect(watched.state.reason).toMatch(/M\ufffdrz: the file's name is not UTF-8, rename it/);
  });

  it('is touched only when a file is available, and still what was taken', () => {
    const options = { after: 'move', moveTo: path('done') } as const;
    for (const name of ['a', 'b']) writeFileSync(path('in', name), name);
    look(watch(options));
    const [a, b] = queue.list(10).reverse();
    look(watch(options));
    expect(readdirSync(path('in'))).toEqual(['a', 'b']);
    writeFileSync(path('in', 'b'), 'changed');
    for (const file of [a, b]) queue.update(file?.id ?? 0, { stage: 'available' });
    mkdirSync(path('done'));
    writeFileSync(path('done', 'a'), 'another of that name');
    look(watch(options));
    expect([readdirSync(path('in')), readdirSync(path('done'))]).toEqual([['b'], ['a', 'a.1']]);
    expect(taken()).toHaveLength(3);
    queue.update(3, { stage: 'available' });
    look(watch({ after: 'delete' }));
    expect(readdirSync(path('in'))).toEqual([]);
  });

  it('that is away for a while is not taken anew, and one that is not there is said', () => {
    writeFileSync(path('in', 'a'), '1');
    look(watch());
    renameSync(path('in'), path('away'));
    const watched = watch();
    look(watched);
    expect(watched.state.reason).toContain('ENOENT');
    mkdirSync(path('in'));
    look(watched);
    expect(watched.state.reason).toBeNull();
    rmSync(path('in'), { recursive: true });
    renameSync(path('away'), path('in'));
    look(watched);
    expect(taken()).toHaveLength(1);
  });

  it('gives a file again whose try was given up', () => {
    writeFileSync(path('in', 'a'), '1');
    look(watch());
    queue.update(1, { stage: 'void' });
    look(watch());
    look(watch());
    expect(queue.list(10).map(({ stage }) => stage)).toEqual(['queued', 'void']);
  });
});

it(`rows and files are there exactly once, in order, after ${KILLS} kills`, async () => {
  const seed = seedOfRun();
  const random = new Seeded(seed);
  let files = 0;
  for (let kill = 0; kill < KILLS; kill += 1) {
    const more = random.integer(20, 120);
    insert(more);
    for (let n = 0; n < 5; n += 1) {
      files += 1;
      writeFileSync(path('in', `${files}.tmp`), String(files));
      renameSync(path('in', `${files}.tmp`), path('in', `${files}.txt`));
    }
    const child = startNode(PROCESS, [folder]);
    const killAt = random.integer(0, more);
    for (;;) {
      const { readings = 0 } = await child.next();
      if (Number(readings) >= killAt) break;
    }
    child.child.kill('SIGKILL');
    await child.ended;
  }
  const child = startNode(PROCESS, [folder]);
  const total = rows.prepare('SELECT count(*) FROM row').pluck().get() as number;
  const state = openDatabase(path('state.sqlite'));
  cleanUps.push(() => state.close());
  const queued = () =>
    state.prepare('SELECT inputPath FROM file WHERE kind = ?').pluck().all('file');
  await vi.waitFor(() => expect(queued().length).toBeGreaterThanOrEqual(files), 30_000);
  const stored = (): number[] => {
    const store = openStore(path('batches'), { rules: [] });
    try {
      return [...store.recent(1e6)].map((reading) => Number(JSON.parse(textOf(reading)).id));
    } finally {
      store.stop();
    }
  };
  const committed = (): number =>
    readdirSync(path('batches'))
      .filter((name) => name.endsWith('.sqlite'))
      .map((name) => {
        const batch = openReadOnly(path('batches', name));
        try {
          return batch.prepare('SELECT count(*) FROM reading').pluck().get() as number;
        } finally {
          batch.close();
        }
      })
      .reduce((sum, count) => sum + count, 0);
  await vi.waitFor(() => expect(committed()).toBeGreaterThanOrEqual(total), 30_000);
  child.child.kill('SIGKILL');
  await child.ended;
  console.log(`seed ${seed}, rows ${total}, files ${files}`);
  expect(stored(), `seed ${seed}`).toEqual(Array.from({ length: total }, (_, n) => n + 1));
  expect(new Set(queued()).size).toBe(files);
  expect(queued()).toHaveLength(files);
}, 300_000);
