/**
 * What a running agent takes from a changed configuration at once, and what waits for a restart.
 *
 * Enters: the configuration in force and one that was read again and checked. Always holds: stored
 * data are not touched; only the keys in `LIVE_KEYS` change, in place, because their readers look at
 * them each time.
 */
import type { Config } from './schema.ts';

/** Dotted keys that are applied without a restart. */
export const LIVE_KEYS = [
  'batch.disk.maxBytes',
  'batch.disk.policy',
  'batch.disk.reserveBytes',
  'batch.maxAgeMs',
  'batch.maxBytes',
  'batch.maxReadings',
  'consortium.confirmMaxDelayMs',
  'consortium.vote',
  'log.level',
  'overlay.certFile',
  'overlay.downloadBytesPerSecond',
  'overlay.graceMs',
  'overlay.keyFile',
  'overlay.limits',
  'overlay.meteredFile',
  'overlay.uploadBytesPerSecond',
  'seal.chunksTarget',
  'seal.recipients',
  'upkeep.challengeEveryMs',
  'upkeep.scrubRoundMs',
  'upkeep.silenceMs',
] as const;

/** Dotted keys that differ, by what has become of them. */
export interface LiveChanges {
  readonly applied: readonly string[];
  readonly needRestart: readonly string[];
}

type Section = Record<string, unknown>;

/** Brings `running` up to `next` where that can be done live. */
export function applyLive(running: Config, next: Config): LiveChanges {
  const changed = differences(running, next, '');
  const live: readonly string[] = LIVE_KEYS;
  const applied = changed.filter((key) => live.includes(key));
  for (const key of applied) {
    const path = key.split('.');
    const name = path.pop() ?? '';
    const [target, source] = [sectionAt(running, path), sectionAt(next, path)];
    if (target !== null) target[name] = source?.[name];
  }
  return { applied, needRestart: changed.filter((key) => !live.includes(key)) };
}

function sectionAt(config: Config, path: readonly string[]): Section | null {
  let at: unknown = config;
  for (const name of path) at = isSection(at) ? at[name] : null;
  return isSection(at) ? at : null;
}

/** Dotted keys under which the two differ; a list is one value. */
function differences(a: unknown, b: unknown, path: string): string[] {
  if (!isSection(a) || !isSection(b)) return JSON.stringify(a) === JSON.stringify(b) ? [] : [path];
  const names = [...new Set([...Object.keys(a), ...Object.keys(b)])].sort();
  return names.flatMap((name) =>
    differences(a[name], b[name], path === '' ? name : `${path}.${name}`),
  );
}

function isSection(value: unknown): value is Section {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
