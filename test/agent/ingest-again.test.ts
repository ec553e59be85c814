/** What a whole gateway knows when it comes again: what is retained, births, its batches. */
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { openDatabase } from '@blocktorrent/agent/runtime/sqlite.ts';
import { type Broker, startBroker } from '@blocktorrent/broker/broker.ts';
import { connectAsync, type MqttClient } from 'mqtt';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { gatewayConfig, startGateway } from '../support/gateway.ts';
import { openStore } from '../support/ingest.ts';
import { aFolder } from '../support/readings.ts';
import { aPayload, aTopic, metric } from '../support/sparkplug.ts';

const cleanUps: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

async function aBroker(): Promise<Broker> {
  const broker = await startBroker({ port: 0 });
  cleanUps.push(() => broker.stop());
  return broker;
}

async function aPublisher(url: string): Promise<MqttClient> {
  const client = await connectAsync(url);
  client.on('error', () => undefined);
  cleanUps.push(() => client.endAsync(true));
  return client;
}

describe('a gateway that was ended', () => {
  it('marks what is retained, and comes again with each subscription', async () => {
    const broker = await aBroker();
    const url = `mqtt://${broker.address}`;
    const [data, remove] = aFolder();
    cleanUps.push(remove);
    const publisher = await aPublisher(url);
    for (const [start, value] of ['20', '20', '21'].entries()) {
      await publisher.publishAsync('site/a', value, { qos: 1, retain: true });
      const rules = "[{ topic: 'site/#', decoder: number }]";
      const test = startGateway(data, gatewayConfig(data, rules, [url]));
      await vi.waitFor(() => expect(test.gateway.counts().brokers[0]?.connected).toBe(true));
      await vi.waitFor(() => expect(test.gateway.counts().readings).toBe(1 + 2 * start));
      await test.stop();
    }
    const batches = openStore(join(data, 'batches'));
    cleanUps.push(() => batches.stop());
    const found = [...batches.recent(100)].map(({ payload, retain, duplicateOf }) => {
      return [Buffer.from(payload).toString(), retain, duplicateOf !== null];
    });
    const count = (...row: unknown[]) =>
      found.filter((one) => JSON.stringify(one) === JSON.stringify(row)).length;
    // The first subscription finds it there; each later one has what was queued, and it again.
    expect([count('20', true, false), count('20', false, false)]).toEqual([1, 1]);
    expect([count('20', true, true), count('21', true, true)]).toEqual([1, 1]);
    expect([count('21', false, false), found.length]).toEqual([1, 5]);
  });

  it('has what came at QoS 0, too, counted as what nobody was told of', async () => {
    const broker = await aBroker();
    const url = `mqtt://${broker.address}`;
    const [data, remove] = aFolder();
    cleanUps.push(remove);
    const test = startGateway(
      data,
      gatewayConfig(data, "[{ topic: 'site/#', decoder: number }]", [url]),
    );
    cleanUps.push(() => test.stop());
    await vi.waitFor(() => expect(test.gateway.counts().brokers[0]?.connected).toBe(true));
    const publisher = await aPublisher(url);
    for (const qos of [0, 1, 0] as const) await publisher.publishAsync('site/a', '20', { qos });
    await vi.waitFor(() => expect(test.gateway.counts().readings).toBe(3));
    expect([
      await test.metrics.total('ingestReadingsUnacknowledged'),
      await test.metrics.total('ingestReadingsAcknowledged'),
    ]).toEqual([2, 1]);
  });

  it('has written down what a birth said, once that is acknowledged', async () => {
    const broker = await aBroker();
    const url = `mqtt://${broker.address}`;
    const [data, remove] = aFolder();
    cleanUps.push(remove);
    const rules = "[{ topic: 'spBv1.0/#', decoder: sparkplug }]";
    const test = startGateway(data, gatewayConfig(data, rules, [url]));
    cleanUps.push(() => test.stop());
    await vi.waitFor(() => expect(test.gateway.counts().brokers[0]?.connected).toBe(true));
    const publisher = await aPublisher(url);
    const birth = aPayload(1.7e12, 0, [metric({ name: 'temp', alias: 1, float: 1 })]);
    await publisher.publishAsync(aTopic('NBIRTH'), Buffer.from(birth), { qos: 1 });
    await vi.waitFor(() => expect(test.gateway.counts().readings).toBe(1));
    // As kill -9 would leave it now: the agent has the file for itself.
    const [image, removeImage] = aFolder();
    cleanUps.push(removeImage);
    cpSync(data, image, { recursive: true });
    const database = openDatabase(join(image, 'decoders.sqlite'));
    const known = database.prepare("SELECT key FROM memory WHERE key GLOB 'spb/*' ORDER BY key");
    expect(known.pluck().all()).toEqual(['spb/plant/edge-1', 'spb/plant/edge-1/']);
    database.close();
  });

  it('knows what is in its batches, open and closed, when it comes again', async () => {
    const broker = await aBroker();
    const url = `mqtt://${broker.address}`;
    const rules =
      "[{ topic: 'site/#', sensor: /sensor, sequence: /seq, time: /time, value: /value }]";
    const [data, remove] = aFolder();
    cleanUps.push(remove);
    const publisher = await aPublisher(url);
    const say = (seq: number) =>
      publisher.publishAsync(
        'site/a',
        `{"sensor":"t","seq":${seq},"time":${1.7e12 + seq},"value":1}`,
        {
          qos: 1,
        },
      );
    for (const [start, seqs] of [
      [1, 2],
      [2, 3],
      [1, 2, 3, 4],
    ].entries()) {
      const test = startGateway(data, gatewayConfig(data, rules, [url]));
      await vi.waitFor(() => expect(test.gateway.counts().brokers[0]?.connected).toBe(true));
      const before = test.gateway.counts().readings;
      for (const seq of seqs) await say(seq);
      await vi.waitFor(() => expect(test.gateway.counts().readings).toBe(before + seqs.length));
      if (start === 0) test.gateway.closeBatch();
      await test.stop();
    }
    const batches = openStore(join(data, 'batches'));
    cleanUps.push(() => batches.stop());
    const found = [...batches.recent(100)].map(({ deviceSeq, duplicateOf }) => [
      deviceSeq,
      duplicateOf,
    ]);
    expect(found).toEqual([
      ...[
        [1, null],
        [2, null],
      ],
      ...[
        [2, 2],
        [3, null],
      ],
      ...[
        [1, 1],
        [2, 2],
        [3, 4],
        [4, null],
      ],
    ]);
  });
});
