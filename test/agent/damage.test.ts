/** After a power cut or on a worn disk: what is broken is put aside, what is good goes on. */
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { verifyBatch } from '@blocktorrent/agent/audit/verify-batch.ts';
import type { BatchStore } from '@blocktorrent/agent/batch/batch-store.ts';
import { DAMAGED_TOPIC } from '@blocktorrent/agent/batch/recover-folder.ts';
import { FILE_QUEUE_MIGRATIONS, FileQueue } from '@blocktorrent/agent/runtime/file-queue.ts';
import { silentLog } from '@blocktorrent/agent/runtime/log.ts';
import { migrate } from '@blocktorrent/agent/runtime/migrate.ts';
import { Quarantine } from '@blocktorrent/agent/runtime/quarantine.ts';
import { openDatabase, openSound } from '@blocktorrent/agent/runtime/sqlite.ts';
import type { Reading } from '@blocktorrent/protocol/reading.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { gatewayConfig, startGateway } from '../support/gateway.ts';
import { openStore } from '../support/ingest.ts';
import { aFolder, aReading, readings } from '../support/readings.ts';
import { Seeded, seedOfRun } from '../support/seeded.ts';

const COUNT = 2000;
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

/** `COUNT` readings in the open batch 2, after ten in the closed batch 1, as a crash leaves them. */
function leave(options: { readonly checkpointed: boolean }): void {
  const [image, removeImage] = aFolder();
  const store = openStore(image);
  store.append(readings(1, 10));
  store.closeCurrent();
  for (let from = 11; from <= COUNT + 10; from += 100) store.append(readings(from, from + 99));
  if (options.checkpointed) {
    const database = openDatabase(join(image, '2.open.sqlite'));
    database.pragma('wal_checkpoint(TRUNCATE)');
    database.close();
  }
  cpSync(image, folder, { recursive: true });
  store.stop();
  removeImage();
}

function overwrite(name: string, change: (bytes: Buffer) => void): void {
  const path = join(folder, name);
  const bytes = readFileSync(path);
  change(bytes);
  writeFileSync(path, bytes);
}

/** What the sensors sent, in order; the gateway's own records are left out. */
function sent(store: BatchStore): number[] {
  return all(store).flatMap(({ deviceSeq }) => deviceSeq ?? []);
}
const all = (store: BatchStore): Reading[] => [...store.recent(1e12)];

const FILE = '2.open.sqlite';
/** What may happen to the file of the open batch, and how many of its readings it may cost. */
const DAMAGES: Readonly<
  Record<string, { readonly lost: number; readonly wreck: (random: Seeded) => void }>
> = {
  'cut short in the middle': {
    lost: COUNT,
    wreck: () => truncateSync(join(folder, FILE), 4096 * 20 + 100),
  },
  'with a tail of zeros': {
    lost: COUNT,
    wreck: () => overwrite(FILE, (bytes) => bytes.fill(0, bytes.length - 4096 * 20)),
  },
  'with one page of zeros': {
    lost: 60,
    wreck: (random) =>
      overwrite(FILE, (bytes) => {
        const page = random.integer(30, bytes.length / 4096 - 2);
        bytes.fill(0, page * 4096, (page + 1) * 4096);
      }),
  },
  'with a flipped byte in a payload': {
    lost: 0,
    wreck: () =>
      overwrite(FILE, (bytes) => {
        const at = bytes.indexOf('"value":500');
        bytes[at + 8] = 0x39;
      }),
  },
  'with flipped bytes in the middle': {
    lost: COUNT,
    wreck: (random) =>
      overwrite(FILE, (bytes) => {
        for (let n = 0; n < 20; n += 1) {
          const at = random.integer(4096 * 25, bytes.length - 1);
          bytes[at] = (bytes[at] ?? 0) ^ 0xff;
        }
      }),
  },
  'with flipped bytes in its header': {
    lost: COUNT,
    wreck: () =>
      overwrite(FILE, (bytes) => {
        for (const at of [3, 17, 60]) bytes[at] = (bytes[at] ?? 0) ^ 0xff;
      }),
  },
  'that is another kind of file': {
    lost: COUNT,
    wreck: () => writeFileSync(join(folder, FILE), 'nothing of the kind'.repeat(500)),
  },
};

describe('a damaged open batch', () => {
  for (const [what, { lost, wreck }] of Object.entries(DAMAGES)) {
    it(`${what} goes to the quarantine, and its good readings into a new batch`, () => {
      const seed = seedOfRun();
      leave({ checkpointed: true });
      for (const journal of ['-wal', '-shm']) rmSync(join(folder, FILE + journal), { force: true });
      wreck(new Seeded(seed));
      const store = aStore();
      const note = `seed ${seed}`;
      expect(store.damages, note).toMatchObject([{ batch: 2 }]);
      const found = sent(store);
      expect(found.length, note).toBeGreaterThanOrEqual(10 + COUNT - lost);
      // A flipped byte may make one reading's number look like another's: nobody can tell.
      if (!what.includes('flipped bytes')) {
        expect(new Set(found).size, note).toBe(found.length);
        expect(found, note).toEqual([...found].sort((a, b) => a - b));
      }
      const notes = readdirSync(join(folder, 'quarantine')).filter((name) =>
        name.endsWith('.json'),
      );
      expect(notes, note).toHaveLength(1);
      const records = all(store).filter(({ topic }) => topic === DAMAGED_TOPIC);
      expect(records.map(({ payload }) => JSON.parse(Buffer.from(payload).toString()))).toEqual([
        { what: 'damaged', ...store.damages[0] },
      ]);
      // Numbers that lost readings had are not given again, and the work goes on.
      expect(store.nextSeq, note).toBeGreaterThan(COUNT + 10);
      const { nextSeq } = store;
      store.append([aReading(nextSeq)]);
      store.closeCurrent();
      for (const { path } of store.list()) verifyBatch(path);
      store.stop();
      open.pop();
      const again = aStore();
      expect(again.damages).toEqual([]);
      expect(again.nextSeq).toBe(nextSeq + 1);
    });
  }

  it('costs nothing but what was not in the file where its journal is gone or damaged', () => {
    for (const wreck of [
      () => rmSync(join(folder, `${FILE}-wal`)),
      () => truncateSync(join(folder, `${FILE}-wal`), 100_000),
      () => overwrite(`${FILE}-wal`, (bytes) => bytes.fill(0xaa, 50_000, 60_000)),
      () => writeFileSync(join(folder, `${FILE}-wal`), ''),
    ]) {
      leave({ checkpointed: false });
      wreck();
      const store = aStore();
      expect(store.damages).toEqual([]);
      const found = sent(store);
      expect(found).toEqual(Array.from({ length: found.length }, (_, n) => n + 1));
      store.append([aReading(store.nextSeq)]);
      store.stop();
      open.pop();
      remove();
      [folder, remove] = aFolder();
    }
  });

  it.each([
    ['without a byte', () => writeFileSync(join(folder, FILE), '')],
    ['that is gone', () => rmSync(join(folder, FILE))],
  ])('%s gives back what its journal has', (_what, wreck) => {
    leave({ checkpointed: false });
    wreck();
    const store = aStore();
    expect([store.damages, store.nextSeq]).toEqual([[], COUNT + 11]);
    expect(sent(store)).toHaveLength(COUNT + 10);
  });

  it('without a byte in it is as if it had never been begun', () => {
    leave({ checkpointed: true });
    for (const journal of ['-wal', '-shm']) rmSync(join(folder, FILE + journal), { force: true });
    writeFileSync(join(folder, FILE), '');
    const store = aStore();
    expect([store.damages, store.nextSeq]).toEqual([[], 11]);
  });
});

describe('a damaged closed batch', () => {
  const damaged = () => {
    const store = openStore(folder);
    store.append(readings(1, COUNT));
    store.closeCurrent();
    store.append(readings(COUNT + 1, COUNT + 5));
    store.stop();
    overwrite('1.sqlite', (bytes) => bytes.fill(0, 0, 100));
  };

  it('that nobody has sealed yet is saved as far as it can be read', () => {
    damaged();
    overwrite('1.sqlite', (bytes) => {
      // A sound header, and a page of zeros instead.
      readFileSync(join(folder, '2.open.sqlite')).copy(bytes, 0, 0, 24);
      bytes.writeUInt32BE(bytes.length / 4096, 28);
      bytes.fill(0, 4096 * 40, 4096 * 41);
    });
    const store = aStore();
    expect(store.damages).toMatchObject([{ batch: 1 }]);
    expect(store.list()).toMatchObject([{ batch: 2, count: 5 }]);
    store.append([aReading(store.nextSeq)]);
  });

  it('that is sealed goes to the quarantine, and nothing of it is kept twice', () => {
    damaged();
    const store = aStore({ isSafe: (batch) => batch === 1 });
    expect(store.damages).toMatchObject([{ batch: 1, salvaged: 0 }]);
    expect(sent(store)).toEqual([1, 2, 3, 4, 5].map((n) => COUNT + n));
    expect(store.current.batch).toBe(2);
  });

  it('that is sealed, and the newest, leaves its numbers to nobody', () => {
    const before = aStore();
    before.append(readings(1, 50));
    before.closeCurrent();
    before.append(readings(51, 100));
    before.closeCurrent();
    open.pop();
    before.stop();
    overwrite('2.sqlite', (bytes) => bytes.fill(0, 0, 100));
    const store = aStore({ isSafe: () => true });
    expect(store.damages).toMatchObject([{ batch: 2, salvaged: 0 }]);
    expect(store.nextSeq).toBeGreaterThan(101);
    expect(sent(store)).toEqual(Array.from({ length: 50 }, (_, index) => index + 1));
    expect(all(store).at(-1)).toMatchObject({ topic: DAMAGED_TOPIC });
  });

  it('is found also where only an index is broken, that readings to come would meet', () => {
    leave({ checkpointed: true });
    for (const journal of ['-wal', '-shm']) rmSync(join(folder, FILE + journal), { force: true });
    const database = openDatabase(join(folder, FILE));
    const sql = "SELECT rootpage FROM sqlite_schema WHERE name = 'sqlite_autoindex_sensor_1'";
    const page = Number(database.prepare(sql).pluck().get());
    database.pragma('journal_mode = DELETE');
    database.close();
    overwrite(FILE, (bytes) => bytes.fill(0, (page - 1) * 4096, page * 4096));
    const store = aStore();
    expect(store.damages).toMatchObject([{ batch: 2, salvaged: COUNT }]);
    store.append([aReading(store.nextSeq, { sensor: 'another' })]);
    expect(sent(store)).toHaveLength(COUNT + 11);
  });

  it('stays where it is when it cannot be saved now, and is saved at the next start', () => {
    leave({ checkpointed: true });
    for (const journal of ['-wal', '-shm']) rmSync(join(folder, FILE + journal), { force: true });
    overwrite(FILE, (bytes) => bytes.fill(0, 4096 * 30, 4096 * 31));
    const full = Object.assign(new Error('database or disk is full'), { code: 'SQLITE_FULL' });
    const store = aStore({
      openDatabase: (path) => {
        if (path.endsWith('salvage.sqlite')) throw full;
        return openDatabase(path);
      },
    });
    expect(store.damages).toMatchObject([{ batch: 2, salvaged: null }]);
    expect(existsSync(join(folder, FILE))).toBe(true);
    store.append([aReading(store.nextSeq, { deviceSeq: 1e6 })]);
    store.stop();
    open.pop();
    const again = aStore();
    expect(again.damages).toMatchObject([{ batch: 2 }]);
    expect(sent(again).length).toBeGreaterThan(COUNT - 60);
    expect(sent(again)).toContain(1e6);
    expect(existsSync(join(folder, FILE))).toBe(false);
  });

  it('whose readings were saved, but which was not put away, is not saved twice', () => {
    leave({ checkpointed: true });
    for (const journal of ['-wal', '-shm']) rmSync(join(folder, FILE + journal), { force: true });
    overwrite(FILE, (bytes) => bytes.fill(0, 4096 * 30, 4096 * 31));
    const cut = () => {
      throw new Error('the power is cut');
    };
    expect(() => aStore({ quarantine: { take: cut } })).toThrow('the power is cut');
    const store = aStore();
    const found = sent(store);
    expect(new Set(found).size).toBe(found.length);
    expect(found.length).toBeGreaterThan(COUNT - 60);
    expect(store.damages).toMatchObject([{ batch: 2, salvaged: 0 }]);
  });
});

describe('a damaged batch that a full disk cannot put away', () => {
  it('keeps the gateway from nothing, and is not saved twice, also once its readings are closed', () => {
    leave({ checkpointed: true });
    for (const journal of ['-wal', '-shm']) rmSync(join(folder, FILE + journal), { force: true });
    overwrite(FILE, (bytes) => bytes.fill(0, 4096 * 30, 4096 * 31));
    const take = () => {
      throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
    };
    for (let start = 0; start < 3; start += 1) {
      const store = aStore({ quarantine: { take } });
      expect(store.damages).toMatchObject([{ batch: 2, salvaged: null }]);
      store.append([aReading(store.nextSeq, { deviceSeq: 1e6 + start })]);
      store.closeCurrent();
      open.pop();
      store.stop();
    }
    const store = aStore();
    expect(store.damages).toMatchObject([{ batch: 2, salvaged: 0 }]);
    expect(existsSync(join(folder, FILE))).toBe(false);
    const found = sent(store);
    expect(new Set(found).size).toBe(found.length);
    expect(found.slice(-3)).toEqual([1e6, 1e6 + 1, 1e6 + 2]);
    expect(found.length).toBeGreaterThan(COUNT - 60);
  });

  it('is an alarm in the status of its gateway', async () => {
    mkdirSync(join(folder, 'batches'));
    writeFileSync(join(folder, 'batches', '7.sqlite'), 'what was a batch');
    // No folder can be made there.
    symlinkSync('/proc/nowhere', join(folder, 'quarantine'));
    const config = gatewayConfig(folder, '[{ topic: a, value: /v }]', ['mqtt://127.0.0.1:1']);
    const { gateway, stop } = startGateway(folder, config, {}, { start: false });
    try {
      expect(gateway.counts().disk.alarm).toMatch(/^damaged, and not put aside .*: batch 7;/);
    } finally {
      await stop();
    }
  });

  it('that is sealed and closed is not written over by the next batch', () => {
    const store = aStore();
    store.append(readings(1, 100));
    store.closeCurrent();
    open.pop();
    store.stop();
    overwrite('1.sqlite', (bytes) => bytes.fill(0, 0, 4096));
    const wreck = readFileSync(join(folder, '1.sqlite'));
    const take = () => {
      throw Object.assign(new Error('read-only'), { code: 'EROFS' });
    };
    const again = aStore({ quarantine: { take }, isSafe: () => true });
    again.append([aReading(again.nextSeq)]);
    again.closeCurrent();
    expect(readFileSync(join(folder, '1.sqlite'))).toEqual(wreck);
    expect(again.list().map(({ batch }) => batch)).toEqual([2]);
  });
});

describe('a database that the agent can do without', () => {
  const sound = (log = silentLog) => {
    const quarantine = new Quarantine({
      folder: join(folder, 'quarantine'),
      maxBytes: () => 1e9,
      nowMs: () => Date.now(),
    });
    const path = join(folder, 'state.sqlite');
    const database = openSound(path, (one) => void migrate(one, [...FILE_QUEUE_MIGRATIONS]), {
      quarantine,
      log,
    });
    const files = new FileQueue(database, Date.now).list(10).length;
    database.close();
    return { files, set: quarantine.list().map(({ was }) => was) };
  };

  it('is opened as it is where it is sound, and set aside where it is not', () => {
    const path = join(folder, 'state.sqlite');
    expect(sound()).toEqual({ files: 0, set: [] });
    const database = openDatabase(path);
    new FileQueue(database, Date.now).add({
      kind: 'batch',
      inputPath: '/x',
      batch: 1,
      recipients: [],
    });
    database.close();
    expect(sound()).toEqual({ files: 1, set: [] });
    overwrite('state.sqlite', (bytes) => bytes.fill(0, 4096, 8192));
    expect(sound()).toEqual({ files: 0, set: ['state.sqlite'] });
    writeFileSync(path, 'nothing of the kind'.repeat(500));
    expect(sound()).toEqual({ files: 0, set: ['state.sqlite', 'state.sqlite'] });
  });

  it('that a newer release has written is left alone', () => {
    sound();
    const path = join(folder, 'state.sqlite');
    const database = openDatabase(path);
    database.pragma('user_version = 99');
    database.close();
    expect(() => sound()).toThrow('A newer release has written it');
    expect(existsSync(path)).toBe(true);
  });
});

describe('the quarantine', () => {
  it('keeps what is newest within its cap, and lists it', () => {
    let nowMs = 1000;
    const quarantine = new Quarantine({
      folder: join(folder, 'q'),
      maxBytes: () => 2500,
      nowMs: () => nowMs++,
    });
    expect(quarantine.list()).toEqual([]);
    for (const name of ['a', 'b', 'c']) {
      writeFileSync(join(folder, name), Buffer.alloc(1000));
      writeFileSync(join(folder, `${name}-wal`), Buffer.alloc(100));
      quarantine.take(join(folder, name), { reason: `broken ${name}`, salvaged: 3 });
    }
    writeFileSync(join(folder, 'q', 'x.note.json'), '{"file":"../../etc/passwd"');
    expect(quarantine.list()).toMatchObject([
      { file: '1002-c', was: 'c', reason: 'broken c', salvaged: 3, bytes: 1100 },
      { file: '1001-b' },
    ]);
    expect(readdirSync(join(folder, 'q')).sort()).toEqual([
      '1001-b',
      '1001-b-wal',
      '1001-b.note.json',
      '1002-c',
      '1002-c-wal',
      '1002-c.note.json',
      'x.note.json',
    ]);
  });

  it('counts what a power cut has left there without a note', () => {
    const path = join(folder, 'q');
    mkdirSync(path);
    writeFileSync(join(path, '900-7.sqlite'), Buffer.alloc(2000));
    writeFileSync(join(path, '900-7.sqlite-wal'), Buffer.alloc(100));
    const quarantine = new Quarantine({ folder: path, maxBytes: () => 2500, nowMs: () => 1000 });
    expect(quarantine.list()).toMatchObject([{ was: '7.sqlite', foundMs: 900, bytes: 2100 }]);
    writeFileSync(join(folder, 'a'), Buffer.alloc(1000));
    quarantine.take(join(folder, 'a'), { reason: 'broken', salvaged: 0 });
    expect(readdirSync(path).sort()).toEqual(['1000-a', '1000-a.note.json']);
  });
});
