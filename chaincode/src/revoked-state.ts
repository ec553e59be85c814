/**
 * Overlay certificates that were taken back: one list of serial numbers for each organisation, which
 * only it adds to. Nothing is ever taken off: a serial number is given once.
 */
import type { Consortium, Hex, MspId } from '@blocktorrent/protocol/ledger-api.ts';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import type { Context } from 'fabric-contract-api';
import { Refusal } from './refusal.ts';
import { getJson, putJson } from './state.ts';
import { KEY } from './state-keys.ts';

/** Adds to an organisation's list; false where nothing was new. A Refusal TOO_LARGE past the limit. */
export async function addRevoked(
  ctx: Context,
  mspId: MspId,
  serials: readonly Hex[],
): Promise<boolean> {
  const known = (await getJson<readonly Hex[]>(ctx, KEY.revoked(mspId))) ?? [];
  const all = [...new Set([...known, ...serials])].sort();
  if (all.length === known.length) return false;
  if (all.length > LIMITS.revokedPerMemberMax) {
    throw new Refusal(
      'TOO_LARGE',
      `${mspId} would have ${all.length} revoked certificates, at most ${LIMITS.revokedPerMemberMax}` +
        ' are kept: replace its overlay root instead',
    );
  }
  await putJson(ctx, KEY.revoked(mspId), all);
  return true;
}

/** The lists of those organisations that have one; no field where none has. */
export async function loadRevoked(
  ctx: Context,
  mspIds: readonly MspId[],
): Promise<Pick<Consortium, 'revoked'>> {
  const revoked: Record<MspId, readonly Hex[]> = {};
  for (const mspId of new Set(mspIds)) {
    const serials = await getJson<readonly Hex[]>(ctx, KEY.revoked(mspId));
    if (serials !== null) revoked[mspId] = serials;
  }
  return Object.keys(revoked).length === 0 ? {} : { revoked };
}
