/**
 * Who submits: the organisation (MSP) and the role attribute of the certificate.
 *
 * Fabric has verified the certificate's chain and signature before a contract runs. The role is
 * the attribute `role` (OID 1.2.3.4.5.6.7.8.1), set by the organisation's own CA.
 */
import { type MspId, PEER_ATTRIBUTE, ROLE_ATTRIBUTE } from '@blocktorrent/protocol/ledger-api.ts';
import type { Context } from 'fabric-contract-api';
import { type Constitution, loadConstitution, type PeerLookup } from './consortium-state.ts';
import { Refusal } from './refusal.ts';

/**
 * What an identity may do. `gateway` is an agent's that only collects: it brings its organisation's
 * files, and speaks for it in nothing else.
 */
export type Role = 'agent' | 'gateway' | 'auditor' | 'admin';

/** The caller's organisation, if its role is one of `roles`; a Refusal NOT_ALLOWED otherwise. */
export function requireRole(ctx: Context, ...roles: readonly Role[]): MspId {
  const role = ctx.clientIdentity.getAttributeValue(ROLE_ATTRIBUTE);
  if (!roles.some((one) => one === role)) {
    throw new Refusal(
      'NOT_ALLOWED',
      `expected an identity with ${ROLE_ATTRIBUTE} ${roles.join(' or ')}, got ${role ?? 'none'}`,
    );
  }
  return ctx.clientIdentity.getMSPID();
}

/** Roles that bring files: deposit, record, anchor. */
export const COLLECTORS = ['agent', 'gateway'] as const satisfies readonly Role[];

/**
 * Throws a Refusal NOT_ALLOWED where the caller's certificate is of another peer than `name`. One that
 * names none speaks for all of its organisation's.
 */
export function requireSpeaksFor(ctx: Context, name: string): void {
  const own = ctx.clientIdentity.getAttributeValue(PEER_ATTRIBUTE);
  if (own === null || own === name) return;
  throw new Refusal('NOT_ALLOWED', `this identity is of peer ${own}, not of ${name}`);
}

/** The constitution, and the caller's organisation if it is a member and its role fits. */
export async function requireMember(
  ctx: Context,
  ...roles: readonly Role[]
): Promise<{ mspId: MspId; constitution: Constitution }> {
  const mspId = requireRole(ctx, ...(roles.length === 0 ? (['agent'] as const) : roles));
  const constitution = await loadConstitution(ctx);
  if (!constitution.members.some((member) => member.mspId === mspId)) {
    throw new Refusal('NOT_ALLOWED', `${mspId} is not a member of the consortium`);
  }
  return { mspId, constitution };
}

/** As `requireMember`, for an agent of a member or an auditor. */
export async function requireParty(
  ctx: Context,
): Promise<{ mspId: MspId; constitution: Constitution }> {
  const mspId = requireRole(ctx, 'agent', 'auditor');
  const constitution = await loadConstitution(ctx);
  const { members, auditors } = constitution;
  const parties = ctx.clientIdentity.assertAttributeValue(ROLE_ATTRIBUTE, 'agent')
    ? members
    : auditors;
  if (!parties.some((party) => party.mspId === mspId)) {
    throw new Refusal('NOT_ALLOWED', `${mspId} is neither a member nor an auditor`);
  }
  return { mspId, constitution };
}

/** The constitution, and the caller's organisation if it is an auditor's and its role `auditor`. */
export async function requireAuditor(
  ctx: Context,
): Promise<{ mspId: MspId; constitution: Constitution }> {
  const mspId = requireRole(ctx, 'auditor');
  const constitution = await loadConstitution(ctx);
  if (!constitution.auditors.some((auditor) => auditor.mspId === mspId)) {
    throw new Refusal('NOT_ALLOWED', `${mspId} is not an auditor of the consortium`);
  }
  return { mspId, constitution };
}

/**
 * Throws a Refusal NOT_ALLOWED unless `name` is a gateway that `mspId` has registered, and one that the
 * caller may speak for.
 */
export async function requireGateway(
  ctx: Context,
  peers: PeerLookup,
  mspId: MspId,
  name: string,
): Promise<void> {
  requireSpeaksFor(ctx, name);
  const peer = await peers(mspId, name);
  if (peer === null || !peer.roles.includes('ingest')) {
    throw new Refusal('NOT_ALLOWED', `${name} is no registered peer of ${mspId} with role ingest`);
  }
}
