/**
 * One life of a consortium in which every transaction that an agent or a command submits comes once,
 * in an order in which each is possible: for what has to hold of all of them alike.
 */
import { identityFromRandom, recipientOf } from '@blocktorrent/protocol/age.ts';
import { concatBytes, toBase64, toHex } from '@blocktorrent/protocol/bytes.ts';
import { dealShards } from '@blocktorrent/protocol/dealing.ts';
import type {
  Argument,
  Dealing,
  DepositInput,
  TransactionName,
} from '@blocktorrent/protocol/ledger-api.ts';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import { decodeShard, encodeShard } from '@blocktorrent/protocol/shard.ts';
import { challengedFile } from './challenges.ts';
import { AUDITOR, agentOf, type ConsortiumOn, orgName, type TrialLedger } from './consortium.ts';
import { dealingOver } from './dealings.ts';
import type { Caller } from './memory-fabric.ts';

/** One transaction to submit. */
export type SubmitStep = {
  [T in TransactionName]: {
    readonly name: T;
    readonly caller: Caller;
    readonly argument: Argument<T>;
    readonly transient?: Readonly<Record<string, Uint8Array>>;
  };
}[TransactionName];

/** What `everySubmit` is given back: the result and the id of the step before. */
export interface Submitted {
  readonly result: unknown;
  readonly txId: string;
}

const HOLDERS = [2, 3, 4].map(orgName);

/**
 * The steps; each is submitted before the next is asked for, with its outcome. `house` is of four
 * organisations, with the scheme `feldman-25519`, and not founded; a rate of inspections is set.
 */
export async function* everySubmit<F extends TrialLedger>(
  house: ConsortiumOn<F>,
): AsyncGenerator<SubmitStep, void, Submitted> {
  const { fabric, random, policy } = house;
  const member = { weight: 1, overlayRoots: ['PEM'] };
  const members = house.names.map((mspId) => ({ mspId, name: mspId, ...member }));
  const auditors = [{ mspId: AUDITOR.mspId, name: 'auditor', overlayRoots: [] }];
  const founding = { members, auditors, policy };
  yield { name: 'ledger/consortium:Found', caller: agentOf(1), argument: founding };
  for (const mspId of house.names) await house.register(mspId, 'admin', ['store']);
  await house.register(orgName(1), 'gateway-1', ['ingest']);
  yield* keysOfPeers();
  yield* storing();
  yield* auditing();
  yield* deciding();

  async function* keysOfPeers(): Steps {
    const keys = [1, 2].map(() => toHex(random.bytes(32)));
    const entry = { name: 'spare', roles: ['ingest' as const], dhtAddress: '' };
    const [first = '', second = ''] = keys;
    const register = 'ledger/consortium:RegisterPeer';
    await fabric.submit(agentOf(4), register, { ...entry, overlayKey: first });
    yield { name: register, caller: agentOf(4), argument: { ...entry, overlayKey: second } };
    const revoked = { peer: 'spare', overlayKey: first };
    yield { name: 'ledger/consortium:RevokeKey', caller: agentOf(4), argument: revoked };
    const serials = { serials: ['a1'] };
    const name = 'ledger/consortium:RevokeCertificates';
    yield { name, caller: agentOf(4), argument: serials };
  }

  async function* storing(): Steps {
    const entropy = random.bytes(32);
    const [one, ...two] = [1, 2, 3].map(() => freshKey());
    if (one === undefined) throw new Error('three were made');
    const alone = { identity: one.identity, entropy };
    const deposit = 'keys/keys:Deposit';
    const { result } = yield {
      ...{ name: deposit, caller: agentOf(1), argument: one.input, transient: alone },
    };
    const dealing = result as Dealing;
    const { fileId, depositTx } = dealing;
    const identity = concatBytes(...two.map((key) => key.identity));
    const deposits = two.map(({ input }) => input);
    const transient = { identity, entropy };
    yield { name: 'keys/keys:DepositMany', caller: agentOf(1), argument: { deposits }, transient };
    const shards = dealShards({ ...one, entropy, txId: depositTx }).shards[0] ?? new Uint8Array();
    const again = { fileId, depositTx, index: 1, holder: orgName(2) };
    const reissue = { caller: agentOf(1), argument: again, transient: { shards } };
    yield { name: 'keys/keys:Reissue', ...reissue };
    const purge = { shards: [{ fileId, depositTx, index: 1 }] };
    yield { name: 'keys/keys:Purge', caller: agentOf(2), argument: purge };

    const { record } = await house.file();
    yield { name: 'ledger/records:Record', caller: agentOf(1), argument: record };
    const records = [(await house.file()).record, (await house.file()).record];
    yield { name: 'ledger/records:RecordMany', caller: agentOf(1), argument: { records } };
    const { fileId: gone, gateway, seq, previous } = (await house.file()).record;
    const given = { fileId: gone, gateway, seq, previous, reason: 'given up' };
    yield { name: 'ledger/records:Void', caller: agentOf(1), argument: given };
    const late = { fileId: record.fileId };
    const receipts = [house.receipt(record.fileId, orgName(2), 5, [0, 1])];
    const append = { ...late, receipts };
    yield { name: 'ledger/records:AppendReceipts', caller: agentOf(1), argument: append };
    const moved = [house.receipt(record.fileId, orgName(2), 5, [3])];
    const detail = record.masterTable;
    const replaced = { ...late, epoch: 1, receipts: moved, detail };
    yield { name: 'ledger/records:RecordReplacement', caller: agentOf(2), argument: replaced };
    const head = toHex(random.bytes(32));
    const anchor = { gateway: 'gateway-1', batch: 1, count: 5, head };
    yield { name: 'ledger/records:Anchor', caller: agentOf(1), argument: anchor };
  }

  async function* auditing(): Steps {
    const { record } = await house.file();
    await fabric.submit(agentOf(1), 'ledger/records:Record', record);
    const fileIds = [record.fileId];
    yield { name: 'ledger/audits:Confirm', caller: agentOf(3), argument: { fileIds } };
    const withdrawal = { fileIds, reason: 'no longer due' };
    yield { name: 'ledger/audits:Withdraw', caller: agentOf(2), argument: withdrawal };
    yield* complaint();
    const challenged = await challengedFile(house);
    const { input } = challenged.answered({ hash: new Uint8Array() });
    yield { name: 'ledger/audits:ReportChallenge', caller: agentOf(3), argument: input };
    const range = { fromMs: 0, toMs: fabric.timeMs - 1 };
    yield { name: 'ledger/audits:DrawInspection', caller: agentOf(2), argument: range };
    const recipients = house.recipients();
    const expiresAtMs = fabric.timeMs + 3_600_000;
    const { result } = yield {
      ...{ name: 'ledger/audits:Request' as const, caller: AUDITOR },
      argument: { fileIds, reason: 'spoiled', recipients, expiresAtMs },
    };
    const { requestId } = result as { requestId: string };
    const vote = { requestId, approve: true, reason: '' };
    await fabric.submit(agentOf(2), 'ledger/audits:Vote', vote);
    yield { name: 'ledger/audits:Vote', caller: agentOf(3), argument: vote };
    const shards = house.ageFile(recipients[orgName(3)] ?? '');
    const release = { requestId, shards };
    yield { name: 'ledger/audits:Release', caller: agentOf(3), argument: release };
    const fault = { kind: 'bad-chunk' as const, mspId: orgName(4), ...{ fileId: record.fileId } };
    const outcome = { ok: false, summary: 'one', faults: [{ ...fault, detail: 'it is wrong' }] };
    yield { name: 'ledger/audits:Close', caller: AUDITOR, argument: { requestId, outcome } };
  }

  /** A wrong shard that the source has pinned, shown by its holder. */
  async function* complaint(): Steps {
    const { record, identity } = await house.file();
    const { scheme, k, n, holders, fileId, recipient } = record.dealing;
    const input = { scheme, k, n, holders, fileId, recipient };
    const txId = toHex(random.bytes(32));
    const { dealing, shards } = dealShards({ identity, entropy: random.bytes(32), txId, input });
    const [right, other] = shards.map((shard) => decodeShard(shard));
    if (right === undefined || other === undefined) throw new Error('three were dealt');
    const wrong = encodeShard({ ...right, share: other.share });
    const lied = dealingOver(dealing, [wrong, ...shards.slice(1)]);
    await fabric.submit(agentOf(1), 'ledger/records:Record', { ...record, dealing: lied });
    const caller = { mspId: holders[0] ?? '', role: 'agent' };
    const shown = { fileId, shard: toBase64(wrong) };
    yield { name: 'ledger/audits:Complain', caller, argument: shown };
  }

  async function* deciding(): Steps {
    const weights = Object.fromEntries(house.names.map((name) => [name, 1]));
    const epoch = { epoch: 2, weights: { ...weights, [orgName(2)]: 2 } };
    yield { name: 'ledger/consortium:OpenEpoch', caller: agentOf(2), argument: epoch };
    const fault = { kind: 'unreachable' as const, mspId: orgName(4), fileId: 'ab'.repeat(32) };
    const told = { ...fault, detail: 'nobody answers' };
    yield { name: 'ledger/consortium:ReportFault', caller: agentOf(2), argument: told };
    const proposal = {
      ...{ action: { kind: 'policy' as const, policy: { ...policy, approvals: 1 } } },
      ...{ reason: 'agreed', expiresAtMs: fabric.timeMs + LIMITS.proposalLifeMsMax / 2 },
    };
    const { result } = yield {
      ...{ name: 'ledger/consortium:Propose', caller: agentOf(1), argument: proposal },
    };
    const { proposalId } = result as { proposalId: string };
    const vote = { proposalId, approve: true, reason: '' };
    for (const number of [1, 2]) {
      await fabric.submit(agentOf(number), 'ledger/consortium:VoteOn', vote);
    }
    yield { name: 'ledger/consortium:VoteOn', caller: agentOf(3), argument: vote };
    yield { name: 'ledger/consortium:Enact', caller: agentOf(1), argument: { proposalId } };
    yield { name: 'ledger/consortium:Leave', caller: agentOf(4), argument: {} };
  }

  function freshKey(): { identity: Uint8Array; input: DepositInput } {
    const identity = identityFromRandom(random.bytes(32));
    const { scheme } = policy;
    const fileId = toHex(random.bytes(32));
    const recipient = recipientOf(identity);
    return { identity, input: { fileId, recipient, scheme, k: 2, n: 3, holders: HOLDERS } };
  }
}

type Steps = AsyncGenerator<SubmitStep, void, Submitted>;
