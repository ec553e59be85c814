/** The first start in a data folder, while another agent starts in it at the same moment. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { claimDataFolder } from '@blocktorrent/agent/runtime/data-format.ts';
import { expect, it, onTestFinished, vi } from 'vitest';
import { aFolder } from '../support/readings.ts';

const other = vi.hoisted(() => ({ fails: false }));
vi.mock('node:fs', async (original) => {
  const fs = await original<typeof import('node:fs')>();
  return {
    ...fs,
    renameSync(from: string, to: string) {
      if (other.fails) throw Object.assign(new Error('EACCES'), { code: 'EACCES' });
      fs.renameSync(from, to);
      // What it finds that comes second.
      fs.renameSync(from, to);
    },
  };
});

it('is claimed by both: which of them runs is decided by the database', () => {
  const [folder, remove] = aFolder();
  onTestFinished(remove);
  claimDataFolder(folder);
  expect(readdirSync(folder)).toEqual(['format.json']);
  expect(readFileSync(join(folder, 'format.json'), 'utf8')).toBe('{"format":1}\n');
});

it('is refused where its version cannot be noted', () => {
  const [folder, remove] = aFolder();
  onTestFinished(remove);
  other.fails = true;
  expect(() => claimDataFolder(folder)).toThrow('EACCES');
});
