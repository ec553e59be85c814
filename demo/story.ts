/**
 * The story that the demo tells, scene by scene, in the order of the paper's Figs. 2 and 3.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import type { Fault, MspId } from '@blocktorrent/protocol/ledger-api.ts';
import { type Cast, castAndStart } from './cast.ts';
import { compare } from './compare.ts';
import type { DemoOptions } from './options.ts';
import type { Processes } from './processes.ts';
import type { Show } from './show.ts';

export interface StoryOptions {
  readonly options: DemoOptions;
  readonly workDir: string;
  readonly processes: Processes;
  readonly show: Show;
  readonly signal: AbortSignal;
}

/** The last line of `--json`. */
export interface DemoResult {
  readonly ok: boolean;
  readonly organisations: number;
  readonly readingsSent: number;
  readonly readingsRecovered: number;
  readonly missing: number;
  readonly altered: number;
  readonly files: number;
  readonly chunks: number;
  readonly ownersPerChunkMin: number;
  readonly uplinkRatio: number;
  readonly killed: readonly string[];
  readonly faults: readonly Fault[];
  readonly auditSeconds: number;
  readonly seconds: number;
}

/** One audited file, as `blocktorrent audit fetch --json` prints it. */
interface AuditedFile {
  readonly fileId: string;
  readonly kind: string;
  readonly chunkCount: number;
  readonly ciphertextPath: string;
  readonly identityPath: string;
  readonly contentPath: string;
  readonly owners: readonly (readonly MspId[])[];
  readonly readings: number | null;
}
interface AuditReport {
  readonly ok: boolean;
  readonly files: readonly AuditedFile[];
  readonly failed: readonly { fileId: string; reason: string }[];
  readonly faults: readonly Fault[];
  readonly chunks: number;
  readonly chunksFrom: Readonly<Record<MspId, number>>;
}

/** Tells it from the first process to the verdict. */
export async function tellStory(story: StoryOptions): Promise<DemoResult> {
  const { options, show } = story;
  const startedMs = performance.now();
  const output = resolve(options.output);
  await mkdir(output, { recursive: true });
  for (const left of ['audit', 'sensors.jsonl', 'logs']) {
    await rm(join(output, left), { recursive: true, force: true });
  }

  show.step(`BlockTorrent: ${options.organisations} organisations and an auditor`);
  const cast = await castAndStart({
    ...story,
    organisations: options.organisations,
    ledger: options.ledger,
    sensorLog: join(output, 'sensors.jsonl'),
    onStep: (text) => show.step(text),
  });
  const photo = await publish(cast, story);
  const { uplinkRatio } = await settle(cast, story);
  const killed = await killSource(cast, story);
  const { report, auditSeconds } = await audit(cast, story, output);

  const verdict = compare(
    cast.sensorLog,
    report.files.filter((file) => file.kind === 'batch').map((file) => file.contentPath),
  );
  const put = report.files.find((file) => file.kind === 'file');
  const photoEqual =
    put !== undefined && (await readFile(put.contentPath)).equals(await readFile(photo));
  show.detail(`delivery-note.jpg came back ${photoEqual ? 'equal' : 'DIFFERENT'}`);
  const ownersPerChunk = report.files.flatMap((file) => file.owners.map((owners) => owners.length));
  const ok =
    report.ok &&
    photoEqual &&
    verdict.sent > 100 &&
    verdict.missing === 0 &&
    verdict.altered === 0 &&
    report.files.length >= 3 &&
    (!options.corrupt || namesAttacker(report, cast));
  const result: DemoResult = {
    ok,
    organisations: options.organisations,
    readingsSent: verdict.sent,
    readingsRecovered: verdict.recovered,
    missing: verdict.missing,
    altered: verdict.altered,
    files: report.files.length,
    chunks: report.chunks,
    ownersPerChunkMin: Math.min(...ownersPerChunk),
    uplinkRatio,
    killed,
    faults: report.faults,
    auditSeconds,
    seconds: round((performance.now() - startedMs) / 1000),
  };
  tellVerdict(result, report, cast, show);
  if (options.serve) await serve(story);
  return result;
}

/** Size of the file that is `put` beside the readings. */
const PHOTO_BYTES = 1_500_000;

/** Scene 1 (P §3.2.3 step 1): sensors publish; the gateway commits, then acknowledges. */
async function publish(cast: Cast, { options, processes, show, signal, workDir }: StoryOptions) {
  show.step(
    `sensors publish over MQTT for ${options.seconds} s; the gateway of ${cast.source} batches`,
  );
  await cast.startSensors();
  const photo = join(workDir, 'delivery-note.jpg');
  await writeFile(photo, randomBytes(PHOTO_BYTES));
  const put = cast.command(cast.source, ['put', photo, '--json']);
  put.catch(() => undefined);
  const endMs = performance.now() + options.seconds * 1000;
  while (performance.now() < endMs) {
    await setTimeout(250, undefined, { signal });
    const status = await cast.status();
    show.status(
      `${status.readings} readings committed, open batch ${status.openReadings}; files: ` +
        stages(status.files),
    );
  }
  await processes.end('sensors', 'SIGTERM');
  await put;
  show.detail(
    `any file can go the same way: blocktorrent put delivery-note.jpg (${PHOTO_BYTES} bytes)`,
  );
  return photo;
}

/** Scene 2 (P §3.2.3 steps 2 to 5): every batch sealed, distributed, its key split, recorded. */
async function settle(
  cast: Cast,
  { show, signal, processes }: StoryOptions,
): Promise<{ uplinkRatio: number }> {
  show.step('the sensors have stopped; the last batch is sealed, and every file made available');
  await cast.closeBatch();
  for (;;) {
    processes.requireAlive();
    const status = await cast.status();
    show.status(`files: ${stages(status.files)}`);
    const { available, void: given, ...underWay } = status.files;
    const left = Object.values<number>(underWay).reduce((sum, count) => sum + count, 0);
    if (left === 0 && status.openReadings === 0 && available > 0) {
      show.detail(`${status.readings} readings in ${available} files, ${given} given up`);
      const uplinkRatio = round(
        status.uplink.sentBytes / Math.max(1, status.uplink.ciphertextBytes),
      );
      show.detail(
        `the gateway sent ${status.uplink.sentBytes} bytes for ${status.uplink.ciphertextBytes} ` +
          `bytes of ciphertext: ${uplinkRatio} x, TLS and handshakes included; each chunk is at 3 owners`,
      );
      return { uplinkRatio };
    }
    await setTimeout(200, undefined, { signal });
  }
}

/** Scene 3: the party with reasons to lose the data is gone for good. */
async function killSource(cast: Cast, { options, processes, show }: StoryOptions) {
  const victims = options.corrupt ? [cast.source] : [cast.source, cast.second];
  for (const mspId of victims) await processes.end(`agent ${mspId}`, 'SIGKILL');
  show.step(`killed (SIGKILL): the agents of ${victims.join(' and ')}`);
  show.detail('their ledger peers live on: the chain is kept by every organisation');
  if (options.corrupt) {
    await cast.startAttacker();
    show.step(`an attacker takes the place of ${cast.second}, with its own certificate and keys`);
    show.detail('it serves altered chunks, does not vote, and releases nothing');
    return [cast.source];
  }
  return victims;
}

/** Scene 4 (P §3.2.4): request, vote, release, fetch, rebuild. */
async function audit(cast: Cast, { show }: StoryOptions, output: string) {
  const startedMs = performance.now();
  show.step(`the auditor asks for every file of ${cast.source}`);
  const requested = await cast.auditor([
    'audit',
    'request',
    '--source',
    cast.source,
    '--reason',
    'temperature dispute',
    '--json',
  ]);
  const { requestId } = JSON.parse(requested) as { requestId: string };
  show.detail(`request ${requestId.slice(0, 16)} is on the ledger; the organisations vote`);
  const fetched = await cast.auditor([
    'audit',
    'fetch',
    requestId,
    '--out',
    join(output, 'audit'),
    '--json',
  ]);
  const report = JSON.parse(fetched) as AuditReport;
  const auditSeconds = round((performance.now() - startedMs) / 1000);
  const from = Object.entries(report.chunksFrom).map(([mspId, count]) => `${mspId} ${count}`);
  show.step(
    `${report.files.length} files rebuilt of ${report.chunks} chunks; shown by ${from.join(', ')}`,
  );
  show.ownerMap(report.files);
  return { report, auditSeconds };
}

function namesAttacker(report: AuditReport, cast: Cast): boolean {
  return report.faults.some((fault) => fault.mspId === cast.second && fault.kind === 'bad-chunk');
}

function tellVerdict(result: DemoResult, report: AuditReport, cast: Cast, show: Show): void {
  for (const { fileId, reason } of report.failed) show.detail(`not rebuilt: ${fileId}: ${reason}`);
  for (const fault of result.faults) {
    show.detail(
      `fault: ${fault.mspId} ${fault.kind}, file ${fault.fileId.slice(0, 10)}: ${fault.detail}`,
    );
  }
  const { readingsSent, readingsRecovered, missing, altered } = result;
  show.step(
    `${result.ok ? 'proved' : 'NOT PROVED'}: ${readingsSent} readings sent, ${readingsRecovered} ` +
      `recovered, ${missing} missing, ${altered} altered (${result.seconds} s)`,
  );
  const file = report.files.find((one) => one.kind === 'batch');
  if (file === undefined) return;
  show.detail(`the simulator's own log: ${cast.sensorLog}`);
  show.detail('open a file by hand:');
  show.detail(
    `  age -d -i ${file.identityPath} ${file.ciphertextPath} | zstd -d > readings.sqlite`,
  );
  show.detail(`  sqlite3 readings.sqlite 'SELECT * FROM readings LIMIT 5'`);
}

async function serve({ show, signal, processes }: StoryOptions): Promise<void> {
  const names = processes.running.map(({ name, pid }) => `${name} (${pid})`);
  show.step(`still running until Ctrl-C: ${names.join(', ')}`);
  await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
}

function stages(files: Readonly<Record<string, number>>): string {
  const busy = Object.entries(files).filter(([, count]) => count > 0);
  return busy.map(([stage, count]) => `${count} ${stage}`).join(', ') || 'none yet';
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
