/**
 * The chaincode's events, typed by `ledger-api.ts`: at most one a transaction, JSON payload.
 */
import type { LedgerEventName, LedgerEvents } from '@blocktorrent/protocol/ledger-api.ts';
import type { Context } from 'fabric-contract-api';
import { canonicalJson } from './state.ts';

/** Sets the transaction's event; a second call would replace the first. */
export function emitEvent<N extends LedgerEventName>(
  ctx: Context,
  name: N,
  payload: LedgerEvents[N],
): void {
  ctx.stub.setEvent(name, Buffer.from(canonicalJson(payload)));
}
