/** The demo itself, as a user starts it: its last line is what the README promises. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DemoResult } from '../../demo/story.ts';

const DEMO = resolve(import.meta.dirname, '../../demo/demo.ts');
const run = promisify(execFile);

describe('npm run demo', () => {
  let output: string;
  beforeEach(async () => {
    output = await mkdtemp(join(tmpdir(), 'bt-demo-'));
  });
  afterEach(() => rm(output, { recursive: true, force: true }));

  async function demo(...args: string[]): Promise<DemoResult> {
    const { stdout } = await run(process.execPath, [
      ...[DEMO, '--json', '--seconds', '8', '--output', output],
      ...args,
    ]);
    return JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as DemoResult;
  }

  it('rebuilds every reading after the source and one more were killed', async () => {
    const result = await demo();
    expect(result).toMatchObject({
      ok: true,
      organisations: 4,
      missing: 0,
      altered: 0,
      ownersPerChunkMin: 3,
      killed: ['Org1MSP', 'Org4MSP'],
      faults: [],
    });
    expect(result.readingsSent).toBeGreaterThan(100);
    expect(result.readingsRecovered).toBe(result.readingsSent);
    expect(result.files).toBeGreaterThanOrEqual(3);
    // Half a minute alone; other tests have their share of the processor here.
    expect(result.seconds).toBeLessThan(100);
    const folders = await readdir(join(output, 'audit'), { withFileTypes: true });
    const names = folders.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
    const batches = names.filter((name) =>
      existsSync(join(output, 'audit', name, 'readings.sqlite')),
    );
    expect(batches.length).toBeGreaterThanOrEqual(3);
    for (const name of batches) {
      expect(existsSync(join(output, 'audit', name, 'FILE.age'))).toBe(true);
      expect(existsSync(join(output, 'audit', name, 'identity.txt'))).toBe(true);
    }
    expect(existsSync(join(output, 'sensors.jsonl'))).toBe(true);
  });

  it('ends in order when it is stopped while it starts', async () => {
    const child = spawn(process.execPath, [DEMO, '--output', output], { stdio: 'pipe' });
    let shown = '';
    child.stdout.on('data', (data: Buffer) => (shown += data));
    child.stderr.on('data', (data: Buffer) => (shown += data));
    await expect
      .poll(() => existsSync(join(output, 'logs/broker.log')), { timeout: 30_000 })
      .toBe(true);
    child.kill('SIGINT');
    const [code] = await once(child, 'close');
    expect([code, shown]).toEqual([130, expect.stringMatching(/stopped; ending every process\n$/)]);
  });

  it('finds and names an attacker that serves altered chunks under a valid certificate', async () => {
    const result = await demo('--corrupt');
    expect(result).toMatchObject({ ok: true, missing: 0, altered: 0, killed: ['Org1MSP'] });
    expect(result.faults).toContainEqual(
      expect.objectContaining({ kind: 'bad-chunk', mspId: 'Org4MSP' }),
    );
    expect(new Set(result.faults.map((fault) => fault.mspId))).toEqual(new Set(['Org4MSP']));
  });
});
