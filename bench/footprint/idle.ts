/**
 * A gateway with nothing to do: installed as the package does it, connected to a broker and to the
 * dev ledger, with the agents of two other organisations.
 *
 * Enters: nothing but this checkout. Leaves: what one start of it takes. Always holds: every process
 * has ended and every file is gone when `stop` resolves.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, symlinkSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';
import type { FileStatus } from '@blocktorrent/agent/controls.ts';
import { callControl } from '@blocktorrent/agent/runtime/control-client.ts';
import { type Cast, castAndStart } from '../../demo/cast.ts';
import { Processes } from '../../demo/processes.ts';
import { bundleAgent } from '../../packaging/bundle.ts';
import { cpuSecondsOf, memoryOf, type ProcessMemory } from './proc.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const INSTALLED = '/usr/lib/blocktorrent';
const ORGANISATIONS = 3;
const READY = '"message":"ready"';

/** One start. */
export interface Idle extends ProcessMemory {
  /** From starting it until it was ready to serve. */
  readonly readySeconds: number;
  /** Processor time until then. */
  readonly cpuSeconds: number;
}

interface Parts {
  readonly dir: string;
  /** Path of the installed `blocktorrent`. */
  readonly program: string;
  readonly cast: Cast;
  readonly processes: Processes;
  readonly abort: AbortController;
}

/** Everything that a gateway needs to be idle. */
export class IdleGateway {
  readonly #parts: Parts;

  private constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** Installs the agent, starts ledger, broker and two other agents. */
  static async prepare(): Promise<IdleGateway> {
    const dir = mkdtempSync(join(tmpdir(), 'bt-idle-'));
    const processes = new Processes(join(dir, 'logs'));
    const abort = new AbortController();
    const program = await install(join(dir, 'installed'));
    const cast = await castAndStart({
      organisations: ORGANISATIONS,
      workDir: join(dir, 'work'),
      processes,
      signal: abort.signal,
      sensorLog: join(dir, 'sensors.log'),
      batch: {},
    });
    // What is measured takes its place.
    await processes.end(`agent ${cast.source}`, 'SIGTERM');
    const gateway = new IdleGateway({ dir, program, cast, processes, abort });
    // Modules are compiled and kept by the first start; an installed agent has done that once.
    await gateway.measure(0);
    return gateway;
  }

  /** One start, looked at when it has been connected for `idleMs`. */
  measure(idleMs: number): Promise<Idle> {
    return this.#running(async (pid, readySeconds) => {
      const cpuSeconds = cpuSecondsOf(pid);
      await this.#connected();
      await setTimeout(idleMs);
      return { readySeconds, cpuSeconds, ...memoryOf(pid) };
    });
  }

  /** Gives it the file at `path`; resolves when that is available on the ledger, or was given up. */
  put(path: string): Promise<FileStatus> {
    return this.#running(async () => {
      await this.#connected();
      return (await callControl(this.#dataDir, 'put', { path })) as FileStatus;
    });
  }

  /** Starts it, calls `work` once it is ready, and stops it. */
  async #running<T>(work: (pid: number, readySeconds: number) => Promise<T>): Promise<T> {
    const { dir, program, cast } = this.#parts;
    const config = cast.configs.get(cast.source)?.path ?? '';
    const startedMs = performance.now();
    const child = spawn(program, ['run', '--config', config], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: {
        PATH: process.env.PATH,
        CACHE_DIRECTORY: join(dir, 'cache'),
        // As under systemd, which is told that it is ready; nobody listens here.
        NOTIFY_SOCKET: '@blocktorrent-idle',
      },
    });
    const ended = once(child, 'exit');
    try {
      await lineWith(READY, child.stderr);
      return await work(child.pid ?? 0, (performance.now() - startedMs) / 1000);
    } finally {
      child.kill('SIGTERM');
      await ended;
    }
  }

  async stop(): Promise<void> {
    const { dir, cast, processes, abort } = this.#parts;
    abort.abort();
    await processes.endAll();
    await cast.network.stop();
    await rm(dir, { recursive: true, force: true, maxRetries: 5 });
  }

  get #dataDir(): string {
    const { cast } = this.#parts;
    return cast.configs.get(cast.source)?.dataDir ?? '';
  }

  async #connected(): Promise<void> {
    for (;;) {
      const { brokers, peers } = await this.#parts.cast.status();
      if (peers >= ORGANISATIONS && brokers.every(({ connected }) => connected)) return;
      await setTimeout(100);
    }
  }
}

/** The agent in `folder` as the Debian package has it in /usr/lib; returns the path of its program. */
export async function install(folder: string): Promise<string> {
  await bundleAgent(ROOT, join(folder, 'agent/bin'));
  copyFileSync(join(ROOT, 'agent/package.json'), join(folder, 'agent/package.json'));
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  mkdirSync(join(folder, 'bin'));
  symlinkSync(process.execPath, join(folder, 'bin/node'));
  const script = readFileSync(join(ROOT, 'packaging/debian/blocktorrent.sh'), 'utf8');
  const program = join(folder, 'blocktorrent');
  await writeFile(program, script.replaceAll(INSTALLED, folder), { mode: 0o755 });
  return program;
}

/** Resolves at the first line that has `text`; what follows is thrown away. Rejects at the end. */
async function lineWith(text: string, stream: NodeJS.ReadableStream): Promise<void> {
  let last = '';
  const lines = createInterface({ input: stream });
  await new Promise<void>((done, failed) => {
    lines.on('line', (line) => {
      last = line;
      if (line.includes(text)) done();
    });
    lines.once('close', () => failed(new Error(`the agent ended before it was ready: ${last}`)));
  });
}
