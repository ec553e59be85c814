/**
 * Run as a process of its own by seal.test.ts: seals and opens 200 MB in the given directory, half
 * of it random, and prints by how many megabytes the process grew at most, as JSON.
 */
import { createHash, randomBytes, randomFillSync } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { openFile } from '../../agent/src/crypto/open.ts';
import { sealFile } from '../../agent/src/seal/seal.ts';

const [directory = ''] = process.argv.slice(2);
const path = (name: string) => join(directory, name);
const signal = new AbortController().signal;

async function make(name: string, pieces: number): Promise<void> {
  const file = await open(path(name), 'w');
  const piece = Buffer.alloc(1_000_000);
  for (let index = 0; index < pieces; index++) {
    piece.fill(`{"seq":${index},"value":18.5}`);
    randomFillSync(piece, 0, 500_000);
    await file.write(piece);
  }
  await file.close();
}

function seal(name: string) {
  return sealFile({
    inputPath: path(name),
    outputPath: path(`${name}.age`),
    workDir: directory,
    recipients: [],
    random: (byteCount) => randomBytes(byteCount),
    chunksTarget: 200,
    signal,
  });
}

function openAgain(name: string, identity: Uint8Array) {
  const outputPath = path(`${name}.back`);
  return openFile({
    ciphertextPath: path(`${name}.age`),
    identities: [identity],
    outputPath,
    signal,
  });
}

async function sha256(name: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(path(name))) hash.update(piece);
  return hash.digest('hex');
}

/** By how many megabytes the process is larger at most while `run` runs. */
async function grownBy<T>(run: () => Promise<T>): Promise<{ result: T; megabytes: number }> {
  const before = process.memoryUsage.rss();
  let most = before;
  const timer = setInterval(() => {
    most = Math.max(most, process.memoryUsage.rss());
  }, 10);
  const result = await run();
  clearInterval(timer);
  return { result, megabytes: (Math.max(most, process.memoryUsage.rss()) - before) / 1e6 };
}

await make('small', 1);
await openAgain('small', (await seal('small')).identity);
await make('big', 200);
const sealing = await grownBy(() => seal('big'));
const opening = await grownBy(() => openAgain('big', sealing.result.identity));
const equal = (await sha256('big')) === (await sha256('big.back'));
process.stdout.write(
  `${JSON.stringify({ sealMB: sealing.megabytes, openMB: opening.megabytes, equal })}\n`,
);
