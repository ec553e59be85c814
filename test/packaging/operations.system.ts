/**
 * docs/OPERATIONS.md as it is written: its code blocks, in one shell, as root on a Debian that was just
 * made, from the installation of the package to an audited file. The dev ledger stands for Fabric.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Machine } from './machine.ts';
import { baseTree, buildPackage, cannotRun, ROOT } from './packages.ts';

const TOOLS = ['dpkg-deb', 'mmdebstrap', 'systemd-nspawn'];
const skipped = cannotRun(TOOLS);
if (skipped !== null) process.stderr.write(`test:packaging SKIPS OPERATIONS.md: ${skipped}\n`);

describe.skipIf(skipped !== null)('docs/OPERATIONS.md', () => {
  let folder: string;
  let machine: Machine;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'bt-operations-'));
    const shown = [[ROOT, '/root/blocktorrent']] as const;
    machine = await Machine.boot(await baseTree('amd64'), 'blocktorrent-operations', shown);
    // Debian's installer writes it; a tree of mmdebstrap has none.
    await writeFile(join(folder, 'hosts'), '127.0.0.1 localhost\n::1 localhost\n');
    await machine.put(join(folder, 'hosts'), '/etc/hosts');
    const path = await buildPackage('amd64', folder);
    await machine.put(path, '/root/blocktorrent_0_amd64.deb');
  });
  afterAll(async () => {
    await machine?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  it('leads from an empty Debian to a first audited file', async () => {
    const text = await readFile(join(ROOT, 'docs/OPERATIONS.md'), 'utf8');
    const blocks = [...text.matchAll(/^```sh\n([\s\S]*?)^```/gm)].map((match) => match[1] ?? '');
    expect(blocks.length).toBeGreaterThan(8);
    // Each block says that it was begun, so that a failure names its place.
    const script = blocks.map((block, i) => `echo "=== block ${i + 1}"\n${block}`).join('\n');
    await writeFile(join(folder, 'operations.sh'), `set -euo pipefail\n${script}`);
    await machine.put(join(folder, 'operations.sh'), '/root/operations.sh');
    const { code, stdout, stderr } = await machine.run(
      'bash',
      '-c',
      'bash /root/operations.sh 2>&1',
    );
    const failed = code === 0 ? '' : `${stdout}${stderr}`.split('\n').slice(-60).join('\n');
    const journal = code === 0 ? '' : (await machine.run('journalctl', '-n', '60')).stdout;
    expect(`${failed}${journal}`).toBe('');
    expect(stdout.match(/^equal$/gm)).toHaveLength(2);
    expect(stdout).toMatch(/^\d+ looks, 0 failed/m);
    expect(stdout).toMatch(/readings acknowledged by mqtt:\/\/127\.0\.0\.1:1883/);
  });
});
