/**
 * The lockfile installs anywhere: it names no registry, and has an entry for every platform's
 * optional package, also those that the registry it was made with did not carry (`npm ci` refuses
 * a lockfile without them).
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

interface Entry {
  readonly resolved?: string;
  readonly link?: boolean;
  readonly hasInstallScript?: boolean;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}
const ROOT = join(import.meta.dirname, '..');
const lock = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')) as {
  packages: Record<string, Entry>;
};
const entries = Object.entries(lock.packages);

describe('package-lock.json', () => {
  it('names no registry host', () => {
    const named = entries.filter(([, entry]) => entry.resolved !== undefined && !entry.link);
    expect(named.map(([path]) => path)).toEqual([]);
  });

  it('has every optional package of every package, for every platform', () => {
    const missing = entries.flatMap(([path, entry]) =>
      Object.keys(entry.optionalDependencies ?? {}).filter(
        (name) =>
          lock.packages[`node_modules/${name}`] === undefined &&
          lock.packages[`${path}/node_modules/${name}`] === undefined,
      ),
    );
    expect(missing).toEqual([]);
  });

  it('brings Node 24 for the four platforms that are supported', () => {
    for (const platform of ['linux-x64', 'linux-arm64', 'darwin-arm64', 'darwin-x64']) {
      expect(lock.packages[`node_modules/node-${platform}`]).toMatchObject({
        version: expect.stringMatching(/^24\./),
        optional: true,
      });
    }
  });

  it('installs without running any package’s script', () => {
    expect(readFileSync(join(ROOT, '.npmrc'), 'utf8')).toMatch(/^ignore-scripts=true$/m);
  });
});
