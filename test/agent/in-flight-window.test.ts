/** Groups that a broker cannot add to are not waited for. */
import { setImmediate } from 'node:timers/promises';
import { InFlightWindow } from '@blocktorrent/agent/ingest/in-flight-window.ts';
import { connectAsync } from 'mqtt';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { createIngest, createSource, openStore } from '../support/ingest.ts';
import { startMosquitto } from '../support/mosquitto.ts';
import { aFolder } from '../support/readings.ts';
import { requireTool } from '../support/tools.ts';

const DELAY_MS = 10;
const NONE = Number.POSITIVE_INFINITY;

/** A group of `count` readings within `spanMs`, and nothing afterwards. */
function waited(window: InFlightWindow, count: number, spanMs = 0, silentMs = 9): void {
  window.waited({ count, firstMs: 100, lastMs: 100 + spanMs }, DELAY_MS, 100 + spanMs + silentMs);
}

function learnt(count: number): InFlightWindow {
  const window = new InFlightWindow();
  waited(window, count);
  waited(window, count);
  return window;
}

describe('the window in flight', () => {
  it('is learnt from two equal groups that came at once', () => {
    const window = new InFlightWindow();
    waited(window, 20);
    expect(window.size).toBe(NONE);
    waited(window, 20);
    expect(window.size).toBe(20);
  });

  it.each([
    ['groups of different sizes', [20, 21, 20, 22], 0, 9],
    ['groups that came bit by bit', [20, 20, 20], 6, 9],
    ['groups into the end of which readings came', [20, 20, 20], 0, 4],
    ['groups of a few readings', [7, 7, 7], 0, 9],
  ])('is not learnt from %s', (_what, counts, spanMs, silentMs) => {
    const window = new InFlightWindow();
    for (const count of counts) waited(window, count, spanMs, silentMs);
    expect(window.size).toBe(NONE);
  });

  it('stays while full groups come at once', async () => {
    const window = learnt(20);
    for (let turn = 0; turn < 3; turn += 1) {
      window.full({ count: 20, firstMs: 0, lastMs: 1 });
      await setImmediate();
      window.taken();
    }
    expect(window.size).toBe(20);
  });

  it('is forgotten when more was under way, and when readings come bit by bit', async () => {
    const window = learnt(20);
    window.full({ count: 20, firstMs: 0, lastMs: 1 });
    window.taken();
    expect(window.size).toBe(NONE);
    const slow = learnt(20);
    slow.full({ count: 20, firstMs: 0, lastMs: 6 });
    expect(slow.size).toBe(NONE);
    await setImmediate();
  });
});

describe('a broker that lets 20 messages be in flight', () => {
  const cleanUps: (() => unknown)[] = [];
  afterEach(async () => {
    for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
  });

  it('is not kept waiting for the delay of each commit', async (context) => {
    requireTool('mosquitto', context);
    const mosquitto = await startMosquitto(['allow_anonymous true', 'max_inflight_messages 20']);
    cleanUps.push(() => mosquitto.stop());
    const [folder, remove] = aFolder();
    cleanUps.push(remove);
    const store = openStore(folder);
    cleanUps.push(() => store.stop());
    const source = createSource(mosquitto.url, createIngest(store, { maxDelayMs: 200 }));
    cleanUps.push(() => source.stop());
    source.start();
    await vi.waitFor(() => expect(source.state.subscribed).toBe(true));
    await source.stop();
    const publisher = await connectAsync(mosquitto.url);
    cleanUps.push(() => publisher.endAsync(true));
    const count = 1000;
    await Promise.all(
      Array.from({ length: count }, (_, n) =>
        publisher.publishAsync('site/a', `{"value":${n}}`, { qos: 1 }),
      ),
    );
    const startedMs = performance.now();
    source.start();
    await vi.waitFor(() => expect(store.nextSeq).toBe(count + 1), { timeout: 15_000 });
    // 50 groups: with a wait for each it takes 10 s.
    expect(performance.now() - startedMs).toBeLessThan(5000);
  });
});
