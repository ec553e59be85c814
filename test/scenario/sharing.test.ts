/**
 * Sharing without a vote (`put --to`, `get`), and votes cast by people (`audit approve`, `deny`).
 */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openDatabase } from '@blocktorrent/agent/runtime/sqlite.ts';
import { beforeAll, describe, expect, it } from 'vitest';
import { until, useCast } from '../support/cast.ts';

describe('a consortium whose votes are cast by people', () => {
  const stage = useCast({ vote: 'manual', scheme: 'shamir-gf256' });
  let fileId: string;
  const content = randomBytes(100_000);

  beforeAll(async () => {
    const { workDir, source, command } = stage();
    const path = join(workDir, 'invoice.pdf');
    await writeFile(path, content);
    const { recipient } = JSON.parse(
      await command('Org2MSP', ['identity', join(workDir, 'partner.txt'), '--json']),
    );
    const put = await command(source, ['put', path, '--to', recipient, '--json']);
    fileId = JSON.parse(put).fileId;
  });

  async function request(): Promise<string> {
    const asked = ['audit', 'request', fileId, '--reason', 'dispute', '--json'];
    return JSON.parse(await stage().auditor(asked)).requestId;
  }
  function fetch(requestId: string, ...more: string[]): Promise<string> {
    const out = join(stage().workDir, `audit-${requestId}`);
    return stage().auditor(['audit', 'fetch', requestId, '--out', out, '--json', ...more]);
  }

  it('lets a partner open what was sealed to its identity, without a vote', async () => {
    const out = join(stage().workDir, 'partner.pdf');
    const identity = join(stage().workDir, 'partner.txt');
    await stage().command('Org2MSP', ['get', fileId, '--out', out, '--identity', identity]);
    expect((await readFile(out)).equals(content)).toBe(true);
  });

  it('refuses whoever the file was not sealed to, and says how to ask', async () => {
    const stranger = join(stage().workDir, 'stranger.txt');
    await stage().command('Org3MSP', ['identity', stranger]);
    const out = join(stage().workDir, 'stranger.pdf');
    const get = stage().command('Org3MSP', ['get', fileId, '--out', out, '--identity', stranger]);
    await expect(get).rejects.toThrow(/\(3\).*not sealed to any of your.*audit request/s);
    await expect(readFile(out)).rejects.toThrow(/ENOENT/);
  });

  it('opens a file to the auditor after two people have approved', async () => {
    const requestId = await request();
    await stage().command('Org2MSP', ['audit', 'approve', requestId, '--reason', 'seen']);
    await stage().command('Org3MSP', ['audit', 'approve', requestId]);
    const report = JSON.parse(await fetch(requestId));
    expect(report).toMatchObject({ ok: true, failed: [], faults: [] });
    expect((await readFile(report.files[0].contentPath)).equals(content)).toBe(true);
  });

  it('opens nothing to the auditor while nobody has voted', async () => {
    const requestId = await request();
    await expect(fetch(requestId, '--timeout', '2s')).rejects.toThrow(/0 votes and 0 releases/);
  });

  it('opens nothing to the auditor after two people have denied', async () => {
    const requestId = await request();
    await stage().command('Org2MSP', ['audit', 'deny', requestId, '--reason', 'no dispute']);
    await stage().command('Org4MSP', ['audit', 'deny', requestId]);
    await expect(fetch(requestId)).rejects.toThrow(/\(3\).*is denied.*Org2MSP no/s);
  });

  it('does not let the source vote on its own file', async () => {
    const requestId = await request();
    const vote = stage().command(stage().source, ['audit', 'approve', requestId]);
    await expect(vote).rejects.toThrow(/\(3\)/);
  });

  it('takes files of a watched folder and rows of a table, and moves files that are available', async () => {
    const { workDir, source, processes, configs, startAgent, status, command } = stage();
    const folder = join(workDir, 'watched');
    const done = join(workDir, 'done');
    await mkdir(folder);
    const table = openDatabase(join(workDir, 'scale.sqlite'));
    table.exec('CREATE TABLE weighing (value REAL); INSERT INTO weighing VALUES (3), (4)');
    table.close();
    const fragments = (configs.get(source)?.path ?? '').replace(/\.yaml$/, '.d');
    await mkdir(fragments);
    const sources = {
      folders: [{ path: folder, stableMs: 0, everyMs: 100, after: 'move', moveTo: done }],
      tables: [{ file: join(workDir, 'scale.sqlite'), table: 'weighing', topic: 'site/scale' }],
    };
    await writeFile(join(fragments, 'sources.yaml'), JSON.stringify({ sources }));
    const before = (await status()).readings;
    await processes.end(`agent ${source}`, 'SIGTERM');
    await startAgent(source);
    await writeFile(join(workDir, 'bill.tmp'), content.subarray(0, 1000));
    await rename(join(workDir, 'bill.tmp'), join(folder, 'bill.pdf'));
    await until(async () => existsSync(join(done, 'bill.pdf')));
    expect(existsSync(join(folder, 'bill.pdf'))).toBe(false);
    const { sources: states, readings } = await status();
    expect(states.map(({ kind, reason }) => [kind, reason])).toEqual([
      ['folder', null],
      ['table', null],
    ]);
    expect(readings).toBe(before + 2);
    const files = JSON.parse(await command(source, ['files', '--json'])) as { path: string }[];
    expect(files.filter(({ path }) => path.endsWith('bill.pdf'))).toHaveLength(1);
  });
});
