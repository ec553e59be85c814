/**
 * A whole audit, in reading order (P §3.2.4, Fig. 3): gather the shards, rebuild each key, recover
 * each file without its source, check the readings' chain, report, close the request.
 *
 * Always holds: one file that cannot be recovered does not stop the others; what was found is
 * reported to the ledger only with the evidence that the report carries.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { rebuildIdentity } from '@blocktorrent/protocol/dealing.ts';
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
import { gatherShards, withoutRelease } from './gather.ts';
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
  /** Close the request on the ledger when done. */
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
}
export interface AuditReport {
  readonly requestId: string;
  readonly ok: boolean;
  readonly files: readonly AuditedFile[];
  /** Files that could not be recovered, and why. */
  readonly failed: readonly { readonly fileId: Hex; readonly reason: string }[];
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
  const gathered = await gatherShards({
    ...options,
    onProgress: (request) => onProgress({ step: 'request', request }),
  });
  const from = gathered.request.releases.map((release) => release.mspId);
  onProgress({ step: 'shards', files: gathered.records.length, from });

  const files: AuditedFile[] = [];
  const failed: { fileId: Hex; reason: string }[] = [];
  const faults: Fault[] = [...gathered.faults];
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
      failed.push({ fileId, reason });
      if (fault !== null) faults.push(fault);
    }
  }
  const silent = withoutRelease(gathered.request, gathered.records);
  const report = summarise(options.requestId, { files, failed, silent }, faults);
  await mkdir(outputDir, { recursive: true, mode: 0o700 });
  await writeFile(join(outputDir, 'report.json'), `${JSON.stringify(report, null, 2)}\n`);
  await publish(report, options);
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
  if (record.kind !== 'batch') return { ...recovered, source, readings: null, anchors: null };
  const { readings, anchors } = await verifyAnchored(recovered.contentPath, record, options.ledger);
  return { ...recovered, source, readings, anchors };
}

/** What a failure proves. The source answers for a key that is wrong and a file that won't open. */
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
  const unopenable = ['wrong-table', 'bad-padding', 'malformed', 'truncated', 'bad-chain'];
  if (unopenable.includes(String(code))) return { fault: found('unopenable'), reason };
  return { fault: null, reason };
}

function summarise(
  requestId: string,
  found: {
    readonly files: readonly AuditedFile[];
    readonly failed: AuditReport['failed'];
    readonly silent: readonly MspId[];
  },
  all: readonly Fault[],
): AuditReport {
  const { files, failed, silent } = found;
  const chunksFrom: Record<MspId, number> = {};
  for (const file of files) {
    for (const [mspId, count] of Object.entries(file.fromOwner)) {
      chunksFrom[mspId] = (chunksFrom[mspId] ?? 0) + count;
    }
  }
  const unreachable = all.filter((fault) => fault.kind === 'unreachable');
  return {
    requestId,
    ok: failed.length === 0,
    files,
    failed,
    faults: all.filter((fault) => fault.kind !== 'unreachable'),
    withoutRelease: silent,
    unreachable: [...new Set(unreachable.map((fault) => fault.mspId))],
    chunks: files.reduce((sum, file) => sum + file.chunkCount, 0),
    chunksFrom,
  };
}

async function publish(report: AuditReport, options: AuditOptions): Promise<void> {
  if (!options.close) return;
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
  return { ok, summary, faults: faults.slice(0, LIMITS.faultsPerAuditMax) };
}
