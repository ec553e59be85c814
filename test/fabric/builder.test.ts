/** The external builder's three scripts, called as a peer calls them. */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BUILDER_DIR } from '../../fabric/src/peer-config.ts';

const execute = promisify(execFile);
const call = async (step: string, args: string[], env: Record<string, string> = {}) =>
  await execute(join(BUILDER_DIR, 'bin', step), args, {
    env: { PATH: process.env.PATH ?? '', ...env },
  });

let dir: string;
const folder = (name: string) => join(dir, name);

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'builder-'));
  for (const name of ['code', 'metadata', 'built', 'release', 'connections']) {
    await mkdir(folder(name));
  }
  await writeMetadata('ccaas');
  await writeFile(join(folder('connections'), 'ledger.json'), '{"address":"127.0.0.1:9999"}');
});
afterAll(async () => await rm(dir, { recursive: true, force: true }));

async function writeMetadata(type: string): Promise<void> {
  const metadata = JSON.stringify({ type, label: 'ledger_0.1.0' });
  await writeFile(join(folder('metadata'), 'metadata.json'), metadata);
}

describe('the external builder', () => {
  it('takes chaincode as a service and nothing else', async () => {
    await call('detect', [folder('code'), folder('metadata')]);
    await writeMetadata('golang');
    await expect(call('detect', [folder('code'), folder('metadata')])).rejects.toThrow();
    await writeMetadata('ccaas');
  });

  it('gives the peer its own organisation’s connection', async () => {
    await call('build', [folder('code'), folder('metadata'), folder('built')]);
    await call('release', [folder('built'), folder('release')], {
      BLOCKTORRENT_CONNECTIONS: folder('connections'),
    });
    const released = join(folder('release'), 'chaincode', 'server', 'connection.json');
    expect(JSON.parse(await readFile(released, 'utf8'))).toEqual({ address: '127.0.0.1:9999' });
  });

  it('says what is missing', async () => {
    await call('build', [folder('code'), folder('metadata'), folder('built')]);
    const args = [folder('built'), folder('release')];
    await expect(call('release', args)).rejects.toThrow('BLOCKTORRENT_CONNECTIONS is not set');
    const env = { BLOCKTORRENT_CONNECTIONS: folder('code') };
    await expect(call('release', args, env)).rejects.toThrow('no connection file');
  });
});
