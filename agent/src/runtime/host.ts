/**
 * Facts about the machine: temperature, throttling, memory, disk, wear of the flash memory where the
 * kernel knows it.
 *
 * Enters: a look once a minute, the first one some time after the start. Always holds: the library is
 * loaded at the first look only, one look runs at a time and is given up after a few seconds, and a
 * fact that cannot be had is null.
 */
import { existsSync, globSync, readFileSync } from 'node:fs';
import { freemem, totalmem } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { diskBytes, freeBytes } from './disk-space.ts';
import type { Log } from './log.ts';

export interface HostFacts {
  /** Of the processor; null where no sensor tells. */
  readonly temperatureCelsius: number | null;
  /** Whether the firmware slows the processor down (heat, low voltage); null where it does not tell. */
  readonly throttled: boolean | null;
  readonly memoryBytes: number;
  readonly memoryAvailableBytes: number;
  /** Of the file system with `dataDir`. */
  readonly diskBytes: number;
  readonly diskFreeBytes: number;
  /** 0 (new) to 1 (worn out) of the most worn eMMC; null where there is none (SD cards do not tell). */
  readonly flashWear: number | null;
}

export interface HostWatchOptions {
  readonly dataDir: string;
  readonly onFacts: (facts: HostFacts) => void;
  readonly log: Log;
  /** Before the first look, and between two; ms. */
  readonly firstMs?: number;
  readonly everyMs?: number;
}

const FIRST_MS = 10_000;
const EVERY_MS = 60_000;
const LOOK_MS_MAX = 5_000;
/** Raspberry Pi: the firmware's word; bits 0 to 3 are about now. */
const THROTTLED = '/sys/devices/platform/soc/soc:firmware/get_throttled';
/** JEDEC eMMC 5.0: 0x01 is up to 10 % used, 0x0b is more than 100 %. */
const LIFE_TIME = '/sys/block/mmcblk*/device/life_time';

/** Looks at the machine from time to time; `facts` is what was seen last. */
export class HostWatch {
  readonly #options: HostWatchOptions;
  #facts: HostFacts | null = null;
  #timer: NodeJS.Timeout | null = null;
  #stopped = false;

  constructor(options: HostWatchOptions) {
    this.#options = options;
  }

  get facts(): HostFacts | null {
    return this.#facts;
  }

  start(): void {
    this.#next(this.#options.firstMs ?? FIRST_MS);
  }

  stop(): void {
    this.#stopped = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  #next(ms: number): void {
    if (this.#stopped) return;
    this.#timer = setTimeout(() => void this.#look(), ms);
    this.#timer.unref();
  }

  async #look(): Promise<void> {
    const { dataDir, onFacts, log, everyMs = EVERY_MS } = this.#options;
    try {
      this.#facts = await hostFacts(dataDir);
      if (!this.#stopped) onFacts(this.#facts);
    } catch (error) {
      log.debug('the machine could not be looked at', { error });
    }
    this.#next(everyMs);
  }
}

/** One look. */
export async function hostFacts(dataDir: string): Promise<HostFacts> {
  const memory = await withinMs(memoryOf(), { memoryBytes: totalmem(), free: freemem() });
  return {
    temperatureCelsius: await withinMs(temperature(), null),
    throttled: throttled(textOf(THROTTLED)),
    memoryBytes: memory.memoryBytes,
    memoryAvailableBytes: memory.free,
    diskBytes: diskBytes(dataDir),
    diskFreeBytes: freeBytes(dataDir),
    flashWear: flashWear(globSync(LIFE_TIME).map(textOf)),
  };
}

async function temperature(): Promise<number | null> {
  const { cpuTemperature } = await import('systeminformation');
  const { main } = await cpuTemperature();
  return typeof main === 'number' && Number.isFinite(main) ? main : null;
}

/** Where /proc is closed to a service the library sees nothing: then what Node knows. */
async function memoryOf(): Promise<{ memoryBytes: number; free: number }> {
  const { mem } = await import('systeminformation');
  const { total, available } = await mem();
  return available > 0
    ? { memoryBytes: total, free: available }
    : { memoryBytes: totalmem(), free: freemem() };
}

/** The firmware's word, in hex; its low four bits say what is so now. */
export function throttled(text: string): boolean | null {
  const bits = Number.parseInt(text, 16);
  return Number.isNaN(bits) ? null : (bits & 0xf) !== 0;
}

/** The most worn of `0x01 0x02` (types A and B of one device each), as a share. */
export function flashWear(texts: readonly string[]): number | null {
  const tenths = texts
    .flatMap((text) => text.trim().split(/\s+/))
    .map((word) => Number.parseInt(word, 16))
    .filter((value) => value >= 1 && value <= 11);
  return tenths.length === 0 ? null : Math.min(1, (Math.max(...tenths) - 1) / 10);
}

function textOf(path: string): string {
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}

async function withinMs<T>(work: Promise<T>, fallback: T): Promise<T> {
  const late = new AbortController();
  const patience = sleep(LOOK_MS_MAX, fallback, { signal: late.signal }).catch(() => fallback);
  try {
    return await Promise.race([work.catch(() => fallback), patience]);
  } finally {
    late.abort();
  }
}
