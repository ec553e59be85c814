/**
 * An agent as `blocktorrent run` starts it, of one organisation, for which there is no ledger: it takes,
 * closes and seals; what comes after that waits.
 *
 * Enters: a folder for its house, a broker. Leaves: its status, and what its log says. Always holds:
 * its wall clock is off by what `setClock` says; it ends with `stop` or `kill`.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { runProgram } from '@blocktorrent/agent/cli/program.ts';
import { COMMANDS } from '@blocktorrent/agent/cli/table.ts';
import type { AgentStatus } from '@blocktorrent/agent/controls.ts';
import { callControl } from '@blocktorrent/agent/runtime/control-client.ts';

const LAUNCHER = resolve(import.meta.dirname, '../../agent/bin/blocktorrent.js');
const CLOCK = pathToFileURL(join(import.meta.dirname, 'wall-clock.mjs')).href;
const PATIENCE_MS = 40_000;

export class RealAgent {
  readonly dataDir: string;
  readonly #config: string;
  readonly #clockFile: string;
  #child: ChildProcess | null = null;
  #log = '';

  /** Writes its house into `folder`; its data lie in `dataDir`. */
  static async create(folder: string, dataDir: string, broker: string): Promise<RealAgent> {
    const house = join(folder, 'house');
    const sink = { write: () => true };
    const code = await runProgram(
      ['init', house, '--trial', '--organisation', 'Org1MSP', '--name', 'gateway-1'],
      {
        ...{ commands: COMMANDS, version: '1', env: {}, out: sink, err: sink },
        signal: new AbortController().signal,
      },
    );
    if (code !== 0) throw new Error(`init ended with ${code}`);
    const config = join(house, 'blocktorrent.yaml');
    const text = readFileSync(config, 'utf8')
      .replace(/^dataDir: .*$/m, `dataDir: ${JSON.stringify(dataDir)}`)
      .replace(/^( +- url: ).*$/m, `$1${JSON.stringify(broker)}`)
      .replace(
        /^overlay:$/m,
        "overlay:\n  listen: '127.0.0.1:0'\n  dht: { listen: '127.0.0.1:0' }",
      );
    writeFileSync(config, `${text}\nbatch: { maxAgeMs: 400, anchorEveryMs: 0 }\n`);
    return new RealAgent(folder, config, dataDir);
  }

  private constructor(folder: string, config: string, dataDir: string) {
    this.dataDir = dataDir;
    this.#config = config;
    this.#clockFile = join(folder, 'clock');
    this.setClock(0);
  }

  /** From now on its wall clock is so far from the machine's, ms. */
  setClock(offsetMs: number): void {
    writeFileSync(this.#clockFile, String(offsetMs));
  }

  start(): void {
    const child = spawn(process.execPath, [LAUNCHER, 'run', '--config', this.#config], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: {
        PATH: process.env.PATH,
        NODE_OPTIONS: `--import ${CLOCK}`,
        BLOCKTORRENT_TEST_CLOCK: this.#clockFile,
      },
    });
    child.stderr.on('data', (data: Buffer) => {
      this.#log += data.toString();
    });
    this.#child = child;
  }

  /** Asks for its status until `what` holds. @throws Error with the last one when it does not */
  async until(what: (status: AgentStatus) => boolean): Promise<AgentStatus> {
    let last: AgentStatus | null = null;
    await this.#until(
      async () => {
        last = (await callControl(this.dataDir, 'status', null).catch(() => null)) as AgentStatus;
        return last !== null && what(last);
      },
      () => JSON.stringify(last),
    );
    if (last === null) throw new Error('there is no status');
    return last;
  }

  /** Stops it in order; resolves with its exit code. */
  async stop(): Promise<number | null> {
    const child = this.#child;
    if (child === null || child.exitCode !== null) return child?.exitCode ?? null;
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    const [code] = await ended;
    return code as number | null;
  }

  /** The last resort of a test that has failed. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }

  async #until(what: () => Promise<boolean>, note: () => string): Promise<void> {
    for (const end = performance.now() + PATIENCE_MS; !(await what()); ) {
      if (this.#child?.exitCode !== null) throw new Error(`the agent has ended: ${this.#log}`);
      if (performance.now() > end) throw new Error(`never true: ${note()}\n${this.#log}`);
      await setTimeout(50);
    }
  }
}
