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
