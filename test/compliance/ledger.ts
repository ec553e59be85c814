/**
 * What every ledger must do with our chaincode, as a suite: `describeLedger(name, start)` in a test
 * file runs it on one kind of network. One life of a consortium, over the agent's own client; the
 * attacks of an organisation with changed chaincode are in `ledger-attacks.ts`.
 */

import { encrypt } from '@blocktorrent/protocol/age.ts';
import { concatBytes, fromBase64, toBase64, toHex, utf8 } from '@blocktorrent/protocol/bytes.ts';
import { dealShards, rebuildIdentity, verifyShard } from '@blocktorrent/protocol/dealing.ts';
import type { Dealing, Policy, ProposalAction } from '@blocktorrent/protocol/ledger-api.ts';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { LedgerEvent } from '../../agent/src/ledger/ledger.ts';
import { ANSWERER, challengedFile } from '../support/challenges.ts';
import {
  AUDITOR,
  agentOf,
  ConsortiumOn,
  orgName,
  POLICY,
  type TrialFile,
} from '../support/consortium.ts';
import { fabricClient, json } from '../support/fabric-client.ts';
import { freshDeposit } from './attack-tools.ts';
import { type ComplianceNetwork, NetworkLedger } from './network-ledger.ts';

/** What the consortium of a suite agrees on: the default scheme. */
export const AGREED: Policy = { ...POLICY, scheme: 'feldman-25519' };
/** Organisations of the network that a suite asks for. */
export const ORGANISATIONS = 4;
/** A shard is at its holder's peer this soon after the commit (design: FABRIC). */
const ARRIVAL_MS = 15_000;
const ENDED_MS = 3_600_000;

/** Starts a network of four organisations and the auditor, with our chaincode deployed. */
export type StartNetwork = () => Promise<ComplianceNetwork>;

export function describeLedger(name: string, start: StartNetwork): void {
  describe(`ledger: ${name}`, () => {
    let ledger: NetworkLedger;
    let house: ConsortiumOn<NetworkLedger>;
    const files: TrialFile[] = [];
    const fileOf = (index: number): TrialFile => {
      const file = files[index];
      if (file === undefined) throw new Error(`file ${index} has not been made`);
      return file;
    };
    const recordOf = (fileId: string) =>
      ledger.evaluate(AUDITOR, 'ledger/records:GetRecord', { fileId });

    beforeAll(async () => {
      ledger = new NetworkLedger(await start());
      house = new ConsortiumOn(ledger, ORGANISATIONS, { ...AGREED, inspectionPermille: 1000 }, 7);
    });
    afterAll(async () => {
      ledger?.close();
      await ledger?.network.stop();
    });

    it('founds a consortium once, which everybody then reads alike', async () => {
      await house.found();
      const seen = await Promise.all(
        [AUDITOR, ...house.names.map((mspId) => ({ mspId, role: 'agent' }))].map((caller) =>
          ledger.of(caller.mspId).evaluate('ledger/consortium:GetConsortium', {}),
        ),
      );
      expect(new Set(seen.map((one) => JSON.stringify(one))).size).toBe(1);
      expect(seen[0]?.peers.map(({ mspId, name: peer }) => `${mspId}/${peer}`)).toEqual([
        ...['Org1MSP/admin', 'Org1MSP/gateway-1'],
        ...['Org2MSP/admin', 'Org3MSP/admin', 'Org4MSP/admin'],
      ]);
      const { members, auditors, policy } = seen[0] ?? {
        members: [],
        auditors: [],
        policy: AGREED,
      };
      await expect(
        ledger.submit(agentOf(2), 'ledger/consortium:Found', { members, auditors, policy }),
      ).rejects.toMatchObject({ code: 'rejected', message: expect.stringMatching(/^ALREADY_EX/) });
    });

    it('brings each shard of a deposit to its holder, and through no peer to anybody else', async () => {
      files.push(await house.file());
      const { dealing, identity } = fileOf(0);
      const shards = await Promise.all(
        dealing.holders.map((_, i) => shardOf(ledger, dealing, i + 1)),
      );
      const opened = shards.map((bytes, i) => verifyShard(bytes, i + 1, dealing));
      expect(toHex(rebuildIdentity(opened.slice(0, 2), dealing))).toBe(toHex(identity));
      for (const client of [...house.names, AUDITOR.mspId]) {
        for (const via of house.names) {
          if (client === via) continue;
          for (const index of dealing.holders.keys()) {
            const seen = await readThrough(ledger.network, client, via, dealing, index + 1);
            const shown = Buffer.from(seen);
            for (const shard of shards) expect(shown.includes(toBase64(shard))).toBe(false);
          }
        }
      }
    });

    it('records a file, tells everybody, and takes it once', async () => {
      const { record } = fileOf(0);
      const { fileId } = record;
      const seen = nextEvent(ledger, orgName(3), 'recorded');
      await ledger.submit(agentOf(1), 'ledger/records:Record', record);
      expect(await seen).toMatchObject({
        payload: { files: [{ fileId, holders: record.dealing.holders }] },
      });
      await expect(
        ledger.submit(agentOf(1), 'ledger/records:Record', record),
      ).rejects.toMatchObject({ code: 'rejected', message: expect.stringMatching(/^WRONG_CHAIN/) });
      expect(await recordOf(fileId)).toMatchObject({ source: orgName(1), available: false });
      const table = await ledger.evaluate(AUDITOR, 'ledger/records:GetMasterTable', { fileId });
      expect(table?.masterTable).toBe(record.masterTable);
    });

    it('records a run, lists it by time in pages, and refuses a stranger', async () => {
      for (let i = 0; i < 2; i++) files.push(await house.file());
      const records = files.slice(1).map(({ record }) => record);
      await expect(
        ledger.submit(AUDITOR, 'ledger/records:RecordMany', { records }),
      ).rejects.toMatchObject({ code: 'rejected', message: expect.stringMatching(/^NOT_ALLOWED/) });
      await ledger.submit(agentOf(1), 'ledger/records:RecordMany', { records });
      const listed: string[] = [];
      let bookmark = '';
      do {
        const page = await ledger.evaluate(AUDITOR, 'ledger/records:ListRecords', {
          ...{ source: orgName(1), fromMs: 0, toMs: Date.now() + 1000, limit: 2, bookmark },
        });
        listed.push(...page.files.map(({ fileId }) => fileId));
        bookmark = page.bookmark;
      } while (bookmark !== '');
      expect(listed.toSorted()).toEqual(files.map(({ record }) => record.fileId).toSorted());
    });

    it('takes confirmations of all holders at once: the files become available', async () => {
      const fileIds = files.map(({ record }) => record.fileId);
      const holders = fileOf(0).dealing.holders;
      await Promise.all(
        holders.map((mspId) =>
          ledger.submit({ mspId, role: 'agent' }, 'ledger/audits:Confirm', { fileIds }),
        ),
      );
      for (const fileId of fileIds) {
        const found = await recordOf(fileId);
        expect([found?.available, found?.confirmedBy.length]).toEqual([true, holders.length]);
      }
    });

    it('carries an audit from the request to its outcome', async () => {
      const { record, dealing } = fileOf(0);
      const recipients = house.recipients();
      const { result } = await ledger.submit(AUDITOR, 'ledger/audits:Request', {
        ...{ fileIds: [record.fileId], reason: 'spoiled goods', recipients },
        expiresAtMs: Date.now() + ENDED_MS,
      });
      const { requestId } = result;
      const stateNow = async () =>
        (await ledger.evaluate(AUDITOR, 'ledger/audits:GetRequest', { requestId }))?.state;
      const vote = { requestId, approve: true, reason: '' };
      await expect(ledger.submit(agentOf(1), 'ledger/audits:Vote', vote)).rejects.toMatchObject({
        code: 'rejected',
        message: expect.stringMatching(/^NOT_ALLOWED/),
      });
      expect(await stateNow()).toBe('open');
      // In one block, if the clock wills: votes have keys of their own.
      await Promise.all(
        [2, 3].map((number) => ledger.submit(agentOf(number), 'ledger/audits:Vote', vote)),
      );
      await expect(ledger.submit(agentOf(2), 'ledger/audits:Vote', vote)).rejects.toMatchObject({
        message: expect.stringMatching(/^ALREADY_EXISTS/),
      });
      expect(await stateNow()).toBe('approved');
      for (const mspId of dealing.holders.slice(0, 2)) {
        const shards = encrypt(utf8('{}'), [recipients[mspId] ?? ''], house.random.bytes);
        await ledger.submit({ mspId, role: 'agent' }, 'ledger/audits:Release', {
          ...{ requestId, shards: toBase64(shards) },
        });
      }
      const { fileId } = record;
      const fault = { kind: 'missing-chunk' as const, mspId: orgName(4), fileId, detail: 'one' };
      const outcome = { ok: false, summary: 'one chunk is gone', faults: [fault] };
      await ledger.submit(AUDITOR, 'ledger/audits:Close', { requestId, outcome });
      expect(await stateNow()).toBe('closed');
    });

    it('lists faults, those of an audit and those reported with evidence', async () => {
      const { fileId } = fileOf(0).record;
      const evidence = toBase64(utf8('a chunk and its receipt'));
      await ledger.submit(agentOf(2), 'ledger/consortium:ReportFault', {
        ...{ kind: 'bad-chunk', mspId: orgName(4), fileId, detail: 'two', evidence },
      });
      const [newest, oldest] = await ledger.evaluate(AUDITOR, 'ledger/consortium:ListFaults', {
        mspId: orgName(4),
      });
      expect([oldest?.detail, oldest?.reporter]).toEqual(['one', AUDITOR.mspId]);
      expect([newest?.detail, newest?.evidenceHash?.length]).toEqual(['two', 64]);
      const faultId = newest?.faultId ?? '';
      const full = await ledger.evaluate(AUDITOR, 'ledger/consortium:GetFault', { faultId });
      expect(full?.evidence).toBe(evidence);
      await decide({
        ...{ kind: 'penalty', mspId: orgName(4), decision: 'warned', faultIds: [faultId] },
      });
      const penalties = await ledger.evaluate(AUDITOR, 'ledger/consortium:ListPenalties', {
        mspId: orgName(4),
      });
      expect(penalties.map(({ decision }) => decision)).toEqual(['warned']);
    });

    it('draws an inspection, whose request is an ordinary one', async () => {
      const { result } = await ledger.submit(agentOf(3), 'ledger/audits:DrawInspection', {
        ...{ fromMs: 0, toMs: Date.now() - 1 },
      });
      const drawn = await ledger.evaluate(AUDITOR, 'ledger/audits:GetInspection', {
        ...{ inspectionId: result.inspectionId, source: orgName(1), bookmark: '' },
      });
      expect(drawn?.fileIds).toHaveLength(files.length);
      const request = await ledger.submit(AUDITOR, 'ledger/audits:Request', {
        ...{ fileIds: drawn?.fileIds ?? [], inspection: result.inspectionId, reason: 'drawn' },
        ...{ recipients: house.recipients(), expiresAtMs: Date.now() + ENDED_MS },
      });
      const argument = request.result;
      const found = await ledger.evaluate(AUDITOR, 'ledger/audits:GetRequest', argument);
      expect([found?.state, found?.inspection]).toEqual(['open', result.inspectionId]);
    });

    it('takes a wrong answer to a challenge as a fault, by chunk and manifest that no block has', async () => {
      const file = await challengedFile(house);
      await expect(file.report(file.answered())).rejects.toMatchObject({
        ...{ code: 'rejected', message: expect.stringMatching(/^NO_FAULT: /) },
      });
      await file.report(file.answered({ hash: house.random.bytes(32) }));
      await file.report(file.answered({ hash: new Uint8Array() }));
      const faults = await ledger.evaluate(AUDITOR, 'ledger/consortium:ListFaults', {
        mspId: ANSWERER,
      });
      expect(faults.map(({ kind }) => kind)).toEqual(['challenge-failed', 'challenge-failed']);
    });

    it('keeps the history of a peer’s keys, and revokes one that was replaced', async () => {
      const keys = [1, 2].map(() => toHex(house.random.bytes(32)));
      const [before = '', after = ''] = keys;
      const entry = { name: 'spare', roles: ['ingest' as const], dhtAddress: '' };
      for (const overlayKey of keys) {
        await ledger.submit(agentOf(4), 'ledger/consortium:RegisterPeer', { ...entry, overlayKey });
      }
      const revoke = (overlayKey: string) =>
        ledger.submit(agentOf(4), 'ledger/consortium:RevokeKey', { peer: 'spare', overlayKey });
      await revoke(before);
      await expect(revoke(after)).rejects.toMatchObject({
        message: expect.stringMatching(/^NOT_ALLOWED: .* register another/),
      });
      const { peers } = await ledger.evaluate(AUDITOR, 'ledger/consortium:GetConsortium', {});
      const found = peers.find(({ name: peer }) => peer === 'spare')?.keys ?? [];
      expect(found.map(({ overlayKey }) => overlayKey)).toEqual(keys);
      expect(found.map(({ revokedAtMs }) => revokedAtMs !== null)).toEqual([true, false]);
    });

    it('keeps anchors, which only grow', async () => {
      const anchor = (count: number) =>
        ledger.submit(agentOf(1), 'ledger/records:Anchor', {
          ...{ gateway: 'gateway-1', batch: 1, count, head: toHex(house.random.bytes(32)) },
        });
      for (const count of [3, 20]) await anchor(count);
      await expect(anchor(19)).rejects.toMatchObject({
        message: expect.stringMatching(/^WRONG_CHAIN/),
      });
      const { anchors } = await ledger.evaluate(AUDITOR, 'ledger/records:ListAnchors', {
        ...{ source: orgName(1), gateway: 'gateway-1', fromCount: 0, limit: 10 },
      });
      expect(anchors.map(({ count }) => count)).toEqual([3, 20]);
    });

    it('decides by votes that may all come at once, and carries a decision out once', async () => {
      const proposalId = await proposed({
        kind: 'policy',
        policy: { ...house.policy, approvals: 3 },
      });
      await Promise.all([1, 2, 3].map((number) => voted(proposalId, number)));
      const twice = await Promise.allSettled(
        [1, 2].map((number) =>
          ledger.of(orgName(number)).submit('ledger/consortium:Enact', { proposalId }),
        ),
      );
      const [enacted = ''] = twice.flatMap((one) =>
        one.status === 'fulfilled' ? [one.value.txId] : [],
      );
      await ledger.settled(enacted);
      const refused = twice.flatMap((one) => (one.status === 'rejected' ? [one.reason] : []));
      expect(refused).toEqual([
        expect.objectContaining({ message: expect.stringMatching(/^NOT_OPEN: .* enacted/) }),
      ]);
      const { policy } = await ledger.evaluate(AUDITOR, 'ledger/consortium:GetConsortium', {});
      expect(policy.approvals).toBe(3);
    });

    it('opens epochs, and takes files of the one before but not of an older one', async () => {
      files.push(await house.file(), await house.file());
      const weights = { Org1MSP: 1, Org2MSP: 2, Org3MSP: 1, Org4MSP: 1 };
      const epoch = { epoch: 3, weights };
      await ledger.submit(agentOf(2), 'ledger/consortium:OpenEpoch', epoch);
      await ledger.submit(agentOf(1), 'ledger/records:Record', fileOf(3).record);
      await expect(
        ledger.submit(agentOf(2), 'ledger/consortium:OpenEpoch', { ...epoch, epoch: 4 }),
      ).rejects.toMatchObject({ message: expect.stringMatching(/^NOT_ALLOWED: .* again after/) });
      await decide({ kind: 'weights', weights: { ...weights, Org2MSP: 1 } });
      await expect(
        ledger.submit(agentOf(1), 'ledger/records:Record', fileOf(4).record),
      ).rejects.toMatchObject({ message: expect.stringMatching(/^WRONG_EPOCH: expected epoch 4/) });
      const { fileId, gateway, seq, previous } = fileOf(4).record;
      const given = { fileId, gateway, seq, previous, reason: 'placed too long ago' };
      await ledger.submit(agentOf(1), 'ledger/records:Void', given);
    });

    it('goes on without one organisation’s peer, which gets its shard by a re-issue', async () => {
      const away = orgName(3);
      await ledger.stopPeer(away);
      const entropy = house.random.bytes(32);
      const { dealing, identity, input } = await depositWith(entropy);
      const index = dealing.holders.indexOf(away) + 1;
      await voted(await proposed({ kind: 'policy', policy: { ...AGREED, approvals: 1 } }), 1);
      await ledger.startPeer(away);
      const dealt = dealShards({ identity, entropy, txId: dealing.depositTx, input });
      const shards = dealt.shards[index - 1] ?? new Uint8Array();
      await ledger.submit(
        agentOf(1),
        'keys/keys:Reissue',
        { fileId: dealing.fileId, depositTx: dealing.depositTx, index, holder: away },
        { transient: { shards } },
      );
      const again = await vi.waitFor(async () => {
        const found = await readThrough(ledger.network, away, away, dealing, index);
        expect(found).toContain('"shard"');
        return found;
      }, ARRIVAL_MS);
      const bytes = fromBase64((JSON.parse(again) as { shard: string }).shard);
      expect(verifyShard(bytes, index, dealing).index).toBe(index);
    });

    it('lets a holder give a shard up: withdrawn in public, purged from its collection', async () => {
      const { record, dealing } = fileOf(1);
      const { fileId } = record;
      const [mspId = ''] = dealing.holders;
      const holder = { mspId, role: 'agent' };
      const fileIds = [fileId];
      const withdrawn = nextEvent(ledger, orgName(3), 'withdrawn');
      await ledger.submit(holder, 'ledger/audits:Withdraw', { fileIds, reason: 'no longer due' });
      expect(await withdrawn).toMatchObject({ payload: { fileIds, mspId } });
      const found = await recordOf(fileId);
      expect(found?.withdrawals).toMatchObject([{ mspId, reason: 'no longer due' }]);
      expect([found?.confirmedBy.includes(mspId), found?.available]).toEqual([false, false]);
      await expect(
        ledger.submit(holder, 'ledger/audits:Confirm', { fileIds }),
      ).rejects.toMatchObject({ message: expect.stringMatching(/^NOT_HOLDER: .* for good/) });
      const { depositTx } = dealing;
      const shards = [{ fileId, depositTx, index: 1 }];
      const purge = () => ledger.submit(holder, 'keys/keys:Purge', { shards });
      expect((await purge()).result).toEqual([{ depositTx, index: 1 }]);
      expect(await shardNow(dealing, mspId)).toBeNull();
      await expect(purge()).rejects.toMatchObject({
        message: expect.stringMatching(/^NOT_FOUND: /),
      });
      const second = dealing.holders[1] ?? '';
      expect(await shardNow(dealing, second)).not.toBeNull();
    });

    it('purges a shard out of a bundle, leaves the others, and takes a re-issue afterwards', async () => {
      const entropy = house.random.bytes(32);
      const one = freshDeposit(house, [2, 3, 4].map(orgName));
      const other = freshDeposit(house, [2, 3, 4].map(orgName));
      const identity = concatBytes(one.identity, other.identity);
      const deposits = [one.input, other.input];
      const { result: dealings } = await ledger.submit(
        agentOf(1),
        'keys/keys:DepositMany',
        { deposits },
        { transient: { identity, entropy } },
      );
      const [dealing, kept] = dealings;
      if (dealing === undefined || kept === undefined) throw new Error('two were dealt');
      const { fileId, depositTx } = dealing;
      for (const each of dealings) await shardOf(ledger, each, 1);
      const shards = [{ fileId, depositTx, index: 1 }];
      await ledger.submit(agentOf(2), 'keys/keys:Purge', { shards });
      expect(await shardNow(dealing, orgName(2))).toBeNull();
      expect(verifyShard(await shardOf(ledger, kept, 1), 1, kept).index).toBe(1);
      const dealt = dealShards({ ...one, entropy, txId: depositTx }).shards[0] ?? new Uint8Array();
      const again = { fileId, depositTx, index: 1, holder: orgName(2) };
      const transient = { shards: dealt };
      await ledger.submit(agentOf(1), 'keys/keys:Reissue', again, { transient });
      expect(verifyShard(await shardOf(ledger, dealing, 1), 1, dealing).index).toBe(1);
    });

    it('lets a member leave, with a new epoch, and ends its rights', async () => {
      await decide({ kind: 'policy', policy: AGREED });
      await ledger.submit(agentOf(4), 'ledger/consortium:Leave', {});
      const { members, epochs } = await ledger.evaluate(
        AUDITOR,
        'ledger/consortium:GetConsortium',
        {},
      );
      expect(members.map(({ mspId }) => mspId)).toEqual([1, 2, 3].map(orgName));
      expect(epochs[0]?.ranges).toHaveLength(3);
      const proposalId = await proposed({ kind: 'policy', policy: { ...AGREED, approvals: 1 } });
      await expect(voted(proposalId, 4)).rejects.toMatchObject({
        message: expect.stringMatching(/^NOT_ALLOWED/),
      });
    });

    it('answered as every other ledger has answered the same', async () => {
      // Calls that ran at the same time are in any order.
      const lines = ledger.transcript.toSorted();
      await expect(`${lines.join('\n')}\n`).toMatchFileSnapshot('ledger-transcript.jsonl');
    });

    /** Deposits a key of a file that is never recorded, for every other organisation. */
    async function depositWith(entropy: Uint8Array) {
      const { identity, dealing: known } = fileOf(0);
      const input = {
        ...{ fileId: toHex(house.random.bytes(32)), recipient: known.recipient, k: 2, n: 3 },
        ...{ scheme: house.policy.scheme, holders: [2, 3, 4].map(orgName) },
      };
      const { result } = await ledger.submit(agentOf(1), 'keys/keys:Deposit', input, {
        transient: { identity, entropy },
      });
      return { dealing: result, identity, input };
    }

    /** A shard as its holder reads it at this moment. */
    async function shardNow({ depositTx, holders }: Dealing, mspId: string) {
      const index = holders.indexOf(mspId) + 1;
      return ledger.of(mspId).evaluate('keys/keys:GetShard', { depositTx, index });
    }

    async function proposed(action: ProposalAction): Promise<string> {
      const { result } = await ledger.submit(agentOf(1), 'ledger/consortium:Propose', {
        ...{ action, reason: 'agreed on the phone', expiresAtMs: Date.now() + ENDED_MS },
      });
      return result.proposalId;
    }

    async function voted(proposalId: string, number: number): Promise<void> {
      const vote = { proposalId, approve: true, reason: '' };
      await ledger.submit(agentOf(number), 'ledger/consortium:VoteOn', vote);
    }

    async function decide(action: ProposalAction): Promise<void> {
      const proposalId = await proposed(action);
      for (const number of [1, 2, 3]) await voted(proposalId, number);
      await ledger.submit(agentOf(1), 'ledger/consortium:Enact', { proposalId });
    }
  });
}

/** A shard as its holder's agent reads it, as soon as it has arrived. */
async function shardOf(
  ledger: NetworkLedger,
  { depositTx, holders }: Dealing,
  index: number,
): Promise<Uint8Array> {
  const holder = ledger.of(holders[index - 1] ?? '');
  return vi.waitFor(async () => {
    const found = await holder.evaluate('keys/keys:GetShard', { depositTx, index });
    expect(found).not.toBeNull();
    return fromBase64(found?.shard ?? '');
  }, ARRIVAL_MS);
}

/** What `client` is answered when it asks the peer of `via` for a shard: JSON, or the refusal. */
async function readThrough(
  network: ComplianceNetwork,
  client: string,
  via: string,
  { depositTx }: Dealing,
  index: number,
): Promise<string> {
  using connection = await fabricClient(network, client, { via });
  try {
    const bytes = await connection.keys.evaluate('keys:GetShard', {
      arguments: [JSON.stringify({ depositTx, index })],
      endorsingOrganizations: [via],
    });
    return JSON.stringify(json(bytes));
  } catch (error) {
    return JSON.stringify(error, Object.getOwnPropertyNames(error));
  }
}

/** The next event of that name that reaches an organisation, from now on. */
async function nextEvent(
  ledger: NetworkLedger,
  mspId: string,
  name: LedgerEvent['name'],
): Promise<LedgerEvent | null> {
  const signal = AbortSignal.timeout(30_000);
  for await (const event of ledger.of(mspId).events({ signal, fromStart: true })) {
    if (event.name === name) return event;
  }
  return null;
}
