/** What the broker warns of: enough to know, never more than a log can take. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { startBroker } from '@blocktorrent/broker/broker.ts';
import { quiet } from '@blocktorrent/broker/quiet.ts';
import { expect, it, onTestFinished } from 'vitest';

it('warnings of one kind are written ten times, then counted, and begin anew once they have ended', async () => {
  const lines: Readonly<Record<string, unknown>>[] = [];
  const warn = quiet((message, fields) => lines.push({ message, ...fields }), 40);
  for (let n = 0; n < 300; n += 1) warn('client ended', { clientId: `c${n}`, reason: 'wrong' });
  warn('client ended', { clientId: 'd', reason: 'keep alive' });
  expect(lines).toHaveLength(11);
  await expect.poll(() => lines.length).toBe(12);
  expect(lines.at(-1)).toEqual({ message: 'client ended', reason: 'wrong', leftOut: 290 });
  const begins = () => {
    const { length } = lines;
    for (let n = 0; n < 3; n += 1) warn('client ended', { reason: 'wrong' });
    return lines.length - length === 3;
  };
  await expect.poll(begins).toBe(true);
});

it('reasons that clients make up are one kind', () => {
  let lines = 0;
  const warn = quiet(() => {
    lines += 1;
  });
  for (let n = 0; n < 5_000; n += 1) warn('client ended', { reason: `no right on ${n}` });
  expect(lines).toBe(210);
});

it('a connection that speaks no MQTT is told with its address', async () => {
  const warned: Readonly<Record<string, unknown>>[] = [];
  const broker = await startBroker({ port: 0, warn: (_, fields) => warned.push(fields) });
  onTestFinished(() => broker.stop());
  const socket = connect(Number(broker.address.split(':')[1]), '127.0.0.1');
  socket.on('error', () => undefined);
  socket.write(Buffer.from([0x10, 4, 0, 4, 88, 88, 88, 88]));
  await once(socket, 'close');
  await expect.poll(() => warned).toMatchObject([{ address: '127.0.0.1' }]);
});
