/**
 * `npm run package -- --arch amd64|arm64 [--version V] [--output FOLDER]`: a Debian package.
 *
 * Enters: this checkout and the npm packages of its lock file. Leaves:
 * FOLDER/blocktorrent_V_ARCH.deb, whose path is the last line printed. Always holds: the same
 * sources and SOURCE_DATE_EPOCH (otherwise the time of the last commit) give the same bytes.
 */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  type Dirent,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { gzipSync } from 'node:zlib';
import { completionScript, type Shell } from '@blocktorrent/agent/cli/completion.ts';
import { sampleConfig } from '@blocktorrent/agent/config/sample.ts';
import { changelog, control, copyright, md5sums, type PackageFacts } from './control.ts';
import { manPage, programOf } from './man.ts';
import { ARCHITECTURES, type Architecture, installTree } from './tree.ts';

const ROOT = resolve(import.meta.dirname, '..');
const DEBIAN = join(import.meta.dirname, 'debian');
const USAGE = 'usage: npm run package -- --arch amd64|arm64 [--version V] [--output FOLDER]';

/** Where each shell looks for completions that a package brings. */
const COMPLETIONS: Readonly<Record<Shell, string>> = {
  bash: 'bash-completion/completions/blocktorrent',
  zsh: 'zsh/vendor-completions/_blocktorrent',
  fish: 'fish/vendor_completions.d/blocktorrent.fish',
};

/** What the command line said, checked. */
interface Options {
  readonly architecture: Architecture;
  readonly version: string;
  readonly output: string;
}

/** Builds the package in a temporary folder and returns its path. */
async function build({ architecture, version, output }: Options): Promise<string> {
  const epochSeconds = sourceDateEpoch();
  const warn = (text: string) => process.stderr.write(`package: ${text}\n`);
  const work = mkdtempSync(join(tmpdir(), 'blocktorrent-deb-'));
  try {
    const root = join(work, 'root');
    const facts: PackageFacts = { architecture, version, epochSeconds };
    await installTree(join(root, 'usr/lib/blocktorrent'), architecture, warn);
    writeSystemFiles(root, facts);
    writeControlFiles(root, facts);
    settle(root, epochSeconds);
    mkdirSync(output, { recursive: true });
    const path = join(output, `blocktorrent_${version}_${architecture}.deb`);
    execFileSync('dpkg-deb', ['--root-owner-group', '-Zxz', '--build', root, path], {
      stdio: ['ignore', 'ignore', 'inherit'],
      env: { ...process.env, SOURCE_DATE_EPOCH: String(epochSeconds) },
    });
    return path;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Everything outside of /usr/lib/blocktorrent. */
function writeSystemFiles(root: string, facts: PackageFacts): void {
  const put = (path: string, bytes: string | Uint8Array, mode = 0o644) => {
    const target = join(root, path);
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, bytes);
    chmodSync(target, mode);
  };
  const file = (path: string) => readFileSync(path);
  put('usr/bin/blocktorrent', file(join(DEBIAN, 'blocktorrent.sh')), 0o755);
  for (const name of ['agent', 'broker', 'chaincode']) {
    const unit = file(join(ROOT, `systemd/blocktorrent-${name}.service`));
    put(`lib/systemd/system/blocktorrent-${name}.service`, unit);
    if (name === 'chaincode') put(`lib/systemd/system/blocktorrent-${name}@.service`, unit);
  }
  put('usr/lib/sysusers.d/blocktorrent.conf', file(join(DEBIAN, 'sysusers.conf')));
  put('etc/default/blocktorrent-broker', file(join(DEBIAN, 'default-broker')));
  put('etc/default/blocktorrent-chaincode', file(join(DEBIAN, 'default-chaincode')));
  for (const name of ['blocktorrent.d', 'keys', 'chaincode']) {
    mkdirSync(join(root, 'etc/blocktorrent', name), { recursive: true });
  }
  const doc = 'usr/share/doc/blocktorrent';
  put(`${doc}/copyright`, copyright(join(root, 'usr/lib/blocktorrent/node_modules')));
  put(`${doc}/changelog.gz`, gzipped(changelog(facts)));
  put(`${doc}/examples/blocktorrent.yaml`, packagedSample());
  put('usr/share/lintian/overrides/blocktorrent', file(join(DEBIAN, 'lintian-overrides')));
  const date = new Date(facts.epochSeconds * 1_000).toISOString().slice(0, 10);
  for (const [shell, path] of Object.entries(COMPLETIONS)) {
    put(`usr/share/${path}`, completionScript(programOf(facts.version), shell as Shell));
  }
  put('usr/share/man/man1/blocktorrent.1.gz', gzipped(manPage({ version: facts.version, date })));
}

/** The sample with the places of this package: state of the service, keys as its credentials. */
function packagedSample(): string {
  const keys = '$' + '{CREDENTIALS_DIRECTORY}/keys_';
  const places: readonly (readonly [written: string, packaged: string])[] = [
    ['dataDir: data', 'dataDir: /var/lib/blocktorrent'],
    ['keyFile: ledger/key.pem', `keyFile: ${keys}ledger.pem`],
    ['keyFile: overlay/key.pem', `keyFile: ${keys}overlay.pem`],
    ['signingKeyFile: overlay/signing.key', `signingKeyFile: ${keys}signing.key`],
  ];
  return places.reduce((text, [written, packaged]) => {
    if (!text.includes(written)) throw new Error(`the sample has no line '${written}' any more`);
    return text.replace(written, packaged);
  }, sampleConfig());
}

function writeControlFiles(root: string, facts: PackageFacts): void {
  const folder = join(root, 'DEBIAN');
  const conffiles = filesIn(join(root, 'etc')).map((path) => `/etc/${path}\n`);
  const sums = md5sums(
    root,
    filesIn(root).filter((path) => !path.startsWith('etc/')),
  );
  const bytes = filesIn(root).reduce((sum, path) => sum + statSync(join(root, path)).size, 0);
  mkdirSync(folder);
  writeFileSync(join(folder, 'control'), control(facts, bytes));
  writeFileSync(join(folder, 'conffiles'), conffiles.join(''));
  writeFileSync(join(folder, 'md5sums'), sums);
  for (const name of ['postinst', 'prerm', 'postrm']) {
    cpSync(join(DEBIAN, name), join(folder, name));
    chmodSync(join(folder, name), 0o755);
  }
}

/** Plain files below `folder`, as paths from it, in order; links are not followed. */
function filesIn(folder: string): string[] {
  return entriesIn(folder)
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .sort();
}

function entriesIn(folder: string): Dirent[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    return entry.isDirectory() ? [entry, ...entriesIn(join(folder, entry.name))] : [entry];
  });
}

/** Every file and folder gets one time; folders 0755 but for the private ones. */
function settle(root: string, epochSeconds: number): void {
  for (const entry of entriesIn(root)) {
    const path = join(entry.parentPath, entry.name);
    const isSecret =
      dirname(path) === join(root, 'etc/blocktorrent') && /keys|chaincode/.test(path);
    if (entry.isDirectory()) chmodSync(path, isSecret ? 0o700 : 0o755);
    lutimesSync(path, epochSeconds, epochSeconds);
  }
  chmodSync(root, 0o755);
  lutimesSync(root, epochSeconds, epochSeconds);
}

/** gzip without name and time. */
function gzipped(text: string): Uint8Array {
  return gzipSync(text, { level: 9 });
}

function sourceDateEpoch(): number {
  const given = process.env.SOURCE_DATE_EPOCH ?? '';
  const text =
    given !== ''
      ? given
      : execFileSync('git', ['log', '-1', '--format=%ct'], { cwd: ROOT, encoding: 'utf8' });
  const seconds = Number(text.trim());
  if (Number.isSafeInteger(seconds) && seconds > 0) return seconds;
  throw new Error(`SOURCE_DATE_EPOCH: expected whole seconds since 1970, found '${text}'`);
}

function readOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      arch: { type: 'string' },
      version: { type: 'string' },
      output: { type: 'string', default: join(ROOT, 'dist') },
    },
  });
  const { arch = '', output } = values;
  if (!Object.hasOwn(ARCHITECTURES, arch)) {
    throw new Error(`--arch: expected amd64 or arm64, found '${arch}'`);
  }
  const own = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
  const version = values.version ?? own.version;
  if (!/^\d[A-Za-z0-9.+~]*$/.test(version)) {
    throw new Error(`--version: expected a Debian version, found '${version}'`);
  }
  return { architecture: arch as Architecture, version, output: resolve(output) };
}

try {
  process.stdout.write(`${await build(readOptions(process.argv.slice(2)))}\n`);
} catch (error) {
  process.stderr.write(
    `${basename(import.meta.filename)}: ${(error as Error).message}\n${USAGE}\n`,
  );
  process.exitCode = 1;
}
