/**
 * What holds for every transaction alike: each field of its argument has a type and a bound, and
 * only those whom its docstring names may call it. A new transaction fails here until it has a row.
 */
import type { TransactionName } from '@blocktorrent/protocol/ledger-api.ts';
import { describe, expect, it } from 'vitest';
import { AUDITOR, agentOf, orgName, TrialConsortium } from '../support/consortium.ts';
import type { Caller } from '../support/memory-fabric.ts';
import { transactionSamples } from '../support/transaction-samples.ts';

const consortium = await new TrialConsortium().found();
const { fabric } = consortium;
const samples = await transactionSamples(consortium);
const names = Object.keys(samples).sort() as TransactionName[];

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** A place in an argument, with the argument as it is when `value` stands there. */
interface Place {
  readonly path: string;
  readonly value: Json;
  readonly having: (value: Json) => Json;
}

/** Every place of an argument, itself included. */
function* placesOf(
  value: Json,
  path = 'argument',
  having: Place['having'] = (one) => one,
): Generator<Place> {
  yield { path, value, having };
  if (typeof value !== 'object' || value === null) return;
  for (const [key, one] of Object.entries(value)) {
    const inside = Array.isArray(value)
      ? (other: Json) => having(value.map((item, i) => (String(i) === key ? other : item)))
      : (other: Json) => having({ ...value, [key]: other });
    yield* placesOf(one, Array.isArray(value) ? `${path}[${key}]` : `${path}.${key}`, inside);
  }
}

/** Values of another type than `value` has. */
function othersThan(value: Json): Json[] {
  const all: Json[] = [null, true, 7, 'x', [], {}];
  return all.filter((one) => kindOf(one) !== kindOf(value));
}
const kindOf = (value: Json) =>
  value === null ? 'null' : Array.isArray(value) ? 'list' : typeof value;

/** Ages files of many megabytes are allowed; everything else is far shorter. */
const LONG = new Map([
  ['masterTable', 12_000_000],
  ['shards', 12_000_000],
]);

/** `value` out of its bounds: too long, too many, too large, or with something unknown in it. */
function beyond(value: Json, path: string): Json[] {
  if (typeof value === 'string') {
    const field = path.slice(path.lastIndexOf('.') + 1);
    return ['A'.repeat(LONG.get(field) ?? 400_000)];
  }
  if (typeof value === 'number') return [-1, 1.5, 1e300];
  if (Array.isArray(value)) return [Array.from({ length: 1001 }, () => value[0] ?? 'x')];
  if (typeof value !== 'object' || value === null) return [];
  const byMspId = Object.keys(value).some((key) => key.endsWith('MSP'));
  const one = Object.values(value)[0] ?? 1;
  const many = Array.from({ length: 65 }, (_, i) => [orgName(i + 1), one] as const);
  return [{ ...value, another: {} }, ...(byMspId ? [Object.fromEntries(many)] : [])];
}

describe.each(names)('%s', (name) => {
  const refused = async (argument: Json, caller: Caller = agentOf(2)) => {
    const done = await fabric.simulate(caller, name, JSON.stringify(argument), {});
    expect(done.status).toBe(500);
    expect(done.message.length).toBeLessThan(700);
    return done.message;
  };

  it('refuses every field of another type, by its name', async () => {
    for (const sample of samples[name]) {
      for (const { path, value, having } of placesOf(sample as unknown as Json)) {
        for (const other of othersThan(value)) {
          const message = await refused(having(other));
          expect(message).toMatch(/^BAD_ARGUMENT: /);
          expect(message).toContain(path);
        }
      }
    }
  });

  it('refuses every field that is too long, too many, too large or unknown', async () => {
    for (const sample of samples[name]) {
      for (const { path, value, having } of placesOf(sample as unknown as Json)) {
        for (const other of beyond(value, path)) {
          expect(await refused(having(other)), path).toMatch(/^(BAD_ARGUMENT|TOO_LARGE): argument/);
        }
      }
    }
  });
});

/** Who may call a transaction. */
type Who =
  | 'agent'
  | 'collector'
  | 'registrar'
  | 'agent or admin'
  | 'party'
  | 'revoker'
  | 'auditor'
  | 'anybody';
const WHO: { readonly [T in TransactionName]: Who } = {
  'ledger/consortium:Found': 'agent or admin',
  'ledger/consortium:RegisterPeer': 'registrar',
  'ledger/consortium:RevokeCertificates': 'revoker',
  'ledger/consortium:RevokeKey': 'agent or admin',
  'ledger/consortium:OpenEpoch': 'agent or admin',
  'ledger/consortium:Leave': 'agent or admin',
  'ledger/consortium:Propose': 'agent or admin',
  'ledger/consortium:VoteOn': 'agent or admin',
  'ledger/consortium:Enact': 'agent or admin',
  'ledger/consortium:ReportFault': 'party',
  'ledger/consortium:GetConsortium': 'anybody',
  'ledger/consortium:GetEpoch': 'anybody',
  'ledger/consortium:GetProposal': 'anybody',
  'ledger/consortium:ListProposals': 'anybody',
  'ledger/consortium:GetFault': 'anybody',
  'ledger/consortium:ListFaults': 'anybody',
  'ledger/consortium:ListPenalties': 'anybody',
  'ledger/records:Record': 'collector',
  'ledger/records:RecordMany': 'collector',
  'ledger/records:Void': 'collector',
  'ledger/records:AppendReceipts': 'collector',
  'ledger/records:RecordReplacement': 'agent',
  'ledger/records:Anchor': 'collector',
  'ledger/records:GetRecord': 'anybody',
  'ledger/records:GetMasterTable': 'anybody',
  'ledger/records:ListRecords': 'anybody',
  'ledger/records:GetChain': 'anybody',
  'ledger/records:GetAnchor': 'anybody',
  'ledger/records:ListAnchors': 'anybody',
  'ledger/audits:Confirm': 'agent',
  'ledger/audits:Withdraw': 'agent or admin',
  'ledger/audits:Complain': 'agent',
  'ledger/audits:ReportChallenge': 'agent',
  'ledger/audits:Request': 'auditor',
  'ledger/audits:DrawInspection': 'party',
  'ledger/audits:GetInspection': 'anybody',
  'ledger/audits:Vote': 'agent',
  'ledger/audits:Release': 'agent',
  'ledger/audits:Close': 'auditor',
  'ledger/audits:GetRequest': 'anybody',
  'ledger/audits:ListRequests': 'anybody',
  'keys/keys:Deposit': 'collector',
  'keys/keys:DepositMany': 'collector',
  'keys/keys:Reissue': 'collector',
  'keys/keys:Purge': 'agent or admin',
  'keys/keys:GetDealing': 'anybody',
  'keys/keys:GetShard': 'agent',
  'keys/keys:GetShards': 'agent',
};

const MEMBER = orgName(1);
const STRANGER = orgName(9);
/** Callers, by the groups that they belong to. */
const CALLERS: readonly [string, Caller, readonly Who[]][] = [
  [
    'an agent of a member',
    { mspId: MEMBER, role: 'agent' },
    ['agent', 'collector', 'registrar', 'agent or admin', 'party', 'revoker'],
  ],
  [
    'an admin of a member',
    { mspId: MEMBER, role: 'admin' },
    ['registrar', 'agent or admin', 'revoker'],
  ],
  ['a gateway of a member', { mspId: MEMBER, role: 'gateway' }, ['collector', 'registrar']],
  ['an auditor', AUDITOR, ['auditor', 'party', 'revoker']],
  ['somebody of a member without a role', { mspId: MEMBER, role: null }, []],
  ['an auditor of an organisation that audits nothing', { mspId: MEMBER, role: 'auditor' }, []],
  ['an agent of the auditors', { mspId: AUDITOR.mspId, role: 'agent' }, []],
  ['an admin of the auditors', { mspId: AUDITOR.mspId, role: 'admin' }, []],
  ['an agent of a stranger', { mspId: STRANGER, role: 'agent' }, []],
  ['an admin of a stranger', { mspId: STRANGER, role: 'admin' }, []],
  ['a gateway of a stranger', { mspId: STRANGER, role: 'gateway' }, []],
  ['an auditor of a stranger', { mspId: STRANGER, role: 'auditor' }, []],
];

/** How the contracts say that the caller is the wrong one, whatever it asks for. */
const WRONG_CALLER =
  /^NOT_ALLOWED: (expected an identity|\S+ is (not a member|not an auditor|neither|no member|not among)|\S+ has no collection)/;

describe.each(CALLERS)('%s', (_, caller, groups) => {
  const done = (name: TransactionName) =>
    fabric.simulate(caller, name, JSON.stringify(samples[name][0]), {});
  const isFor = (name: TransactionName) => WHO[name] === 'anybody' || groups.includes(WHO[name]);

  it('may call what is for it', async () => {
    for (const name of names.filter(isFor)) {
      expect((await done(name)).message, name).not.toMatch(WRONG_CALLER);
    }
  });

  it('is refused everything else, with NOT_ALLOWED', async () => {
    for (const name of names.filter((one) => !isFor(one))) {
      expect((await done(name)).message, name).toMatch(WRONG_CALLER);
    }
  });
});
