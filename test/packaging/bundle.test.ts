/** The agent as it is installed, one bundle: it is the same program as the sources. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, globSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bundleAgent } from '../../packaging/bundle.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const SOURCES = join(ROOT, 'agent/bin/blocktorrent.js');
const run = promisify(execFile);

describe('the bundle of the agent', () => {
  let home = '';
  let bundle = '';
  beforeAll(async () => {
    home = mkdtempSync(join(tmpdir(), 'bt-bundle-'));
    bundle = join(home, 'agent/bin/blocktorrent.js');
    await bundleAgent(ROOT, join(home, 'agent/bin'));
    copyFileSync(join(ROOT, 'agent/package.json'), join(home, 'agent/package.json'));
    symlinkSync(join(ROOT, 'node_modules'), join(home, 'node_modules'));
  });
  afterAll(() => rmSync(home, { recursive: true, force: true }));

  /** What the launcher at `path` prints. */
  async function printed(path: string, ...args: readonly string[]): Promise<string> {
    return (await run(process.execPath, [path, ...args])).stdout;
  }

  it('is the same, byte for byte, when it is made again, and ASCII', async () => {
    await bundleAgent(ROOT, join(home, 'again'));
    const texts = (folder: string) =>
      globSync('*.js', { cwd: join(home, folder) })
        .sort()
        .map((name) => [name, readFileSync(join(home, folder, name), 'utf8')] as const);
    expect(texts('again')).toEqual(texts('agent/bin'));
    expect(texts('again').filter(([, text]) => /[^\0-\x7f]/.test(text))).toEqual([]);
  });

  it.each([
    ['--help'],
    ['--version'],
    ['config', 'sample'],
    ['config', 'schema'],
    ['top', '--help'],
  ])('says the same as the sources: %s %s', async (...args) => {
    expect(await printed(bundle, ...args)).toBe(await printed(SOURCES, ...args));
  });

  it('makes a house, checks its configuration, runs, and stops in order', async () => {
    const house = join(home, 'house');
    await printed(bundle, 'init', house, '--trial', '--organisation', 'Org1MSP', '--name', 'g-1');
    const config = join(house, 'blocktorrent.yaml');
    await printed(bundle, 'config', 'check', '--config', config);
    const agent = spawn(process.execPath, [bundle, 'run', '--config', config], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const ended = once(agent, 'exit');
    let log = '';
    for await (const line of createInterface({ input: agent.stderr })) {
      log += `${line}\n`;
      if (line.includes('"message":"ready"')) agent.kill('SIGTERM');
    }
    expect([await ended, log]).toEqual([[0, null], log]);
    expect(log).toContain('"message":"ready"');
  });

  it('names a wrong line of a configuration, and its function in a stack trace', async () => {
    const config = join(home, 'agent/package.json');
    const failed = await printed(bundle, '--debug', 'run', '--config', config).catch(
      (error: { code?: number; stderr?: string }) => error,
    );
    expect(failed).toMatchObject({ code: 2, stderr: expect.stringContaining('package.json') });
    expect(failed).toMatchObject({ stderr: expect.stringMatching(/at \S+ \(file:.*\.js:\d+/) });
  });

  it('has every message that Fabric’s client names', () => {
    const require = createRequire(join(ROOT, 'packaging/slim/fabric-protos.cjs'));
    const slim = require('./fabric-protos.cjs') as Record<string, Record<string, unknown>>;
    const client = join(ROOT, 'node_modules/@hyperledger/fabric-gateway/dist');
    const named = globSync('**/*.js', { cwd: client }).flatMap((path) => {
      const text = readFileSync(join(client, path), 'utf8');
      return [...text.matchAll(/\bfabric_protos_\d+\.(\w+)\.(\w+)/g)];
    });
    expect(named.length).toBeGreaterThan(50);
    const missing = named.filter(([, group = '', name = '']) => slim[group]?.[name] === undefined);
    expect(missing.map(([all]) => all)).toEqual([]);
  });
});
