/**
 * What the package puts below /usr/lib/blocktorrent: the agent as a bundle, the sources of the other
 * programs, all production dependencies and Node.js for one architecture, from the lock file. Works
 * for an architecture other than our own.
 *
 * Always holds: workspaces stand beside node_modules, which has links to them (Node runs no
 * TypeScript that is below node_modules); nothing is compiled, no package's script is run. The npm
 * packages of the bundle stay in node_modules, with their licences.
 */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  globSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { bundleAgent } from './bundle.ts';

const ROOT = resolve(import.meta.dirname, '..');
/** Workspaces that are installed, and what of each. */
const WORKSPACES: Readonly<Record<string, readonly string[]>> = {
  protocol: ['src'],
  agent: ['src', 'bin'],
  broker: ['src'],
  chaincode: ['src', 'collections.ts'],
  'sensors-sim': ['src'],
};

/** Debian's name of an architecture -> Node's, and the tool that strips its programs. */
export const ARCHITECTURES = {
  amd64: { cpu: 'x64', triplet: 'x86_64-linux-gnu' },
  arm64: { cpu: 'arm64', triplet: 'aarch64-linux-gnu' },
} as const;
export type Architecture = keyof typeof ARCHITECTURES;

/** Fills `folder` (made if missing). `warn` hears what was left undone. */
export async function installTree(
  folder: string,
  architecture: Architecture,
  warn: (text: string) => void,
): Promise<void> {
  const { cpu, triplet } = ARCHITECTURES[architecture];
  mkdirSync(folder, { recursive: true });
  for (const name of ['package.json', 'package-lock.json', '.npmrc']) copy(name, folder);
  const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
    workspaces: string[];
  };
  for (const name of manifest.workspaces) copy(join(name, 'package.json'), folder);
  npmCi(folder, cpu);
  for (const name of manifest.workspaces) {
    if (WORKSPACES[name] === undefined) rmSync(join(folder, name), { recursive: true });
    for (const part of WORKSPACES[name] ?? []) copy(join(name, part), folder);
  }
  for (const name of ['notify.ts', 'ready.ts']) copy(join('systemd', name), folder);
  for (const name of ['package-lock.json', '.npmrc']) rmSync(join(folder, name));
  await bundleInPlace(folder);
  mkdirSync(join(folder, 'bin'));
  symlinkSync(`../node_modules/node-linux-${cpu}/bin/node`, join(folder, 'bin/node'));
  prune(join(folder, 'node_modules'), cpu);
  tidyModes(folder);
  strip(folder, triplet, warn);
}

/** The agent's launcher and sources make room for their bundle. */
async function bundleInPlace(folder: string): Promise<void> {
  const bundle = join(folder, 'agent/bundle');
  await bundleAgent(folder, bundle);
  for (const name of ['bin', 'src']) rmSync(join(folder, 'agent', name), { recursive: true });
  renameSync(bundle, join(folder, 'agent/bin'));
}

function copy(path: string, folder: string): void {
  const target = join(folder, path);
  mkdirSync(dirname(target), { recursive: true });
  cpSync(join(ROOT, path), target, { recursive: true });
}

function npmCi(folder: string, cpu: string): void {
  const workspaces = Object.keys(WORKSPACES).map((name) => `--workspace=${name}`);
  const target = ['--os=linux', `--cpu=${cpu}`, '--libc=glibc'];
  const args = ['ci', '--omit=dev', '--include-workspace-root', ...workspaces, ...target];
  execFileSync('npm', args, { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] });
}

/** What no run of ours ever reads. koffi/src stays: it is koffi's runtime. */
function prune(modules: string, cpu: string): void {
  const useless = [
    ...[`node-linux-${cpu}/{include,share,lib}`, `node-linux-${cpu}/{CHANGELOG,README}.md`],
    ...['.package-lock.json', '.cache', '.bin'],
    ...['better-sqlite3/{deps,src,binding.gyp}', 'koffi/{doc,vendor,cnoke.cjs}'],
    ...['@koromix/*/musl_*', 'pkcs11js/{build,binding.gyp,src}'],
    ...['**/*.{map,md,markdown,html,flow,yml,pdb}', '**/*.d.{ts,cts,mts}', '**/.[a-z]*'],
    ...['**/{test,tests,spec,example,examples,benchmark,benchmarks,docs}'],
  ];
  const kept = (path: string) => path.includes('LICENSE') || path.startsWith('@blocktorrent');
  for (const path of globSync(useless, { cwd: modules })) {
    if (!kept(path)) rmSync(join(modules, path), { recursive: true, force: true });
  }
  for (const path of globSync('better-sqlite3/prebuilds/*', { cwd: modules })) {
    if (!path.endsWith(`/linux-${cpu}.node`)) rmSync(join(modules, path));
  }
  rmSync(join(modules, '@blocktorrent/devledger'), { force: true });
}

/** Folders 0755, files 0644, programs 0755; npm's packages bring all kinds. */
function tidyModes(folder: string): void {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    const stat = lstatSync(path);
    if (stat.isSymbolicLink()) {
      if (!existsSync(path)) rmSync(path);
    } else if (stat.isDirectory()) {
      chmodSync(path, 0o755);
      tidyModes(path);
    } else {
      const runs = path.endsWith('/bin/node') || path.endsWith('agent/bin/blocktorrent.js');
      chmodSync(path, runs ? 0o755 : 0o644);
    }
  }
}

function strip(folder: string, triplet: string, warn: (text: string) => void): void {
  const tools = [
    `${triplet}-strip`,
    ...(process.arch === 'x64' && triplet.startsWith('x86') ? ['strip'] : []),
  ];
  const tool = tools.find((name) => {
    return (process.env.PATH ?? '').split(':').some((path) => existsSync(join(path, name)));
  });
  const binaries = globSync(['**/*.node', 'node_modules/node-linux-*/bin/node'], { cwd: folder });
  if (tool === undefined) {
    warn(`${tools.join(' and ')} are not installed: the programs keep their debugging symbols`);
    return;
  }
  for (const path of binaries) {
    const before = statSync(join(folder, path)).mode;
    execFileSync(tool, ['--strip-unneeded', join(folder, path)]);
    chmodSync(join(folder, path), before);
  }
}
