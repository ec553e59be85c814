/**
 * Random inspections (P §3.2.4): a draw, and which recorded files it names.
 *
 * Only the draw is written. A file belongs to it if its time is in the range, it was recorded before
 * the draw, and `isDrawn` says so; each of that can be checked for one file by itself.
 */
import { isDrawn } from '@blocktorrent/protocol/inspection.ts';
import type {
  DrawnFiles,
  GetInspectionInput,
  Hex,
  Inspection,
  InspectionInput,
  MspId,
  Policy,
} from '@blocktorrent/protocol/ledger-api.ts';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import type { Context } from 'fabric-contract-api';
import { emitEvent } from './events.ts';
import type { StoredRecord } from './record-state.ts';
import { Refusal } from './refusal.ts';
import { getJson, nowMs, putJson, scan } from './state.ts';
import { KEY, timeStart } from './state-keys.ts';

/** Writes a draw over a past range at the policy's rate; returns its id. */
export async function drawInspection(
  ctx: Context,
  input: InspectionInput,
  drawnBy: MspId,
  policy: Policy,
): Promise<string> {
  const permille = policy.inspectionPermille ?? 0;
  if (permille === 0) {
    throw new Refusal('NOT_ALLOWED', 'the policy has no inspectionPermille: no inspections');
  }
  const drawnAtMs = nowMs(ctx);
  if (input.fromMs >= input.toMs || input.toMs > drawnAtMs) {
    throw new Refusal(
      'BAD_ARGUMENT',
      `expected a range before ${drawnAtMs}, got ${input.fromMs}..${input.toMs}`,
    );
  }
  const inspectionId = ctx.stub.getTxID();
  const inspection: Inspection = { ...input, inspectionId, permille, drawnBy, drawnAtMs };
  await putJson(ctx, KEY.inspection(inspectionId), inspection);
  emitEvent(ctx, 'inspection-drawn', { inspectionId });
  return inspectionId;
}

/** The draw; a Refusal NOT_FOUND where there is none. */
export async function requireInspection(ctx: Context, inspectionId: string): Promise<Inspection> {
  const inspection = await getJson<Inspection>(ctx, KEY.inspection(inspectionId));
  if (inspection === null) throw new Refusal('NOT_FOUND', `there is no inspection ${inspectionId}`);
  return inspection;
}

/** Throws a Refusal NOT_DRAWN unless the inspection names this file. */
export function requireDrawn(record: StoredRecord, inspection: Inspection): void {
  if (!belongsTo(record, inspection)) {
    throw new Refusal(
      'NOT_DRAWN',
      `inspection ${inspection.inspectionId} did not draw file ${record.fileId}`,
    );
  }
}

/** One page of a source's drawn files; null where there is no such inspection. */
export async function drawnFiles(
  ctx: Context,
  { inspectionId, source, bookmark }: GetInspectionInput,
): Promise<DrawnFiles | null> {
  const inspection = await getJson<Inspection>(ctx, KEY.inspection(inspectionId));
  if (inspection === null) return null;
  const to = timeStart(inspection.toMs);
  const start = timeStart(inspection.fromMs);
  const from = bookmark > start ? bookmark : start;
  const fileIds: Hex[] = [];
  if (from >= to) return { inspection, fileIds, bookmark: '' };
  let seen = 0;
  const places = scan<{ fileId: Hex }>(ctx, KEY.timesOf(source), { from, to });
  for await (const { place, value } of places) {
    if (++seen > LIMITS.listLimitMax) return { inspection, fileIds, bookmark: place };
    const { fileId } = value;
    if (!isDrawn(inspectionId, fileId, inspection.permille)) continue;
    const record = await getJson<StoredRecord>(ctx, KEY.record(fileId));
    if (record?.source === source && belongsTo(record, inspection)) fileIds.push(fileId);
  }
  return { inspection, fileIds, bookmark: '' };
}

function belongsTo(record: StoredRecord, inspection: Inspection): boolean {
  const { inspectionId, fromMs, toMs, permille, drawnAtMs } = inspection;
  const { fileId, timeMs, recordedAtMs } = record;
  const isInTime = timeMs >= fromMs && timeMs < toMs && recordedAtMs < drawnAtMs;
  return isInTime && isDrawn(inspectionId, fileId, permille);
}
