/**
 * Start in order, stop in the reverse order, once.
 *
 * Enters: services as they are added. Leaves: a signal that everything long-lived listens to.
 * Always holds: what has started is stopped, also when a later one fails to start; a service that
 * does not stop in its time is named and left behind; a second SIGINT or SIGTERM ends the process.
 */
import type { Log } from './log.ts';
import type { Notify } from './notify.ts';

/** A long-lived piece of the agent. */
export interface Service {
  readonly name: string;
  start?(signal: AbortSignal): Promise<void> | void;
  stop?(): Promise<void> | void;
  /** Patience with `stop`; 10 s if not said. */
  readonly stopTimeoutMs?: number;
}

export interface LifecycleOptions {
  readonly log: Log;
  readonly notify?: Notify;
  /** Aborting it stops everything, as SIGTERM does. */
  readonly signal?: AbortSignal;
}

const STOP_TIMEOUT_MS = 10_000;
const SAME_SIGNAL_MS = 1_000;
const LONG_START_SAID_MS = 10_000;
/** How long the service manager waits for the next word of a start that lasts longer than its own patience. */
const LONG_START_US = 120_000_000;

/** The process was told to stop before everything had started. */
export class StoppedError extends Error {
  override readonly name = 'StoppedError';
}

/** Orders the services of one process. */
export class Lifecycle {
  readonly #options: LifecycleOptions;
  readonly #stopping = new AbortController();
  readonly #started: Service[] = [];
  #status = '';
  /** When a word of the start was last due, on a monotonic clock. */
  #startSaidMs = performance.now();

  constructor(options: LifecycleOptions) {
    this.#options = options;
    const { signal } = options;
    if (signal?.aborted === true) this.#stopping.abort(signal.reason);
    signal?.addEventListener('abort', () => this.#stopping.abort(signal.reason), { once: true });
  }

  /** Aborted as soon as the process is to stop; services end their loops on it. */
  get signal(): AbortSignal {
    return this.#stopping.signal;
  }

  /**
   * Starts `service` now. What it throws is thrown, after it and everything before it was stopped:
   * half of it may run. Throws StoppedError where the process is to stop already.
   */
  async start(service: Service): Promise<void> {
    this.#started.push(service);
    if (this.signal.aborted) {
      // Made already, though not started: a timer, a socket, a database.
      await this.stop('told to stop');
      throw new StoppedError();
    }
    try {
      await service.start?.(this.signal);
      this.#options.log.debug('started', { service: service.name });
    } catch (error) {
      await this.stop(`${service.name} did not start`);
      throw error;
    }
  }

  /**
   * The start is at `what`, and goes on. Call it as often as you like in work that may take minutes: the service
   * manager hears of it every 10 s, and does not end a start that tells it so (`EXTEND_TIMEOUT_USEC`).
   */
  starting(what: string): void {
    const nowMs = performance.now();
    if (nowMs - this.#startSaidMs < LONG_START_SAID_MS) return;
    this.#startSaidMs = nowMs;
    this.#options.log.info('the start takes its time', { at: what });
    this.#options.notify?.(`EXTEND_TIMEOUT_USEC=${LONG_START_US}\nSTATUS=starting: ${what}`);
  }

  /** Everything is started: says READY. */
  ready(status: string): void {
    this.#status = status;
    this.#options.log.info('ready', { status });
    this.#options.notify?.(`READY=1\nSTATUS=${status}`);
  }

  /** One line for `systemctl status`; sent only where it has changed. */
  status(text: string): void {
    if (text === this.#status || this.signal.aborted) return;
    this.#status = text;
    this.#options.notify?.(`STATUS=${text}`);
  }

  /** Runs `work` between RELOADING and READY; READY also follows where it throws. */
  async reload(work: () => Promise<void> | void): Promise<void> {
    const { notify } = this.#options;
    // CLOCK_MONOTONIC in microseconds, as sd_notify(3) asks.
    notify?.(`RELOADING=1\nMONOTONIC_USEC=${process.hrtime.bigint() / 1_000n}`);
    try {
      await work();
    } finally {
      notify?.(this.signal.aborted ? 'STOPPING=1' : `READY=1\nSTATUS=${this.#status}`);
    }
  }

  /** Resolves when the process is to stop. */
  untilStopped(): Promise<void> {
    if (this.signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      this.signal.addEventListener('abort', () => resolve(), { once: true });
    });
  }

  /** Aborts the signal, then stops the services, last one first. Safe to call again. */
  async stop(reason: string): Promise<void> {
    const { log, notify } = this.#options;
    if (!this.signal.aborted) this.#stopping.abort(new Error(reason));
    notify?.('STOPPING=1');
    for (let service = this.#started.pop(); service; service = this.#started.pop()) {
      const { name, stopTimeoutMs = STOP_TIMEOUT_MS } = service;
      try {
        if (await withinMs(stopTimeoutMs, service.stop?.()))
          log.debug('stopped', { service: name });
        else log.error('did not stop in time', { service: name, stopTimeoutMs });
      } catch (error) {
        log.error('failed while stopping', { service: name, error });
      }
    }
  }
}

async function withinMs(ms: number, work: Promise<void> | undefined | void): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), ms);
  });
  const done = await Promise.race([Promise.resolve(work).then(() => true), late]);
  clearTimeout(timer);
  return done;
}

/** What `signalsOf` needs of `process`; tests pass their own. */
export interface SignalSource {
  on(event: 'SIGINT' | 'SIGTERM', listener: () => void): unknown;
  off(event: 'SIGINT' | 'SIGTERM', listener: () => void): unknown;
  exit(code: number): never;
}

/**
 * A signal that aborts on the first SIGINT or SIGTERM; another one, a second or more later, ends the
 * process at once with 130 or 143 (sooner, it is the same Ctrl-C that reached us by two ways).
 * `dispose` takes the listeners away again.
 */
export function signalsOf(
  source: SignalSource,
  monotonicMs: () => number = () => performance.now(),
): { signal: AbortSignal; dispose(): void } {
  const controller = new AbortController();
  let firstMs = 0;
  const listener = (name: 'SIGINT' | 'SIGTERM', code: number) => () => {
    if (!controller.signal.aborted) {
      firstMs = monotonicMs();
      controller.abort(new Error(name));
    } else if (monotonicMs() - firstMs >= SAME_SIGNAL_MS) source.exit(code);
  };
  const onInt = listener('SIGINT', 130);
  const onTerm = listener('SIGTERM', 143);
  source.on('SIGINT', onInt);
  source.on('SIGTERM', onTerm);
  return {
    signal: controller.signal,
    dispose() {
      source.off('SIGINT', onInt);
      source.off('SIGTERM', onTerm);
    },
  };
}

/** A listener for SIGHUP, which would otherwise end the process; `set` says what to do about it. */
export interface Hangups {
  set(listener: () => void): void;
  dispose(): void;
}

/** Takes SIGHUP from now on; one that comes before `set` is answered then. */
export function hangupsOf(source: {
  on(event: 'SIGHUP', listener: () => void): unknown;
  off(event: 'SIGHUP', listener: () => void): unknown;
}): Hangups {
  let listener: (() => void) | null = null;
  let missed = false;
  const onHangup = () => {
    if (listener === null) missed = true;
    else listener();
  };
  source.on('SIGHUP', onHangup);
  return {
    set(next) {
      listener = next;
      if (missed) next();
      missed = false;
    },
    dispose: () => void source.off('SIGHUP', onHangup),
  };
}
