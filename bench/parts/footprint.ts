/**
 * What the agent costs while it does nothing: an idle gateway (`footprint/idle.ts`), and what its
 * modules take from the sources.
 *
 * Each sample is a fresh process: of the installed agent, a minute after it was connected; or a Node
 * that imports the modules of one case and says so, with compiled modules kept from the start before
 * (as the launcher does) except in `agent, first start`. Baseline: a Node that imports nothing.
 */
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Contender, interleave } from '../figures.ts';
import { IdleGateway } from '../footprint/idle.ts';
import type { BenchOptions, BenchPart } from '../part.ts';

const AGENT = join(import.meta.dirname, '..', '..', 'agent', 'src');

/** What is imported (absolute paths), and whether compiled modules are kept. */
export interface Case {
  readonly modules: readonly string[];
  readonly kept: boolean;
}
const CASES: Readonly<Record<string, Case>> = {
  agent: agentCase(['main.ts'], true),
  'agent, first start': agentCase(['main.ts'], false),
  cli: agentCase(['cli/table.ts', 'cli/program.ts'], true),
  config: agentCase(['config/load.ts'], true),
};

function agentCase(paths: readonly string[], kept: boolean): Case {
  return { modules: paths.map((path) => join(AGENT, path)), kept };
}

/** One process's start. */
export interface Footprint {
  /** From spawning it until its modules were loaded. */
  readonly readySeconds: number;
  readonly rssMiB: number;
}

const LOADED = /^loaded (\d+)$/m;
const START_TIMEOUT_MS = 30_000;

/**
 * Starts a Node process that imports `modules` (absolute paths), with compiled modules in `cacheDir`
 * (null: none are kept). Rejects where it fails.
 */
export function measureStart(
  modules: readonly string[],
  cacheDir: string | null,
): Promise<Footprint> {
  const imports = modules.map(
    (path) => `await import(${JSON.stringify(pathToFileURL(path).href)});`,
  );
  const script = [
    ...imports,
    "process.stdout.write('loaded ' + process.memoryUsage.rss() + '\\n');",
    'process.exit(0);',
  ].join('\n');
  const startedMs = performance.now();
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: START_TIMEOUT_MS,
    env: cacheDir === null ? process.env : { ...process.env, NODE_COMPILE_CACHE: cacheDir },
  });
  let out = '';
  let err = '';
  let readySeconds = 0;
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
    if (readySeconds === 0 && LOADED.test(out)) {
      readySeconds = (performance.now() - startedMs) / 1000;
    }
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text;
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', () => {
      const rss = LOADED.exec(out)?.[1];
      if (rss === undefined) reject(new Error(`${modules.join(', ')} did not load: ${err}`));
      else resolve({ readySeconds, rssMiB: Number(rss) / 1024 / 1024 });
    });
  });
}

/** Measures the given cases against a bare Node. */
export async function measureCases(
  cases: Readonly<Record<string, Case>>,
  { quick, emit }: Pick<BenchOptions, 'quick' | 'emit'>,
): Promise<void> {
  const cacheDir = await mkdtemp(join(tmpdir(), 'blocktorrent-bench-'));
  try {
    const contenders: Record<string, Contender<Footprint>> = {
      'bare node': () => measureStart([], null),
    };
    for (const [name, { modules, kept }] of Object.entries(cases)) {
      contenders[name] = () => measureStart(modules, kept ? cacheDir : null);
    }
    // The first turn fills the cache.
    const samples = await interleave(contenders, quick ? 5 : 20, 1);
    const units = { readySeconds: 's', rssMiB: 'MiB' } as const;
    for (const metric of ['readySeconds', 'rssMiB'] as const) {
      const of = (name: string) => (samples[name] ?? []).map((sample) => sample[metric]);
      for (const name of Object.keys(cases)) {
        const baseline = { name: 'bare node', samples: of('bare node') };
        emit({ metric, case: name, unit: units[metric], samples: of(name), baseline });
      }
    }
  } finally {
    await rm(cacheDir, { recursive: true });
  }
}

/** Starts of an idle gateway; `quick`: looked at sooner. */
async function measureIdle({ quick, emit }: BenchOptions): Promise<void> {
  const gateway = await IdleGateway.prepare();
  try {
    const { idle } = await interleave(
      { idle: () => gateway.measure(quick ? 12_000 : 60_000) },
      quick ? 2 : 5,
    );
    for (const metric of ['readySeconds', 'cpuSeconds'] as const) {
      emit({ metric, case: 'idle', unit: 's', samples: idle.map((one) => one[metric]) });
    }
    for (const metric of ['rssMiB', 'pssMiB', 'privateMiB'] as const) {
      emit({ metric, case: 'idle', unit: 'MiB', samples: idle.map((one) => one[metric]) });
    }
  } finally {
    await gateway.stop();
  }
}

export const part: BenchPart = {
  describe: 'time and memory of an idle gateway, and of loading its modules',
  async run(options) {
    await measureIdle(options);
    await measureCases(CASES, options);
  },
};
