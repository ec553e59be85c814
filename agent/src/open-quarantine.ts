/** Makes the quarantine from the configuration: one folder, for all parts of the agent. */
import { join } from 'node:path';
import type { Config } from './config/schema.ts';
import { systemClock } from './runtime/clock.ts';
import { Quarantine } from './runtime/quarantine.ts';

/** Where damaged files of this agent go. */
export function openQuarantine(config: Config): Quarantine {
  return new Quarantine({
    folder: join(config.dataDir, 'quarantine'),
    maxBytes: () => config.batch.disk.quarantineMaxBytes,
    nowMs: systemClock.nowMs,
  });
}
