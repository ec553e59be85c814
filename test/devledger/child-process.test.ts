import { join } from 'node:path';
import { Child, ChildError } from '@blocktorrent/devledger/child-process.ts';
import { expect, it } from 'vitest';
import { aFolder } from '../support/readings.ts';

it('says that a program cannot be started, and that is all', async () => {
  const [folder, remove] = aFolder();
  const command = [join(folder, 'nothing')];
  const child = new Child({ name: 'nothing', command, logFile: join(folder, 'log') });
  await expect(child.ready()).rejects.toThrow(ChildError);
  await child.stop();
  remove();
});

it('starts nothing where there is no place for the log, and says so', () => {
  const command = [process.execPath, '--version'];
  const logFile = '/nowhere/log';
  expect(() => new Child({ name: 'x', command, logFile })).toThrow(/ENOENT.*'\/nowhere\/log'/);
});

it('goes on where the disk of the log is full', async () => {
  // More than fits into a pipe: a child that nobody reads would wait.
  const script = 'console.log("x".repeat(1e6)); console.log("{}"); process.stdin.resume()';
  const command = [process.execPath, '-e', script];
  const child = new Child({ name: 'x', command, logFile: '/dev/full' });
  expect(await child.ready()).toEqual({});
  await child.stop();
});
