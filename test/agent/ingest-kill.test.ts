/** kill -9 at random moments: every reading is there exactly once, in order, and the chain holds. */
import { fileURLToPath } from 'node:url';
import { verifyBatch } from '@blocktorrent/agent/audit/verify-batch.ts';
import { type Broker, startBroker } from '@blocktorrent/broker/broker.ts';
import { connectAsync } from 'mqtt';
import { expect, it, vi } from 'vitest';
import { openStore } from '../support/ingest.ts';
import { startNode } from '../support/process.ts';
import { aFolder } from '../support/readings.ts';
import { Seeded, seedOfRun } from '../support/seeded.ts';

const SCRIPT = fileURLToPath(new URL('../support/ingest-process.ts', import.meta.url));
const KILLS = process.env.BLOCKTORRENT_LONG ? 200 : 20;
const TOPICS = 5;
/** The publisher waits while so many are queued: a broker's queue that is full drops what comes. */
const QUEUED_MAX = 5000;

it(
  'loses and repeats nothing when it is killed at random moments under load',
  async () => {
    const seed = seedOfRun();
    const random = new Seeded(seed);
    const [folder, remove] = aFolder();
    const broker = await startBroker({ port: 0 });
    const url = `mqtt://${broker.address}`;
    const publisher = await connectAsync(url);
    const session = 'blocktorrent-gateway-1';
    let published = 0;
    let publishing = true;
    const publish = async (): Promise<void> => {
      while (publishing) {
        if (broker.queuedFor(session) > QUEUED_MAX) {
          await new Promise((resolve) => setTimeout(resolve, 6));
          continue;
        }
        const burst = Array.from({ length: 10 }, () => {
          published += 1;
          const n = published;
          const sensor = `t-${n % TOPICS}`;
          const text = JSON.stringify({ sensor, seq: n, time: 1.7e12 + n, value: n });
          return publisher.publishAsync(`site/${sensor}`, text, { qos: 1 });
        });
        await Promise.all(burst);
        await new Promise((resolve) => setTimeout(resolve, 6));
      }
    };
    let load: Promise<void> | null = null;
    try {
      for (let kill = 0; kill <= KILLS; kill += 1) {
        const gateway = startNode(SCRIPT, [url, folder]);
        await gateway.next();
        load ??= publish();
        const [delay = 0] = random.bytes(1);
        if (kill < KILLS) await new Promise((resolve) => setTimeout(resolve, delay / 2));
        else {
          publishing = false;
          await load;
          await vi.waitFor(async () => expect(await isDrained(broker, session)).toBe(true), {
            timeout: 20_000,
          });
        }
        gateway.child.kill('SIGKILL');
        expect(await gateway.ended, gateway.stderr()).toBe('SIGKILL');
      }
      const store = openStore(folder);
      const all = [...store.recent(1e9)];
      const originals = all.filter(({ duplicateOf }) => duplicateOf === null);
      store.closeCurrent();
      for (const { path } of store.list()) verifyBatch(path);
      store.stop();
      const note = `seed ${seed}, published ${published}, committed ${all.length}`;
      expect(published, note).toBeGreaterThan(KILLS * 10);
      expect(broker.dropped(), note).toBe(0);
      const found = originals.map(({ deviceSeq }) => deviceSeq ?? 0);
      expect(found.length, note).toBe(published);
      expect(new Set(found).size, note).toBe(published);
      for (let topic = 0; topic < TOPICS; topic += 1) {
        const ofTopic = found.filter((n) => n % TOPICS === topic);
        expect(ofTopic, note).toEqual([...ofTopic].sort((a, b) => a - b));
      }
      console.log(note);
    } finally {
      publishing = false;
      await load;
      await publisher.endAsync(true);
      await broker.stop();
      remove();
    }
  },
  60_000 + KILLS * 3000,
);

/**
 * Whether the broker, which runs in this process, holds nothing for the session and is not about to:
 * it acknowledges a message some turns of the event loop before it queues it.
 */
async function isDrained(broker: Broker, session: string): Promise<boolean> {
  for (let turn = 0; turn < 100; turn += 1) {
    if (broker.queuedFor(session) !== 0) return false;
    await new Promise((resolve) => setImmediate(resolve));
  }
  return true;
}
