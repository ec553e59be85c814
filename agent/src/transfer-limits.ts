/**
 * Keeps the overlay at the transfer limits that the configuration has for this hour and network.
 * Looks again every few seconds: at the clock, at the file that says "metered", at the configuration.
 */
import { existsSync } from 'node:fs';
import type { Config } from './config/schema.ts';
import { limitsAt } from './overlay/limit-schedule.ts';
import type { TransferLimits } from './overlay/types.ts';
import type { Log } from './runtime/log.ts';

const LOOK_EVERY_MS = 5_000;

export interface TransferLimitsOptions {
  /** The running configuration; may change in place. */
  readonly overlay: Config['overlay'];
  readonly nowMs: () => number;
  readonly log: Log;
  readonly apply: (limits: TransferLimits) => void;
  readonly lookEveryMs?: number;
}

/** Applies the limits now and whenever they change; returns what ends that. */
export function followTransferLimits(options: TransferLimitsOptions): () => void {
  let last = '';
  const look = () => {
    const { overlay } = options;
    const metered = overlay.meteredFile !== undefined && existsSync(overlay.meteredFile);
    const { uploadBytesPerSecond, downloadBytesPerSecond } = limitsAt(
      overlay,
      new Date(options.nowMs()),
      metered,
    );
    const limits = { uploadBytesPerSecond, downloadBytesPerSecond };
    const text = JSON.stringify(limits);
    if (text === last) return;
    last = text;
    options.apply(limits);
    options.log.info('transfer limits', { ...limits, metered });
  };
  look();
  const timer = setInterval(look, options.lookEveryMs ?? LOOK_EVERY_MS);
  return () => clearInterval(timer);
}
