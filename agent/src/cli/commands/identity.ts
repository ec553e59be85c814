/**
 * `blocktorrent identity`: a person's own age identity, by which files are shared without a vote.
 * The file is as `age-keygen` writes it, with mode 0600; it never leaves the machine.
 */
import { chmod, mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { systemRandom } from '../../runtime/random.ts';
import { CliError } from '../cli-error.ts';
import type { CliCommand } from '../command.ts';
import { identityPath } from '../context.ts';
import { EXIT } from '../exit-codes.ts';

export const identityCommand: CliCommand = {
  name: 'identity',
  describe: 'show your age recipient; makes your identity the first time',
  group: 'Set-up:',
  register(command, contextOf) {
    command
      .argument('[file]', 'identity file (default: ~/.config/blocktorrent/identity.txt)')
      .action(async (file: string | undefined) => {
        const { env, output } = contextOf();
        const path = resolve(file ?? identityPath(env));
        const text = await readFile(path, 'utf8').catch(nullIfMissing);
        const recipient = text === null ? await makeIdentity(path) : await recipientIn(path, text);
        if (text === null)
          output.note(`made ${path}; keep it safe: who has it can open your files`);
        output.result({ recipient, file: path, created: text === null }, recipient);
      });
  },
};

async function makeIdentity(path: string): Promise<string> {
  const age = await import('@blocktorrent/protocol/age-keys.ts');
  const identity = age.identityFromRandom(systemRandom(32));
  const recipient = age.recipientOf(identity);
  const created = new Date().toISOString();
  const text = `# created: ${created}\n# public key: ${recipient}\n${age.encodeIdentity(identity)}\n`;
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await writeFile(path, text, { mode: 0o600, flag: 'wx' });
  return recipient;
}

async function recipientIn(path: string, text: string): Promise<string> {
  const line = text.split(/\r?\n/).find((one) => one.startsWith('AGE-SECRET-KEY-1'));
  if (line === undefined) {
    throw new CliError(`${path} holds no age identity (AGE-SECRET-KEY-1…)`, {
      means: 'It is left as it is.',
      todo: 'Name another file; one that does not exist is made.',
      exitCode: EXIT.usage,
    });
  }
  if (((await stat(path)).mode & 0o077) !== 0) await chmod(path, 0o600);
  const [age, { identityIn }] = await Promise.all([
    import('@blocktorrent/protocol/age-keys.ts'),
    import('../identity-file.ts'),
  ]);
  return age.recipientOf(identityIn(path, line));
}

function nullIfMissing(error: NodeJS.ErrnoException): null {
  if (error.code === 'ENOENT') return null;
  throw error;
}
