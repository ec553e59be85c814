/**
 * The overlay between real processes on loopback: the paper's grid of file sizes and chunk counts
 * (P §4), a source whose upload is limited, and the paper's round of six sources.
 *
 * Each case has six owners and a source in processes of their own (in `six-sources` the owners are
 * the sources): TLS, three digests, a store that syncs, signed receipts. Baseline: libtorrent doing
 * the same 3-owner work, interleaved. `others.tlsCopy`: the ciphertext once over bare TLS.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { interleave } from '../figures.ts';
import { Swarm } from '../overlay/libtorrent.ts';
import { BenchCast, type PeerProcess } from '../overlay/peers.ts';
import { TlsCopy } from '../overlay/tls-copy.ts';
import {
  ourRound,
  ourTrial,
  prepareRound,
  split,
  swarmRound,
  swarmTrial,
  type Trial,
  uplinkWithLoss,
  writeCiphertext,
} from '../overlay/trials.ts';
import type { SplitFile } from '../overlay/work.ts';
import type { BenchOptions, BenchPart } from '../part.ts';

const MIB = 1024 * 1024;
const SIZES_MB = [5, 10, 15, 25, 50];
/** The paper's (P §4). */
const CHUNKS = [10, 20, 40, 50, 60, 80, 100, 120, 140, 160, 180, 200];
const LIMIT_BYTES_PER_SECOND = 5_000_000;
const ROUND = { filesEach: 10, bytes: 5 * MIB, chunksTarget: 50 };
const RETRIEVED = 5;
const WARM_UPS = 3;
const WARM_UP_BYTES = 25 * MIB;
const UNITS = {
  splitSeconds: 's',
  distributeSeconds: 's',
  regenerateSeconds: 's',
  uplinkRatio: 'x',
} as const;
const METRICS = Object.keys(UNITS) as (keyof Trial)[];

/** One point of the grid. */
export interface Point {
  readonly mib: number;
  readonly chunks: number;
}

/** Processes that stay for all cases with a bare source. */
interface Stage {
  readonly cast: BenchCast;
  readonly source: PeerProcess;
  readonly swarm: Swarm;
  readonly tlsCopy: TlsCopy;
}

type Output = Pick<BenchOptions, 'emit' | 'note'>;

/** Measures the points against libtorrent, `runs` times each. */
export async function measureGrid(
  points: readonly (Point & { readonly runs: number })[],
  output: Output,
  warmUps = WARM_UPS,
): Promise<void> {
  await withStage(null, async (stage) => {
    for (let turn = 0; turn < warmUps; turn++) await warmUp(stage);
    for (const point of points) await measurePoint(stage, point, output);
  });
}

async function measurePoint(
  stage: Stage,
  { mib, chunks, runs }: Point & { readonly runs: number },
  { emit, note }: Output,
): Promise<void> {
  const { cast, source, swarm, tlsCopy } = stage;
  const name = `${mib}MB/${chunks}`;
  const cut = cutPerRun(cast.dir, source, mib * MIB, chunks, note, name);
  const samples = await interleave<'ours' | 'libtorrent' | 'tlsCopy', Trial | number>(
    {
      ours: async (run) => ourTrial(cast, source, await cut(run), { fetch: true }),
      libtorrent: async (run) => {
        const { file } = await cut(run);
        return swarmTrial(swarm, cast.dir, file, { fetch: true, uploadBytesPerSecond: null });
      },
      tlsCopy: () => tlsCopy.seconds(mib * MIB),
    },
    runs,
  );
  const ours = samples.ours as Trial[];
  const theirs = samples.libtorrent as Trial[];
  for (const metric of METRICS) {
    const copied = metric === 'distributeSeconds' || metric === 'regenerateSeconds';
    emit({
      metric,
      case: name,
      unit: UNITS[metric],
      samples: ours.map((trial) => trial[metric]),
      baseline: { name: 'libtorrent', samples: theirs.map((trial) => trial[metric]) },
      ...(copied ? { others: { tlsCopy: samples.tlsCopy as number[] } } : {}),
    });
  }
}

/** A fresh file for each run, made when the first contender asks; the one before is deleted. */
function cutPerRun(
  dir: string,
  source: PeerProcess,
  bytes: number,
  chunks: number,
  note: (text: string) => void,
  name: string,
): (run: number) => Promise<{ file: SplitFile; seconds: number }> {
  const path = join(dir, 'ciphertext.age');
  let last: { run: number; made: Promise<{ file: SplitFile; seconds: number }> } | null = null;
  const make = async (run: number) => {
    await writeCiphertext(path, bytes);
    const made = await split(source, path, chunks);
    if (run === 0) {
      note(`${name}: ${made.file.owners.length} chunks of ${made.file.chunkBytes / 1024} KiB`);
    }
    return made;
  };
  return (run) => {
    if (last?.run !== run) last = { run, made: make(run) };
    return last.made;
  };
}

/** 50 MB in 200 chunks, the source's upload limited on both sides. */
export async function measureLimited(
  { mib, chunks }: Point,
  uploadBytesPerSecond: number,
  runs: number,
  { emit, note }: Output,
): Promise<void> {
  const name = `${mib}MB/${chunks}@${uploadBytesPerSecond / 1e6}MBps`;
  await withStage(uploadBytesPerSecond, async ({ cast, source, swarm }) => {
    const cut = cutPerRun(cast.dir, source, mib * MIB, chunks, note, name);
    const samples = await interleave<'ours' | 'libtorrent', Trial>(
      {
        ours: async (run) => ourTrial(cast, source, await cut(run), { fetch: false }),
        libtorrent: async (run) => {
          const { file } = await cut(run);
          return swarmTrial(swarm, cast.dir, file, { fetch: false, uploadBytesPerSecond });
        },
      },
      runs,
    );
    for (const metric of ['distributeSeconds', 'uplinkRatio'] as const) {
      emit({
        metric,
        case: name,
        unit: UNITS[metric],
        samples: samples.ours.map((trial) => trial[metric]),
        baseline: {
          name: 'libtorrent',
          samples: samples.libtorrent.map((trial) => trial[metric]),
        },
      });
    }
  });
}

/** Six peers distribute ten files each at once; then one retrieves five. */
export async function measureSixSources(
  size: typeof ROUND,
  runs: number,
  { emit }: Output,
): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'blocktorrent-bench-'));
  const cast = await BenchCast.start({ dir, organisations: 6, bareSource: false });
  const swarm = await Swarm.start();
  try {
    const rounds = new Map<number, ReturnType<typeof prepareRound>>();
    const roundOf = (run: number) => {
      const round = rounds.get(run) ?? prepareRound(cast, size);
      rounds.set(run, round);
      return round;
    };
    const samples = await interleave<'ours' | 'libtorrent', Partial<Trial>>(
      {
        ours: async (run) => ourRound(cast, await roundOf(run), RETRIEVED),
        libtorrent: async (run) => swarmRound(cast, swarm, await roundOf(run), RETRIEVED),
      },
      runs,
    );
    for (const metric of METRICS) {
      const theirs = samples.libtorrent.flatMap((trial) => trial[metric] ?? []);
      emit({
        metric,
        case: 'six-sources',
        unit: UNITS[metric],
        samples: samples.ours.flatMap((trial) => trial[metric] ?? []),
        ...(theirs.length === 0 ? {} : { baseline: { name: 'libtorrent', samples: theirs } }),
      });
    }
  } finally {
    await swarm.stop();
    await cast.stop();
    await rm(dir, { recursive: true, force: true });
  }
}

/** Agents run for months: what counts is what they do once their code is compiled. */
async function warmUp({ cast, source, swarm }: Stage): Promise<void> {
  const path = join(cast.dir, 'warm-up.age');
  await writeCiphertext(path, WARM_UP_BYTES);
  const cut = await split(source, path, 200);
  await ourTrial(cast, source, cut, { fetch: true });
  await swarmTrial(swarm, cast.dir, cut.file, { fetch: true, uploadBytesPerSecond: null });
  await rm(path);
}

/** One of six owners dies half-way: only what the source sends counts. */
export async function measureLoss(
  { mib, chunks }: Point,
  runs: number,
  output: Output,
): Promise<void> {
  const samples: number[] = [];
  for (let run = 0; run < runs; run++) {
    const dir = await mkdtemp(join(tmpdir(), 'blocktorrent-bench-'));
    const cast = await BenchCast.start({ dir, organisations: 7, bareSource: true });
    try {
      if (cast.source === null) throw new Error('this cast has no bare source');
      const path = join(dir, 'ciphertext.age');
      await writeCiphertext(path, mib * MIB);
      const { file } = await split(cast.source, path, chunks);
      samples.push(await uplinkWithLoss(cast, cast.source, file));
    } finally {
      await cast.stop();
      await rm(dir, { recursive: true, force: true });
    }
  }
  const name = `${mib}MB/${chunks}, an owner dies`;
  output.emit({ metric: 'uplinkRatio', case: name, unit: UNITS.uplinkRatio, samples });
}

async function withStage(
  uploadBytesPerSecond: number | null,
  work: (stage: Stage) => Promise<void>,
): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'blocktorrent-bench-'));
  const cast = await BenchCast.start({
    dir,
    organisations: 7,
    bareSource: true,
    ...(uploadBytesPerSecond === null ? {} : { uploadBytesPerSecond }),
  });
  const swarm = await Swarm.start();
  const tlsCopy = await TlsCopy.start(join(cast.pkiDir, 'Org1MSP'));
  try {
    if (cast.source === null) throw new Error('this cast has no bare source');
    await work({ cast, source: cast.source, swarm, tlsCopy });
  } finally {
    await tlsCopy.stop();
    await swarm.stop();
    await cast.stop();
    await rm(dir, { recursive: true, force: true });
  }
}

/** The whole grid, the goals' point first and most often. */
function gridPoints(quick: boolean): (Point & { runs: number })[] {
  const points = SIZES_MB.flatMap((mib) => CHUNKS.map((chunks) => ({ mib, chunks })));
  return points.map((point) => {
    const named = point.mib === 50 && point.chunks === 200;
    return { ...point, runs: quick ? (named ? 7 : 1) : 10 };
  });
}

export const part: BenchPart = {
  describe: 'splitting, distributing and regenerating files over six owners, against libtorrent',
  async run({ quick, emit, note }) {
    await measureGrid(gridPoints(quick), { emit, note });
    const limited = { mib: 50, chunks: 200 };
    await measureLimited(limited, LIMIT_BYTES_PER_SECOND, quick ? 2 : 10, { emit, note });
    await measureLoss(limited, quick ? 2 : 10, { emit, note });
    await measureSixSources(ROUND, quick ? 1 : 10, { emit, note });
  },
};
