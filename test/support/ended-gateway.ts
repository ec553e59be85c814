/**
 * A gateway that is ended again and again under load, and what must be true of its batches after it.
 *
 * Enters: how it is ended. Leaves: what was published and what was found. Always holds: the broker
 * and the publisher never end, and the publisher waits before the broker's queue is full; in the end
 * the gateway runs until the broker has nothing for it any more.
 */
import { setImmediate, setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { verifyBatch } from '@blocktorrent/agent/audit/verify-batch.ts';
import { type Broker, startBroker } from '@blocktorrent/broker/broker.ts';
import { connectAsync } from 'mqtt';
import { expect, vi } from 'vitest';
import { openStore } from './ingest.ts';
import { type JsonProcess, startNode } from './process.ts';
import { Seeded } from './seeded.ts';

const SCRIPT = fileURLToPath(new URL('./ingest-process.ts', import.meta.url));
const SESSION = 'blocktorrent-gateway-1';
const TOPICS = 5;
/** The publisher waits while so many are queued: a broker's queue that is full drops what comes. */
const QUEUED_MAX = 5000;
/** Most of the time between a gateway's start and its end. */
const RUN_MS_MAX = 128;

export interface EndedOptions {
  readonly seed: number;
  readonly ends: number;
  /** Folder of the batches; asked for at each start. */
  readonly folder: () => string;
  /**
   * Ends the running gateway; resolves when another one may be started. `finish` ends the load and
   * resolves when the gateway has acknowledged all of it.
   */
  readonly end: (
    gateway: JsonProcess,
    random: Seeded,
    finish: () => Promise<void>,
  ) => Promise<void>;
  /** Further arguments of `ingest-process.ts`. */
  readonly more?: readonly string[];
}

export interface Found {
  readonly published: number;
  /** The sensors' own numbers of all readings that are not marked as repeated, in their order. */
  readonly originals: readonly number[];
  /** Originals and repetitions. */
  readonly committed: number;
  /** Of all starts: files that were damaged. */
  readonly damaged: number;
  readonly note: string;
}

/** Runs it, and reads what is in the batches. */
export async function endUnderLoad(options: EndedOptions): Promise<Found> {
  const { seed, ends, end, more = [] } = options;
  const random = new Seeded(seed);
  const broker = await startBroker({ port: 0 });
  const url = `mqtt://${broker.address}`;
  const load = new Load(await connectAsync(url), broker);
  try {
    for (let turn = 0; turn <= ends; turn += 1) {
      const gateway = startNode(SCRIPT, [url, options.folder(), ...more]);
      try {
        await gateway.next();
        load.start();
        if (turn === ends) await load.finish();
        else await setTimeout(random.integer(0, RUN_MS_MAX));
        if (turn < ends) await end(gateway, random, () => load.finish());
      } finally {
        gateway.child.kill('SIGKILL');
        await gateway.ended;
      }
    }
    expect(broker.dropped()).toBe(0);
    return foundIn(options.folder(), load.published, seed);
  } finally {
    await load.stop();
    await broker.stop();
  }
}

/** Every reading that the broker was acknowledged is there, once, and the topics are in order. */
export function expectAllInOrder({ published, originals, note }: Found, atLeast: number): void {
  expect(published, note).toBeGreaterThan(atLeast);
  expect(originals.length, note).toBe(published);
  expect(new Set(originals).size, note).toBe(published);
  for (let topic = 0; topic < TOPICS; topic += 1) {
    const ofTopic = originals.filter((n) => n % TOPICS === topic);
    expect(ofTopic, note).toEqual([...ofTopic].sort((a, b) => a - b));
  }
}

function foundIn(folder: string, published: number, seed: number): Found {
  const store = openStore(folder);
  try {
    const all = [...store.recent(1e12)].filter(({ topic }) => topic.startsWith('site/'));
    const originals = all.flatMap(({ duplicateOf, deviceSeq }) =>
      duplicateOf === null ? (deviceSeq ?? 0) : [],
    );
    store.closeCurrent();
    for (const { path } of store.list()) verifyBatch(path);
    const damaged = store.damages.length;
    const note = `seed ${seed}, published ${published}, committed ${all.length}, found ${originals.length}`;
    return { published, originals, committed: all.length, damaged, note };
  } finally {
    store.stop();
  }
}

type Publisher = Awaited<ReturnType<typeof connectAsync>>;

class Load {
  published = 0;
  readonly #publisher: Publisher;
  readonly #broker: Broker;
  #publishing = true;
  #running: Promise<void> | null = null;

  constructor(publisher: Publisher, broker: Broker) {
    this.#publisher = publisher;
    this.#broker = broker;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Publishes no more; resolves when the gateway has acknowledged all. */
  async finish(): Promise<void> {
    this.#publishing = false;
    await this.#running;
    const drained = async () => expect(await this.#isDrained()).toBe(true);
    await vi.waitFor(drained, { timeout: 30_000 }).catch((cause: unknown) => {
      throw new Error('the broker still keeps messages after 30 s', { cause });
    });
  }

  async stop(): Promise<void> {
    this.#publishing = false;
    await this.#running;
    await this.#publisher.endAsync(true);
  }

  async #run(): Promise<void> {
    while (this.#publishing) {
      if (this.#broker.queuedFor(SESSION) <= QUEUED_MAX) {
        await Promise.all(Array.from({ length: 10 }, () => this.#publish()));
      }
      await setTimeout(6);
    }
  }

  #publish(): Promise<unknown> {
    this.published += 1;
    const n = this.published;
    const sensor = `t-${n % TOPICS}`;
    const text = JSON.stringify({ sensor, seq: n, time: 1.7e12 + n, value: n });
    return this.#publisher.publishAsync(`site/${sensor}`, text, { qos: 1 });
  }

  /** Whether the broker, which runs in this process, holds nothing and is not about to. */
  async #isDrained(): Promise<boolean> {
    for (let turn = 0; turn < 100; turn += 1) {
      if (this.#broker.queuedFor(SESSION) !== 0) return false;
      await setImmediate();
    }
    return true;
  }
}
