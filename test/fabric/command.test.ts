/** The command line `fabric/network`, as people use it: `npm run test:fabric`. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { configSchema } from '../../agent/src/config/schema.ts';
import { FabricLedger } from '../../agent/src/ledger/fabric-ledger.ts';
import { loadPlan } from '../../fabric/src/plan.ts';
import { found } from '../support/fabric-transactions.ts';

const execute = promisify(execFile);
const SCRIPT = join(import.meta.dirname, '..', '..', 'fabric', 'network');

let parent: string;
let dir: string;
const network = async (command: string, ...args: string[]) => {
  const { stdout } = await execute(SCRIPT, [command, '--dir', dir, ...args]);
  return JSON.parse(stdout);
};
const pidsOf = (status: { processes: { pid: number; running: boolean }[] }) =>
  status.processes.filter(({ running }) => running).map(({ pid }) => pid);

beforeAll(async () => {
  parent = await mkdtemp(join(tmpdir(), 'fabric-command-'));
  dir = join(parent, 'network');
});
afterAll(async () => {
  if (existsSync(dir)) await network('down', '--clean');
  await rm(parent, { recursive: true, force: true });
});

describe('fabric/network', () => {
  it('explains itself instead of guessing', async () => {
    await expect(execute(SCRIPT, ['up'])).rejects.toMatchObject({ code: 2 });
    await expect(network('dance')).rejects.toThrow(
      'usage: fabric/network up|deploy|status|down|definitions',
    );
    await expect(network('status')).rejects.toThrow(`there is no network in ${dir}`);
  });

  it('says which programs are missing and how to point at them', async () => {
    const env = { ...process.env, FABRIC_BIN: parent };
    const up = execute(SCRIPT, ['up', '--dir', dir], { env });
    await expect(up).rejects.toMatchObject({
      code: 1,
      stderr: expect.stringContaining('FABRIC_BIN'),
    });
    expect(existsSync(dir)).toBe(false);
  });

  it('removes no folder that is not a network’s', async () => {
    await writeFile(join(parent, 'precious'), 'kept');
    const { stdout } = await execute(SCRIPT, ['down', '--clean', '--dir', parent]);
    expect(JSON.parse(stdout)).toEqual({ stopped: [], removed: false });
    expect(await readFile(join(parent, 'precious'), 'utf8')).toBe('kept');
  });
});

describe.runIf(process.env.BLOCKTORRENT_FABRIC === '1')('fabric/network with programs', () => {
  it('brings a network up that stays, goes down, comes back with its blocks, and is removed', async () => {
    await network('up', '--orgs', '2', '--orderers', '1', '--block-interval-ms', '100');
    await network('deploy');
    const plan = loadPlan(dir);
    const ledger = new FabricLedger({
      mspId: 'Org2MSP',
      ...configSchema({ folder: dir, checkFiles: true }).shape.ledger.parse(
        plan?.organisations.find(({ mspId }) => mspId === 'Org2MSP')?.ledger,
      ),
    });
    try {
      await found(ledger, ['Org1MSP', 'Org2MSP']);
      const before = await network('status');
      expect(pidsOf(before)).toHaveLength(2 + 1 + 4);
      expect(await network('down')).toMatchObject({ removed: false });
      expect(pidsOf(await network('status'))).toEqual([]);
      await network('up');
      const after = await network('status');
      expect(after.blockHeights).toEqual(before.blockHeights);
      const consortium = await ledger.evaluate('ledger/consortium:GetConsortium', {});
      expect(consortium.members).toHaveLength(2);
    } finally {
      ledger.close();
    }
    expect(await network('down', '--clean')).toMatchObject({ removed: true });
    expect(existsSync(dir)).toBe(false);
  });
});
