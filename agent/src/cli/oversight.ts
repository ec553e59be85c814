/**
 * Bodies of the commands by which the members look after each other (P §3.2.4): faults, penalties,
 * leaving, inspections, giving shards up. Like `actions.ts`: each takes its options and the
 * action's context, prints nothing.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { fromBase64 } from '@blocktorrent/protocol/bytes.ts';
import type { Argument, AuditOutcome, MspId } from '@blocktorrent/protocol/ledger-api.ts';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import type { AuditReport } from '../audit/audit.ts';
import { type ActionContext, type ActionResult, withLedger } from './actions.ts';
import { CliError } from './cli-error.ts';
import { EXIT } from './exit-codes.ts';
import { table, timeText } from './output.ts';

/** Draws files of a past time range at the policy's rate; `value`: { inspectionId, fromMs, toMs }. */
export async function drawInspection(
  range: Argument<'ledger/audits:DrawInspection'>,
  context: ActionContext,
): Promise<ActionResult> {
  return withLedger(context, async (ledger) => {
    const { result } = await ledger.submit('ledger/audits:DrawInspection', range);
    const { inspectionId } = result;
    const text =
      `inspection ${inspectionId} is on the ledger; an auditor asks for what it drew of an ` +
      `organisation: \`blocktorrent audit request --inspection ${inspectionId} --source MSP_ID --reason TEXT\``;
    return { value: { inspectionId, ...range }, text, verified: true };
  });
}

/**
 * Closes an audit request with the outcome of a report (null: it was given up). Of one that has
 * expired after its approval the ledger finds the holders that were silent.
 */
export async function closeAudit(
  options: { readonly requestId: string; readonly reportPath: string | null },
  context: ActionContext,
): Promise<ActionResult> {
  const { requestId, reportPath } = options;
  const outcome = reportPath === null ? GIVEN_UP : await reportedOutcome(requestId, reportPath);
  return withLedger(context, async (ledger) => {
    const { txId } = await ledger.submit('ledger/audits:Close', { requestId, outcome });
    const request = await ledger.evaluate('ledger/audits:GetRequest', { requestId });
    const faults = request?.outcome?.faults ?? [];
    const lines = faults.map(({ mspId, kind, detail }) => `fault: ${mspId} ${kind}: ${detail}`);
    const text = [`request ${requestId} is closed`, ...lines].join('\n');
    return { value: { requestId, txId, ok: outcome.ok, faults }, text, verified: true };
  });
}

const GIVEN_UP: AuditOutcome = { ok: false, summary: 'closed without a report', faults: [] };

async function reportedOutcome(requestId: string, path: string): Promise<AuditOutcome> {
  const { outcomeOf } = await import('../audit/audit.ts');
  const report = reportIn(await readFile(path, 'utf8'));
  if (report?.requestId === requestId) return outcomeOf(report);
  throw new CliError(`${path} is no report of request ${requestId}`, { exitCode: EXIT.usage });
}

/** Null where it is no report: it was written by `audit fetch`, of whatever release. */
function reportIn(text: string): AuditReport | null {
  try {
    const report = JSON.parse(text) as AuditReport;
    return [report.files, report.failed, report.faults].every(Array.isArray) ? report : null;
  } catch {
    return null;
  }
}

/** Reports a fault in the name of this organisation; what can be checked is the evidence. */
export async function reportFault(
  fault: Argument<'ledger/consortium:ReportFault'>,
  context: ActionContext,
): Promise<ActionResult> {
  return withLedger(context, async (ledger) => {
    const { txId } = await ledger.submit('ledger/consortium:ReportFault', fault);
    const faultId = `${txId}.0`;
    const text = `fault ${faultId} of ${fault.mspId} is on the ledger, for good`;
    return { value: { faultId }, text, verified: true };
  });
}

/** The faults reported of one organisation, newest first; a page of 500. */
export async function listFaults(
  options: Argument<'ledger/consortium:ListFaults'>,
  context: ActionContext,
): Promise<ActionResult> {
  return withLedger(context, async (ledger) => {
    const faults = await ledger.evaluate('ledger/consortium:ListFaults', options);
    const titles = ['fault', 'when', 'kind', 'reported by', 'file', 'evidence', 'detail'];
    const rows = faults.map(({ faultId, atMs, kind, reporter, fileId, evidenceHash, detail }) => {
      const evidence = evidenceHash === null ? 'none' : 'yes';
      return [faultId, timeText(atMs), kind, reporter, fileId, evidence, detail];
    });
    const text = rows.length === 0 ? `no faults of ${options.mspId}` : table(titles, rows);
    return { value: faults, text, verified: true };
  });
}

/** One fault; its evidence goes to `evidencePath` unless that is null. */
export async function showFault(
  options: { readonly faultId: string; readonly evidencePath: string | null },
  context: ActionContext,
): Promise<ActionResult> {
  const { faultId, evidencePath } = options;
  return withLedger(context, async (ledger) => {
    const fault = await ledger.evaluate('ledger/consortium:GetFault', { faultId });
    if (fault === null) throw new CliError(`the ledger knows no fault ${faultId}`);
    if (evidencePath !== null) {
      if (fault.evidence === undefined) {
        throw new CliError(`fault ${faultId} has no evidence: nothing was written`);
      }
      await writeFile(evidencePath, fromBase64(fault.evidence), { flag: 'wx' });
    }
    const { kind, mspId, fileId, reporter, atMs, evidenceHash, detail } = fault;
    const text = [
      `${kind} of ${mspId}, file ${fileId}`,
      `reported by ${reporter} at ${timeText(atMs)}`,
      `evidence: ${evidenceHash === null ? 'none' : `SHA-256 ${evidenceHash}`}`,
      detail,
    ].join('\n');
    return { value: fault, text, verified: true };
  });
}

/** The penalties that were decided about one organisation, newest first. */
export async function listPenalties(
  options: { readonly mspId: MspId },
  context: ActionContext,
): Promise<ActionResult> {
  return withLedger(context, async (ledger) => {
    const penalties = await ledger.evaluate('ledger/consortium:ListPenalties', options);
    const titles = ['proposal', 'when', 'faults', 'decision'];
    const rows = penalties.map(({ proposalId, atMs, faultIds, decision }) => {
      return [proposalId, timeText(atMs), faultIds.length, decision];
    });
    const text = rows.length === 0 ? `no penalties of ${options.mspId}` : table(titles, rows);
    return { value: penalties, text, verified: true };
  });
}

/** Says in public, for good, that this organisation gives its shards of these files up. */
export async function withdraw(
  options: Argument<'ledger/audits:Withdraw'>,
  context: ActionContext,
): Promise<ActionResult> {
  const { withdrawShards } = await import('../consortium/give-up-shards.ts');
  return withLedger(context, async (ledger) => {
    const txIds = await withdrawShards(ledger, options);
    const minutes = LIMITS.withdrawalDelayMs / 60_000;
    const text =
      `withdrawn from ${options.fileIds.length} files, for good; keep their shards for another ` +
      `${minutes} minutes, then \`blocktorrent audit purge\` removes them`;
    return { value: { fileIds: options.fileIds, txIds }, text, verified: true };
  });
}

/** Removes this organisation's shards of files that it has withdrawn from. */
export async function purge(
  options: { readonly fileIds: readonly string[] },
  context: ActionContext,
): Promise<ActionResult> {
  const { purgeShards } = await import('../consortium/give-up-shards.ts');
  return withLedger(context, async (ledger) => {
    const purged = await purgeShards(ledger, options.fileIds, Date.now());
    const gone = options.fileIds.length - purged;
    const text = `${purged} shards purged${gone === 0 ? '' : `, ${gone} were not there any more`}`;
    return { value: { fileIds: options.fileIds, purged }, text, verified: true };
  });
}

/** Ends this organisation's membership. @throws CliError unless `mspId` is its own */
export async function leave(
  options: { readonly mspId: MspId },
  context: ActionContext,
): Promise<ActionResult> {
  const own = context.config.organisation.mspId;
  if (options.mspId !== own) {
    throw new CliError(
      `this configuration is of ${own}, not of ${options.mspId}: nobody has left`,
      {
        todo: 'Name your own organisation; another one is removed by a proposal of kind `remove`.',
      },
    );
  }
  return withLedger(context, async (ledger) => {
    const { txId } = await ledger.submit('ledger/consortium:Leave', {});
    const text =
      `${own} has left the consortium; its records and receipts stay readable. Keep its agents ` +
      'running until the others have placed its chunks anew';
    return { value: { mspId: own, txId }, text, verified: true };
  });
}
