/**
 * A whole audit, in reading order (P §3.2.4, Fig. 3): gather the shards, rebuild each key, recover
 * each file without its source, check the readings' chain, report, close the request.
 *
 * Always holds: one file that cannot be recovered does not stop the others; what was found is
 * reported to the ledger only with the evidence that the report carries.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { toHex } from '@blocktorrent/protocol/bytes.ts';
import { rebuildIdentity } from '@blocktorrent/protocol/dealing.ts';
import { ProtocolError } from '@blocktorrent/protocol/errors.ts';
import type {
  AuditOutcome,
  AuditRequest,
  Fault,
  FileRecord,
  Hex,
  MspId,
} from '@blocktorrent/protocol/ledger-api.ts';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import type { Shard } from '@blocktorrent/protocol/shard.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { FetchError } from './fetch.ts';
import { gatherShards, withoutRelease } from './gather.ts';
import { type BatchChain, type ChainReport, chainReports } from './joins.ts';
import type { Fetched, FetchTarget, Recovered } from './recover.ts';
import { recoverFile } from './recover.ts';
import { verifyAnchored } from './verify-anchored.ts';

export interface AuditOptions {
  readonly ledger: Ledger;
  readonly requestId: string;
  readonly identities: ReadonlyMap<MspId, Uint8Array>;
  readonly outputDir: string;
  readonly fetch: (target: FetchTarget) => Promise<Fetched>;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: AuditProgress) => void;
  /** Close the request on the ledger when done; where another try may open more, it stays open. */
  readonly close: boolean;
}
export type AuditProgress =
  | { readonly step: 'request'; readonly request: AuditRequest }
  | { readonly step: 'shards'; readonly files: number; readonly from: readonly MspId[] }
  | { readonly step: 'file'; readonly done: number; readonly files: number; readonly fileId: Hex };

export interface AuditedFile extends Recovered {
  readonly source: MspId;
  /** Readings in the batch, dead letters and duplicates included; null for other files. */
  readonly readings: number | null;
  /** Anchors on the ledger that its readings lead to; null for other files. */
  readonly anchors: number | null;
  /** Where its readings begin and end in their gateway's chain; null for other files. */
  readonly chain: BatchChain | null;
}
export interface AuditReport {
  readonly requestId: string;
  /** Every file was recovered, and no two batches contradict each other. */
  readonly ok: boolean;
  readonly files: readonly AuditedFile[];
  /** Files that could not be recovered, and why. */
  readonly failed: readonly { readonly fileId: Hex; readonly reason: string }[];
  /** Whether the recovered batches of each gateway join. */
  readonly chains: readonly ChainReport[];
  /** Files that failed for a reason that may pass: an owner away, our disk full. */
  readonly mayPass: number;
  /** Failures that the evidence supports. */
  readonly faults: readonly Fault[];
  /** Holders that had released nothing when enough others had: a fault only past the request's time. */
  readonly withoutRelease: readonly MspId[];
  /** Owners that could not be reached: no fault by itself. */
  readonly unreachable: readonly MspId[];
  readonly chunks: number;
  readonly chunksFrom: Readonly<Record<MspId, number>>;
}

/** Runs the audit to its end and writes `report.json`. @throws AuditError from gathering. */
export async function runAudit(options: AuditOptions): Promise<AuditReport> {
  const { onProgress, outputDir } = options;
  await mkdir(outputDir, { recursive: true, mode: 0o700 });
  const gathered = await gatherShards({
    ...options,
    onProgress: (request) => onProgress({ step: 'request', request }),
  });
  const from = gathered.request.releases.map((release) => release.mspId);
  onProgress({ step: 'shards', files: gathered.records.length, from });

  const files: AuditedFile[] = [];
  const failed: { fileId: Hex; reason: string }[] = [];
  const faults: Fault[] = [...gathered.faults];
  let mayPass = 0;
  for (const record of gathered.records) {
    const { fileId } = record;
    onProgress({ step: 'file', done: files.length, files: gathered.records.length, fileId });
    try {
      const shards = gathered.shards.get(fileId) ?? [];
      const file = await auditFile(record, shards, options);
      files.push(file);
      faults.push(...file.faults);
    } catch (error) {
      if (options.signal.aborted) throw error;
      const { fault, reason } = judge(record, error);
      // Whoever could not show what it had signed for is named above all where nobody else could.
      if (error instanceof FetchError) faults.push(...error.faults);
      failed.push({ fileId, reason });
      if (fault !== null) faults.push(fault);
      else mayPass += 1;
    }
  }
  const silent = withoutRelease(gathered.request, gathered.records);
  const report = summarise(options.requestId, { files, failed, silent, mayPass }, faults);
  await writeFile(join(outputDir, 'report.json'), `${JSON.stringify(report, null, 2)}\n`);
  // Whoever opens files once more has reported already.
  if (gathered.request.state !== 'closed') await publish(report, options);
  return report;
}

async function auditFile(
  record: FileRecord,
  shards: readonly Shard[],
  options: AuditOptions,
): Promise<AuditedFile> {
  const identity = rebuildIdentity(shards.slice(0, record.dealing.k), record.dealing);
  const recovered = await recoverFile({
    ...options,
    record,
    identities: [identity],
    outputDir: join(options.outputDir, record.fileId.slice(0, 16)),
  });
  const { source } = record;
  if (record.kind !== 'batch') {
    return { ...recovered, source, readings: null, anchors: null, chain: null };
  }
  const batch = await verifyAnchored(recovered.contentPath, record, options.ledger);
  const { readings, anchors, firstSeq, lastSeq } = batch;
  const { fileId, gateway, seq: place } = record;
  const [chainStart, chainEnd] = [toHex(batch.chainStart), toHex(batch.chainEnd)];
  const chain = { fileId, source, gateway, place, firstSeq, lastSeq, chainStart, chainEnd };
  return { ...recovered, source, readings, anchors, chain };
}

/**
 * What a failure proves. The source answers for a key that is wrong, and for what does not open
 * although it is what its manifest, or its record, names; for that nobody else can be blamed.
 */
function judge(record: FileRecord, error: unknown): { fault: Fault | null; reason: string } {
  const reason = error instanceof Error ? error.message : String(error);
  const { fileId, source } = record;
  const code = (error as { code?: unknown }).code;
  const found = (kind: Fault['kind']): Fault => ({
    kind,
    mspId: source,
    fileId,
    detail: reason.slice(0, LIMITS.reasonCharsMax),
  });
  if (code === 'bad-key') return { fault: found('wrong-key'), reason };
  const isSealedWrong = error instanceof ProtocolError && code !== 'bad-argument';
  const named = ['wrong-table', 'wrong-whole', 'bad-chain'].includes(String(code));
  return { fault: isSealedWrong || named ? found('unopenable') : null, reason };
}

function summarise(
  requestId: string,
  found: {
    readonly files: readonly AuditedFile[];
    readonly failed: AuditReport['failed'];
    readonly silent: readonly MspId[];
    readonly mayPass: number;
  },
  all: readonly Fault[],
): AuditReport {
  const { files, failed, silent, mayPass } = found;
  const chains = chainReports(files.flatMap(({ chain }) => chain ?? []));
  const chunksFrom: Record<MspId, number> = {};
  for (const file of files) {
    for (const [mspId, count] of Object.entries(file.fromOwner)) {
      chunksFrom[mspId] = (chunksFrom[mspId] ?? 0) + count;
    }
  }
  const unreachable = all.filter((fault) => fault.kind === 'unreachable');
  return {
    requestId,
    ok: failed.length === 0 && chains.every(({ breaks }) => breaks.length === 0),
    files,
    failed,
    chains,
    mayPass,
    faults: all.filter((fault) => fault.kind !== 'unreachable'),
    withoutRelease: silent,
    unreachable: [...new Set(unreachable.map((fault) => fault.mspId))],
    chunks: files.reduce((sum, file) => sum + file.chunkCount, 0),
    chunksFrom,
  };
}

async function publish(report: AuditReport, options: AuditOptions): Promise<void> {
  if (!options.close || report.mayPass > 0) return;
  const { requestId } = report;
  const outcome = outcomeOf(report);
  await options.ledger.submit('ledger/audits:Close', { requestId, outcome });
}

/** What the ledger keeps of a report. */
export function outcomeOf(
  report: Pick<AuditReport, 'ok' | 'files' | 'failed' | 'faults'>,
): AuditOutcome {
  const { ok, files, failed, faults } = report;
  const summary = `${files.length} files recovered, ${failed.length} not, ${faults.length} faults`;
  // What a hostile party's bytes put into an error must not make the ledger refuse the outcome.
  const bounded = faults.slice(0, LIMITS.faultsPerAuditMax).map((fault) => ({
    ...fault,
    detail: fault.detail.slice(0, LIMITS.reasonCharsMax).toWellFormed(),
  }));
  return { ok, summary, faults: bounded };
}
