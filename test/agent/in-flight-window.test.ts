/** Groups that a broker cannot add to are not waited for. */
import { type AddressInfo, createServer, type Server } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { InFlightWindow } from '@blocktorrent/agent/ingest/in-flight-window.ts';
import { generate, type Packet, parser } from 'mqtt-packet';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { createIngest, createSource, openStore } from '../support/ingest.ts';
import { aFolder } from '../support/readings.ts';

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

/**
 * A broker that has `count` messages for its subscriber and never more than `window` in flight, as EMQX
 * and others do: none of them can be installed here, and mosquitto 2.0.11 lets 400 follow 20 PUBACKs.
 */
function startStrictBroker(count: number, window: number): Promise<Server> {
  const server = createServer({ noDelay: true }, (socket) => {
    let sent = 0;
    let acknowledged = 0;
    const send = (packet: Packet): void => void socket.write(generate(packet));
    const more = (): void => {
      while (sent < count && sent - acknowledged < window) {
        sent += 1;
        const payload = `{"value":${sent}}`;
        const flags = { qos: 1, dup: false, retain: false } as const;
        send({ cmd: 'publish', topic: 'site/a', payload, messageId: sent, ...flags });
      }
    };
    const packets = parser();
    packets.on('packet', ({ cmd, messageId }) => {
      if (cmd === 'connect') send({ cmd: 'connack', sessionPresent: false, returnCode: 0 });
      if (cmd === 'puback') acknowledged += 1;
      if (cmd === 'subscribe') send({ cmd: 'suback', messageId: messageId ?? 0, granted: [1] });
      if (cmd === 'subscribe' || cmd === 'puback') more();
    });
    socket.on('data', (bytes) => packets.parse(bytes));
    socket.on('error', () => socket.destroy());
  });
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
}

describe('a broker that lets 20 messages be in flight', () => {
  const cleanUps: (() => unknown)[] = [];
  afterEach(async () => {
    for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
  });

  it('is not kept waiting for the delay of each commit', async () => {
    const count = 1000;
    const broker = await startStrictBroker(count, 20);
    cleanUps.push(() => broker.close());
    const [folder, remove] = aFolder();
    cleanUps.push(remove);
    const store = openStore(folder);
    cleanUps.push(() => store.stop());
    const url = `mqtt://127.0.0.1:${(broker.address() as AddressInfo).port}`;
    const source = createSource(url, createIngest(store, { maxDelayMs: 200 }), { version: '4' });
    cleanUps.push(() => source.stop());
    const startedMs = performance.now();
    source.start();
    await vi.waitFor(() => expect(store.nextSeq).toBe(count + 1));
    // 50 groups: with a wait for each it takes 10 s.
    expect(performance.now() - startedMs).toBeLessThan(5000);
  });
});
