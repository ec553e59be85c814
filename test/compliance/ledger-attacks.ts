/**
 * What one organisation with changed chaincode tries against the others, as a suite that runs on one
 * kind of network: `describeLedgerAttacks(name, start)`. It endorses alone whatever it likes; every
 * attack's transaction is ordered, and none may change what is another's.
 */
import { createHash } from 'node:crypto';
import { utf8 } from '@blocktorrent/protocol/bytes.ts';
import { verifyShard } from '@blocktorrent/protocol/dealing.ts';
import type { Dealing } from '@blocktorrent/protocol/ledger-api.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ATTACK, type Attack } from '../support/attacker-chaincode.ts';
import { AUDITOR, agentOf, ConsortiumOn, orgName, type TrialFile } from '../support/consortium.ts';
import { type FabricClient, fabricClient, json } from '../support/fabric-client.ts';
import {
  ATTACKER,
  attackCode,
  depositOf,
  ENDORSEMENT_POLICY_FAILURE,
  expectIntact,
  ON_SHARDS,
  shardPlace,
  VALID,
  VICTIM,
} from './attack-tools.ts';
import { describeKeyAttacks } from './key-attacks.ts';
import { AGREED, ORGANISATIONS, type StartNetwork } from './ledger.ts';
import { NetworkLedger } from './network-ledger.ts';

export function describeLedgerAttacks(name: string, start: StartNetwork): void {
  describe(`attacks by one organisation: ${name}`, () => {
    let ledger: NetworkLedger;
    let house: ConsortiumOn<NetworkLedger>;
    let attacker: FabricClient;
    let file: TrialFile;
    let proposalId: string;
    let requestId: string;

    beforeAll(async () => {
      ledger = new NetworkLedger(await start());
      house = new ConsortiumOn(ledger, ORGANISATIONS, AGREED, 11);
      await house.found();
      file = await house.recorded();
      const inAnHour = Date.now() + 3_600_000;
      const proposal = await ledger.submit(agentOf(1), 'ledger/consortium:Propose', {
        ...{ action: { kind: 'remove', mspId: VICTIM }, reason: 'x', expiresAtMs: inAnHour },
      });
      const request = await ledger.submit(AUDITOR, 'ledger/audits:Request', {
        ...{ fileIds: [file.record.fileId], reason: 'x', expiresAtMs: inAnHour },
        recipients: house.recipients(),
      });
      proposalId = proposal.result.proposalId;
      requestId = request.result.requestId;
      attacker = await fabricClient(ledger.network, ATTACKER);
    });
    afterAll(async () => {
      attacker?.[Symbol.dispose]();
      ledger?.close();
      await ledger?.network.stop();
    });

    const codeOf = (chaincode: 'ledger' | 'keys', attack: Attack) =>
      attackCode(attacker, chaincode, attack);
    const expectShardIntact = (dealing: Dealing) => expectIntact(ledger, dealing);

    const text = (value: unknown) => JSON.stringify(value);
    const forged: [string, () => { key: string; value: string }][] = [
      [
        'a vote on a proposal',
        () => ({
          key: `proposal-vote/${proposalId}/${orgName(3)}`,
          value: text({ proposalId, approve: true, reason: '', mspId: orgName(3), atMs: 1 }),
        }),
      ],
      [
        'a vote on an audit',
        () => ({
          key: `vote/${requestId}/${orgName(3)}`,
          value: text({ requestId, approve: true, reason: '', mspId: orgName(3), atMs: 1 }),
        }),
      ],
      [
        'a confirmation',
        () => ({
          key: `confirmation/${'ab'.repeat(32)}/${VICTIM}`,
          value: text({ atMs: 1, txId: '' }),
        }),
      ],
      [
        'a withdrawal',
        () => ({
          key: `confirmation/${file.record.fileId}/${VICTIM}`,
          value: text({ withdrawn: { mspId: VICTIM, reason: 'it said so', atMs: 1, txId: '' } }),
        }),
      ],
      [
        'a late receipt',
        () => ({
          key: `receipt/${file.record.fileId}/${VICTIM}/${'cd'.repeat(32)}`,
          value: text(file.record.receipts[0]),
        }),
      ],
      [
        'a record',
        () => ({
          key: `record/${file.record.fileId}`,
          value: text({ ...file.record, source: ATTACKER, void: 'gone' }),
        }),
      ],
      [
        'an enactment',
        () => ({
          key: `enactment/${proposalId}`,
          value: text({ by: orgName(1), atMs: 1, txId: '' }),
        }),
      ],
      [
        'a policy',
        () => ({
          key: 'constitution',
          value: text({ members: [], auditors: [], policy: { ...AGREED, approvals: 1 } }),
        }),
      ],
      [
        'the outcome of an audit',
        () => ({
          key: `outcome/${requestId}`,
          value: text({ ok: true, summary: 'nothing to see', faults: [] }),
        }),
      ],
    ];
    it.each(forged)('cannot forge %s', async (_, make) => {
      const before = await everything();
      expect(await codeOf('ledger', { do: 'put', ...make() })).toBe(ENDORSEMENT_POLICY_FAILURE);
      expect(await everything()).toEqual(before);
    });

    it('cannot delete a record, nor take over who endorses it', async () => {
      const before = await everything();
      const key = `record/${file.record.fileId}`;
      expect(await codeOf('ledger', { do: 'delete', key })).toBe(ENDORSEMENT_POLICY_FAILURE);
      const mspIds = [ATTACKER];
      expect(await codeOf('ledger', { do: 'setPolicy', key, mspIds })).toBe(
        ENDORSEMENT_POLICY_FAILURE,
      );
      expect(await everything()).toEqual(before);
    });

    it.each(ON_SHARDS)('cannot %s another’s shard', async (_, what) => {
      const place = shardPlace(file.dealing, VICTIM);
      const attack = { do: what, ...place, value: 'forged', mspIds: [ATTACKER] };
      expect(await codeOf('keys', attack)).toBe(ENDORSEMENT_POLICY_FAILURE);
      await expectShardIntact(file.dealing);
    });

    it('cannot change or delete the public dealing of a deposit', async () => {
      const key = `dealing/${file.dealing.depositTx}`;
      for (const what of ['put', 'delete', 'setPolicy'] as const) {
        const attack = { do: what, key, value: '{}', mspIds: [ATTACKER] };
        expect(await codeOf('keys', attack)).toBe(ENDORSEMENT_POLICY_FAILURE);
      }
      const { depositTx } = file.dealing;
      expect(await ledger.evaluate(agentOf(3), 'keys/keys:GetDealing', { depositTx })).toEqual(
        file.dealing,
      );
    });

    it('cannot overwrite a shard in the block that brings it', async () => {
      using depositor = await fabricClient(ledger.network, orgName(1));
      // Both must fall into one block; the clock decides, so try until they do.
      for (let attempt = 1; ; attempt++) {
        const { argument, transientData } = depositOf(file, house);
        const deposit = await depositor.keys
          .newProposal('keys:Deposit', {
            ...{ arguments: [argument], transientData, endorsingOrganizations: [orgName(1)] },
          })
          .endorse();
        const dealing = json(deposit.getResult()) as Dealing;
        const overwrite = await attacker.keys
          .newProposal(ATTACK, {
            arguments: [
              text({ do: 'putPrivate', ...shardPlace(dealing, VICTIM), value: 'forged' }),
            ],
            endorsingOrganizations: [ATTACKER],
          })
          .endorse();
        const commits = [await deposit.submit(), await overwrite.submit()];
        const [one, two] = await Promise.all(commits.map((each) => each.getStatus()));
        expect([one?.code, two?.code]).toEqual([VALID, ENDORSEMENT_POLICY_FAILURE]);
        if (one?.blockNumber === two?.blockNumber || attempt === 20) {
          expect(one?.blockNumber).toBe(two?.blockNumber);
          await expectShardIntact(dealing);
          return;
        }
      }
    });

    describeKeyAttacks(() => ({ ledger, house, attacker }));

    it('is found out when it re-creates a shard that its holder has purged', async () => {
      const { dealing } = await house.file();
      const place = shardPlace(dealing, ATTACKER);
      // Its own shard is its own: it may purge and replace it, and fools nobody.
      expect(await codeOf('keys', { do: 'purgePrivate', ...place })).toBe(VALID);
      expect(await codeOf('keys', { do: 'putPrivate', ...place, value: 'forged' })).toBe(VALID);
      const index = dealing.holders.indexOf(ATTACKER) + 1;
      expect(() => verifyShard(utf8('forged'), index, dealing)).toThrow(/expected SHA-256/);
    });

    it('reads nobody else’s shards, through its own changed peer or through another', async () => {
      const index = file.dealing.holders.indexOf(VICTIM);
      const shard = (await ledger.of(VICTIM).evaluate('keys/keys:GetShard', {
        ...{ depositTx: file.dealing.depositTx, index: index + 1 },
      })) ?? { shard: '' };
      const bytes = Buffer.from(shard.shard, 'base64');
      expect(createHash('sha256').update(bytes).digest('hex')).toBe(
        file.dealing.shardHashes[index],
      );
      for (const via of house.names) {
        using client = await fabricClient(ledger.network, ATTACKER, { via });
        const arguments_ = [text({ do: 'getPrivate', ...shardPlace(file.dealing, VICTIM) })];
        await expect(
          client.keys.evaluate(ATTACK, { arguments: arguments_, endorsingOrganizations: [via] }),
        ).rejects.toThrow();
      }
    });

    /** What honest organisations read about everything that is attacked here. */
    async function everything(): Promise<unknown> {
      const one = ledger.of(orgName(1));
      const { fileId } = file.record;
      return {
        consortium: await one.evaluate('ledger/consortium:GetConsortium', {}),
        record: await one.evaluate('ledger/records:GetRecord', { fileId }),
        proposal: await one.evaluate('ledger/consortium:GetProposal', { proposalId }),
        request: await one.evaluate('ledger/audits:GetRequest', { requestId }),
      };
    }
  });
}
