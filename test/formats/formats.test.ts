/**
 * What a release has written, every later one opens: files of each version in this folder, made by
 * `make.ts`, are copied and given to today's code. A newer release's files are refused untouched.
 */
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { hasRules, readMeta, readReadings } from '@blocktorrent/agent/batch/batch-file.ts';
import { loadConfig } from '@blocktorrent/agent/config/load.ts';
import { nodeSha256 } from '@blocktorrent/agent/crypto/node-hasher.ts';
import { CheckpointFile } from '@blocktorrent/agent/ledger/checkpoint-file.ts';
import { FabricLedger } from '@blocktorrent/agent/ledger/fabric-ledger.ts';
import type { Ledger } from '@blocktorrent/agent/ledger/ledger.ts';
import { ConsortiumView } from '@blocktorrent/agent/ledger/membership.ts';
import { claimDataFolder } from '@blocktorrent/agent/runtime/data-format.ts';
import { FileQueue } from '@blocktorrent/agent/runtime/file-queue.ts';
import { silentLog } from '@blocktorrent/agent/runtime/log.ts';
import { migrate } from '@blocktorrent/agent/runtime/migrate.ts';
import { type Database, openDatabase } from '@blocktorrent/agent/runtime/sqlite.ts';
import { STATE_MIGRATIONS } from '@blocktorrent/agent/state-file.ts';
import { Catalog, STORE_MIGRATIONS } from '@blocktorrent/agent/store/catalog.ts';
import { FileChunkStore } from '@blocktorrent/agent/store/file-chunk-store.ts';
import { indicesOf } from '@blocktorrent/protocol/bitfield.ts';
import { fromBase64, toBase64, toHex } from '@blocktorrent/protocol/bytes.ts';
import { rebuildIdentity, verifyDealing, verifyShard } from '@blocktorrent/protocol/dealing.ts';
import { digestChunk, digestsEqual } from '@blocktorrent/protocol/digest.ts';
import type { Dealing, SignedReceipt } from '@blocktorrent/protocol/ledger-api.ts';
import {
  decodeManifest,
  fileIdOf,
  manifestChunkCount,
  manifestChunkDigests,
} from '@blocktorrent/protocol/manifest.ts';
import { decodeMasterTable, encodeMasterTable } from '@blocktorrent/protocol/master-table.ts';
import { chainHash } from '@blocktorrent/protocol/reading.ts';
import { openReceipt } from '@blocktorrent/protocol/receipt.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startNetwork, type TestNetwork } from '../support/network.ts';

const VERSIONS = readdirSync(import.meta.dirname, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map((entry) => entry.name);

interface Bytes {
  readonly fileId: string;
  readonly requestId: string;
  readonly manifest: string;
  readonly receipts: readonly SignedReceipt[];
  readonly masterTable: string;
  readonly identity: string;
  readonly dealing: Dealing;
  readonly shards: readonly string[];
}
type Answers = Readonly<
  Record<'consortium' | 'record' | 'chain' | 'anchor' | 'request', object>
> & {
  readonly masterTable: string;
};

describe.each(VERSIONS)('the files of release %s', (version) => {
  let folder = '';
  let bytes: Bytes;
  let answers: Answers;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'bt-formats-'));
    cpSync(join(import.meta.dirname, version), folder, { recursive: true });
    bytes = readJson(join(folder, 'bytes.json'));
    answers = readJson(join(folder, 'answers.json'));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const opened = <T>(name: string, use: (database: Database) => T): T => {
    const database = openDatabase(join(folder, name));
    try {
      return use(database);
    } finally {
      database.close();
    }
  };

  it('include a configuration that is still right', () => {
    const config = loadConfig(join(folder, 'blocktorrent.yaml'), {});
    expect([config.name, config.roles]).toEqual(['gateway-1', ['ingest', 'store']]);
  });

  it('include the queue, with a file that is under way', () => {
    opened('gateway/state.sqlite', (database) => {
      migrate(database, STATE_MIGRATIONS);
      const queue = new FileQueue(database, Date.now);
      expect(queue.counts()).toMatchObject({ available: 2, named: 1 });
      const [underWay, file] = queue.list(10);
      expect(underWay?.identity).toHaveLength(32);
      expect(file?.fileId).toBe(bytes.fileId);
      expect(queue.chainHead()?.fileId).toBe(underWay?.fileId);
      expect(queue.update(1, { error: null }).stage).toBe('available');
    });
  });

  it('include the state of an owner without files of its own', () => {
    opened('owner/state.sqlite', (database) => {
      migrate(database, STATE_MIGRATIONS);
      expect(new FileQueue(database, Date.now).list(10)).toEqual([]);
    });
  });

  it.each(['1.sqlite', '2.open.sqlite'])('include the batch %s, its chain whole', (name) => {
    opened(`gateway/batches/${name}`, (database) => {
      const meta = readMeta(database);
      if (meta === null) throw new Error('no meta');
      let head = meta.chainStart;
      let count = 0;
      for (const reading of readReadings(database, meta.firstSeq - 1)) {
        head = chainHash(head, reading, nodeSha256);
        count += 1;
      }
      expect(toHex(head)).toBe(toHex(meta.chainEnd));
      expect(count).toBe(meta.count);
      expect(count).toBeGreaterThanOrEqual(10);
      const rows = database.prepare('SELECT count(*) AS n FROM readings').get();
      expect((rows as { n: number }).n).toBeGreaterThan(0);
    });
  });

  it('include an open batch, which is closed where it lacks what today’s rules say', () => {
    opened('gateway/batches/2.open.sqlite', (database) => {
      const columns = database.prepare('SELECT name FROM pragma_table_info(?)').pluck();
      expect(columns.all('field').includes('unit_path')).toBe(version !== '0.1.0');
      expect(hasRules(database, [])).toBe(false);
    });
  });

  it('include a store, each chunk as its manifest says', async () => {
    const chunks = new FileChunkStore(join(folder, 'owner/chunks'));
    const database = openDatabase(join(folder, 'owner/store.sqlite'));
    migrate(database, STORE_MIGRATIONS);
    const kept = new Catalog(database).get(bytes.fileId);
    if (kept === null) throw new Error('the file is not in the catalogue');
    const manifest = decodeManifest(kept.signed.manifest);
    const indices = indicesOf(kept.have, manifestChunkCount(manifest));
    expect(indices.length).toBe(kept.haveCount);
    expect(indices.length).toBeGreaterThan(1);
    const stored = await chunks.chunksOf(bytes.fileId);
    expect(stored.map(({ index }) => index)).toEqual(indices);
    for (const { index, bytes: size } of stored) {
      const chunk = await chunks.read(bytes.fileId, index, 0, size);
      expect(digestsEqual(digestChunk(chunk), manifestChunkDigests(manifest, index))).toBe(true);
    }
    await chunks.close();
    database.close();
  });

  it('include the consortium as it was last seen, and the place in the ledger', async () => {
    const file = join(folder, 'gateway/consortium.json');
    const view = new ConsortiumView({} as Ledger, 'blocktorrent', file);
    expect(view.known).toBe(true);
    expect(view.peers()).toHaveLength(4);
    expect(view.requireEpoch(view.epoch()).epoch).toBe(1);
    const checkpoint = await CheckpointFile.open(
      join(folder, 'gateway/ledger-checkpoint.json'),
      'blocktorrent',
    );
    expect(checkpoint.getBlockNumber()).toBeGreaterThan(1n);
  });

  it('include what is signed and dealt: manifest, receipts, master table, shards', () => {
    const manifest = fromBase64(bytes.manifest);
    expect(fileIdOf(manifest)).toBe(bytes.fileId);
    expect(bytes.receipts.map((one) => openReceipt(one).fileId)).toEqual(
      bytes.receipts.map(() => bytes.fileId),
    );
    const table = decodeMasterTable(fromBase64(bytes.masterTable));
    expect(toBase64(table.manifest.manifest)).toBe(bytes.manifest);
    expect(toBase64(encodeMasterTable(table))).toBe(bytes.masterTable);
    verifyDealing(bytes.dealing);
    const shards = bytes.shards.map((shard, i) =>
      verifyShard(fromBase64(shard), i + 1, bytes.dealing),
    );
    expect(toBase64(rebuildIdentity(shards.slice(1), bytes.dealing))).toBe(bytes.identity);
  });

  describe('on a ledger with the chaincodes of today', () => {
    let network: TestNetwork;
    let ledger: FabricLedger;
    beforeAll(async () => {
      const dir = mkdtempSync(join(tmpdir(), 'bt-'));
      cpSync(join(folder, 'ledger'), join(dir, 'ledger'), { recursive: true });
      network = await startNetwork({ organisations: 4, dir });
      ledger = new FabricLedger(network.ledgerConfigFor('Org1MSP'), silentLog);
    });
    afterAll(async () => {
      ledger?.close();
      await network?.stop();
    });

    it('are answered as they were', async () => {
      const { fileId, requestId } = bytes;
      const chain = { source: 'Org1MSP', gateway: 'gateway-1' };
      const ask = ledger.evaluate.bind(ledger);
      expect(await ask('ledger/consortium:GetConsortium', {})).toMatchObject(answers.consortium);
      expect(await ask('ledger/records:GetRecord', { fileId })).toMatchObject(answers.record);
      const table = await ask('ledger/records:GetMasterTable', { fileId });
      expect(table?.masterTable).toBe(answers.masterTable);
      expect(await ask('ledger/records:GetChain', chain)).toMatchObject(answers.chain);
      expect(await ask('ledger/records:GetAnchor', chain)).toMatchObject(answers.anchor);
      expect(await ask('ledger/audits:GetRequest', { requestId })).toMatchObject(answers.request);
    });

    it('are gone on with', async () => {
      const entry = { name: 'gateway-2', roles: ['ingest' as const], dhtAddress: '127.0.0.1:1' };
      const overlayKey = 'ab'.repeat(32);
      await ledger.submit('ledger/consortium:RegisterPeer', { ...entry, overlayKey });
      const { peers } = await ledger.evaluate('ledger/consortium:GetConsortium', {});
      expect(peers.map((peer) => peer.name)).toContain('gateway-2');
    });
  });
});

describe('the files of a release to come', () => {
  let folder = '';
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'bt-formats-'));
    mkdirSync(join(folder, 'gateway'));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it.each([
    ['state.sqlite', STATE_MIGRATIONS],
    ['store.sqlite', STORE_MIGRATIONS],
  ])('are refused: %s', (name, migrations) => {
    const database = openDatabase(join(folder, name));
    database.pragma(`user_version = ${migrations.length + 1}`);
    expect(() => migrate(database, migrations)).toThrow(/A newer release has written it/);
    expect(database.prepare('SELECT count(*) AS n FROM sqlite_schema').get()).toEqual({ n: 0 });
    database.close();
  });

  it('are refused: a batch', () => {
    const path = join(folder, '1.sqlite');
    cpSync(join(import.meta.dirname, '0.1.0/gateway/batches/1.sqlite'), path);
    const database = openDatabase(path);
    database.pragma('user_version = 99');
    expect(() => readMeta(database)).toThrow(/has version 99.*a newer release has written it/);
    database.close();
  });

  it('are refused: a data folder; one without a version is of 0.1.0', () => {
    const dataDir = join(folder, 'gateway');
    claimDataFolder(dataDir);
    claimDataFolder(dataDir);
    expect(readJson(join(dataDir, 'format.json'))).toEqual({ format: 1 });
    writeFileSync(join(dataDir, 'format.json'), '{"format":99}');
    expect(() => claimDataFolder(dataDir)).toThrow(/says format 99.*newer release/);
    expect(readJson(join(dataDir, 'format.json'))).toEqual({ format: 99 });
    writeFileSync(join(dataDir, 'format.json'), 'torn');
    expect(() => claimDataFolder(dataDir)).toThrow(/expected \{"format":N\}, found 'torn'/);
    // What a power cut leaves of a file that was written and not synced.
    for (const blank of ['', '\0'.repeat(13)]) {
      writeFileSync(join(dataDir, 'format.json'), blank);
      claimDataFolder(dataDir);
      expect(readJson(join(dataDir, 'format.json'))).toEqual({ format: 1 });
    }
  });
});

function readJson<T>(path: string): T {
  return JSON.parse(readFileSync(path, 'utf8')) as T;
}
