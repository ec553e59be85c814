/**
 * Telegraf with its `mqtt_consumer`: a persistent session, JSON parsed into a metric, acknowledged once
 * an output has written it, and with more of them under way than its default, so that none waits for a
 * flush. The output is a pipe: no disk, no sync.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { BenchBroker } from './bench-broker.ts';

const NEW_LINE = 0x0a;

function settingsOf({ port }: BenchBroker, clientId: string): string {
  return `
[agent]
  metric_batch_size = 1000
  metric_buffer_limit = 100000
  flush_interval = "100ms"
  omit_hostname = true
[[outputs.file]]
  files = ["stdout"]
[[inputs.mqtt_consumer]]
  servers = ["tcp://127.0.0.1:${port}"]
  topics = ["site/#"]
  qos = 1
  persistent_session = true
  client_id = "${clientId}"
  max_undelivered_messages = 20000
  data_format = "json"
  tag_keys = ["sensor"]
`;
}

/** Seconds from its connection to the last metric of a backlog. */
export async function drainByTelegraf(
  broker: BenchBroker,
  clientId: string,
  readings: number,
): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'blocktorrent-bench-'));
  const config = join(folder, 'telegraf.conf');
  writeFileSync(config, settingsOf(broker, clientId));
  const child = spawn('telegraf', ['--config', config], { stdio: ['ignore', 'pipe', 'pipe'] });
  const said: string[] = [];
  let connectedMs: number | null = null;
  createInterface({ input: child.stderr }).on('line', (line) => {
    said.push(line);
    if (line.includes('Connected [')) connectedMs ??= performance.now();
  });
  const ended = new Promise<void>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', () => resolve());
  });
  let metrics = 0;
  const drained = new Promise<number>((resolve) => {
    child.stdout.on('data', (bytes: Buffer) => {
      for (let at = bytes.indexOf(NEW_LINE); at !== -1; at = bytes.indexOf(NEW_LINE, at + 1)) {
        metrics += 1;
      }
      if (metrics >= readings) resolve(performance.now());
    });
  });
  try {
    const endedMs = await Promise.race([drained, ended]);
    if (endedMs === undefined || connectedMs === null) {
      throw new Error(`telegraf ended after ${metrics} of ${readings} metrics: ${said.join('\n')}`);
    }
    return (endedMs - connectedMs) / 1000;
  } finally {
    child.kill('SIGTERM');
    await ended;
    rmSync(folder, { recursive: true });
  }
}
