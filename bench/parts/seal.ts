/**
 * Sealing a batch: how many bytes are uploaded for a reading, and how fast the whole of it is.
 *
 * The batch is made by the agent's own batch store, with raw payloads; it is sealed by the agent's own
 * `sealFile` (zstd 3, padding, age, SHA-256 and the digests of every chunk, written and synced).
 * Baselines: the JSON of the payloads alone, and `zstd -3` alone of the same file, in turn. Encryption
 * alone, from file to file and not synced, is compared with the program `age`.
 */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { batchRulesOf } from '@blocktorrent/agent/batch/batch-rule.ts';
import { BatchStore } from '@blocktorrent/agent/batch/batch-store.ts';
import { readPieces, writePieces } from '@blocktorrent/agent/crypto/files.ts';
import { nodeAead } from '@blocktorrent/agent/crypto/node-aead.ts';
import { createDecode, type DecodeRule } from '@blocktorrent/agent/ingest/decode.ts';
import { ownReading } from '@blocktorrent/agent/ingest/ingest.ts';
import { systemClock } from '@blocktorrent/agent/runtime/clock.ts';
import { silentLog } from '@blocktorrent/agent/runtime/log.ts';
import { Quarantine } from '@blocktorrent/agent/runtime/quarantine.ts';
import { openDatabase, openReadOnly } from '@blocktorrent/agent/runtime/sqlite.ts';
import { sealFile } from '@blocktorrent/agent/seal/seal.ts';
import { encryptStream, identityFromRandom, recipientOf } from '@blocktorrent/protocol/age.ts';
import type { Reading } from '@blocktorrent/protocol/reading.ts';
import { interleave, secondsOf } from '../figures.ts';
import { isInstalled } from '../ingest/contenders.ts';
import type { BenchOptions, BenchPart } from '../part.ts';

const READINGS = { quick: 200_000, full: 1_000_000 };
const GROUP = 10_000;
const SENSORS = 50;
const CHUNKS_TARGET = 200;
const MB = 1_000_000;
const RULES: readonly DecodeRule[] = [
  {
    topic: 'site/#',
    decoder: 'json',
    sensor: '/sensor',
    sequence: '/seq',
    time: '/time',
    values: { value: '/value', battery: '/battery' },
  },
];

interface Batch {
  readonly path: string;
  readonly bytes: number;
  readonly jsonBytes: number;
}

async function run({ quick, emit, note }: BenchOptions): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'blocktorrent-bench-seal-'));
  const readings = quick ? READINGS.quick : READINGS.full;
  try {
    const batch = makeBatch(join(folder, 'batches'), readings);
    note(`${readings} readings: ${batch.bytes} bytes of SQLite, ${batch.jsonBytes} of JSON`);
    const uploaded: number[] = [];
    const name = `${readings / 1000}k readings`;
    const runs = quick ? 5 : 9;
    const rates = await interleave(
      {
        async seal() {
          let ciphertextBytes = 0;
          const seconds = await secondsOf(async () => {
            ({ ciphertextBytes } = await seal(batch.path, folder));
          });
          uploaded.push(ciphertextBytes / readings);
          return batch.bytes / MB / seconds;
        },
        async zstd() {
          const out = join(folder, 'alone.zst');
          const args = ['-3', '-T1', '-q', '-f', batch.path, '-o', out];
          const seconds = await secondsOf(async () => execFileSync('zstd', args));
          return batch.bytes / MB / seconds;
        },
      },
      runs,
      1,
    );
    emit({
      metric: 'bytesPerReading',
      case: name,
      unit: 'bytes',
      samples: uploaded,
      baseline: { name: 'JSON of the payloads', samples: [batch.jsonBytes / readings] },
      others: { sqlite: [batch.bytes / readings] },
    });
    emit({
      metric: 'sealRate',
      case: name,
      unit: 'MB/s',
      samples: rates.seal,
      baseline: { name: 'zstd -3 alone', samples: rates.zstd },
    });
    if (isInstalled('age')) emit({ case: name, ...(await encryption(batch, folder, runs)) });
    else note('age is not installed: encryptRate has nothing to be compared with');
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function seal(inputPath: string, folder: string) {
  return sealFile({
    inputPath,
    outputPath: join(folder, 'sealed.age'),
    workDir: folder,
    recipients: [],
    random: (count) => randomBytes(count),
    chunksTarget: CHUNKS_TARGET,
    signal: new AbortController().signal,
  });
}

/** Encryption of the batch as it is, ours and that of the program, in turn. */
async function encryption({ path, bytes }: Batch, folder: string, runs: number) {
  const recipient = recipientOf(identityFromRandom(randomBytes(32)));
  const rateOf = async (work: () => Promise<unknown>) => bytes / MB / (await secondsOf(work));
  const { signal } = new AbortController();
  const rates = await interleave(
    {
      ours() {
        const pieces = encryptStream(readPieces(path), [recipient], randomBytes, nodeAead);
        return rateOf(() => writePieces(join(folder, 'ours.age'), pieces, { signal }));
      },
      age() {
        const args = ['-r', recipient, '-o', join(folder, 'theirs.age'), path];
        return rateOf(async () => execFileSync('age', args));
      },
    },
    runs,
    1,
  );
  const baseline = { name: 'age -r', samples: rates.age };
  return { metric: 'encryptRate', unit: 'MB/s', samples: rates.ours, baseline };
}

/** A closed batch as the gateway would have it: what sensors send, through the decoder. */
function makeBatch(folder: string, count: number): Batch {
  const decode = createDecode(RULES);
  const base = ownReading(systemClock, 'boot-1', true);
  const store = BatchStore.open({
    folder,
    source: 'Org1MSP',
    gateway: 'gateway-1',
    bootId: 'boot-1',
    rules: batchRulesOf(RULES),
    maxAgeMs: Number.MAX_SAFE_INTEGER,
    maxReadings: Number.MAX_SAFE_INTEGER,
    maxBytes: Number.MAX_SAFE_INTEGER,
    nowMs: systemClock.nowMs,
    openDatabase,
    openReadOnly,
    quarantine: new Quarantine({ folder, maxBytes: () => 0, nowMs: systemClock.nowMs }),
    blank: () => base,
    log: silentLog,
  });
  let jsonBytes = 0;
  for (let from = 1; from <= count; from += GROUP) {
    const group = Array.from({ length: Math.min(GROUP, count - from + 1) }, (_, index): Reading => {
      const seq = from + index;
      const receivedMs = 1_763_800_000_000 + seq;
      const sensor = `cold-room-${seq % SENSORS}`;
      const payload = payloadOf(seq, sensor, receivedMs);
      jsonBytes += payload.length;
      const decoded = decode(`site/${sensor}/climate`, payload, receivedMs);
      if (decoded.refusal !== null) throw new Error(decoded.refusal);
      const { rule: _rule, ...finding } = decoded;
      const monotonicMs = seq;
      const topic = `site/${sensor}/climate`;
      return { ...base, ...finding, seq, receivedMs, monotonicMs, qos: 1, topic, payload };
    });
    store.append(group);
  }
  const closed = store.closeCurrent();
  store.stop();
  if (closed === null) throw new Error('an empty batch');
  return { path: closed.path, bytes: statSync(closed.path).size, jsonBytes };
}

/** Values wander as temperatures do, with noise in the last digit; 1..40 ms on the way. */
function payloadOf(seq: number, sensor: string, receivedMs: number): Buffer {
  const noise = (Math.imul(seq, 2_654_435_761) >>> 8) / 2 ** 24;
  const value = (4 + 2 * Math.sin(seq / 40_000) + 0.2 * noise).toFixed(2);
  const time = receivedMs - 1 - Math.floor(40 * ((Math.imul(seq, 40_503) >>> 4) / 2 ** 28));
  const count = Math.ceil(seq / SENSORS);
  const head = `{"sensor":"${sensor}","seq":${count},"time":${time},"value":${value}`;
  return Buffer.from(`${head},"unit":"Cel","battery":3.61,"status":"ok"}`);
}

export const part: BenchPart = {
  describe: 'sealing a batch: bytes for a reading against its JSON, speed against zstd alone',
  run,
};
