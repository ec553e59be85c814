/** The texts of a Debian package that are made, not written: control, changelog, copyright, sums. */
import { createHash } from 'node:crypto';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import type { Architecture } from './tree.ts';

/** What the texts are made from. */
export interface PackageFacts {
  readonly architecture: Architecture;
  readonly version: string;
  /** Seconds since 1970 that every file of the package carries. */
  readonly epochSeconds: number;
}

const MAINTAINER = 'BlockTorrent maintainers <maintainers@blocktorrent.invalid>';

/** DEBIAN/control. The prebuilt SQLite addon asks for these libraries. */
export function control({ architecture, version }: PackageFacts, installedBytes: number): string {
  return [
    'Package: blocktorrent',
    `Version: ${version}`,
    `Architecture: ${architecture}`,
    `Maintainer: ${MAINTAINER}`,
    `Installed-Size: ${Math.ceil(installedBytes / 1024)}`,
    'Depends: libc6 (>= 2.34), libstdc++6 (>= 11), procps, systemd',
    'Recommends: ca-certificates',
    'Suggests: age, sqlite3, zstd',
    'Section: net',
    'Priority: optional',
    'Description: gateway that keeps sensor readings available and private',
    ' BlockTorrent hears sensors over MQTT, seals their readings, spreads the chunks',
    ' over several organisations and splits the key between them on a ledger. After',
    ' a recorded vote an auditor rebuilds everything without the source.',
    ' .',
    ' The package brings its own Node.js. It enables and starts no service: write',
    ' /etc/blocktorrent/blocktorrent.yaml first.',
    '',
  ].join('\n');
}

/** The native changelog: one entry, this version; what changed is in CHANGELOG.md upstream. */
export function changelog({ version, epochSeconds }: PackageFacts): string {
  const date = new Date(epochSeconds * 1_000).toUTCString().replace('GMT', '+0000');
  return [
    `blocktorrent (${version}) unstable; urgency=medium`,
    '',
    '  * See CHANGELOG.md of the sources for what users and operators notice.',
    '',
    ` -- ${MAINTAINER}  ${date}`,
    '',
  ].join('\n');
}

/** Machine-readable copyright file (DEP 5): ours, and one paragraph for each bundled npm package. */
export function copyright(modules: string): string {
  const ours = readFileSync(resolve(import.meta.dirname, '../LICENSE'), 'utf8');
  const paths = globSync('**/package.json', { cwd: modules }).sort();
  const bundled = paths.flatMap((path) => {
    const text = readFileSync(join(modules, path), 'utf8');
    const { name, version, license } = JSON.parse(text) as Record<string, unknown>;
    if (typeof name !== 'string' || typeof version !== 'string') return [];
    const folder = `usr/lib/blocktorrent/node_modules/${dirname(path)}`;
    return [
      `Files: ${folder}/*`,
      `Copyright: the authors of the npm package ${name} ${version}`,
      `License: ${licenceName(license)}`,
      '',
    ];
  });
  const names = new Set(bundled.filter((line) => line.startsWith('License: ')));
  const texts = [...names]
    .sort()
    .flatMap((line) => [line, ' The text is beside the package, in its LICENSE file.', '']);
  return [
    'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/',
    'Upstream-Name: blocktorrent',
    '',
    'Files: *',
    'Copyright: 2026 the BlockTorrent authors',
    'License: Apache-2.0-blocktorrent',
    'Comment: agent/bin is a bundle: it has code of the npm packages named below, under their',
    ' licences.',
    '',
    ...bundled,
    ...texts,
    'License: Apache-2.0-blocktorrent',
    ' On Debian systems the full text is in /usr/share/common-licenses/Apache-2.0.',
    ` ${ours
      .split('\n')
      .find((line) => line.includes('Apache License'))
      ?.trim()}`,
    '',
  ].join('\n');
}

function licenceName(license: unknown): string {
  const name = typeof license === 'string' ? license : 'see-package';
  return name.replace(/[()]/g, '').replace(/\s+/g, ' ');
}

/** DEBIAN/md5sums of the given files. */
export function md5sums(root: string, paths: readonly string[]): string {
  return paths
    .map((path) => {
      const sum = createHash('md5')
        .update(readFileSync(join(root, path)))
        .digest('hex');
      return `${sum}  ${path}\n`;
    })
    .join('');
}
