/**
 * A whole audit over files that were sealed, dealt and chunked for real, with a ledger and owners in
 * memory: what a source, an owner or our own disk may do to it, and what the report then says.
 */
import { createHash } from 'node:crypto';
import { copyFile, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type AuditReport, outcomeOf, runAudit } from '@blocktorrent/agent/audit/audit.ts';
import { FetchError } from '@blocktorrent/agent/audit/fetch.ts';
import { chainReports } from '@blocktorrent/agent/audit/joins.ts';
import { verifyBatch } from '@blocktorrent/agent/audit/verify-batch.ts';
import type { Ledger } from '@blocktorrent/agent/ledger/ledger.ts';
import { sealFile } from '@blocktorrent/agent/seal/seal.ts';
import { encrypt, identityFromRandom, recipientOf } from '@blocktorrent/protocol/age.ts';
import { toBase64, toHex, utf8 } from '@blocktorrent/protocol/bytes.ts';
import { dealShards } from '@blocktorrent/protocol/dealing.ts';
import type {
  Anchor,
  AuditRequest,
  Fault,
  FileRecord,
  Hex,
} from '@blocktorrent/protocol/ledger-api.ts';
import {
  encodeManifest,
  fileIdOf,
  type Manifest,
  manifestChunkCount,
  signManifest,
} from '@blocktorrent/protocol/manifest.ts';
import { encodeMasterTable } from '@blocktorrent/protocol/master-table.ts';
import { rangesOf } from '@blocktorrent/protocol/placement.ts';
import type { Reading } from '@blocktorrent/protocol/reading.ts';
import { publicKeyOf } from '@blocktorrent/protocol/signing.ts';
import SqliteDatabase from 'better-sqlite3';
import { afterEach, describe, expect, it } from 'vitest';
import { POLICY } from '../support/consortium.ts';
import { openStore } from '../support/ingest.ts';
import { aFolder, readings } from '../support/readings.ts';
import { Seeded } from '../support/seeded.ts';

const SOURCE = 'Org1MSP';
const GATEWAY = 'gateway-1';
const HOLDERS = ['Org2MSP', 'Org3MSP', 'Org4MSP'];
const cleanUps: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

/** What a hostile source may change of a file on its way. */
interface Changes {
  readonly manifest?: (manifest: Manifest) => Manifest;
  readonly record?: (record: FileRecord) => FileRecord;
  /** Sealed to this identity, while manifest and dealing name another one. */
  readonly sealedToAnother?: boolean;
}

/** Org1's files and an auditor's ledger that has them, their releases and their tables. */
class World {
  readonly #random = new Seeded('audit-run');
  readonly #seed = this.#random.bytes(32);
  readonly folder: string;
  readonly records: FileRecord[] = [];
  readonly anchors: Anchor[] = [];
  requestState: AuditRequest['state'] = 'approved';
  readonly closed: { outcome: { ok: boolean; faults: Fault[] } }[] = [];
  readonly #tables = new Map<Hex, string>();
  readonly #shards = new Map<Hex, readonly Uint8Array[]>();
  readonly #ciphertexts = new Map<Hex, string>();
  readonly #identities = new Map(
    HOLDERS.map((mspId) => [mspId, identityFromRandom(this.#random.bytes(32))] as const),
  );

  constructor() {
    const [folder, remove] = aFolder();
    this.folder = folder;
    cleanUps.push(remove);
  }

  /** Seals, deals and records a file as the next of its chain. */
  async add(path: string, kind: FileRecord['kind'], changes: Changes = {}): Promise<FileRecord> {
    const seq = this.records.length + 1;
    const outputPath = join(this.folder, `${seq}.age`);
    const sealed = await sealFile({
      ...{ inputPath: path, outputPath, workDir: this.folder, recipients: [], chunksTarget: 4 },
      random: this.#random.bytes,
      signal: new AbortController().signal,
    });
    const identity =
      changes.sealedToAnother === true
        ? identityFromRandom(this.#random.bytes(32))
        : sealed.identity;
    const recipient = recipientOf(identity);
    const plain: Manifest = {
      ...{ version: 1, channel: 'c', source: SOURCE, gateway: GATEWAY, seq, kind, recipient },
      ...{ previous: this.records.at(-1)?.fileId ?? '0'.repeat(64), epoch: 1, timeMs: 1_000 },
      ciphertextBytes: sealed.ciphertextBytes,
      ciphertextSha256: sealed.ciphertextSha256,
      info: sealed.info,
      digests: sealed.digests,
    };
    const manifest = changes.manifest?.(plain) ?? plain;
    const signed = signManifest(encodeManifest(manifest), this.#seed);
    const fileId = fileIdOf(signed.manifest);
    const chunkCount = manifestChunkCount(manifest);
    const table = encrypt(
      encodeMasterTable({
        ...{ version: 1, manifest: signed, receipts: [], timeMs: 1_000 },
        owners: Array.from({ length: chunkCount }, () => HOLDERS),
      }),
      [recipient],
      this.#random.bytes,
    );
    const { dealing, shards } = dealShards({
      identity,
      entropy: this.#random.bytes(32),
      txId: toHex(this.#random.bytes(32)),
      input: { fileId, recipient, scheme: 'feldman-25519', k: 2, n: 3, holders: HOLDERS },
    });
    const record: FileRecord = {
      ...{ fileId, kind, recipient, bytes: sealed.ciphertextBytes, chunkCount, epoch: 1 },
      ...{ gateway: GATEWAY, seq, previous: plain.previous, timeMs: 1_000, receipts: [], dealing },
      masterTableHash: createHash('sha256').update(table).digest('hex'),
      ...{ source: SOURCE, recordedAtMs: 1_000, txId: 'tx', void: null, replacements: [] },
      ...{ confirmedBy: HOLDERS, available: true },
    };
    this.records.push(changes.record?.(record) ?? record);
    this.#tables.set(fileId, toBase64(table));
    this.#shards.set(fileId, shards);
    this.#ciphertexts.set(fileId, outputPath);
    return record;
  }

  /** Audits these files; `fetch` stands before the owners. */
  audit(
    records: readonly FileRecord[],
    fetch: (fileId: Hex) => Promise<void> = async () => undefined,
  ): Promise<AuditReport> {
    return runAudit({
      ledger: this.#ledger(records),
      ...{ requestId: 'ab'.repeat(32), identities: this.#identities, close: true },
      outputDir: join(this.folder, 'out'),
      signal: new AbortController().signal,
      onProgress: () => undefined,
      fetch: async ({ fileId, outputPath }) => {
        await fetch(fileId);
        await copyFile(this.#ciphertexts.get(fileId) ?? '', outputPath);
        return { faults: [], fromOwner: { Org2MSP: 1 } };
      },
    });
  }

  #ledger(records: readonly FileRecord[]): Ledger {
    const releases = HOLDERS.map((mspId, i) => {
      const inside = Object.fromEntries(
        records.map(({ fileId }) => [
          fileId,
          toBase64(this.#shards.get(fileId)?.[i] ?? new Uint8Array()),
        ]),
      );
      const to = recipientOf(this.#identities.get(mspId) ?? new Uint8Array());
      const shards = toBase64(encrypt(utf8(JSON.stringify(inside)), [to], this.#random.bytes));
      return { mspId, shards, atMs: 1, requestId: 'r' };
    });
    const epoch = rangesOf(
      [SOURCE, ...HOLDERS].map((mspId) => ({ mspId, weight: 1 })),
      1,
      0,
    );
    const key = { overlayKey: toHex(publicKeyOf(this.#seed)), fromMs: 0, revokedAtMs: null };
    const peer = { mspId: SOURCE, name: GATEWAY, keys: [key], overlayKey: key.overlayKey };
    const consortium = {
      members: [SOURCE, ...HOLDERS].map((mspId) => ({ mspId })),
      ...{ policy: POLICY, epochs: [epoch], peers: [peer], formerPeers: [] },
    };
    const answers: Record<string, (argument: { fileId: Hex; fromCount: number }) => unknown> = {
      'ledger/audits:GetRequest': () => ({
        ...{ fileIds: records.map(({ fileId }) => fileId), requestedAtMs: 0, releases },
        ...{ state: this.requestState, votes: [], expiresAtMs: 9 },
      }),
      'ledger/records:GetRecord': ({ fileId }) => records.find((one) => one.fileId === fileId),
      'ledger/records:GetMasterTable': ({ fileId }) => ({ masterTable: this.#tables.get(fileId) }),
      'ledger/consortium:GetConsortium': () => consortium,
      'ledger/records:ListAnchors': ({ fromCount }) => ({
        anchors: this.anchors.filter(({ count }) => count >= fromCount),
        nextCount: null,
      }),
    };
    return {
      evaluate: async (name: string, argument: never) => answers[name]?.(argument),
      submit: async (_: string, argument: never) => {
        this.closed.push(argument);
        return { result: null, txId: 'tx' };
      },
    } as unknown as Ledger;
  }

  /** Closed batches of the gateway with so many readings each, one after the other. */
  batches(sizes: readonly number[], change: Partial<Reading> = {}): string[] {
    const folder = join(this.folder, 'batches');
    const store = openStore(folder);
    cleanUps.push(() => store.stop());
    let seq = 0;
    return sizes.map((size) => {
      store.append(readings(seq + 1, seq + size).map((one) => ({ ...one, ...change })));
      seq += size;
      return store.closeCurrent()?.path ?? '';
    });
  }

  /** Some file that is no batch. */
  async content(text = 'something to keep '.repeat(4_000)): Promise<string> {
    const path = join(this.folder, 'content');
    await writeFile(path, text);
    return path;
  }
}

const kinds = (faults: readonly Fault[]) => faults.map(({ kind, mspId }) => `${kind} ${mspId}`);

describe('an audit of what a source has recorded', () => {
  it('opens files and batches, and says that the batches join', async () => {
    const world = new World();
    for (const path of world.batches([5, 7, 3])) await world.add(path, 'batch');
    await world.add(await world.content(), 'file');
    const report = await world.audit(world.records);
    expect([report.failed, report.ok, report.faults]).toEqual([[], true, []]);
    expect(report.chains).toEqual([
      {
        ...{ source: SOURCE, gateway: GATEWAY, batches: 3, firstSeq: 1, lastSeq: 15 },
        gaps: [],
        breaks: [],
      },
    ]);
    expect(world.closed).toHaveLength(1);
    expect(await readFile(report.files[3]?.contentPath ?? '', 'utf8')).toMatch(/^something/);
  });

  it('names the readings between batches that were not audited, which is no fault', async () => {
    const world = new World();
    for (const path of world.batches([5, 7, 3])) await world.add(path, 'batch');
    const [first, second, third] = world.records;
    if (first === undefined || second === undefined || third === undefined)
      throw new Error('three');
    const report = await world.audit([third, first]);
    expect(report.ok).toBe(true);
    expect(report.chains[0]?.gaps).toEqual([
      { after: first.fileId, before: third.fileId, firstSeq: 6, lastSeq: 12, filesBetween: 1 },
    ]);
  });

  it('finds batches of one gateway that contradict each other, each of which holds by itself', async () => {
    const world = new World();
    const [one = ''] = world.batches([5, 4]);
    // The same gateway with another past: its second batch does not go on from the first.
    const [, two = ''] = new World().batches([5, 4], { historical: true });
    await world.add(one, 'batch');
    await world.add(two, 'batch');
    const report = await world.audit(world.records);
    expect([report.failed, report.faults, report.ok]).toEqual([[], [], false]);
    const [first, second] = report.files.flatMap(({ chain }) => chain ?? []);
    if (first === undefined || second === undefined) throw new Error('two');
    expect(report.chains[0]?.breaks).toEqual([
      {
        ...{ first: first.fileId, second: second.fileId },
        reason: `after reading 5 the chain is ${first.chainEnd}, the next batch begins with ${second.chainStart}`,
      },
    ]);
    const [overlapping] = chainReports([first, { ...second, firstSeq: 4 }]);
    expect(overlapping?.breaks[0]?.reason).toBe('readings 4 to 5 are in both');
    const within = { ...second, firstSeq: 2, lastSeq: 3 };
    const next = { ...second, firstSeq: 6, chainStart: first.chainEnd };
    const [nested] = chainReports([first, within, next]);
    expect(nested?.breaks.map(({ reason }) => reason)).toEqual(['readings 2 to 3 are in both']);
    expect([nested?.gaps, nested?.lastSeq]).toEqual([[], second.lastSeq]);
  });

  it.each<[string, Changes, RegExp]>([
    ['sealed to another key than the one that was dealt', { sealedToAnother: true }, /./],
    [
      'a manifest with another digest of the whole',
      { manifest: (m) => ({ ...m, ciphertextSha256: new Uint8Array(32) }) },
      /wrong-whole/,
    ],
    ['a record of another kind', { record: (r) => ({ ...r, kind: 'file' }) }, /^kind of/],
    ['a record of another time', { record: (r) => ({ ...r, timeMs: 7 }) }, /^timeMs of/],
    ['a record of another place', { record: (r) => ({ ...r, seq: 9 }) }, /^seq of/],
    ['a record with more chunks', { record: (r) => ({ ...r, chunkCount: 9 }) }, /^chunkCount of/],
  ])('is the source’s fault where it cannot be opened: %s', async (_, changes, reason) => {
    const world = new World();
    const [path = ''] = world.batches([5]);
    await world.add(path, 'batch', changes);
    const isWhole = changes.manifest !== undefined;
    const report = await world.audit(world.records, async () => {
      if (isWhole) throw new FetchError('wrong-whole', 'wrong-whole', []);
    });
    expect(report.failed).toEqual([
      { fileId: world.records[0]?.fileId, reason: expect.stringMatching(reason) },
    ]);
    expect(kinds(report.faults)).toEqual([`unopenable ${SOURCE}`]);
    expect(world.closed).toHaveLength(1);
  });
});

describe('a batch that is made to take an auditor’s memory', () => {
  /** A small batch with `sql` run over it. */
  function changed(sql: string): string {
    const [path = ''] = new World().batches([5]);
    const database = new SqliteDatabase(path);
    database.exec(sql);
    database.close();
    return path;
  }

  it.each([
    [
      'UPDATE reading SET payload = zeroblob(1048577) WHERE seq = 3',
      /a value of reading is longer/,
    ],
    ["UPDATE topic SET name = printf('%.*c', 1048577, 'x') WHERE id = 1", /a value of topic is/],
    ['ALTER TABLE reading ADD COLUMN big BLOB AS (zeroblob(9))', /column big of reading is/],
    [
      `INSERT INTO metric VALUES (1, 'm', '');
       WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 16385)
       INSERT INTO sample SELECT 3, i, 1, NULL, NULL, 1.5, NULL FROM n`,
      /reading 3 has too many samples/,
    ],
  ])('is refused before it is read: %s', (sql, message) => {
    const path = changed(sql);
    expect(() => verifyBatch(path)).toThrow(message);
  });
});

it('tells the ledger of a fault in no more than it takes, whatever the detail holds', () => {
  // 1,001 UTF-16 code units: cut after 1,000, half a character would be left.
  const detail = `x${'😀'.repeat(500)}`;
  const fault: Fault = { kind: 'bad-shard', mspId: 'Org2MSP', fileId: 'ab'.repeat(32), detail };
  const [told] = outcomeOf({ ok: true, files: [], failed: [], faults: [fault] }).faults;
  expect([told?.detail.length, told?.detail.isWellFormed()]).toEqual([1_000, true]);
});

describe('an audit that fails for a reason that may pass', () => {
  it('leaves the request open, blames nobody, and opens the file the next time', async () => {
    const world = new World();
    await world.add(await world.content(), 'file');
    const full = Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });
    const first = await world.audit(world.records, () => Promise.reject(full));
    expect([first.ok, first.faults, first.mayPass, world.closed]).toEqual([false, [], 1, []]);
    const second = await world.audit(world.records);
    expect([second.ok, second.mayPass, world.closed.length]).toEqual([true, 0, 1]);
  });

  it('of a request that is closed opens its files once more, and reports nothing twice', async () => {
    const world = new World();
    await world.add(await world.content(), 'file');
    world.requestState = 'closed';
    const report = await world.audit(world.records);
    expect([report.ok, report.files.length, world.closed]).toEqual([true, 1, []]);
  });

  it('names the owners that could not show what they had signed for', async () => {
    const world = new World();
    const { fileId } = await world.add(await world.content(), 'file');
    const missing: Fault = { kind: 'missing-chunk', mspId: 'Org2MSP', fileId, detail: 'chunk 1' };
    const report = await world.audit(world.records, () =>
      Promise.reject(new FetchError('unavailable', 'chunk 1 cannot be had', [missing])),
    );
    expect([report.faults, report.mayPass]).toEqual([[missing], 1]);
  });

  it('is not the source’s fault where the asked peer gives another table than the record’s', async () => {
    const world = new World();
    const record = await world.add(await world.content(), 'file');
    const report = await world.audit([{ ...record, masterTableHash: '00'.repeat(32) }]);
    expect([report.faults, report.mayPass]).toEqual([[], 1]);
  });
});
