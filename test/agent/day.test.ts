/**
 * The links of a truck's day in seconds, at 1,000 readings a second: the broker's link and the work
 * behind the batches come and go as a seed decides. Nothing is lost, and the memory stays flat.
 *
 * The gateway is a process of its own; what comes after the batches is one stage that seals nothing.
 * Four minutes with BLOCKTORRENT_LONG=1.
 */
import { setTimeout } from 'node:timers/promises';
import { startBroker } from '@blocktorrent/broker/broker.ts';
import { connectAsync } from 'mqtt';
import { expect, it } from 'vitest';
import { HostileGateway, storedIn } from '../support/hostile.ts';
import { aFolder } from '../support/readings.ts';
import { Seeded, seedOfRun } from '../support/seeded.ts';
import { SlowProxy } from '../support/slow-proxy.ts';

const SECONDS = process.env.BLOCKTORRENT_LONG === '1' ? 240 : 12;
const PER_TICK = 50;
const TICK_MS = 50;
const CUT_EVERY_MS = 20;
const RSS_MIB_MAX = 150;
/** Mean of the last third over that of the second. */
const GROWTH_MAX = 1.15;
const SESSION = 'blocktorrent-gateway-1';

it(
  'loses nothing of a day with links up and down, in memory that stays flat',
  async () => {
    const seed = seedOfRun();
    const random = new Seeded(`day/${seed}`);
    const [folder, remove] = aFolder();
    const broker = await startBroker({ port: 0, sessionMessagesMax: 50_000 });
    const proxy = new SlowProxy({ share: 0, delayMs: [0, 0], random: () => 0 });
    const port = await proxy.start(Number(broker.address.split(':')[1]));
    const publisher = await connectAsync(`mqtt://${broker.address}`);
    const gateway = new HostileGateway(folder, `mqtt://127.0.0.1:${port}`);
    const rss: number[] = [];
    let published = 0;
    let outages = 0;
    let running = true;
    const links = async () => {
      while (running) {
        await setTimeout(random.integer(500, 3_000));
        outages += 1;
        await gateway.tell({ sealing: outages % 2 === 0 });
        const end = performance.now() + random.integer(100, 1_500);
        while (performance.now() < end) {
          proxy.cut();
          await setTimeout(CUT_EVERY_MS);
        }
      }
    };
    try {
      await gateway.until(({ connected }) => connected);
      const changing = links();
      const startedMs = performance.now();
      for (let tick = 1; tick * TICK_MS <= SECONDS * 1_000; tick += 1) {
        const group = Array.from({ length: PER_TICK }, () => {
          published += 1;
          const text = JSON.stringify({ s: 'truck', n: published, v: 1.5 });
          return publisher.publishAsync(`site/${published % 40}`, text, { qos: 1 });
        });
        await Promise.all(group);
        const leftMs = startedMs + tick * TICK_MS - performance.now();
        if (leftMs > 0) await setTimeout(leftMs);
        if (tick % 5 === 0) rss.push((await gateway.tell()).rssMiB);
      }
      const perSecond = (published * 1_000) / (performance.now() - startedMs);
      running = false;
      await changing;
      await gateway.tell({ sealing: true });
      await gateway.until(
        ({ readings, queued }) =>
          readings >= published && queued === 0 && broker.queuedFor(SESSION) === 0,
      );
      expect(await gateway.stop()).toBe(0);
      const third = Math.floor(rss.length / 3);
      const [second, last] = [mean(rss.slice(third, 2 * third)), mean(rss.slice(2 * third))];
      const figures = `${published} readings, ${Math.round(perSecond)}/s, ${outages} outages`;
      const note = `SEED=${seed}, ${figures}, rssMiB ${second.toFixed(1)} then ${last.toFixed(1)}`;
      console.log(`day: ${note}, at most ${Math.max(...rss).toFixed(1)}`);
      const numbers = [...storedIn(folder).numbers].sort((a, b) => a - b);
      expect(broker.dropped(), note).toBe(0);
      expect(numbers, note).toEqual(Array.from({ length: published }, (_, index) => index + 1));
      expect(Math.max(...rss), note).toBeLessThanOrEqual(RSS_MIB_MAX);
      expect(last / second, note).toBeLessThan(GROWTH_MAX);
    } finally {
      running = false;
      gateway.kill();
      await publisher.endAsync(true);
      await proxy.stop();
      await broker.stop();
      remove();
    }
  },
  60_000 + SECONDS * 2_000,
);

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
