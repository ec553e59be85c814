/**
 * Our files and those of the `age` tool, `age-encryption` and `zstd`, each opened by the other.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { zstdCompressSync } from 'node:zlib';
import {
  decodeIdentity,
  decrypt,
  decryptStream,
  encodeIdentity,
  encrypt,
  identityFromRandom,
  recipientOf,
} from '@blocktorrent/protocol/age.ts';
import { concatBytes, equalBytes } from '@blocktorrent/protocol/bytes.ts';
import { paddingFor, paddingFrameHeader, skipPadding } from '@blocktorrent/protocol/padding.ts';
import { Decrypter, Encrypter } from 'age-encryption';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { gather, piecesOf } from '../support/pieces.ts';
import { Seeded } from '../support/seeded.ts';
import { requireTool, runTool } from '../support/tools.ts';

const KiB = 1024;
const SIZES = [0, 1, 64 * KiB - 1, 64 * KiB, 64 * KiB + 1, 128 * KiB, 300_000];
const random = new Seeded('interop');
const identities = [1, 2, 3].map(() => identityFromRandom(random.bytes(32)));
const recipients = identities.map(recipientOf);
let directory = '';

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'blocktorrent-age-'));
  for (const [index, identity] of identities.entries()) {
    await writeFile(keyFile(index), `${encodeIdentity(identity)}\n`, { mode: 0o600 });
  }
});
afterAll(() => rm(directory, { recursive: true, force: true }));

function keyFile(index: number): string {
  return join(directory, `key-${index}.txt`);
}

describe('the age tool', () => {
  it.for(SIZES)(
    'opens our file of %i bytes, for each of three recipients',
    async (size, context) => {
      requireTool('age', context);
      const plaintext = random.bytes(size);
      const file = encrypt(plaintext, recipients, random.bytes);
      for (const index of identities.keys()) {
        const opened = await runTool('age', ['-d', '-i', keyFile(index)], file);
        expect(equalBytes(opened, plaintext)).toBe(true);
      }
    },
  );

  it.for(SIZES)(
    'makes a file of %i bytes that we open with each of three identities',
    async (size, context) => {
      const plaintext = random.bytes(size);
      requireTool('age', context);
      const to = recipients.flatMap((recipient) => ['-r', recipient]);
      const file = Uint8Array.from(await runTool('age', to, plaintext));
      for (const identity of identities) {
        expect(equalBytes(decrypt(file, [identity]), plaintext)).toBe(true);
        const streamed = await gather(decryptStream(piecesOf(file, 1000), [identity]));
        expect(equalBytes(streamed, plaintext)).toBe(true);
      }
    },
  );

  it('names the recipient of our identity as we do, and makes identities that we read', async (context) => {
    requireTool('age-keygen', context);
    const theirs = await runTool('age-keygen', ['-y', keyFile(0)]);
    expect(theirs.toString().trim()).toBe(recipients[0]);
    const made = (await runTool('age-keygen', [])).toString();
    const [identity = ''] = /AGE-SECRET-KEY-1\w+/.exec(made) ?? [];
    expect(made).toContain(recipientOf(decodeIdentity(identity)));
  });

  it('refuses our file when it is cut off at a chunk', async (context) => {
    requireTool('age', context);
    const file = encrypt(random.bytes(128 * KiB), recipients, random.bytes);
    const cut = file.subarray(0, file.length - 64 * KiB - 16);
    await expect(runTool('age', ['-d', '-i', keyFile(0)], cut)).rejects.toThrow();
  });
});

describe('age-encryption', () => {
  it.each(SIZES)('and we open each other at %i bytes', async (size) => {
    const plaintext = random.bytes(size);
    const decrypter = new Decrypter();
    decrypter.addIdentity(encodeIdentity(identities[1] ?? new Uint8Array(32)));
    const opened = await decrypter.decrypt(encrypt(plaintext, recipients, random.bytes));
    expect(equalBytes(opened, plaintext)).toBe(true);
    const encrypter = new Encrypter();
    for (const recipient of recipients) encrypter.addRecipient(recipient);
    const file = await encrypter.encrypt(plaintext);
    expect(equalBytes(decrypt(file, identities.slice(2)), plaintext)).toBe(true);
  });
});

describe('the zstd tool', () => {
  it.for([0, 1, 1000, 100_000])('opens padded output of %i bytes', async (size, context) => {
    const plaintext = random.bytes(size);
    requireTool('zstd', context);
    const compressed = Uint8Array.from(zstdCompressSync(plaintext));
    const { frameBytes } = paddingFor(compressed.length);
    const padded =
      frameBytes === 0
        ? compressed
        : concatBytes(paddingFrameHeader(frameBytes), new Uint8Array(frameBytes - 8), compressed);
    expect(equalBytes(await runTool('zstd', ['-d', '-c', '-q'], padded), plaintext)).toBe(true);
    expect(await gather(skipPadding(piecesOf(padded, 100)))).toEqual(compressed);
  });
});
