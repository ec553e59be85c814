/** The batch store: rotation, the chain over batches, crashes at any point, what verification finds. */
import { cpSync, existsSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { verifyBatch } from '@blocktorrent/agent/audit/verify-batch.ts';
import { jsonPathOf } from '@blocktorrent/agent/batch/batch-rule.ts';
import type { BatchStore } from '@blocktorrent/agent/batch/batch-store.ts';
import { openDatabase, openReadOnly } from '@blocktorrent/agent/runtime/sqlite.ts';
import { CHAIN_START, type Sample } from '@blocktorrent/protocol/reading.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BATCH_RULES, openStore } from '../support/ingest.ts';
import { aFolder, aReading, readings } from '../support/readings.ts';

let folder: string;
let remove: () => void;
const open: BatchStore[] = [];

beforeEach(() => {
  [folder, remove] = aFolder();
});
afterEach(() => {
  for (const store of open.splice(0)) store.stop();
  remove();
});

function aStore(options: Parameters<typeof openStore>[1] = {}): BatchStore {
  const store = openStore(folder, options);
  open.push(store);
  return store;
}

/** As kill -9 leaves it: the files as they are now, opened by nobody, in the test's folder. */
function crash(store: BatchStore): void {
  const [image, removeImage] = aFolder();
  cpSync(folder, image, { recursive: true });
  store.stop();
  open.splice(open.indexOf(store), 1);
  remove();
  cpSync(image, folder, { recursive: true });
  removeImage();
}

const SAMPLES: readonly Sample[] = [
  { sensor: null, name: 'p', unit: 'Pa', timeMs: null, value: 101_325 },
  { sensor: 'other', name: 'door', unit: '', timeMs: 1.6e12, value: 'open' },
  { sensor: null, name: 'p', unit: 'hPa', timeMs: 1.6e12, value: -0.5 },
];
const seqsOf = (store: BatchStore): number[] => [...store.recent(1e6)].map(({ seq }) => seq);
const numbers = (count: number): number[] => Array.from({ length: count }, (_, n) => n + 1);

describe('the open batch', () => {
  it('gives back every field of every reading', () => {
    const store = aStore();
    const given = [
      ...readings(1, 5),
      aReading(6, { sensor: null, deviceSeq: null, deviceMs: null, refusal: 'not JSON' }),
      aReading(7, { qos: 0, dup: true, retain: true, clockSynchronised: false, duplicateOf: 2 }),
      aReading(8, { payload: Uint8Array.of(0, 255, 1), bootId: 'boot-2', deviceMs: 0 }),
      aReading(9, { historical: true, samples: SAMPLES }),
    ];
    store.append(given);
    const found = [...store.recent(100)].map((reading) => ({
      ...reading,
      payload: Buffer.from(reading.payload).toString('hex'),
    }));
    expect(found).toEqual(
      given.map((reading) => ({
        ...reading,
        payload: Buffer.from(reading.payload).toString('hex'),
      })),
    );
  });

  it('gives back the newest readings however often they were repeated since', () => {
    const store = aStore();
    let seq = 0;
    const append = (duplicateOf: number | null) => {
      seq += 1;
      store.append([aReading(seq, { duplicateOf })]);
    };
    for (let i = 0; i < 4; i += 1) append(null);
    store.closeCurrent();
    for (let i = 0; i < 5; i += 1) append(3);
    store.closeCurrent();
    append(null);
    append(4);
    const originalsOf = (limit: number) =>
      [...store.recent(limit)].flatMap((one) => (one.duplicateOf === null ? [one.seq] : []));
    expect(originalsOf(3)).toEqual([3, 4, 10]);
    expect([...store.recent(3)].map((one) => one.seq)).toEqual([3, 4, 5, 6, 7, 8, 9, 10, 11]);
    expect([...store.recent(1)].map((one) => one.seq)).toEqual([10, 11]);
    expect(originalsOf(100)).toEqual([1, 2, 3, 4, 10]);
    for (let i = 0; i < 20; i += 1) append(4);
    // Not further back than `REPETITIONS_MAX` allows.
    expect(originalsOf(2)).toEqual([10]);
  });

  it('takes all of a group or nothing, also the names that it brought', () => {
    const store = aStore();
    store.append(readings(1, 2));
    const head = store.current.chainEnd;
    const stranger = aReading(3, { topic: 'site/new', sensor: 'new' });
    expect(() => store.append([stranger, aReading(5)])).toThrow('expected reading 4, found 5');
    expect([store.nextSeq, store.current.chainEnd]).toEqual([3, head]);
    store.append([stranger]);
    expect(seqsOf(store)).toEqual([1, 2, 3]);
  });

  it('is closed by age, number or size, but never while it is empty', () => {
    let nowMs = 1000;
    const store = aStore({ nowMs: () => nowMs, maxAgeMs: 500, maxReadings: 10 });
    nowMs = 9000;
    expect(store.rotateIfDue(nowMs)).toBeNull();
    expect(store.closeCurrent()).toBeNull();
    store.append(readings(1, 3));
    expect(store.rotateIfDue(nowMs + 499)).toBeNull();
    expect(store.due(nowMs + 500)).toBe('age');
    expect(store.rotateIfDue(nowMs + 500)).toMatchObject({ batch: 1, firstSeq: 1, lastSeq: 3 });
    store.append(readings(4, 13));
    expect(store.due(nowMs)).toBe('readings');
    expect(store.closeCurrent()).toMatchObject({ batch: 2, count: 10 });
  });

  it('is closed by age also after the clock was set back by years', () => {
    let nowMs = 1e12;
    const store = aStore({ nowMs: () => nowMs, maxAgeMs: 500 });
    store.append(readings(1, 1));
    nowMs -= 3e11;
    expect(store.due(nowMs)).toBeNull();
    expect(store.due(nowMs + 500)).toBe('age');
  });

  it('is closed by size', () => {
    const store = aStore({ maxBytes: 200_000 });
    store.append([aReading(1, { payload: new Uint8Array(250_000) })]);
    expect(store.due(Date.now())).toBe('bytes');
  });
});

describe('closed batches', () => {
  it('go on with sequence and chain, and verify by themselves', () => {
    const store = aStore();
    let chain = CHAIN_START;
    let seq = 1;
    for (const count of [5, 1, 7]) {
      store.append(readings(seq, seq + count - 1));
      const closed = store.closeCurrent();
      expect(closed).toMatchObject({ firstSeq: seq, count });
      const verified = verifyBatch(closed?.path ?? '');
      expect(verified).toMatchObject({ readings: count, source: 'Org1MSP', gateway: 'gateway-1' });
      expect(Buffer.from(verified.chainStart)).toEqual(Buffer.from(chain));
      chain = verified.chainEnd;
      seq += count;
    }
    expect(readdirSync(folder).sort()).toEqual(['1.sqlite', '2.sqlite', '3.sqlite']);
  });

  it('keep the newest two for knowledge of duplicates, and unlink the others when told', () => {
    const store = aStore();
    for (let batch = 1; batch <= 3; batch += 1) {
      store.append([aReading(batch)]);
      store.closeCurrent();
    }
    expect([0, 1, 2, 3, 4].filter((batch) => store.deletable(batch))).toEqual([1]);
    expect(() => store.delete(2)).toThrow('one of the newest');
    expect(() => store.delete(9)).toThrow('no batch 9');
    store.delete(1);
    expect(existsSync(join(folder, '1.sqlite'))).toBe(false);
    expect(seqsOf(store)).toEqual([2, 3]);
    store.stop();
    open.pop();
    expect(aStore().nextSeq).toBe(4);
  });

  it('are not closed while somebody reads them, and are at the next attempt', () => {
    const store = aStore();
    store.append(readings(1, 3));
    const reader = openReadOnly(join(folder, '1.open.sqlite'));
    const rows = reader.prepare('SELECT * FROM reading').iterate();
    rows.next();
    const synchronous = () => {
      for (const { database } of store.newestFirst()) {
        return database.pragma('synchronous', { simple: true });
      }
    };
    store.write(readings(4, 4));
    const before = synchronous();
    expect(() => store.closeCurrent()).toThrow(expect.objectContaining({ code: 'busy' }));
    expect(synchronous()).toBe(before);
    rows.return?.();
    reader.close();
    expect(store.closeCurrent()).toMatchObject({ count: 4 });
  });

  it('leave an empty one behind them, that begins with the next reading', () => {
    const store = aStore();
    store.append(readings(1, 3));
    store.closeCurrent();
    expect(store.current).toMatchObject({ batch: 2, firstSeq: 4, lastSeq: 3, count: 0 });
    expect([store.nextSeq, store.currentBytes, store.closeCurrent()]).toEqual([4, 0, null]);
    store.append(readings(4, 4));
    expect(store.current).toMatchObject({ batch: 2, firstSeq: 4, lastSeq: 4, count: 1 });
  });

  it('explain themselves to sqlite3 by their views', () => {
    const store = aStore();
    store.append([
      ...readings(1, 4),
      aReading(5, { refusal: 'not JSON', payload: Buffer.from('{') }),
    ]);
    const path = store.closeCurrent()?.path ?? '';
    const database = openReadOnly(path);
    try {
      const latest = database.prepare("SELECT * FROM latest WHERE name = 'value'").all();
      expect(latest).toEqual([
        expect.objectContaining({ sensor: 't-1', value: 2, unit: 'Cel', seq: 4 }),
      ]);
      expect(database.prepare('SELECT * FROM dead_letters').all()).toHaveLength(1);
      expect(database.prepare('SELECT sum(count) AS n FROM hourly').get()).toEqual({ n: 4 });
    } finally {
      database.close();
    }
  });
});

describe('recovery', () => {
  /** Each leaves the folder as a crash at some point of a rotation would. */
  const points: Readonly<Record<string, (store: BatchStore) => void>> = {
    'after a commit, with the WAL beside the file': crash,
    'after leaving WAL mode, before the batch was marked as closed': (store) => {
      crash(store);
      const database = openDatabase(join(folder, '2.open.sqlite'));
      database.pragma('journal_mode = DELETE');
      database.close();
    },
    'after it was marked, before the file was renamed': (store) => {
      store.closeCurrent();
      crash(store);
      renameSync(join(folder, '2.sqlite'), join(folder, '2.open.sqlite'));
    },
    'after the file was renamed': (store) => {
      store.closeCurrent();
      crash(store);
    },
    'with journals left under the old name': (store) => {
      store.closeCurrent();
      crash(store);
      writeFileSync(join(folder, '2.open.sqlite-wal'), 'left over');
      writeFileSync(join(folder, '2.open.sqlite-shm'), 'left over');
    },
    'while the next file was made': (store) => {
      store.closeCurrent();
      crash(store);
      writeFileSync(join(folder, '3.open.sqlite'), '');
    },
  };

  for (const [point, leave] of Object.entries(points)) {
    it(`goes on where it was: ${point}`, () => {
      const before = aStore();
      before.append(readings(1, 10));
      before.closeCurrent();
      before.append(readings(11, 15));
      const head = before.current.chainEnd;
      leave(before);
      const after = aStore();
      expect(Buffer.from(after.current.chainEnd)).toEqual(Buffer.from(head));
      expect(after.nextSeq).toBe(16);
      after.append(readings(16, 20));
      after.closeCurrent();
      expect(seqsOf(after)).toEqual(numbers(20));
      for (const { path } of after.list()) verifyBatch(path);
      expect(readdirSync(folder).every((name) => /^\d\.sqlite$/.test(name))).toBe(true);
    });
  }

  it('puts a second open batch that is a copy of the first into quarantine', () => {
    const store = aStore();
    store.append(readings(1, 3));
    crash(store);
    cpSync(join(folder, '1.open.sqlite'), join(folder, '2.open.sqlite'));
    cpSync(join(folder, '1.open.sqlite-wal'), join(folder, '2.open.sqlite-wal'));
    const again = aStore();
    expect(again.damages).toMatchObject([{ batch: 2, salvaged: 0 }]);
    again.append(readings(4, 4));
    expect(seqsOf(again)).toEqual([1, 2, 3, 4]);
  });

  it('saves an open batch that does not follow the closed one before it', () => {
    const store = aStore();
    store.append(readings(1, 3));
    store.closeCurrent();
    store.append(readings(4, 5));
    crash(store);
    const [elsewhere, removeElsewhere] = aFolder();
    const other = openStore(elsewhere);
    other.append(readings(1, 2));
    other.closeCurrent();
    other.stop();
    cpSync(join(elsewhere, '1.sqlite'), join(folder, '1.sqlite'));
    removeElsewhere();
    const again = aStore();
    expect(again.damages).toMatchObject([
      { batch: 2, salvaged: 2, reason: expect.stringContaining('does not follow') },
    ]);
    expect([...again.recent(1e9)].map(({ deviceSeq }) => deviceSeq)).toEqual([1, 2, 4, 5, null]);
  });

  it('begins a new batch when the rules have changed', () => {
    const store = aStore();
    store.append(readings(1, 3));
    crash(store);
    const again = aStore();
    expect(again.list()).toHaveLength(0);
    crash(again);
    const changed = aStore({
      rules: [...BATCH_RULES, { name: 'x', filter: 'x', decoder: 'influx', fields: [] }],
    });
    expect(changed.list()).toMatchObject([{ batch: 1, count: 3 }]);
  });
});

describe('verification of a batch', () => {
  const closed = (): string => {
    const store = aStore();
    store.append([...readings(1, 19), aReading(20, { samples: SAMPLES })]);
    return store.closeCurrent()?.path ?? '';
  };
  const changes: Readonly<Record<string, string>> = {
    'a payload': "UPDATE reading SET payload = CAST('{}' AS BLOB) WHERE seq = 7",
    'a time':
      'UPDATE reading SET received_ms = received_ms + 1, boot_ms = boot_ms + 1 WHERE seq = 7',
    'a sensor': "UPDATE sensor SET name = 'another' WHERE name = 't-1'",
    'a topic': 'UPDATE reading SET topic = 1 WHERE seq = 3',
    'a mark': 'UPDATE reading SET duplicate_of = 1 WHERE seq = 7',
    'a missing reading': 'DELETE FROM reading WHERE seq = 7',
    'a missing last reading':
      'DELETE FROM sample WHERE seq = 20; DELETE FROM reading WHERE seq = 20',
    'an added reading': `INSERT INTO reading SELECT 21, received_ms, boot_ms, boot, flags, topic,
      sensor, device_seq, device_lag_ms, duplicate_of, refusal, payload FROM reading WHERE seq = 20`,
    'a sample': 'UPDATE sample SET value = 5 WHERE seq = 20 AND place = 0',
    'the unit of a sample': "UPDATE metric SET unit = 'kPa' WHERE unit = 'Pa'",
    'a missing sample': 'DELETE FROM sample WHERE place = 1',
    'an added sample': 'INSERT INTO sample SELECT 5, place, metric, sensor, 0, 1, NULL FROM sample',
    'a sample of no reading':
      'PRAGMA foreign_keys = OFF; INSERT INTO sample SELECT 21, 0, 1, NULL, 0, 1, NULL',
    'a mark of a buffer': 'UPDATE reading SET flags = flags + 32 WHERE seq = 7',
    'a view in the place of a table':
      'ALTER TABLE reading RENAME TO r; CREATE VIEW reading AS SELECT * FROM r',
  };
  for (const [what, sql] of Object.entries(changes)) {
    it(`finds ${what}`, () => {
      const path = closed();
      const database = openDatabase(path);
      database.pragma('journal_mode = DELETE');
      verifyBatch(path);
      if (what === 'a view in the place of a table') {
        for (const view of ['readings', 'dead_letters', 'samples', 'latest', 'hourly']) {
          database.exec(`DROP VIEW ${view}`);
        }
      }
      database.exec(sql);
      database.close();
      expect(() => verifyBatch(path)).toThrow(expect.objectContaining({ code: 'bad-chain' }));
    });
  }

  it('refuses what is no batch at all', () => {
    const path = join(folder, 'x');
    writeFileSync(path, 'not a database, but long enough to look at it'.repeat(50));
    expect(() => verifyBatch(path)).toThrow(expect.objectContaining({ code: 'bad-chain' }));
  });
});

describe('JSON paths', () => {
  it('mean the same as the pointers', () => {
    const paths = ['', '/value', '/a/0/b', '/a~1b~0c', '/', '/a\\b'].map(jsonPathOf);
    expect(paths).toEqual(['$', '$."value"', '$."a"[0]."b"', '$."a/b~c"', '$.""', '$."a\\\\b"']);
    expect(() => jsonPathOf('value')).toThrow("expected '/…'");
    expect(() => jsonPathOf('/a"b')).toThrow('no JSON path');
  });
});
