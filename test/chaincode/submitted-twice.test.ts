/**
 * Every transaction that is submitted, submitted once more under another id, as who lost the answer
 * may do: it is refused, or changes nothing, or makes another of its kind, and then its caller looks
 * before it repeats.
 */
import type { TransactionName } from '@blocktorrent/protocol/ledger-api.ts';
import { describe, expect, it } from 'vitest';
import { ARGUMENTS } from '../../chaincode/src/arguments.ts';
import { POLICY, TrialConsortium } from '../support/consortium.ts';
import { everySubmit } from '../support/every-submit.ts';

/** What comes of the second one: the refusal's code, or whether the state changes. */
type Second = string | 'nothing' | 'another';

/** For each `another` who looks first, and where that is shown. */
const SECOND: Readonly<Partial<Record<TransactionName, Second>>> = {
  'ledger/consortium:Found': 'ALREADY_EXISTS',
  'ledger/consortium:RegisterPeer': 'nothing',
  'ledger/consortium:RevokeKey': 'nothing',
  'ledger/consortium:RevokeCertificates': 'nothing',
  'ledger/consortium:OpenEpoch': 'WRONG_EPOCH',
  // A person's: the message says to look first (`consortium proposals`). Each is voted on alone.
  'ledger/consortium:Propose': 'another',
  'ledger/consortium:VoteOn': 'ALREADY_EXISTS',
  'ledger/consortium:Enact': 'NOT_OPEN',
  'ledger/consortium:Leave': 'NOT_ALLOWED',
  // The agent looks for its report first: test/agent/challenge.test.ts.
  'ledger/consortium:ReportFault': 'another',
  'ledger/records:Record': 'WRONG_CHAIN',
  'ledger/records:RecordMany': 'WRONG_CHAIN',
  'ledger/records:Void': 'WRONG_CHAIN',
  'ledger/records:AppendReceipts': 'nothing',
  // The agent looks for its receipt in the record first: test/agent/repair.test.ts.
  'ledger/records:RecordReplacement': 'another',
  'ledger/records:Anchor': 'nothing',
  'ledger/audits:Confirm': 'nothing',
  'ledger/audits:Withdraw': 'nothing',
  'ledger/audits:Complain': 'ALREADY_EXISTS',
  'ledger/audits:ReportChallenge': 'ALREADY_EXISTS',
  // An auditor's: its identities are kept by transaction id before it is sent, so either can be used.
  'ledger/audits:Request': 'another',
  // Draws nothing that the first did not leave to chance.
  'ledger/audits:DrawInspection': 'another',
  'ledger/audits:Vote': 'ALREADY_EXISTS',
  'ledger/audits:Release': 'ALREADY_EXISTS',
  'ledger/audits:Close': 'NOT_OPEN',
  // The agent looks for its deposit first, and asks for the same holders: test/agent/refused.test.ts.
  'keys/keys:Deposit': 'another',
  'keys/keys:DepositMany': 'another',
  // The same bytes under one more name; the deposit's entry points at the last.
  'keys/keys:Reissue': 'another',
  'keys/keys:Purge': 'NOT_FOUND',
};

describe('a transaction that is submitted twice', () => {
  it('has one effect, or its caller looks first', async () => {
    const policy = { ...POLICY, scheme: 'feldman-25519', inspectionPermille: 1000 } as const;
    const house = new TrialConsortium(4, policy);
    const { fabric } = house;
    const found: Partial<Record<TransactionName, Second>> = {};
    const steps = everySubmit(house);
    for (let next = await steps.next(); next.done !== true; ) {
      const { name, caller, argument, transient = {} } = next.value;
      const first = await fabric.submit(caller, name, argument as never, { transient });
      const before = stateOf(fabric);
      const again = fabric.submit(caller, name, argument as never, { transient });
      const refusal = await again.then(
        () => null,
        (error: unknown) => String(error).match(/^Error: ([A-Z_]+): /)?.[1] ?? String(error),
      );
      found[name] = refusal ?? (before === stateOf(fabric) ? 'nothing' : 'another');
      next = await steps.next(first);
    }
    expect(found).toEqual(SECOND);
    const submitted = Object.keys(ARGUMENTS).filter((name) => !/:(Get|List)/.test(name));
    expect(Object.keys(found).sort()).toEqual(submitted.sort());
  });
});

/** Everything on the ledger, as text. */
function stateOf(fabric: TrialConsortium['fabric']): string {
  const all = (['ledger', 'keys'] as const).flatMap((chaincode) =>
    fabric.keys(chaincode).map((key) => {
      const value = fabric.stored(chaincode, key) ?? new Uint8Array();
      return `${chaincode} ${key} ${Buffer.from(value).toString('base64')}`;
    }),
  );
  return all.join('\n');
}
