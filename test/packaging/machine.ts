/**
 * A machine of its own for a test: a clean Debian tree, booted with systemd by systemd-nspawn, with a
 * network that has nothing but loopback.
 *
 * Always holds: the machine is ended by its own process ids, and its tree is removed.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);
const BOOT_MS_MAX = 60_000;
const STOP_MS_MAX = 20_000;

/** What a command in the machine gave back. */
export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export class Machine {
  readonly #tree: string;
  readonly #child: ChildProcess;
  readonly #leader: number;

  private constructor(tree: string, child: ChildProcess, leader: number) {
    this.#tree = tree;
    this.#child = child;
    this.#leader = leader;
  }

  /**
   * Unpacks the base tree and boots it; resolves when systemd says that it is up. `shown` are folders
   * of this machine that are seen there, read-only: path here, path there.
   */
  static async boot(
    baseTar: string,
    name = 'blocktorrent-test',
    shown: readonly (readonly [here: string, there: string])[] = [],
  ): Promise<Machine> {
    const tree = await mkdtemp(join(tmpdir(), 'bt-machine-'));
    await run('tar', ['-xf', baseTar, '-C', tree, '--numeric-owner']);
    const args = ['--quiet', '--boot', '--register=no', '--keep-unit', '--console=pipe'];
    const binds = shown.map(([here, there]) => `--bind-ro=${here}:${there}`);
    const child = spawn(
      'systemd-nspawn',
      [...args, ...binds, '--private-network', `--machine=${name}`, '-D', tree],
      { stdio: ['ignore', 'ignore', 'ignore'] },
    );
    const deadlineMs = Date.now() + BOOT_MS_MAX;
    for (;;) {
      const leader = await leaderOf(child.pid ?? 0);
      if (leader !== null) {
        const machine = new Machine(tree, child, leader);
        const { stdout } = await machine.run('systemctl', 'is-system-running');
        if (/^(running|degraded)/.test(stdout)) return machine;
      }
      if (child.exitCode !== null || Date.now() > deadlineMs) {
        child.kill('SIGKILL');
        await rm(tree, { recursive: true, force: true });
        throw new Error(`the machine did not boot (exit code ${child.exitCode})`);
      }
      await setTimeout(100);
    }
  }

  /** Runs a command in the machine; does not throw when it fails. */
  async run(...command: readonly string[]): Promise<Outcome> {
    const inside = ['-t', String(this.#leader), '-m', '-u', '-i', '-n', '-p', '-r', '-w'];
    const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LANG: 'C.UTF-8' };
    try {
      const options = { env, maxBuffer: 1 << 26 };
      const { stdout, stderr } = await run('nsenter', [...inside, '--', ...command], options);
      return { code: 0, stdout: stdout.trimEnd(), stderr };
    } catch (error) {
      const { code, stdout = '', stderr = '' } = error as Partial<Outcome>;
      return { code: typeof code === 'number' ? code : -1, stdout: stdout.trimEnd(), stderr };
    }
  }

  /** Runs a command that must succeed; returns its standard output. */
  async must(...command: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(...command);
    if (code === 0) return stdout;
    throw new Error(`${command.join(' ')} failed (${code}): ${stderr}${stdout}`);
  }

  /** Copies a file into the machine. */
  async put(from: string, to: string): Promise<void> {
    await mkdir(dirname(join(this.#tree, to)), { recursive: true });
    await cp(from, join(this.#tree, to));
  }

  /** A property of a unit, as `systemctl show` has it. */
  async property(unit: string, name: string): Promise<string> {
    return this.must('systemctl', 'show', '--value', `--property=${name}`, unit);
  }

  /** Powers off, and removes the tree. */
  async stop(): Promise<void> {
    const gone = new Promise<void>((resolve) => this.#child.once('exit', () => resolve()));
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      this.#child.kill('SIGTERM');
      const late = globalThis.setTimeout(() => process.kill(this.#leader, 'SIGKILL'), STOP_MS_MAX);
      await gone;
      clearTimeout(late);
    }
    await rm(this.#tree, { recursive: true, force: true });
  }
}

/** The process that is number 1 inside: nspawn's only child. */
async function leaderOf(pid: number): Promise<number | null> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
  const child = Number(text.trim().split(' ')[0]);
  return child > 0 ? child : null;
}
