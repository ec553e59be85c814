/**
 * A member that floods an owner: with offers, with requests, with connections. It meets its quota and
 * is reported, and the others' files keep flowing (P Table 2, flooding).
 *
 * The links are limited to 300 kB/s, as a truck's are: what is measured is whether the flood takes the
 * owners' attention, not how many cores this machine has.
 */
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { toHex } from '@blocktorrent/protocol/bytes.ts';
import { infoHashOf } from '@blocktorrent/protocol/chunking.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { distribute } from '../../agent/src/distribute/distribute.ts';
import type { Link } from '../../agent/src/overlay/types.ts';
import { noRoom } from '../../agent/src/store/quota.ts';
import { Grid, type GridPeer } from '../support/grid.ts';
import { POLICY } from '../support/membership.ts';
import { createTrialFile, type TrialFile } from '../support/sealed-file.ts';
import { seedOfRun } from '../support/seeded.ts';
import { distribution } from '../support/stored-files.ts';

const SOURCE = 'Org1MSP';
const FLOODER = 'Org5MSP';
const VICTIM = 'Org2MSP';
const QUOTA = { bytes: 2_000_000, files: 4, requestsPerSecond: 200 };
const FILE_BYTES = 600_000;
const UPLOAD_BYTES_PER_SECOND = 300_000;
/** Share of the throughput without a flood that the others keep. */
const KEPT_MIN = 0.8;
const ROUNDS = 3;
/** Where they do not show it, as another program had the processor meanwhile, some more are looked at. */
const ROUNDS_MAX = 15;

describe('a member that floods an owner', () => {
  const seed = seedOfRun();
  let grid: Grid;
  let flooder: GridPeer;
  let gateway: GridPeer;
  let files = 0;

  beforeAll(async () => {
    console.log(`flood: SEED=${seed}`);
    grid = await Grid.start({ organisations: 5, seed: String(seed) });
    grid.membership.trialPolicy = { ...POLICY, quotas: { [FLOODER]: QUOTA } };
    flooder = await grid.dialer(FLOODER);
    gateway = await grid.dialer(SOURCE, {}, { uploadBytesPerSecond: UPLOAD_BYTES_PER_SECOND });
  });
  afterAll(() => grid.stop());

  function newFile(source: string, bytes: number): Promise<TrialFile> {
    files += 1;
    return createTrialFile(join(grid.dir, `file-${files}.age`), bytes, grid.peer(source));
  }

  /** Seconds that the honest source needs for one file to all its owners. */
  async function honest(): Promise<number> {
    const file = await newFile(SOURCE, FILE_BYTES);
    const startedMs = performance.now();
    const result = await distribute(distribution(grid, gateway, file));
    expect(result.complete).toBe(true);
    return (performance.now() - startedMs) / 1000;
  }

  function dial(file: TrialFile, onReply: (code: string) => void = () => undefined): Promise<Link> {
    return flooder.overlay.dialMember({
      mspId: VICTIM,
      addressBook: flooder.addressBook,
      infoHash: toHex(infoHashOf(file.manifest.info)),
      handler: {
        onManifestMessage: (_, message) =>
          onReply(message.t === 'refuse' ? message.code : message.t),
      },
    });
  }

  it('is refused files beyond its quota, by name of the bound', async () => {
    const replies: string[] = [];
    const links: Link[] = [];
    for (let offers = 0; offers < QUOTA.files + 2; offers += 1) {
      const file = await newFile(FLOODER, 100_000);
      const link = await dial(file, (reply) => replies.push(reply));
      link.sendManifestMessage({ t: 'offer', ...file.signed });
      links.push(link);
      await expect.poll(() => replies.length).toBe(offers + 1);
    }
    const accepted = Array.from({ length: QUOTA.files }, () => 'accept');
    expect(replies).toEqual([...accepted, 'quota', 'quota']);
    expect(grid.node(VICTIM).events.filter((event) => event.type === 'refused')).toHaveLength(2);
    for (const link of links) link.close('enough');
  });

  it('is refused bytes beyond its quota and beyond the disk', () => {
    const offer = { fileId: 'f', source: FLOODER, ownedBytes: 500_000 };
    const usage = { bytes: 1_600_000, unfinished: 0 };
    const quotas = { [FLOODER]: QUOTA };
    expect(noRoom(offer, usage, quotas, 1e12)).toMatch(/quota of 2000000/);
    expect(noRoom({ ...offer, ownedBytes: 400_000 }, usage, quotas, 1e12)).toBeNull();
    expect(noRoom({ ...offer, source: SOURCE }, usage, quotas, 1e12)).toBeNull();
    expect(noRoom({ ...offer, source: SOURCE }, usage, quotas, 1e8)).toMatch(/stay free/);
  });

  it.each([
    ['with a quota', { [FLOODER]: QUOTA }],
    ['without an agreed quota', {}],
  ])('does not slow the others down by more than a fifth, %s', async (_, quotas) => {
    grid.membership.trialPolicy = { ...POLICY, quotas };
    await honest();
    const counts = { offers: 0, connections: 0 };
    // In turn, so that whatever else the machine does meets both alike; the best of each counts.
    const quiet: number[] = [];
    const flooded: number[] = [];
    const keptPart = () => Math.min(...quiet) / Math.min(...flooded);
    for (let round = 0; round < ROUNDS_MAX; round += 1) {
      if (round >= ROUNDS && keptPart() >= KEPT_MIN) break;
      quiet.push(await honest());
      const flood = new AbortController();
      const { signal } = flood;
      const flooding = [floodByLinks(signal, counts), floodByConnections(signal, counts)];
      flooded.push(await honest());
      flood.abort();
      await Promise.all(flooding);
    }
    const kept = keptPart();
    console.log(`flood: kept ${kept.toFixed(2)} of the throughput; ${JSON.stringify(counts)}`);
    expect(grid.node(VICTIM).throttled).toContain(FLOODER);
    expect(counts.connections).toBeGreaterThan(50);
    expect(kept).toBeGreaterThanOrEqual(KEPT_MIN);
  });

  /** Up to 1,000 offers and as many requests a second, on twenty links; they share our one thread. */
  async function floodByLinks(signal: AbortSignal, counts: Record<string, number>): Promise<void> {
    const file = await newFile(FLOODER, 100_000);
    const worker = async () => {
      while (!signal.aborted) {
        const link = await dial(file).catch(() => null);
        if (link === null) {
          await pause(20);
          continue;
        }
        for (let round = 0; round < 50 && !link.closed && !signal.aborted; round += 1) {
          link.sendManifestMessage({ t: 'offer', ...file.signed });
          link.fetchChunk(round % 6, 16_384).catch(() => undefined);
          counts.offers = (counts.offers ?? 0) + 1;
          await pause(20);
        }
        link.close('again');
      }
    };
    await Promise.all(Array.from({ length: 20 }, worker));
  }

  /** Connections that never shake hands. */
  async function floodByConnections(
    signal: AbortSignal,
    counts: Record<string, number>,
  ): Promise<void> {
    const { address } = grid.node(VICTIM).net.overlay;
    while (!signal.aborted) {
      const socket = connect({ host: '127.0.0.1', port: address?.port ?? 0 });
      socket.on('error', () => undefined);
      signal.addEventListener('abort', () => socket.destroy());
      counts.connections = (counts.connections ?? 0) + 1;
      await pause(5);
    }
  }
});
