/** What certificate a TLS listener shows to a member, by its serial number. */
import { once } from 'node:events';
import { connect } from 'node:tls';
import { serialOf } from '../../agent/src/overlay/peer-identity.ts';
import type { Address } from '../../agent/src/overlay/types.ts';
import type { TrialPeer } from './membership.ts';

/** Serial number as the ledger has it; the connection is closed again. */
export async function certificateSeenAt(
  address: Address | null,
  as: TrialPeer,
): Promise<string | null> {
  if (address === null) throw new Error('nobody listens');
  const socket = connect({
    ...address,
    cert: as.identity.tlsCertificate,
    key: as.identity.tlsKey,
    // Only what is shown is looked at.
    rejectUnauthorized: false,
  });
  socket.on('error', () => undefined);
  await once(socket, 'secureConnect');
  const certificate = socket.getPeerX509Certificate();
  socket.destroy();
  return certificate === undefined ? null : serialOf(certificate);
}
