/**
 * Opening a file that was shared with one's own identity (participant-to-participant sharing,
 * P §3.1): the same recovery as an audit's, without a request, a vote or a shard.
 */
import { copyFile, rename, rm } from 'node:fs/promises';
import type { Hex } from '@blocktorrent/protocol/ledger-api.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { AuditError } from './audit-error.ts';
import type { Fetched, FetchTarget, Recovered } from './recover.ts';
import { recoverFile } from './recover.ts';

export interface GetSharedOptions {
  readonly ledger: Ledger;
  readonly fileId: Hex;
  readonly identities: readonly Uint8Array[];
  readonly outputPath: string;
  /** Folder for the ciphertext on its way; removed at the end. */
  readonly workDir: string;
  readonly fetch: (target: FetchTarget) => Promise<Fetched>;
  readonly signal: AbortSignal;
}

/** @throws AuditError `unknown-file`, `not-shared`; and what recovering throws */
export async function getShared(
  options: GetSharedOptions,
): Promise<Pick<Recovered, 'chunkCount' | 'fromOwner' | 'faults'>> {
  const { ledger, fileId, identities, outputPath, workDir, fetch, signal } = options;
  const record = await ledger.evaluate('ledger/records:GetRecord', { fileId });
  if (record === null || record.void !== null) {
    throw new AuditError('unknown-file', `file ${fileId} is not on the ledger`);
  }
  try {
    const { contentPath, chunkCount, fromOwner, faults } = await recoverFile({
      ledger,
      record,
      identities,
      outputDir: workDir,
      fetch,
      signal,
    });
    await moveFile(contentPath, outputPath);
    return { chunkCount, fromOwner, faults };
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'no-identity-matched') throw error;
    throw new AuditError(
      'not-shared',
      `file ${fileId} was not sealed to any of your ${identities.length} identities`,
      { cause: error },
    );
  } finally {
    await rm(workDir, { recursive: true, force: true });
  }
}

/** Renames, or copies where the two are on different file systems. */
async function moveFile(from: string, to: string): Promise<void> {
  try {
    await rename(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EXDEV') throw error;
    await copyFile(from, to);
  }
}
