/**
 * The key that Feldman's shares rebuild, in the hands of the `age` tool: for every known split, and
 * for keys of both signs.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeIdentity, encrypt } from '@blocktorrent/protocol/age.ts';
import { equalBytes, fromHex } from '@blocktorrent/protocol/bytes.ts';
import { rebuildFeldman } from '@blocktorrent/protocol/feldman.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { feldmanVectors } from '../support/feldman-vectors.ts';
import { Seeded } from '../support/seeded.ts';
import { requireTool, runTool } from '../support/tools.ts';

const random = new Seeded('feldman interop');
let directory = '';
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'blocktorrent-feldman-'));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

const cases = [
  ...feldmanVectors.dealings.map(({ label, input, shares }) => ({
    ...{ label, shares, recipient: input.recipient, k: input.k },
  })),
  ...feldmanVectors.rebuilt.flatMap(({ identity, ...one }) =>
    identity === null ? [] : [{ ...one, k: 2 }],
  ),
];

describe('the age tool, with a key rebuilt from shares,', () => {
  it.for(cases)('opens files to the recipient: $label', async (one, context) => {
    requireTool('age', context);
    const indexed = one.shares.map((share, i) => ({ index: i + 1, share: fromHex(share) }));
    const identity = rebuildFeldman(indexed.slice(-one.k));
    const keyFile = join(directory, `${one.label.replaceAll(' ', '-')}.txt`);
    await writeFile(keyFile, `${encodeIdentity(identity)}\n`, { mode: 0o600 });
    const plaintext = random.bytes(1000);
    const ours = encrypt(plaintext, [one.recipient], random.bytes);
    const theirs = await runTool('age', ['-r', one.recipient], plaintext);
    for (const file of [ours, theirs]) {
      const opened = await runTool('age', ['-d', '-i', keyFile], file);
      expect(equalBytes(opened, plaintext)).toBe(true);
    }
  });
});
