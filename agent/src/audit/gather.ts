/**
 * Gathering shards (P §3.2.4, steps 1 and 3): waits for the vote and for the holders' releases,
 * opens each release, checks every shard against the dealing that the record pins.
 *
 * Enters: a request id. Leaves: at least k checked shards for each file, and the faults met on the
 * way. Always holds: a shard that fails a check is never used, and its holder is named.
 */
import { setTimeout } from 'node:timers/promises';
import { decrypt } from '@blocktorrent/protocol/age.ts';
import { fromBase64 } from '@blocktorrent/protocol/bytes.ts';
import { verifyShard } from '@blocktorrent/protocol/dealing.ts';
import type {
  AuditRequest,
  Fault,
  FileRecord,
  Hex,
  MspId,
  Release,
} from '@blocktorrent/protocol/ledger-api.ts';
import type { Shard } from '@blocktorrent/protocol/shard.ts';
import { owesShard } from '@blocktorrent/protocol/withdrawal.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { AuditError } from './audit-error.ts';

export interface GatherOptions {
  readonly ledger: Ledger;
  readonly requestId: string;
  /** The request's identities, by holder. */
  readonly identities: ReadonlyMap<MspId, Uint8Array>;
  readonly signal: AbortSignal;
  readonly onProgress?: (request: AuditRequest) => void;
  /** How often the ledger is asked, ms. */
  readonly pollMs?: number;
}

export interface Gathered {
  readonly request: AuditRequest;
  readonly records: readonly FileRecord[];
  /** Checked shards of each file, at least k. */
  readonly shards: ReadonlyMap<Hex, readonly Shard[]>;
  readonly faults: readonly Fault[];
}

/** @throws AuditError `denied`, `expired`, `unknown-request`, `timeout` (the signal ended the wait) */
export async function gatherShards(options: GatherOptions): Promise<Gathered> {
  const { ledger, requestId, signal, onProgress, pollMs = 200 } = options;
  const opened = new Map<MspId, Opened>();
  let records: FileRecord[] | null = null;
  for (;;) {
    const request = await ledger.evaluate('ledger/audits:GetRequest', { requestId });
    if (request === null) {
      throw new AuditError('unknown-request', `the ledger knows no audit request ${requestId}`);
    }
    onProgress?.(request);
    records ??= await recordsOf(ledger, request);
    for (const release of request.releases) {
      if (!opened.has(release.mspId)) {
        const { requestedAtMs } = request;
        opened.set(
          release.mspId,
          openRelease({ release, requestedAtMs }, records, options.identities),
        );
      }
    }
    const shards = shardsByFile(records, opened);
    if (records.every((record) => (shards.get(record.fileId)?.length ?? 0) >= record.dealing.k)) {
      const faults = [...opened.values()].flatMap((one) => one.faults);
      return { request, records, shards, faults };
    }
    requireAlive(request, withoutRelease(request, records));
    await pause(pollMs, signal, request);
  }
}

interface Opened {
  readonly shards: ReadonlyMap<Hex, Shard>;
  readonly faults: readonly Fault[];
}

function openRelease(
  { release, requestedAtMs }: { readonly release: Release; readonly requestedAtMs: number },
  records: readonly FileRecord[],
  identities: ReadonlyMap<MspId, Uint8Array>,
): Opened {
  const { mspId } = release;
  const held = records.filter((record) => record.dealing.holders.includes(mspId));
  const shards = new Map<Hex, Shard>();
  const faults: Fault[] = [];
  let contents: Record<Hex, unknown>;
  try {
    const identity = identities.get(mspId);
    if (identity === undefined) throw new Error('the request has no recipient for this holder');
    const text = new TextDecoder().decode(decrypt(fromBase64(release.shards), [identity]));
    const parsed: unknown = JSON.parse(text);
    if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
      throw new Error('expected an object of shards by file');
    }
    contents = parsed as Record<Hex, unknown>;
  } catch (error) {
    const detail = `the release does not open with the request's identity: ${messageOf(error)}`;
    return {
      shards,
      faults: held.map(({ fileId }) => ({ kind: 'bad-shard', mspId, fileId, detail })),
    };
  }
  for (const record of held) {
    const { fileId, dealing, source } = record;
    const encoded = contents[fileId];
    if (typeof encoded !== 'string') {
      if (!owesShard(record, mspId, requestedAtMs)) continue;
      faults.push({ kind: 'no-release', mspId, fileId, detail: 'its shard is not in the release' });
      continue;
    }
    let bytes: Uint8Array | null = null;
    try {
      bytes = fromBase64(encoded);
      shards.set(fileId, verifyShard(bytes, dealing.holders.indexOf(mspId) + 1, dealing));
    } catch (error) {
      // What the record pins and still does not fit was dealt wrongly; anything else was swapped.
      const swapped = bytes === null || (error as { code?: unknown }).code === 'bad-digest';
      const kind = swapped ? 'bad-shard' : 'wrong-key';
      faults.push({ kind, mspId: swapped ? mspId : source, fileId, detail: messageOf(error) });
    }
  }
  return { shards, faults };
}

function shardsByFile(
  records: readonly FileRecord[],
  opened: ReadonlyMap<MspId, Opened>,
): Map<Hex, Shard[]> {
  const byFile = new Map<Hex, Shard[]>();
  for (const { fileId } of records) {
    const shards = [...opened.values()].flatMap((one) => one.shards.get(fileId) ?? []);
    byFile.set(fileId, shards);
  }
  return byFile;
}

async function recordsOf(ledger: Ledger, request: AuditRequest): Promise<FileRecord[]> {
  const records: FileRecord[] = [];
  for (const fileId of request.fileIds) {
    const record = await ledger.evaluate('ledger/records:GetRecord', { fileId });
    // Names of folders follow from it: another file's record must not be taken for this one's.
    if (record === null || record.void !== null || record.fileId !== fileId) {
      throw new AuditError('unknown-file', `file ${fileId} is not on the ledger`);
    }
    records.push(record);
  }
  return records;
}

/** Holders that have released nothing for the request, though a shard of theirs is due; sorted. */
export function withoutRelease(request: AuditRequest, records: readonly FileRecord[]): MspId[] {
  const released = new Set(request.releases.map((release) => release.mspId));
  const { requestedAtMs } = request;
  const holders = new Set(
    records.flatMap((record) =>
      record.dealing.holders.filter((holder) => owesShard(record, holder, requestedAtMs)),
    ),
  );
  return [...holders].filter((holder) => !released.has(holder)).sort();
}

function requireAlive(request: AuditRequest, silent: readonly MspId[]): void {
  const { requestId, state } = request;
  if (state === 'denied' || state === 'expired') {
    const votes = request.votes.map((vote) => `${vote.mspId} ${vote.approve ? 'yes' : 'no'}`);
    throw new AuditError(
      state,
      `audit request ${requestId} is ${state} (votes: ${votes.join(', ') || 'none'}; releases: ` +
        `${request.releases.length}; nothing released by: ${silent.join(', ') || 'nobody'}); ` +
        '"blocktorrent audit close" makes a fault of a silence after an approval, ' +
        '"blocktorrent audit request" asks again',
    );
  }
}

async function pause(ms: number, signal: AbortSignal, request: AuditRequest): Promise<void> {
  await setTimeout(ms, undefined, { signal }).catch(() => undefined);
  if (!signal.aborted) return;
  throw new AuditError(
    'timeout',
    `stopped waiting for audit request ${request.requestId}: it is ${request.state}, with ` +
      `${request.votes.length} votes and ${request.releases.length} releases so far; ` +
      '"blocktorrent audit fetch" can be repeated at any time until it expires',
  );
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
