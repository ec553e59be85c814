import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import { describe, expect, it } from 'vitest';
import { chaincodeDefinitions } from '../../chaincode/collections.ts';
import { ARGUMENTS } from '../../chaincode/src/arguments.ts';
import { CONTRACTS, createChaincode, transactionNames } from '../../chaincode/src/contracts.ts';
import { AUDITOR, agentOf, orgName, POLICY, TrialConsortium } from '../support/consortium.ts';
import { MemoryFabric } from '../support/memory-fabric.ts';

/** All that a client can call: a change here is a change of the ledger's public face. */
const TRANSACTIONS = [
  'keys/keys:Deposit',
  'keys/keys:DepositMany',
  'keys/keys:GetDealing',
  'keys/keys:GetShard',
  'keys/keys:GetShards',
  'keys/keys:Purge',
  'keys/keys:Reissue',
  'ledger/audits:Close',
  'ledger/audits:Complain',
  'ledger/audits:Confirm',
  'ledger/audits:DrawInspection',
  'ledger/audits:GetInspection',
  'ledger/audits:GetRequest',
  'ledger/audits:ListRequests',
  'ledger/audits:Release',
  'ledger/audits:ReportChallenge',
  'ledger/audits:Request',
  'ledger/audits:Vote',
  'ledger/audits:Withdraw',
  'ledger/consortium:Enact',
  'ledger/consortium:Found',
  'ledger/consortium:GetConsortium',
  'ledger/consortium:GetEpoch',
  'ledger/consortium:GetFault',
  'ledger/consortium:GetProposal',
  'ledger/consortium:Leave',
  'ledger/consortium:ListFaults',
  'ledger/consortium:ListPenalties',
  'ledger/consortium:ListProposals',
  'ledger/consortium:OpenEpoch',
  'ledger/consortium:Propose',
  'ledger/consortium:RegisterPeer',
  'ledger/consortium:ReportFault',
  'ledger/consortium:RevokeCertificates',
  'ledger/consortium:RevokeKey',
  'ledger/consortium:VoteOn',
  'ledger/records:Anchor',
  'ledger/records:AppendReceipts',
  'ledger/records:GetAnchor',
  'ledger/records:GetChain',
  'ledger/records:GetMasterTable',
  'ledger/records:GetRecord',
  'ledger/records:ListAnchors',
  'ledger/records:ListRecords',
  'ledger/records:Record',
  'ledger/records:RecordMany',
  'ledger/records:RecordReplacement',
  'ledger/records:Void',
];

const member = (number: number) => ({
  mspId: orgName(number),
  name: 'x',
  weight: 1,
  overlayRoots: [],
});

describe('the chaincodes', () => {
  it('expose exactly the transactions of the ledger API, in prototypes and to the shim', () => {
    const exposed: string[] = [];
    for (const chaincode of ['ledger', 'keys'] as const) {
      const { metadata } = createChaincode(chaincode);
      for (const ContractClass of CONTRACTS[chaincode]) {
        const name = new ContractClass().getName();
        const own = Object.getOwnPropertyNames(ContractClass.prototype).filter(
          (one) => one !== 'constructor',
        );
        expect(own.sort()).toEqual(transactionNames(chaincode, name).sort());
        const offered = metadata.contracts[name]?.transactions.map((one) => one.name) ?? [];
        exposed.push(...offered.map((one) => `${chaincode}/${name}:${one}`));
      }
    }
    expect(exposed.sort()).toEqual(Object.keys(ARGUMENTS).sort());
    expect(exposed).toEqual(TRANSACTIONS);
  });

  it('know no clock and no chance but what the transaction brings', () => {
    const dir = join(import.meta.dirname, '../../chaincode/src');
    // The process around them: it starts, and refuses what is far from its own time.
    const around = ['serve.ts', 'time-window.ts'];
    const files = readdirSync(dir).filter((name) => name.endsWith('.ts') && !around.includes(name));
    expect(files.length).toBeGreaterThan(25);
    for (const name of files) {
      const source = readFileSync(join(dir, name), 'utf8');
      expect(source, name).not.toMatch(
        /Date\.now|new Date|performance\.|Math\.random|random(Bytes|Int|UUID)|process\.(env|hrtime)/,
      );
    }
  });

  it.each([
    ...(['consortium', 'records', 'audits'] as const).map((name) => ['ledger', name] as const),
    ['keys', 'keys'] as const,
  ])(
    'tell of every transaction of %s/%s who may call it, what it does and how it refuses',
    (chaincode, contract) => {
      const path = join(import.meta.dirname, `../../chaincode/src/${contract}-contract.ts`);
      const source = readFileSync(path, 'utf8');
      for (const name of transactionNames(chaincode, contract)) {
        const before = source.slice(0, source.indexOf(`  async ${name}(ctx`));
        const text = before.slice(before.lastIndexOf('/**')).replace(/\s*\n\s*\* ?/g, ' ');
        expect(text, name).toMatch(/Who(, when, effects)?: /);
        expect(text, name).toMatch(/[Ee]ffects?: |Event: /);
        expect(text, name).toMatch(/Errors: [A-Za-z_]/);
        const isQuery = /^(?:Get|List)/.test(name);
        if (!isQuery) expect(text, name).toMatch(/Event: (?:`|none)/);
        if (!isQuery) expect(text, name).toMatch(/When: |Who, when/);
      }
    },
  );

  it('know no time but the transaction’s, and no chance: every endorser must write the same', () => {
    const folder = join(import.meta.dirname, '../../chaincode/src');
    const files = readdirSync(folder).filter((file) => /(?<!serve)\.ts$/.test(file));
    expect(files.length).toBeGreaterThan(20);
    const own =
      /Date\.now|new Date\b|performance\.|Math\.random|random(?:Bytes|UUID|Int)|setTimeout/;
    for (const file of files)
      expect(readFileSync(join(folder, file), 'utf8'), file).not.toMatch(own);
  });

  it('refuse an unknown transaction, a method of the base class and a missing argument', async () => {
    const fabric = new MemoryFabric('c', ['Org1MSP', 'Org2MSP']);
    const messageOf = async (name: string, argument: string | null) =>
      (await fabric.simulate(agentOf(1), name, argument, {})).message;
    expect(await messageOf('ledger/records:Nothing', '{}')).toMatch(/^NOT_FOUND: /);
    expect(await messageOf('ledger/records:createContext', '{}')).toMatch(/^NOT_FOUND: /);
    expect(await messageOf('ledger/records:GetRecord', null)).toMatch(/^BAD_ARGUMENT: /);
    expect(await messageOf('ledger/records:GetRecord', 'null')).toMatch(/^BAD_ARGUMENT: /);
    expect(await messageOf('ledger/records:GetRecord', '{"fileId":"AA"}')).toBe(
      'BAD_ARGUMENT: argument.fileId: expected 32 bytes as lower-case hex, got text of 2 characters',
    );
    expect(await messageOf('ledger/records:GetRecord', '{"constructor":1}')).toMatch(
      /unknown field/,
    );
  });

  it('need a majority for the ledger, anybody for keys, and one collection for each holder', () => {
    const [ledger, keys] = chaincodeDefinitions(['Org2MSP', 'Org1MSP', 'Org3MSP', 'Org4MSP']);
    expect(ledger?.endorsementPolicy).toEqual({
      outOf: 3,
      mspIds: ['Org1MSP', 'Org2MSP', 'Org3MSP', 'Org4MSP'],
    });
    expect(ledger?.collections).toEqual([]);
    expect(keys?.endorsementPolicy.outOf).toBe(1);
    expect(keys?.collections[1]).toEqual({
      name: 'shards-Org2MSP',
      memberOrgs: ['Org2MSP'],
      memberOnlyRead: true,
      memberOnlyWrite: false,
      requiredPeerCount: 0,
      maxPeerCount: 8,
      blockToLive: 0,
    });
    expect(() => chaincodeDefinitions(['Org.1'])).toThrow(/cannot name a collection/);
    expect(() => chaincodeDefinitions(['A', 'A'])).toThrow(/distinct/);
  });
});

describe('contract consortium', () => {
  it('is founded once, by one of its members, with epoch 1 over all of them', async () => {
    const { fabric } = await new TrialConsortium().found();
    const consortium = await fabric.evaluate(AUDITOR, 'ledger/consortium:GetConsortium', {});
    expect(consortium.channel).toBe('blocktorrent');
    expect(consortium.epochs.map(({ epoch, ranges }) => [epoch, ranges.length])).toEqual([[1, 4]]);
    expect(consortium.peers.map(({ mspId, name }) => `${mspId}/${name}`)).toEqual([
      'Org1MSP/admin',
      'Org1MSP/gateway-1',
      'Org2MSP/admin',
      'Org3MSP/admin',
      'Org4MSP/admin',
    ]);
    const again = {
      members: [member(1), member(2)],
      auditors: [],
      policy: { ...POLICY, n: 2, approvals: 1 },
    };
    await expect(fabric.submit(agentOf(1), 'ledger/consortium:Found', again)).rejects.toThrow(
      /^ALREADY_EXISTS: /,
    );
  });

  it.each([
    ['a stranger', agentOf(9), {}, 'NOT_ALLOWED'],
    ['an identity without a role', { mspId: orgName(1), role: null }, {}, 'NOT_ALLOWED'],
    ['k above n', agentOf(1), { k: 4 }, 'BAD_ARGUMENT'],
    ['more shards than members', agentOf(1), { n: 4 }, 'BAD_ARGUMENT'],
    ['k of 1', agentOf(1), { k: 1 }, 'BAD_ARGUMENT'],
    ['more receipts than replicas', agentOf(1), { receiptsMin: 4 }, 'BAD_ARGUMENT'],
    ['more approvals than can vote', agentOf(1), { approvals: 3 }, 'BAD_ARGUMENT'],
  ] as const)('cannot be founded by or with %s', async (_, caller, change, code) => {
    const fabric = new MemoryFabric('c', [1, 2, 3].map(orgName));
    const input = {
      members: [1, 2, 3].map(member),
      auditors: [],
      policy: { ...POLICY, ...change },
    };
    await expect(fabric.submit(caller, 'ledger/consortium:Found', input)).rejects.toThrow(
      new RegExp(`^${code}: `),
    );
  });

  it('answers nothing before it is founded', async () => {
    const fabric = new MemoryFabric('c', ['Org1MSP', 'Org2MSP']);
    await expect(
      fabric.evaluate(agentOf(1), 'ledger/consortium:GetConsortium', {}),
    ).rejects.toThrow(/^NOT_FOUNDED: /);
  });

  it('lets a gateway register gateways, but no peer that stores, nor take one over', async () => {
    const { fabric } = await new TrialConsortium().found();
    const gateway = { mspId: orgName(1), role: 'gateway' };
    const register = (name: string, roles: readonly ('ingest' | 'store')[]) =>
      fabric.submit(gateway, 'ledger/consortium:RegisterPeer', {
        ...{ name, roles, overlayKey: '11'.repeat(32), dhtAddress: '' },
      });
    await register('gateway-1', ['ingest']);
    for (const roles of [['store'], ['ingest', 'store']] as const) {
      await expect(register('gateway-2', roles)).rejects.toThrow(/^NOT_ALLOWED: a gateway may not/);
    }
    await expect(register('admin', ['ingest'])).rejects.toThrow(/^NOT_ALLOWED: a gateway may not/);
  });

  it('lets a gateway whose certificate names it speak for no other one', async () => {
    const consortium = await new TrialConsortium().found();
    const { fabric } = consortium;
    await consortium.register(orgName(1), 'gateway-2', ['ingest']);
    const named = { mspId: orgName(1), role: 'gateway', isNamed: true };
    const anchor = (gateway: string) =>
      fabric.submit(named, 'ledger/records:Anchor', {
        ...{ gateway, batch: 1, count: 1, head: '11'.repeat(32) },
      });
    const giveUp = (gateway: string) =>
      fabric.submit(named, 'ledger/records:Void', {
        ...{ gateway, fileId: 'ab'.repeat(32), seq: 1, previous: '00'.repeat(32), reason: 'x' },
      });
    const register = (name: string) =>
      fabric.submit(named, 'ledger/consortium:RegisterPeer', {
        ...{ name, roles: ['ingest'], overlayKey: 'cd'.repeat(32), dhtAddress: '' },
      });
    const { record } = await consortium.file(orgName(1), 5, 'gateway-2');
    const refused = /^NOT_ALLOWED: this identity is of peer gateway-1, not of gateway-2/;
    await expect(fabric.submit(named, 'ledger/records:Record', record)).rejects.toThrow(refused);
    for (const act of [anchor, giveUp, register]) {
      await expect(act('gateway-2')).rejects.toThrow(refused);
      await act('gateway-1');
    }
  });

  it('takes a whole file from a gateway, which then may not vote, confirm or leave', async () => {
    const consortium = await new TrialConsortium().found();
    const { fabric, names } = consortium;
    const gateway = { mspId: orgName(1), role: 'gateway' };
    const { record } = await consortium.file();
    await fabric.submit(gateway, 'ledger/records:Record', record);
    await fabric.submit(gateway, 'ledger/records:Anchor', {
      ...{ gateway: 'gateway-1', batch: 1, count: 1, head: '11'.repeat(32) },
    });
    const holder = { mspId: record.dealing.holders[0] ?? '', role: 'gateway' };
    const { fileId } = record;
    expect(names).toContain(holder.mspId);
    const refused = /^NOT_ALLOWED: expected an identity with role agent/;
    await expect(
      fabric.submit(holder, 'ledger/audits:Confirm', { fileIds: [fileId] }),
    ).rejects.toThrow(refused);
    await expect(fabric.submit(gateway, 'ledger/consortium:Leave', {})).rejects.toThrow(refused);
  });

  it('registers peers of the caller only, and the same again without writing', async () => {
    const consortium = await new TrialConsortium().found();
    const events = consortium.fabric.events.length;
    await consortium.register(orgName(2), 'admin', ['store']);
    expect(consortium.fabric.events).toHaveLength(events);
    await expect(consortium.register('Org9MSP', 'admin', ['store'])).rejects.toThrow(
      /^NOT_ALLOWED/,
    );
    const bad = {
      name: 'a/b',
      roles: ['store' as const],
      overlayKey: '00'.repeat(32),
      dhtAddress: '',
    };
    await expect(
      consortium.fabric.submit(agentOf(1), 'ledger/consortium:RegisterPeer', bad),
    ).rejects.toThrow(/^BAD_ARGUMENT: argument.name/);
  });

  it('takes back certificates of the caller’s own organisation, each once, and says so to all', async () => {
    const { fabric } = await new TrialConsortium().found();
    const revoke = (serials: string[], caller = agentOf(2)) =>
      fabric.submit(caller, 'ledger/consortium:RevokeCertificates', { serials });
    const revoked = async () =>
      (await fabric.evaluate(agentOf(1), 'ledger/consortium:GetConsortium', {})).revoked;
    expect(await revoked()).toBeUndefined();
    await revoke(['b0', '1a2b']);
    await revoke(['7'], AUDITOR);
    const events = fabric.events.length;
    await revoke(['1a2b']);
    expect(fabric.events).toHaveLength(events);
    expect(fabric.events.at(-1)?.name).toBe('consortium-changed');
    await revoke(['c'.repeat(40)]);
    expect(await revoked()).toEqual({
      Org2MSP: ['1a2b', 'b0', 'c'.repeat(40)],
      [AUDITOR.mspId]: ['7'],
    });
    await expect(revoke(['7'], agentOf(9))).rejects.toThrow(/^NOT_ALLOWED: /);
    await expect(revoke(['7'], { ...AUDITOR, mspId: 'Org1MSP' })).rejects.toThrow(/^NOT_ALLOWED: /);
    for (const bad of ['', '0a', 'AB', 'c'.repeat(41), 'x']) {
      await expect(revoke([bad])).rejects.toThrow(/^BAD_ARGUMENT: /);
    }
    const many = Array.from({ length: LIMITS.revokedPerMemberMax }, (_, n) => `d${n}`);
    await expect(revoke(many)).rejects.toThrow(/^TOO_LARGE: /);
  });

  describe('a peer that changes its overlay key', () => {
    const entry = (overlayKey: string) => ({
      ...{ name: 'admin', roles: ['store' as const], overlayKey, dhtAddress: '' },
    });
    const keyOf = (number: number) => String(number).padStart(64, '0');
    const change = ({ fabric }: TrialConsortium, overlayKey: string, by = 2) =>
      fabric.submit(agentOf(by), 'ledger/consortium:RegisterPeer', entry(overlayKey));
    const revoke = ({ fabric }: TrialConsortium, overlayKey: string, by = 2) =>
      fabric.submit(agentOf(by), 'ledger/consortium:RevokeKey', { peer: 'admin', overlayKey });
    const found = async ({ fabric }: TrialConsortium) =>
      (await fabric.evaluate(AUDITOR, 'ledger/consortium:GetConsortium', {})).peers.find(
        (peer) => peer.mspId === orgName(2),
      );

    it('keeps its history: each key, when it came, by which transaction', async () => {
      const consortium = await new TrialConsortium().found();
      const before = (await found(consortium))?.overlayKey ?? '';
      const { txId } = await change(consortium, keyOf(1));
      const peer = await found(consortium);
      expect(peer?.overlayKey).toBe(keyOf(1));
      expect(peer?.keys).toMatchObject([
        { overlayKey: before, revokedAtMs: null },
        { overlayKey: keyOf(1), txId, revokedAtMs: null },
      ]);
      const [first, second] = peer?.keys ?? [];
      expect(first?.fromMs).toBeLessThan(second?.fromMs ?? 0);
      await change(consortium, before);
      const again = await found(consortium);
      expect([again?.overlayKey, again?.keys.length]).toEqual([before, 2]);
    });

    it('revokes an earlier key of its own, for good', async () => {
      const consortium = await new TrialConsortium().found();
      const before = (await found(consortium))?.overlayKey ?? '';
      await expect(revoke(consortium, before)).rejects.toThrow(/^NOT_ALLOWED: .*register another/);
      await change(consortium, keyOf(1));
      await expect(revoke(consortium, before, 3)).rejects.toThrow(/^NOT_FOUND: /);
      await expect(revoke(consortium, keyOf(9))).rejects.toThrow(/^NOT_FOUND: /);
      const { simulation } = await revoke(consortium, before);
      expect(simulation.event).toEqual({ name: 'consortium-changed', payload: { what: 'peer' } });
      const revokedAtMs = (await found(consortium))?.keys[0]?.revokedAtMs;
      expect(revokedAtMs).toBeLessThan(consortium.fabric.timeMs);
      await revoke(consortium, before);
      expect((await found(consortium))?.keys[0]?.revokedAtMs).toBe(revokedAtMs);
      await expect(change(consortium, before)).rejects.toThrow(/^NOT_ALLOWED: .* was revoked/);
    });

    it('has a bounded number of them', async () => {
      const consortium = await new TrialConsortium().found();
      for (let i = 1; i < LIMITS.keysPerPeerMax; i++) await change(consortium, keyOf(i));
      await expect(change(consortium, keyOf(1000))).rejects.toThrow(/^TOO_LARGE: /);
      await change(consortium, keyOf(1));
    });
  });

  it('shows the peers of a member that has left apart, with the keys that they signed with', async () => {
    const { fabric } = await new TrialConsortium().found();
    await fabric.submit(agentOf(4), 'ledger/consortium:Leave', {});
    const { peers, formerPeers } = await fabric.evaluate(
      AUDITOR,
      'ledger/consortium:GetConsortium',
      {},
    );
    expect(peers.some(({ mspId }) => mspId === orgName(4))).toBe(false);
    expect(formerPeers.map(({ mspId, keys }) => [mspId, keys.length])).toEqual([[orgName(4), 1]]);
  });

  it('opens the next epoch only, with another weight of the caller’s, and keeps the one before', async () => {
    const { fabric } = await new TrialConsortium().found();
    const open = (epoch: number, weights: Record<string, number>, caller = agentOf(2)) =>
      fabric.submit(caller, 'ledger/consortium:OpenEpoch', { epoch, weights });
    const others = { Org1MSP: 1, Org3MSP: 1, Org4MSP: 1 };
    await expect(open(3, { Org1MSP: 1, Org2MSP: 1 })).rejects.toThrow(/^WRONG_EPOCH: /);
    await expect(open(2, { Org1MSP: 1, Org9MSP: 1 })).rejects.toThrow(/^NOT_ALLOWED: /);
    await expect(open(2, { Org1MSP: 1 })).rejects.toThrow(/^BAD_ARGUMENT: /);
    await expect(open(2, { Org1MSP: 1, Org2MSP: 1 }, AUDITOR)).rejects.toThrow(/^NOT_ALLOWED: /);
    const { result } = await open(2, { ...others, Org2MSP: 3 });
    expect(result.ranges.map(({ start }) => start.slice(0, 4))).toEqual([
      '0000',
      '2aaa',
      'aaaa',
      'd555',
    ]);
    const { epochs, members } = await fabric.evaluate(
      agentOf(1),
      'ledger/consortium:GetConsortium',
      {},
    );
    expect(epochs.map(({ epoch }) => epoch)).toEqual([2, 1]);
    expect(members.map(({ weight }) => weight)).toEqual([1, 3, 1, 1]);
    const first = await fabric.evaluate(agentOf(1), 'ledger/consortium:GetEpoch', { epoch: 1 });
    expect(first.ranges).toHaveLength(4);
    expect(fabric.events.at(-1)).toEqual({
      name: 'consortium-changed',
      payload: { what: 'epoch' },
    });
  });

  it('lists the faults of a member newest first, with reporter and transaction', async () => {
    const { fabric } = await new TrialConsortium().found();
    const fault = { kind: 'bad-chunk', mspId: orgName(3), fileId: '11'.repeat(32) } as const;
    await fabric.submit(agentOf(2), 'ledger/consortium:ReportFault', { ...fault, detail: 'one' });
    const last = await fabric.submit(AUDITOR, 'ledger/consortium:ReportFault', {
      ...fault,
      detail: 'two',
    });
    const faults = await fabric.evaluate(agentOf(1), 'ledger/consortium:ListFaults', {
      mspId: orgName(3),
    });
    expect(faults.map(({ detail, reporter }) => [detail, reporter])).toEqual([
      ['two', 'AuditorMSP'],
      ['one', 'Org2MSP'],
    ]);
    expect(faults[0]?.txId).toBe(last.txId);
    const [newest] = faults;
    const older = await fabric.evaluate(agentOf(1), 'ledger/consortium:ListFaults', {
      mspId: orgName(3),
      beforeMs: newest?.atMs ?? 0,
    });
    expect(older.map(({ detail }) => detail)).toEqual(['one']);
    await expect(
      fabric.submit(agentOf(9), 'ledger/consortium:ReportFault', { ...fault, detail: '' }),
    ).rejects.toThrow(/^NOT_ALLOWED: /);
  });

  it('keeps a fault’s evidence apart from the list, which has its hash', async () => {
    const { fabric } = await new TrialConsortium().found();
    const evidence = Buffer.from('a receipt and a challenge').toString('base64');
    const report = (given: string) =>
      fabric.submit(agentOf(2), 'ledger/consortium:ReportFault', {
        ...{ kind: 'bad-chunk', mspId: orgName(3), fileId: '11'.repeat(32), detail: '' },
        evidence: given,
      });
    const tooMuch = Buffer.alloc(LIMITS.evidenceBytesMax + 1).toString('base64');
    await expect(report(tooMuch)).rejects.toThrow(/^TOO_LARGE: argument.evidence/);
    await report(evidence);
    const [listed] = await fabric.evaluate(AUDITOR, 'ledger/consortium:ListFaults', {
      mspId: orgName(3),
    });
    expect(listed).not.toHaveProperty('evidence');
    expect(listed?.evidenceHash).toBe(
      createHash('sha256').update('a receipt and a challenge').digest('hex'),
    );
    const fault = await fabric.evaluate(AUDITOR, 'ledger/consortium:GetFault', {
      faultId: listed?.faultId ?? '',
    });
    expect(fault).toEqual({ ...listed, evidence });
  });

  it('answers every transaction in JSON, null included', async () => {
    const { fabric } = await new TrialConsortium().found();
    const done = await fabric.simulate(
      agentOf(1),
      'ledger/records:GetRecord',
      `{"fileId":"${'00'.repeat(32)}"}`,
      {},
    );
    expect([done.status, done.payload.toString()]).toEqual([200, 'null']);
  });
});
