/** An agent that is years old: what is asked every few seconds does not read all that there ever was. */
import { randomBytes } from 'node:crypto';
import type { Database } from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { FileQueue } from '../../agent/src/runtime/file-queue.ts';
import { migrate } from '../../agent/src/runtime/migrate.ts';
import { openDatabase } from '../../agent/src/runtime/sqlite.ts';
import { STATE_MIGRATIONS } from '../../agent/src/state-file.ts';
import { Catalog, type KeptFile, STORE_MIGRATIONS } from '../../agent/src/store/catalog.ts';
import { UpkeepList } from '../../agent/src/store/upkeep-list.ts';

const MANIFEST = randomBytes(33_000);

function database(migrations: readonly string[]): Database {
  const db = openDatabase(':memory:');
  migrate(db, migrations);
  return db;
}

/**
 * How SQLite does all that `ask` asks for: the steps that go through `file` itself, other than by an
 * index that has all that is asked for, or of the few files that are incomplete, under way or have an
 * error.
 */
function scansOf(db: Database, ask: () => void): string[] {
  const asked: string[] = [];
  const prepare = db.prepare.bind(db);
  db.prepare = ((sql: string) => {
    asked.push(sql);
    return prepare(sql);
  }) as typeof db.prepare;
  ask();
  expect(asked).not.toEqual([]);
  return asked.flatMap((sql) => {
    const statement = prepare(`EXPLAIN QUERY PLAN ${sql}`);
    const nothing = Array.from(sql.matchAll(/[?@]/g), () => 0);
    const steps = statement.all(...nothing) as { detail: string }[];
    const reads =
      /^SCAN file(?!.*( COVERING INDEX| file_incomplete| file_with_error| file_in_order))/;
    const readsAvailable = sql.includes("'available'")
      ? /^SEARCH file USING INDEX file_by_stage/
      : /^$/;
    return steps
      .map(({ detail }) => detail)
      .filter((step) => reads.test(step) || readsAvailable.test(step))
      .map((step) => `${sql}: ${step}`);
  });
}

describe('the queue of a gateway with many files', () => {
  const added = (db: Database, seq: number): number => {
    const queue = new FileQueue(db, () => 5);
    const { id } = queue.add({ kind: 'batch', inputPath: `/b/${seq}`, batch: seq, recipients: [] });
    queue.update(id, { stage: 'recorded', seq, fileId: `file-${seq}`, manifest: MANIFEST });
    return id;
  };

  it('is looked at without reading it', () => {
    const db = database(STATE_MIGRATIONS);
    const queue = new FileQueue(db, () => 5);
    const id = added(db, 1);
    const scans = scansOf(db, () => {
      queue.update(id, { stage: 'available' });
      queue.counts();
      queue.uplink();
      queue.problems(10);
      queue.overdue(10);
      queue.countAt('sealed');
      queue.chainHead();
      queue.bytesToSealAgain();
      queue.at('queued', 5);
      queue.oldestRun('named', 5);
      queue.oldestRun('recorded', 5);
      queue.batchStage(5);
      queue.manifestOf('file-1');
      queue.staysGivenUp({ inputPath: '', error: null });
      queue.givenUpBefore({ id: 1, inputPath: '' });
    });
    expect(scans).toEqual([]);
  });

  it('keeps the manifests of the newest thousand that are done', () => {
    const db = database(STATE_MIGRATIONS);
    const queue = new FileQueue(db, () => 5);
    const ids = Array.from({ length: 1_003 }, (_, index) => added(db, index + 1));
    for (const id of ids.slice(1)) queue.update(id, { stage: 'available' });
    const kept = () => [1, 2, 3, 4, 1_003].map((seq) => queue.manifestOf(`file-${seq}`) !== null);
    // The first is under way.
    expect(kept()).toEqual([true, false, false, true, true]);
    queue.update(ids[0] ?? 0, { stage: 'available' });
    expect(kept()).toEqual([false, false, false, true, true]);
  });

  it('is made so where an older release has written it', () => {
    const db = openDatabase(':memory:');
    migrate(db, STATE_MIGRATIONS.slice(0, 3));
    const id = added(db, 1);
    db.prepare("UPDATE file SET stage = 'available', dealing = '{}' WHERE id = ?").run(id);
    added(db, 2_000);
    expect(migrate(db, STATE_MIGRATIONS)).toBe(3);
    const queue = new FileQueue(db, () => 5);
    expect(queue.get(id)).toMatchObject({ manifest: null, dealing: null, receipts: [] });
    expect(queue.manifestOf('file-2000')).not.toBeNull();
  });
});

describe('the catalogue of an owner with many files', () => {
  const file = (fileId: string, source: string, missing: number): KeptFile => ({
    ...{ fileId, infoHash: fileId, source, epoch: 1, owned: MANIFEST, ownedCount: 4, missing },
    ...{ have: new Uint8Array([0xf0]), haveCount: 4 - missing, workedOut: 1, offeredMs: 1 },
    signed: { manifest: MANIFEST, signature: MANIFEST, mspId: source, peer: 'p' },
  });
  const SUMS = `SELECT count(*) AS files, sum(missing = 0) AS complete, sum(haveCount) AS chunks,
    sum(haveBytes) AS bytes FROM file`;

  it('is looked at without reading it', () => {
    const db = database(STORE_MIGRATIONS);
    const catalog = new Catalog(db);
    const list = new UpkeepList(db);
    const scans = scansOf(db, () => {
      catalog.status();
      catalog.usageOf('Org1MSP');
      catalog.incomplete(5);
      catalog.behind(2, 5);
      catalog.after('', 5);
      catalog.byInfoHash('');
      list.counts(2);
      list.lostCount();
      list.dueReplacements(5, 5);
    });
    expect(scans).toEqual([]);
  });

  it('has sums that are those of its files, whatever becomes of them', () => {
    const db = openDatabase(':memory:');
    migrate(db, STORE_MIGRATIONS.slice(0, 4));
    const catalog = new Catalog(db);
    catalog.add(file('a', 'Org1MSP', 4));
    migrate(db, STORE_MIGRATIONS);
    const right = () => expect(catalog.status()).toEqual(db.prepare(SUMS).get());
    right();
    for (const one of [file('b', 'Org1MSP', 4), file('b', 'Org1MSP', 1), file('c', 'Org2MSP', 0)])
      catalog.add(one);
    right();
    const whole = { have: new Uint8Array(33_000).fill(255), haveCount: 4, haveBytes: 400 };
    catalog.setHave('b', whole);
    catalog.setHave('a', { ...whole, have: MANIFEST.map(() => 0), haveCount: 0, haveBytes: 0 });
    right();
    catalog.setOwned('c', { owned: MANIFEST, ownedCount: 5, missing: 1, workedOut: 2 });
    right();
    expect(catalog.status()).toEqual({ files: 3, complete: 1, chunks: 8, bytes: 400 });
    db.prepare("DELETE FROM file WHERE fileId = 'b'").run();
    right();
    expect(new Catalog(database(STORE_MIGRATIONS)).status()).toMatchObject({ files: 0, bytes: 0 });
  });
});
