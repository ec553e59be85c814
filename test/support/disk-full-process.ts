/**
 * A gateway on a disk that somebody else fills, as a process of its own: `node … FOLDER RESERVE_BYTES`.
 * Prints one line of JSON: what was published, stored and left at the broker, and what status said.
 */
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { verifyBatch } from '@blocktorrent/agent/audit/verify-batch.ts';
import { freeBytes } from '@blocktorrent/agent/runtime/disk-space.ts';
import { openReadOnly } from '@blocktorrent/agent/runtime/sqlite.ts';
import { startBroker } from '@blocktorrent/broker/broker.ts';
import { connectAsync } from 'mqtt';
import { gatewayConfig, startGateway } from './gateway.ts';

const SESSION = 'blocktorrent-gateway-1';
const [folder = '', reserveBytes = '0'] = process.argv.slice(2);
const ballast = join(folder, 'ballast');
const broker = await startBroker({ port: 0 });
const url = `mqtt://${broker.address}`;
const disk = `disk: { maxBytes: 1000000000, reserveBytes: ${reserveBytes} }`;
const rules = "[{ topic: 'site/#', value: /v, sequence: /n, sensor: /s }]";
// With a reserve nothing but the growth of the open batch makes the keeper look before its time.
const maxReadings = reserveBytes === '0' ? 200 : 100_000;
const more = `batch: { maxReadings: ${maxReadings}, ${disk} }`;
const { gateway, stop } = startGateway(folder, gatewayConfig(folder, rules, [url], more));
const publisher = await connectAsync(url);

async function until(done: () => boolean): Promise<void> {
  for (const end = Date.now() + 30_000; !done(); ) {
    if (Date.now() > end) throw new Error(`waited too long: ${JSON.stringify(gateway.counts())}`);
    await setTimeout(20);
  }
}

let published = 0;
async function publish(count: number): Promise<void> {
  const all = Array.from({ length: count }, () => {
    published += 1;
    const body = { s: 'x', n: published, v: 1, pad: 'x'.repeat(3000) };
    return publisher.publishAsync('site/a', JSON.stringify(body), { qos: 1 });
  });
  await Promise.all(all);
}

/** Device sequences in all batches; each closed one verifies. */
function stored(): Set<number> {
  const seqs = new Set<number>();
  const batches = join(folder, 'batches');
  for (const name of readdirSync(batches).filter((one) => one.endsWith('.sqlite'))) {
    const database = openReadOnly(join(batches, name));
    const sql = 'SELECT device_seq FROM reading WHERE duplicate_of IS NULL';
    for (const seq of database.prepare(sql).pluck().all()) seqs.add(Number(seq));
    database.close();
    if (!name.includes('open')) verifyBatch(join(batches, name));
  }
  return seqs;
}

await until(() => gateway.counts().brokers[0]?.connected === true);
await until(() => broker.queuedFor(SESSION) === 0);
// Without a reserve somebody else takes nearly all, faster than anybody looks.
writeFileSync(
  ballast,
  Buffer.alloc(reserveBytes === '0' ? freeBytes(folder) - 300_000 : 3_000_000),
);
// Until the disk takes no more, and somewhat beyond.
let alarm: string | null = null;
for (let more = 3; more > 0; ) {
  await publish(100);
  await setTimeout(1);
  alarm ??= gateway.counts().disk.alarm;
  if (alarm !== null) more -= 1;
  if (published > 5000) throw new Error('the disk is never full');
}
const left = freeBytes(folder);
// What the reserve is for: a batch is closed while nothing comes in.
if (reserveBytes !== '0') gateway.closeBatch();
const full = {
  stored: gateway.counts().readings,
  atBroker: broker.queuedFor(SESSION),
  open: gateway.counts().openReadings,
  left,
};
rmSync(ballast);
await until(() => broker.queuedFor(SESSION) === 0 && gateway.counts().readings >= published);
await stop();
const found = stored();
console.log(JSON.stringify({ published, stored: found.size, alarm, full }));
process.exit(0);
