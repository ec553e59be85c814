/**
 * Asking for an audit (P §3.2.4, step 1): which files, why, until when, and one fresh age recipient
 * for each organisation that may hold a shard (PROTOCOL §3.1).
 *
 * Enters: the auditor's wish. Leaves: a request on the ledger, and its identities in one file that
 * only the auditor can read. Always holds: the identities are durable before the request is sent.
 */
import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  decodeIdentity,
  encodeIdentity,
  identityFromRandom,
  recipientOf,
} from '@blocktorrent/protocol/age.ts';
import type { FileRecord, Hex, MspId } from '@blocktorrent/protocol/ledger-api.ts';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { AuditError } from './audit-error.ts';

export interface RequestOptions {
  readonly ledger: Ledger;
  readonly fileIds: readonly Hex[];
  /** The inspection that drew them; null: the auditor chose them. */
  readonly inspection: string | null;
  readonly reason: string;
  readonly expiresAtMs: number;
  readonly random: (bytes: number) => Uint8Array;
  /** Folder of the auditor's requests, mode 0700. */
  readonly auditsDir: string;
}

/** Submits the request; returns its id. */
export async function requestAudit(options: RequestOptions): Promise<{ requestId: string }> {
  const { ledger, fileIds, inspection, reason, expiresAtMs, random, auditsDir } = options;
  if (fileIds.length === 0) {
    throw new AuditError('nothing-to-audit', 'no file matches: there is nothing to audit');
  }
  const { members } = await ledger.evaluate('ledger/consortium:GetConsortium', {});
  const identities = new Map(
    members.map(({ mspId }) => [mspId, identityFromRandom(random(32))] as const),
  );
  const recipients: Record<MspId, string> = {};
  const secrets: Record<MspId, string> = {};
  for (const [mspId, identity] of identities) {
    recipients[mspId] = recipientOf(identity);
    secrets[mspId] = encodeIdentity(identity);
  }
  await mkdir(auditsDir, { recursive: true, mode: 0o700 });
  const keep = (txId: string) =>
    writeDurably(identitiesPath(auditsDir, txId), JSON.stringify(secrets));
  const drawn = inspection === null ? {} : { inspection };
  const argument = { fileIds, reason, expiresAtMs, recipients, ...drawn };
  const { result } = await ledger.submit('ledger/audits:Request', argument, {
    onTransactionId: keep,
  });
  return result;
}

/** The identities of a request that this auditor made. @throws AuditError `unknown-request` */
export async function loadIdentities(
  auditsDir: string,
  requestId: string,
): Promise<Map<MspId, Uint8Array>> {
  const path = identitiesPath(auditsDir, requestId);
  try {
    const secrets = JSON.parse(await readFile(path, 'utf8')) as Record<MspId, string>;
    return new Map(Object.entries(secrets).map(([mspId, text]) => [mspId, decodeIdentity(text)]));
  } catch (error) {
    throw new AuditError(
      'unknown-request',
      `the identities of request ${requestId} are not readable at ${path}: it was made by another ` +
        'auditor or with another data directory, and only its maker can open what is released',
      { cause: error },
    );
  }
}

/** Every file of `source` in a time range, page by page; at most what one audit may hold. */
export async function filesInRange(
  ledger: Ledger,
  range: { readonly source: MspId; readonly fromMs: number; readonly toMs: number },
): Promise<FileRecord[]> {
  const files: FileRecord[] = [];
  let bookmark = '';
  do {
    const page = await ledger.evaluate('ledger/records:ListRecords', {
      ...range,
      limit: LIMITS.listLimitMax,
      bookmark,
    });
    files.push(...page.files.filter((file) => file.void === null));
    bookmark = page.bookmark;
  } while (bookmark !== '' && files.length <= LIMITS.filesPerAuditMax);
  if (files.length > LIMITS.filesPerAuditMax) {
    throw new AuditError(
      'too-many-files',
      `more than ${LIMITS.filesPerAuditMax} files of ${range.source} match: ask for a shorter time`,
    );
  }
  return files;
}

/**
 * What an inspection drew of one source's files, at most what one audit may hold.
 * @throws AuditError `unknown-request` where there is no such inspection
 */
export async function filesDrawn(
  ledger: Ledger,
  inspectionId: string,
  source: MspId,
): Promise<Hex[]> {
  const fileIds: Hex[] = [];
  let bookmark = '';
  do {
    const drawn = { inspectionId, source, bookmark };
    const page = await ledger.evaluate('ledger/audits:GetInspection', drawn);
    if (page === null) {
      throw new AuditError('unknown-request', `the ledger knows no inspection ${inspectionId}`);
    }
    fileIds.push(...page.fileIds);
    bookmark = page.bookmark;
  } while (bookmark !== '' && fileIds.length <= LIMITS.filesPerAuditMax);
  if (fileIds.length > LIMITS.filesPerAuditMax) {
    throw new AuditError(
      'too-many-files',
      `inspection ${inspectionId} drew more than ${LIMITS.filesPerAuditMax} files of ${source}: ` +
        'draw one over a shorter time',
    );
  }
  return fileIds;
}

function identitiesPath(auditsDir: string, requestId: string): string {
  if (!/^[0-9a-f]{64}$/.test(requestId)) {
    throw new AuditError(
      'unknown-request',
      `"${requestId}" is not a request id: expected 64 hex digits`,
    );
  }
  return join(auditsDir, `${requestId}.json`);
}

function writeDurably(path: string, text: string): void {
  const file = openSync(path, 'w', 0o600);
  try {
    writeSync(file, text);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}
