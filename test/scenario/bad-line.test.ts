/**
 * Real agents whose overlay is reached over bad lines: records held back, connections cut again and
 * again, no line at all for seconds. The file arrives whole, and what has arrived is not sent again.
 */
import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { audit, until, useCast } from '../support/cast.ts';
import { Seeded, seedOfRun } from '../support/seeded.ts';
import { SlowProxy } from '../support/slow-proxy.ts';

const OWNERS = ['Org2MSP', 'Org3MSP', 'Org4MSP'];
const FILE_BYTES = 3_000_000;
const UPLOAD_BYTES_PER_SECOND = 500_000;
const CUTS = 6;
const CUT_EVERY_MS = 700;
const DOWN_MS = 3_000;
/** Sent bytes over the file's: cuts cost what was on its way, and owners turn to the source when late. */
const UPLINK_RATIO_MAX = 2.5;

describe('real agents over bad lines', () => {
  const seed = seedOfRun();
  const seeded = new Seeded(`line/${seed}`);
  const random = () => Buffer.from(seeded.bytes(4)).readUInt32BE() / 2 ** 32;
  const lines = new Map<string, { proxy: SlowProxy; port: number; target: number }>();

  // Before the cast: agents are told the lines' addresses.
  beforeAll(async () => {
    console.log(`bad line: SEED=${seed}`);
    for (const mspId of OWNERS) {
      const proxy = new SlowProxy({ share: 0.1, delayMs: [20, 300], random });
      const line = { proxy, port: 0, target: 0 };
      line.port = await proxy.start(() => line.target);
      lines.set(mspId, line);
    }
  });
  afterAll(() => Promise.all([...lines.values()].map(({ proxy }) => proxy.stop())));

  const stage = useCast({
    overlayOf: (mspId) => {
      const line = lines.get(mspId);
      return line === undefined
        ? { uploadBytesPerSecond: UPLOAD_BYTES_PER_SECOND }
        : { advertise: `127.0.0.1:${line.port}` };
    },
  });

  it('bring a file to its owners, and back', async () => {
    const cast = stage();
    for (const [mspId, line] of lines) line.target = await listenPortOf(cast.workDir, mspId);
    const path = join(cast.workDir, 'cargo.bin');
    const bytes = randomBytes(FILE_BYTES);
    await writeFile(path, bytes);
    const put = cast.command(cast.source, ['put', path, '--json']);
    await until(async () => (await cast.status()).files.named === 1);
    for (let cuts = 0; cuts < CUTS; cuts += 1) {
      await pause(CUT_EVERY_MS);
      for (const { proxy } of lines.values()) proxy.cut();
    }
    for (const { proxy } of lines.values()) proxy.down();
    await pause(DOWN_MS);
    for (const { proxy } of lines.values()) proxy.down(false);
    const { fileId } = JSON.parse(await put) as { fileId: string };

    const { uplink } = await cast.status();
    const ratio = uplink.sentBytes / uplink.ciphertextBytes;
    console.log(`bad line: uplink ${ratio.toFixed(2)} x the file`);
    expect(ratio).toBeLessThan(UPLINK_RATIO_MAX);
    expect([...lines.values()].every(({ proxy }) => proxy.delayed > 0)).toBe(true);
    await cast.processes.end(`agent ${cast.source}`, 'SIGKILL');
    const report = await audit(cast, [fileId]);
    expect(report).toMatchObject({ ok: true, faults: [] });
    const [found] = report.files;
    expect(bytes.equals(await readFile(found?.contentPath ?? ''))).toBe(true);
  });
});

/** Where an agent's overlay really listens, as its log says. */
async function listenPortOf(workDir: string, mspId: string): Promise<number> {
  const log = await readFile(join(workDir, 'logs', `agent ${mspId}.log`), 'utf8');
  const line = log.split('\n').find((each) => each.includes('overlay runs'));
  const { listens } = JSON.parse(line ?? '{}') as { listens?: { port: number } };
  if (listens === undefined) throw new Error(`the log of ${mspId} names no address`);
  return listens.port;
}
