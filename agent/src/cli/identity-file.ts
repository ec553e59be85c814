/** Reading a file of age identities, as `age-keygen` writes it. */
import { readFileSync } from 'node:fs';
import { decodeIdentity } from '@blocktorrent/protocol/age-keys.ts';
import { CliError } from './cli-error.ts';
import { EXIT } from './exit-codes.ts';

/** Every X25519 identity in the file. @throws CliError when there is none. */
export function readIdentities(path: string): Uint8Array[] {
  const lines = textOf(path).split(/\r?\n/);
  const found = lines.filter((line) => line.startsWith('AGE-SECRET-KEY-1'));
  if (found.length > 0) return found.map((line) => identityIn(path, line));
  throw new CliError(`${path} holds no age identity (AGE-SECRET-KEY-1…)`, {
    means: 'Without one nothing can be opened.',
    todo: '`blocktorrent identity` makes one.',
    exitCode: EXIT.usage,
  });
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw cause;
    throw new CliError(`there is no identity at ${path}`, {
      means: 'A file opens only with the identity whose recipient `put --to` was given.',
      todo: 'Name that one with --identity; `blocktorrent identity` makes a new one for files to come.',
      exitCode: EXIT.usage,
      cause,
    });
  }
}

/** The identity on a line of `path`. @throws CliError where it was mistyped or cut */
export function identityIn(path: string, line: string): Uint8Array {
  try {
    return decodeIdentity(line.trim());
  } catch (cause) {
    throw new CliError(`${path} holds an age identity that is mistyped or cut`, {
      means: 'Without all of it nothing can be opened.',
      todo: 'Copy the line AGE-SECRET-KEY-1… once more, whole.',
      exitCode: EXIT.usage,
      cause,
    });
  }
}
