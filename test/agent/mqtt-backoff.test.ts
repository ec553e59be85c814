/** Why a link ended, and when it tries again: as soon as at first only after a connection that lasted. */
import { MqttSource, type MqttSourceOptions } from '@blocktorrent/agent/ingest/mqtt-source.ts';
import { systemClock } from '@blocktorrent/agent/runtime/clock.ts';
import { silentLog } from '@blocktorrent/agent/runtime/log.ts';
import { expect, it, vi } from 'vitest';
import { CONNACK, startStub } from '../support/mqtt-stub.ts';

/** A link that only says why it has no connection, or something else that it warns of. */
function aSource(
  url: string,
  waits: Partial<MqttSourceOptions>,
  onWarning: (fields: object) => void,
  of = 'no connection to broker',
) {
  const warn = (message: string, fields?: object) => {
    if (message === of) onWarning(fields ?? {});
  };
  return new MqttSource({
    ...{ url, clientId: 'gateway-1', filters: ['site/#'], version: '5', random: () => 0 },
    ...{ clock: systemClock, log: { ...silentLog, warn }, ...waits },
    sink: { take: () => undefined, flush: () => undefined },
  });
}

it('what a broker says at the end is said as text, as when another client has our id', async () => {
  const stub = await startStub((socket, packet) => {
    if (packet[0] === 0x10) socket.write(CONNACK);
    else socket.end(Buffer.from([0xe0, 2, 142, 0]));
  });
  const ends: object[] = [];
  const source = aSource(stub.url, {}, (fields) => ends.push(fields));
  source.start();
  await vi.waitFor(() => expect(ends.length).toBeGreaterThan(0));
  await source.stop();
  await stub.stop();
  const reason = 'the broker ended the connection, reason 142 (Session taken over)';
  expect(ends[0]).toMatchObject({ reason });
});

it('a broker that keeps the session for less than it was asked for is named in the log', async () => {
  // CONNACK with a Session Expiry Interval of 60 s.
  const stub = await startStub((socket, packet) => {
    if (packet[0] === 0x10) socket.write(Buffer.from([0x20, 8, 0, 0, 5, 0x11, 0, 0, 0, 60]));
  });
  const seen: object[] = [];
  const message = 'the broker keeps our session for less than it was asked';
  const source = aSource(stub.url, {}, (fields) => seen.push(fields), message);
  source.start();
  await vi.waitFor(() => expect(seen).toHaveLength(1));
  await source.stop();
  await stub.stop();
  expect(seen[0]).toMatchObject({ seconds: 60, askedSeconds: 604_800 });
});

it('a connection counts as good after its stable time only, however often it comes about', async () => {
  const uptimesMs = [0, 0, 999, 1000, 0];
  const ends = uptimesMs.length;
  let nowMs = 0;
  const stub = await startStub((socket, packet) => {
    if (packet[0] === 0x10) socket.write(CONNACK);
    if (packet[0] !== 0x82) return;
    nowMs += uptimesMs.shift() ?? 0;
    socket.destroy();
  });
  const waitsMs: unknown[] = [];
  const waits = {
    backoff: { minMs: 20, maxMs: 10_000, stableMs: 1000 },
    clock: { ...systemClock, monotonicMs: () => nowMs },
  };
  const source = aSource(stub.url, waits, (fields) =>
    waitsMs.push((fields as { waitMs: unknown }).waitMs),
  );
  source.start();
  await vi.waitFor(() => expect(waitsMs.length).toBeGreaterThanOrEqual(ends));
  await source.stop();
  await stub.stop();
  // Half of 20, 40, 80, and again, because the random number is 0.
  expect(waitsMs.slice(0, ends)).toEqual([10, 20, 40, 10, 20]);
});

it('what the broker refuses is asked for again, and it alone, until its rules are put right', async () => {
  const asked: string[] = [];
  const stub = await startStub((socket, packet) => {
    if (packet[0] === 0x10) socket.write(CONNACK);
    if (packet[0] !== 0x82) return;
    const text = packet.toString('latin1');
    const filters = ['site/#', 'yard/#'].filter((filter) => text.includes(filter));
    asked.push(filters.join());
    // 135: not authorized.
    const codes = filters.map((filter) => (filter === 'yard/#' && asked.length < 4 ? 135 : 1));
    socket.write(
      Buffer.from([0x90, 3 + codes.length, packet[2] ?? 0, packet[3] ?? 0, 0, ...codes]),
    );
  });
  const said: object[] = [];
  const more = { filters: ['site/#', 'yard/#'], resubscribeMs: 20 };
  const source = aSource(stub.url, more, (fields) => said.push(fields));
  source.start();
  await vi.waitFor(() => expect(source.state.refused).toHaveLength(1));
  expect(source.state.subscribed).toBe(false);
  await vi.waitFor(() => expect(source.state).toMatchObject({ subscribed: true, refused: [] }));
  await source.stop();
  await stub.stop();
  expect(asked).toEqual(['site/#,yard/#', 'yard/#', 'yard/#', 'yard/#']);
  expect(source.state.connections).toBe(1);
});
