/**
 * The trials that the part `overlay` is made of: one file through ours and libtorrent's hands, and
 * the paper's round of many files.
 *
 * In: processes that run. Out: seconds and bytes. Always holds: both sides get the same bytes, cut at
 * the same places, wanted by the same peers; what a trial left on disk is gone when it ends.
 */
import { randomFillSync } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Swarm } from './libtorrent.ts';
import type { BenchCast, PeerProcess } from './peers.ts';
import type { SplitFile, Stored } from './work.ts';

/** What both sides measure. */
export interface Trial {
  readonly splitSeconds: number;
  readonly distributeSeconds: number;
  readonly regenerateSeconds: number;
  /** Bytes at the sources' sockets over the ciphertexts' bytes. */
  readonly uplinkRatio: number;
}

/** Writes a "ciphertext": random bytes. */
export async function writeCiphertext(path: string, bytes: number): Promise<void> {
  await writeFile(path, randomFillSync(Buffer.allocUnsafe(bytes)));
}

/** Cuts it by the source's process. */
export async function split(
  source: PeerProcess,
  path: string,
  chunksTarget: number,
): Promise<{ file: SplitFile; seconds: number }> {
  return source.tell('split', { path, chunksTarget });
}

/** One file from `source` to its owners, and back to the auditor. */
export async function ourTrial(
  cast: BenchCast,
  source: PeerProcess,
  cut: { readonly file: SplitFile; readonly seconds: number },
  { fetch }: { readonly fetch: boolean },
): Promise<Trial> {
  const { file } = cut;
  const { seconds, sentBytes, receipts, complete } = await source.tell('distribute', {
    files: [file],
    graceMs: null,
  });
  if (!complete) throw new Error(`${file.fileId}: not every owner has signed`);
  const stored: Stored = { file, receipts: receipts[0] ?? [] };
  const fetched = fetch
    ? await cast.auditor.tell('fetch', { files: [stored], dir: cast.dir })
    : { seconds: 0 };
  await cast.forget(file.fileId);
  return {
    splitSeconds: cut.seconds,
    distributeSeconds: seconds,
    regenerateSeconds: fetched.seconds,
    uplinkRatio: sentBytes / file.ciphertextBytes,
  };
}

/** What the source sends, over the ciphertext, when an owner dies half-way; it stays dead. */
export async function uplinkWithLoss(
  cast: BenchCast,
  source: PeerProcess,
  file: SplitFile,
): Promise<number> {
  const doomed = cast.owners[0];
  if (doomed === undefined) throw new Error('there is no owner');
  const its = file.owners.filter((owners) => owners.includes(doomed.mspId)).length;
  await doomed.tell('dieAfter', { chunks: Math.ceil(its / 2) });
  const { sentBytes, complete } = await source.tell('distribute', {
    files: [file],
    graceMs: 1_000,
  });
  if (complete) throw new Error(`${doomed.mspId} did not die`);
  return sentBytes / file.ciphertextBytes;
}

/** The same by libtorrent. */
export async function swarmTrial(
  swarm: Swarm,
  dir: string,
  file: SplitFile,
  options: { readonly fetch: boolean; readonly uploadBytesPerSecond: number | null },
): Promise<Trial> {
  const work = join(dir, 'libtorrent');
  const round = await swarm.round([file], ['source'], work, options.uploadBytesPerSecond);
  const regenerateSeconds = options.fetch ? await swarm.fetch([0], join(dir, 'reader')) : 0;
  await swarm.forget();
  await rm(work, { recursive: true, force: true });
  const { splitSeconds, distributeSeconds, sentBytes } = round;
  const uplinkRatio = sentBytes / file.ciphertextBytes;
  return { splitSeconds, distributeSeconds, regenerateSeconds, uplinkRatio };
}

/** The paper's round: every owner distributes `filesEach` files at once. */
export interface Round {
  /** The files of each owner, in the order of `cast.owners`. */
  readonly files: readonly (readonly SplitFile[])[];
  readonly splitSeconds: number;
}

/** Writes and cuts the files of one round; splitting is timed from its start to its last end. */
export async function prepareRound(
  cast: BenchCast,
  size: { readonly filesEach: number; readonly bytes: number; readonly chunksTarget: number },
): Promise<Round> {
  const paths = cast.owners.map(({ mspId }) =>
    Array.from({ length: size.filesEach }, (_, at) => join(cast.dir, `${mspId}-${at}.age`)),
  );
  for (const path of paths.flat()) await writeCiphertext(path, size.bytes);
  const startedMs = performance.now();
  const files = await Promise.all(
    cast.owners.map(async (owner, at) => {
      const own: SplitFile[] = [];
      for (const path of paths[at] ?? []) {
        own.push((await split(owner, path, size.chunksTarget)).file);
      }
      return own;
    }),
  );
  return { files, splitSeconds: (performance.now() - startedMs) / 1000 };
}

/** All distribute at once; then the auditor retrieves the first file of each of `retrieve` owners. */
export async function ourRound(cast: BenchCast, round: Round, retrieve: number): Promise<Trial> {
  const startedMs = performance.now();
  const results = await Promise.all(
    cast.owners.map((owner, at) =>
      owner.tell('distribute', { files: round.files[at] ?? [], graceMs: null }),
    ),
  );
  const distributeSeconds = (performance.now() - startedMs) / 1000;
  if (!results.every(({ complete }) => complete)) throw new Error('not every owner has signed');
  const stored = round.files.slice(0, retrieve).flatMap((files, at): Stored[] => {
    const file = files[0];
    return file === undefined ? [] : [{ file, receipts: results[at]?.receipts[0] ?? [] }];
  });
  const { seconds } = await cast.auditor.tell('fetch', { files: stored, dir: cast.dir });
  const all = round.files.flat();
  // A peer's sockets carry what it relays as an owner, too: its files' own sums count here.
  const sentBytes = results.reduce((sum, { sentForFiles }) => sum + sentForFiles, 0);
  for (const { fileId } of all) await cast.forget(fileId);
  return {
    distributeSeconds,
    splitSeconds: round.splitSeconds,
    regenerateSeconds: seconds,
    uplinkRatio: sentBytes / bytesOf(all),
  };
}

/** The same by libtorrent; what a session sends for others' files is in its sum as well. */
export async function swarmRound(
  cast: BenchCast,
  swarm: Swarm,
  round: Round,
  retrieve: number,
): Promise<Omit<Trial, 'uplinkRatio'>> {
  const work = join(cast.dir, 'libtorrent');
  const sources = cast.owners.flatMap(({ mspId }, at) => (round.files[at] ?? []).map(() => mspId));
  const each = round.files[0]?.length ?? 0;
  const { splitSeconds, distributeSeconds } = await swarm.round(
    round.files.flat(),
    sources,
    work,
    null,
  );
  const numbers = Array.from({ length: retrieve }, (_, at) => at * each);
  const regenerateSeconds = await swarm.fetch(numbers, join(cast.dir, 'reader'));
  await swarm.forget();
  await rm(work, { recursive: true, force: true });
  return { splitSeconds, distributeSeconds, regenerateSeconds };
}

function bytesOf(files: readonly SplitFile[]): number {
  return files.reduce((sum, { ciphertextBytes }) => sum + ciphertextBytes, 0);
}
