/** A well-formed argument, or several, of every transaction of the ledger, with every field in use. */
import type { Argument, Policy, TransactionName } from '@blocktorrent/protocol/ledger-api.ts';
import { AUDITOR, orgName, POLICY, type TrialConsortium } from './consortium.ts';

type Samples = { readonly [T in TransactionName]: readonly Argument<T>[] };

/** `consortium` must be founded; the files of the samples are recorded in it by nobody. */
export async function transactionSamples(consortium: TrialConsortium): Promise<Samples> {
  const { record, dealing } = await consortium.file();
  const { fileId, recipient, receipts, gateway, seq, previous, masterTable } = record;
  const { depositTx, scheme, k, n, holders } = dealing;
  const [receipt] = receipts;
  if (receipt === undefined) throw new Error('no receipt');
  const id = 'ab'.repeat(32);
  const mspId = orgName(2);
  const reason = 'because';
  const expiresAtMs = consortium.fabric.timeMs + 3_600_000;
  const weights = Object.fromEntries(consortium.names.map((name) => [name, 1]));
  const member = { mspId, name: 'x', weight: 1, overlayRoots: ['PEM'] };
  const auditors = [{ mspId: AUDITOR.mspId, name: 'x', overlayRoots: ['PEM'] }];
  const chunks = { chunkBytesMin: 16_384, chunkBytesMax: 32_768 };
  const quotas = { [mspId]: { bytes: 1, files: 1, requestsPerSecond: 1 } };
  const policy: Policy = { ...POLICY, ...chunks, quotas, inspectionPermille: 5 };
  const members = consortium.names.map((name) => ({ ...member, mspId: name }));
  const fault = { kind: 'bad-chunk', mspId, fileId, detail: 'x', evidence: 'AAAA' } as const;
  const deposit = { fileId, recipient, scheme, k, n, holders };
  const step = { fileId, gateway, seq, previous };
  const source = orgName(1);
  const of = { source, gateway };
  const range = { fromMs: 0, toMs: 1 };
  const overlayKey = id;
  return {
    'ledger/consortium:Found': [{ members, auditors, policy }],
    'ledger/consortium:RegisterPeer': [
      { name: 'gateway-9', roles: ['ingest'], overlayKey, dhtAddress: '127.0.0.1:6881' },
    ],
    'ledger/consortium:RevokeCertificates': [{ serials: ['a1'] }],
    'ledger/consortium:RevokeKey': [{ peer: 'admin', overlayKey }],
    'ledger/consortium:OpenEpoch': [{ epoch: 2, weights }],
    'ledger/consortium:Leave': [{}],
    'ledger/consortium:Propose': [
      { action: { kind: 'join', member }, reason, expiresAtMs },
      { action: { kind: 'member', member }, reason, expiresAtMs },
      { action: { kind: 'remove', mspId }, reason, expiresAtMs },
      { action: { kind: 'policy', policy }, reason, expiresAtMs },
      { action: { kind: 'weights', weights }, reason, expiresAtMs },
      { action: { kind: 'auditors', auditors }, reason, expiresAtMs },
      {
        action: { kind: 'penalty', mspId, decision: 'x', faultIds: [`${id}.0`] },
        ...{ reason, expiresAtMs },
      },
    ],
    'ledger/consortium:VoteOn': [{ proposalId: id, approve: true, reason }],
    'ledger/consortium:Enact': [{ proposalId: id }],
    'ledger/consortium:ReportFault': [fault],
    'ledger/consortium:GetConsortium': [{}],
    'ledger/consortium:GetEpoch': [{ epoch: 1 }],
    'ledger/consortium:GetProposal': [{ proposalId: id }],
    'ledger/consortium:ListProposals': [{ state: 'any' }],
    'ledger/consortium:GetFault': [{ faultId: `${id}.0` }],
    'ledger/consortium:ListFaults': [{ mspId, beforeMs: 5 }],
    'ledger/consortium:ListPenalties': [{ mspId }],
    'ledger/records:Record': [record],
    'ledger/records:RecordMany': [{ records: [record] }],
    'ledger/records:Void': [{ ...step, reason }],
    'ledger/records:AppendReceipts': [{ fileId, receipts }],
    'ledger/records:RecordReplacement': [{ fileId, epoch: 1, receipts, detail: masterTable }],
    'ledger/records:Anchor': [{ gateway, batch: 1, count: 1, head: id }],
    'ledger/records:GetRecord': [{ fileId }],
    'ledger/records:GetMasterTable': [{ fileId }],
    'ledger/records:ListRecords': [{ source, ...range, limit: 5, bookmark: '' }],
    'ledger/records:GetChain': [of],
    'ledger/records:GetAnchor': [of],
    'ledger/records:ListAnchors': [{ ...of, fromCount: 0, limit: 5 }],
    'ledger/audits:Confirm': [{ fileIds: [fileId] }],
    'ledger/audits:Withdraw': [{ fileIds: [fileId], reason }],
    'ledger/audits:Complain': [{ fileId, shard: 'AAAA' }],
    'ledger/audits:ReportChallenge': [
      { fileId, receipt, answer: 'AAAA', signature: 'ab'.repeat(64) },
    ],
    'ledger/audits:Request': [
      {
        ...{ fileIds: [fileId], reason, expiresAtMs, inspection: id },
        recipients: consortium.recipients(),
      },
    ],
    'ledger/audits:DrawInspection': [range],
    'ledger/audits:GetInspection': [{ inspectionId: id, source, bookmark: '' }],
    'ledger/audits:Vote': [{ requestId: id, approve: true, reason }],
    'ledger/audits:Release': [{ requestId: id, shards: masterTable }],
    'ledger/audits:Close': [
      { requestId: id, outcome: { ok: false, summary: 'x', faults: [fault] } },
    ],
    'ledger/audits:GetRequest': [{ requestId: id }],
    'ledger/audits:ListRequests': [{ state: 'any' }],
    'keys/keys:Deposit': [deposit],
    'keys/keys:DepositMany': [{ deposits: [deposit] }],
    'keys/keys:Reissue': [{ fileId, depositTx, index: 1, holder: holders[0] ?? '' }],
    'keys/keys:Purge': [{ shards: [{ fileId, depositTx, index: 1 }] }],
    'keys/keys:GetDealing': [{ depositTx }],
    'keys/keys:GetShard': [{ depositTx, index: 1, hash: id }],
    'keys/keys:GetShards': [{ shards: [{ depositTx, index: 1 }] }],
  };
}
