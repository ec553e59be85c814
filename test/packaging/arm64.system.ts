/** The arm64 package and image, under emulation: an agent that starts, answers and stops. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { closeSync, openSync, readSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { agentConfig, makeKeys } from './agent-config.ts';
import { emulateArm64 } from './emulation.ts';
import { Images } from './image.ts';
import { baseTree, buildPackage, cannotRun, nicely, ROOT } from './packages.ts';

const TOOLS = ['dpkg-deb', 'mmdebstrap', 'openssl', 'qemu-aarch64-static', 'arch-test', 'buildah'];
const skipped = cannotRun([...TOOLS, 'systemd-nspawn']);
/** e_machine of ELF. */
const AARCH64 = 183;

if (skipped !== null) process.stderr.write(`test:packaging SKIPS arm64: ${skipped}\n`);

describe.skipIf(skipped !== null)('for arm64', () => {
  let folder: string;
  let images: Images;
  let base: string;
  let child: ChildProcess | null = null;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'bt-arm64-'));
    await emulateArm64();
    base = await baseTree('arm64');
    images = new Images(folder);
    // dist/ as the Dockerfile wants it, in a context of its own.
    await buildPackage('arm64', join(folder, 'context/dist'));
    await makeKeys(await made('etc'));
    await chmod(join(folder, 'etc'), 0o755);
    await writeFile(join(folder, 'etc/blocktorrent.yaml'), agentConfig({ keys: '' }));
    await nicely('chmod', ['-R', 'a+rX', join(folder, 'etc')]);
    await made('data');
    await nicely('chown', ['990:990', join(folder, 'data')]);
  });
  afterEach(async () => {
    if (child === null || child.exitCode !== null) return;
    const gone = new Promise((resolve) => child?.once('exit', resolve));
    child.kill('SIGKILL');
    await gone;
  });
  afterAll(async () => {
    if (images !== undefined) await images.end();
    await rm(folder, { recursive: true, force: true });
  });

  it('the package holds programs of that architecture only', async () => {
    const tree = await made('unpacked');
    const [name = ''] = await readdir(join(folder, 'context/dist'));
    const path = join(folder, 'context/dist', name);
    expect(await nicely('dpkg-deb', ['-f', path, 'Architecture'])).toBe('arm64\n');
    await nicely('dpkg-deb', ['-x', path, tree]);
    const files = await readdir(tree, { recursive: true, withFileTypes: true });
    const programs = files
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name))
      .map((file) => ({ file, machine: elfMachine(file) }))
      .filter(({ machine }) => machine !== null);
    // Node, SQLite, koffi.
    expect(programs).toHaveLength(3);
    expect(programs.filter(({ machine }) => machine !== AARCH64)).toEqual([]);
  });

  it('the image runs an agent as nobody special, with a read-only root, and it is healthy', async () => {
    await images.importTar(base, 'docker.io/library/debian:bookworm-slim', 'arm64');
    await images.build(
      join(ROOT, 'Dockerfile.arm64'),
      join(folder, 'context'),
      'blocktorrent-agent',
    );
    const config = await imageConfig();
    expect(config.User).toBe('990:990');
    expect(config.Healthcheck?.Test?.slice(0, 2)).toEqual(['CMD', '/usr/bin/blocktorrent']);

    const { path } = await images.mounted('blocktorrent-agent');
    const command = [...(config.Entrypoint ?? []), ...(config.Cmd ?? [])];
    const env = (config.Env ?? []).map((one) => `--setenv=${one}`);
    const started = spawn(
      'systemd-nspawn',
      [
        ...['--quiet', '-D', path, '--read-only', '--private-network', '--register=no'],
        ...['--keep-unit', '--console=pipe', '--as-pid2', '--user=blocktorrent', ...env],
        ...[`--bind=${join(folder, 'data')}:/var/lib/blocktorrent`],
        ...[`--bind-ro=${join(folder, 'etc')}:/etc/blocktorrent`, ...command],
      ],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    child = started;
    const ended = new Promise<number | null>((resolve) => started.once('exit', resolve));
    await lineWith(started, '"message":"ready"');
    const health = (config.Healthcheck?.Test ?? []).slice(1);
    const inside = [
      '-t',
      String(grandchild(started.pid ?? 0)),
      '-m',
      '-p',
      '-n',
      '-S',
      '990',
      '-G',
      '990',
    ];
    const vars = (config.Env ?? []).filter((one) => !one.startsWith('PATH='));
    const status = await nicely('nsenter', [...inside, 'env', ...vars, ...health]);
    expect(status).toContain('Org1MSP/gateway-1 (store)');
    process.kill(grandchild(started.pid ?? 0), 'SIGTERM');
    expect(await ended).toBe(0);
  });

  async function made(name: string): Promise<string> {
    const path = join(folder, name);
    await mkdir(path, { recursive: true });
    return path;
  }

  async function imageConfig(): Promise<ImageConfig> {
    const text = await images.buildah('inspect', '--type', 'image', 'blocktorrent-agent');
    return (JSON.parse(text) as { Docker: { config: ImageConfig } }).Docker.config;
  }
});

/** What we look at of an image's configuration. */
interface ImageConfig {
  readonly User?: string;
  readonly Env?: readonly string[];
  readonly Entrypoint?: readonly string[];
  readonly Cmd?: readonly string[];
  readonly Healthcheck?: { readonly Test?: readonly string[] };
}

/** e_machine of an ELF file; null for anything else. */
function elfMachine(path: string): number | null {
  const head = Buffer.alloc(20);
  const fd = openSync(path, 'r');
  readSync(fd, head, 0, head.length, 0);
  closeSync(fd);
  return head.toString('latin1', 0, 4) === '\x7fELF' ? head.readUInt16LE(18) : null;
}

/** Process id of the agent: below nspawn is its stub init, and below that the command. */
function grandchild(pid: number): number {
  const childOf = (parent: number) =>
    Number(
      execFileSync('cat', [`/proc/${parent}/task/${parent}/children`], { encoding: 'utf8' })
        .trim()
        .split(' ')[0],
    );
  return childOf(childOf(pid));
}

/** Resolves when a line of either stream holds `text`; rejects with what was said when it ends. */
function lineWith(child: ChildProcess, text: string): Promise<void> {
  const said: string[] = [];
  return new Promise((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr]) {
      if (stream === null) continue;
      createInterface({ input: stream }).on('line', (line) => {
        said.push(line);
        if (line.includes(text)) resolve();
      });
    }
    child.once('exit', () => reject(new Error(`it ended: ${said.join('\n')}`)));
  });
}
