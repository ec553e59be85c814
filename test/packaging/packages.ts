/**
 * Debian packages for the tests: built once from this checkout, kept in node_modules/.cache.
 *
 * A missing tool fails the tests where they run as root on Debian or `CI` is set; elsewhere they are
 * skipped, with the reason.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';

export const ROOT = resolve(import.meta.dirname, '../..');
/** Base trees; shared by every checkout of this user. */
export const CACHE = join(homedir(), '.cache/blocktorrent-ci');
const run = promisify(execFile);
const SOURCE_DATE_EPOCH_SECONDS = '1764000000';

/** Why the tests cannot run here; null where they can. @throws Error where they must be able to */
export function cannotRun(tools: readonly string[]): string | null {
  const path = `${process.env.PATH ?? ''}:/usr/sbin:/sbin`.split(':');
  const missing = tools.filter((tool) => !path.some((folder) => existsSync(join(folder, tool))));
  const isRoot = process.getuid?.() === 0;
  const isDebian = existsSync('/etc/debian_version');
  if (missing.length > 0) {
    const reason = `not installed: ${missing.join(', ')}`;
    if ((isRoot && isDebian) || process.env.CI) throw new Error(reason);
    return reason;
  }
  return isRoot ? null : 'needs root';
}

/** Runs a program with low priority; returns its standard output. @throws with its standard error */
export async function nicely(
  program: string,
  args: readonly string[],
  cwd = ROOT,
): Promise<string> {
  // One date for every package of a run, also where a commit comes in between.
  const env = { ...process.env, SOURCE_DATE_EPOCH: SOURCE_DATE_EPOCH_SECONDS };
  const options = { cwd, env, maxBuffer: 1 << 26 };
  const { stdout } = await run('nice', ['-n', '15', program, ...args], options);
  return stdout;
}

/** Builds the package of an architecture into `folder`; returns its path. */
export async function buildPackage(architecture: string, folder: string): Promise<string> {
  const args = ['packaging/build.ts', '--arch', architecture, '--output', folder];
  return (await nicely(process.execPath, args)).trimEnd().split('\n').at(-1) ?? '';
}

/** The same package with another version, quickly: stands for an earlier release. */
export async function asVersion(path: string, version: string, folder: string): Promise<string> {
  const work = await mkdtemp(join(tmpdir(), 'bt-repack-'));
  try {
    await nicely('dpkg-deb', ['-R', path, work]);
    const control = join(work, 'DEBIAN/control');
    const text = await readFile(control, 'utf8');
    await writeFile(control, text.replace(/^Version: .*$/m, `Version: ${version}`));
    const repacked = join(folder, `blocktorrent_${version}.deb`);
    await nicely('dpkg-deb', ['--root-owner-group', '-Zgzip', '-z1', '--build', work, repacked]);
    return repacked;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

const PACKAGES = 'systemd,systemd-sysv,dbus,procps,libstdc++6';

/** A clean Debian 12 as a tar file; made by mmdebstrap the first time. */
export async function baseTree(architecture: string): Promise<string> {
  const path = join(CACHE, `bookworm-${architecture}-${PACKAGES.replaceAll(',', '+')}.tar`);
  if (existsSync(path)) return path;
  await mkdir(CACHE, { recursive: true });
  const args = [`--arch=${architecture}`, '--variant=minbase', `--include=${PACKAGES}`];
  const made = `${path}.${process.pid}.tar`;
  await nicely('mmdebstrap', ['--quiet', ...args, 'bookworm', made]);
  await nicely('mv', [made, path]);
  return path;
}
