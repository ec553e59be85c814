/**
 * Overlay roots before they go to the ledger, which takes any text: one that is no root certificate
 * locks its organisation's agents out until a vote replaces it, and a private key stays there for good.
 */
import { X509Certificate } from 'node:crypto';
import { CliError } from './cli-error.ts';
import { EXIT } from './exit-codes.ts';

interface WithRoots {
  readonly mspId?: unknown;
  readonly overlayRoots?: unknown;
}

/**
 * Looks at `overlayRoots` of the members and auditors in a charter or a decision as a person wrote it; what
 * else may be wrong with them the contract says. @throws CliError which names the organisation
 */
export function requireRoots(document: unknown): void {
  const { members, auditors, member } = Object(document) as Readonly<Record<string, unknown>>;
  const listed: WithRoots[] = [members, auditors, [member]].filter(Array.isArray).flat();
  for (const one of listed) {
    const { mspId, overlayRoots } = Object(one) as WithRoots;
    if (!Array.isArray(overlayRoots)) continue;
    const fault = overlayRoots.map(faultOf).find((found) => found !== null);
    if (fault === undefined) continue;
    throw new CliError(`overlayRoots of ${mspId}: expected a root's PEM, found ${fault}`, {
      means: 'Nothing was sent: with it no agent of that organisation could connect.',
      todo: 'Put the text of the certificate there that issues its overlay certificates.',
      exitCode: EXIT.usage,
    });
  }
}

function faultOf(root: unknown): string | null {
  if (typeof root !== 'string') return null;
  if (root.includes('PRIVATE KEY')) return 'a private key, which must not leave its owner';
  try {
    return new X509Certificate(root).ca ? null : 'a certificate that may issue none';
  } catch {
    return root.trim() === '' ? 'nothing' : 'something else';
  }
}
