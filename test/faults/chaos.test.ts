/**
 * Seven organisations while records of the wire are delayed and nodes are killed: every file ends
 * with three live owners, and every byte is equal (PROTOCOL §2.5).
 *
 * A short time with few files here; a minute with 200 files with BLOCKTORRENT_LONG=1.
 */
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { decodeInfo } from '@blocktorrent/protocol/chunking.ts';
import type { SignedReceipt } from '@blocktorrent/protocol/ledger-api.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { distribute } from '../../agent/src/distribute/distribute.ts';
import { FileChunkStore } from '../../agent/src/store/file-chunk-store.ts';
import { Grid, type GridPeer } from '../support/grid.ts';
import { POLICY } from '../support/membership.ts';
import { createTrialFile, type TrialFile } from '../support/sealed-file.ts';
import { Seeded, seedOfRun } from '../support/seeded.ts';
import { distribution } from '../support/stored-files.ts';

const LONG = process.env.BLOCKTORRENT_LONG === '1';
const FILES = LONG ? 200 : 20;
/** At least so many, and for as long as files are under way. */
const KILLS_MIN = LONG ? 7 : 2;
const KILL_EVERY_MS = 5_000;
const DOWN_MS = 3_000;
/** Files distributed at once; each takes 10 to 20 s on such lines. */
const IN_FLIGHT = 20;
const FILE_BYTES = 100_000;
const SOURCE = 'Org1MSP';

describe('seven organisations in trouble', () => {
  const seed = seedOfRun();
  const seeded = new Seeded(`chaos/${seed}`);
  const random = () => Buffer.from(seeded.bytes(4)).readUInt32BE() / 2 ** 32;
  let grid: Grid;
  let gateway: GridPeer;

  beforeAll(async () => {
    console.log(`chaos: SEED=${seed}`);
    grid = await Grid.start({
      organisations: 7,
      seed: String(seed),
      slowLine: { share: 0.1, delayMs: [100, 5_000], random },
    });
    gateway = await grid.dialer(SOURCE);
  });
  afterAll(() => grid.stop());

  it(
    'give every file three live owners with equal bytes',
    async () => {
      const files: TrialFile[] = [];
      let next = 0;
      const worker = async () => {
        while (next < FILES) {
          const number = next++;
          const path = join(grid.dir, `file-${number}.age`);
          const file = await createTrialFile(path, FILE_BYTES, grid.peer(SOURCE));
          files.push(file);
          await distributeWhole(file);
        }
      };
      const stored = new AbortController();
      const killing = killInTurn(stored.signal);
      await Promise.all(Array.from({ length: IN_FLIGHT }, worker));
      stored.abort();
      const kills = await killing;

      const owners = await Promise.all(files.map((file) => liveOwners(file)));
      console.log(`chaos: ${kills} kills, ${grid.delayedRecords} records delayed`);
      expect(grid.delayedRecords).toBeGreaterThan(FILES);
      expect(owners).toHaveLength(FILES);
      for (const each of owners) expect(each).toEqual(each.map(() => POLICY.replicas));
    },
    LONG ? 900_000 : 120_000,
  );

  /** Kills one node after another; returns how many. All are up when it ends. */
  async function killInTurn(signal: AbortSignal): Promise<number> {
    for (let kills = 0; ; kills += 1) {
      await pause(KILL_EVERY_MS, undefined, { signal }).catch(() => undefined);
      if (signal.aborted && kills >= KILLS_MIN) return kills;
      const victims = grid.nodes.filter((node) => node.mspId !== SOURCE);
      const victim = victims[Math.floor(random() * victims.length)];
      if (victim === undefined) throw new Error('there is nobody to kill');
      await victim.kill();
      await pause(DOWN_MS);
      await victim.start();
    }
  }

  /** As the agent's pipeline does it: again and again until every owner has signed. */
  async function distributeWhole(file: TrialFile): Promise<void> {
    let receipts: readonly SignedReceipt[] = [];
    for (let complete = false; !complete; ) {
      const late: SignedReceipt[] = [];
      const result = await distribute({
        ...distribution(grid, gateway, file),
        receipts,
        onLateReceipt: (receipt) => void late.push(receipt),
      });
      await result.background;
      receipts = [...result.receipts, ...late];
      complete = result.complete;
    }
  }

  /** For each chunk of a file, how many running organisations have exactly its bytes on disk. */
  async function liveOwners(file: TrialFile): Promise<number[]> {
    const { bytes, fileId, manifest } = file;
    const chunkBytes = decodeInfo(manifest.info).pieceLength;
    const counts: number[] = [];
    for (let at = 0; at < bytes.length; at += chunkBytes) {
      const expected = bytes.subarray(at, at + chunkBytes);
      let count = 0;
      for (const node of grid.nodes.filter((one) => one.alive)) {
        const chunks = new FileChunkStore(node.chunksDir);
        const index = at / chunkBytes;
        const has = (await chunks.chunksOf(fileId)).some((chunk) => chunk.index === index);
        if (has && expected.equals(await chunks.read(fileId, index, 0, expected.length))) {
          count += 1;
        }
        await chunks.close();
      }
      counts.push(count);
    }
    return counts;
  }
});
