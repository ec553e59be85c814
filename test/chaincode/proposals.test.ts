/** Decisions by vote: what each changes, when it is accepted, and what it waits for. */
import { describe, expect, it } from 'vitest';
import { AUDITOR, agentOf, orgName, POLICY, TrialConsortium } from '../support/consortium.ts';
import { decide, enact, propose, readProposal, voteOn } from '../support/decisions.ts';

const founded = (organisations = 4) => new TrialConsortium(organisations).found();
const consortiumOf = ({ fabric }: TrialConsortium) =>
  fabric.evaluate(AUDITOR, 'ledger/consortium:GetConsortium', {});
const member = (number: number, weight = 1) => ({
  ...{ mspId: orgName(number), name: `The ${number}`, weight, overlayRoots: ['PEM'] },
});
const policyWith = (change: Partial<typeof POLICY>) =>
  ({ kind: 'policy', policy: { ...POLICY, ...change } }) as const;
const remove = (number: number) => ({ kind: 'remove', mspId: orgName(number) }) as const;

describe('a proposal', () => {
  it('is open, accepted by more than half of the members, and then enacted once', async () => {
    const consortium = await founded();
    const id = await propose(consortium, policyWith({ approvals: 3 }));
    const states: [string, number][] = [];
    for (const voter of [2, 3, 4]) {
      await voteOn(consortium, id, voter);
      const { state, votes } = await readProposal(consortium, id);
      states.push([state, votes.length]);
    }
    expect(states).toEqual([
      ['open', 1],
      ['open', 2],
      ['accepted', 3],
    ]);
    expect((await consortiumOf(consortium)).policy.approvals).toBe(2);
    await enact(consortium, id, 4);
    expect((await consortiumOf(consortium)).policy.approvals).toBe(3);
    const { state, enacted, needed, voters } = await readProposal(consortium, id);
    expect([state, enacted?.by, needed, voters.length]).toEqual(['enacted', orgName(4), 3, 4]);
    expect(consortium.fabric.events.slice(-1)).toEqual([
      { name: 'consortium-changed', payload: { what: 'policy' } },
    ]);
    await expect(enact(consortium, id)).rejects.toThrow(/^NOT_OPEN: /);
  });

  it('is refused once it cannot be accepted any more', async () => {
    const consortium = await founded();
    const id = await propose(consortium, policyWith({ approvals: 1 }));
    await voteOn(consortium, id, 1, false);
    expect((await readProposal(consortium, id)).state).toBe('open');
    await voteOn(consortium, id, 2, false);
    expect((await readProposal(consortium, id)).state).toBe('refused');
    await expect(enact(consortium, id)).rejects.toThrow(/^NOT_APPROVED: .* 0 of 3/);
  });

  it('expires, accepted or not', async () => {
    const consortium = await founded();
    const id = await propose(consortium, policyWith({ approvals: 1 }), 1, 60_000);
    for (const voter of [1, 2, 3]) await voteOn(consortium, id, voter);
    consortium.fabric.timeMs += 60_000;
    expect((await readProposal(consortium, id)).state).toBe('expired');
    await expect(enact(consortium, id)).rejects.toThrow(/^NOT_OPEN: .* expired/);
    await expect(voteOn(consortium, id, 4)).rejects.toThrow(/^NOT_OPEN: .* expired/);
  });

  it('does not undo what was decided after it', async () => {
    const consortium = await founded();
    const old = await propose(consortium, policyWith({ approvals: 1 }));
    for (const voter of [1, 2, 3]) await voteOn(consortium, old, voter);
    await decide(consortium, policyWith({ approvals: 3 }), [2, 3, 4]);
    expect((await readProposal(consortium, old)).state).toBe('outdated');
    await expect(enact(consortium, old)).rejects.toThrow(/^NOT_OPEN: .* replaced since/);
  });

  it('must be possible when it is made, and live no longer than the limit', async () => {
    const consortium = await founded();
    await expect(propose(consortium, policyWith({ n: 5 }))).rejects.toThrow(
      /^BAD_ARGUMENT: policy.n: expected at most 4/,
    );
    await expect(propose(consortium, remove(9))).rejects.toThrow(/^NOT_FOUND: /);
    const join = { kind: 'join', member: member(2) } as const;
    await expect(propose(consortium, join)).rejects.toThrow(/^ALREADY_EXISTS: /);
    for (const lifeMs of [0, 91 * 86_400_000]) {
      await expect(propose(consortium, remove(4), 1, lifeMs)).rejects.toThrow(/^BAD_ARGUMENT: exp/);
    }
  });

  it('is listed by state, newest first', async () => {
    const consortium = await founded();
    const ids = [await propose(consortium, remove(4)), await propose(consortium, remove(3))];
    await voteOn(consortium, ids[0] ?? '', 1);
    await voteOn(consortium, ids[0] ?? '', 2);
    const list = async (state: 'any' | 'open' | 'accepted') =>
      (await consortium.fabric.evaluate(AUDITOR, 'ledger/consortium:ListProposals', { state })).map(
        ({ proposalId }) => proposalId,
      );
    expect(await list('any')).toEqual(ids.toReversed());
    expect(await list('open')).toEqual(ids.slice(1));
    expect(await list('accepted')).toEqual(ids.slice(0, 1));
  });

  it('is voted on by two members of one block without a clash', async () => {
    const consortium = await founded();
    const proposalId = await propose(consortium, remove(4));
    const argument = JSON.stringify({ proposalId, approve: true, reason: '' });
    const [a, b] = await Promise.all(
      [1, 2].map((one) =>
        consortium.fabric.simulate(agentOf(one), 'ledger/consortium:VoteOn', argument, {}),
      ),
    );
    if (a === undefined || b === undefined) throw new Error('two simulations expected');
    expect([a.status, b.status]).toEqual([200, 200]);
    for (const key of [...a.writes.keys()]) {
      expect([b.reads.has(key), b.writes.has(key)]).toEqual([false, false]);
    }
    for (const key of [...b.writes.keys()]) expect(a.reads.has(key)).toBe(false);
  });
});

describe('a decision', () => {
  it('lets a member join, with its range in a new epoch', async () => {
    const consortium = await founded();
    await decide(consortium, { kind: 'join', member: member(5, 2) }, [1, 2, 3]);
    const { members, epochs } = await consortiumOf(consortium);
    expect(members.map(({ mspId }) => mspId)).toContain(orgName(5));
    expect(epochs.map(({ epoch, ranges }) => [epoch, ranges.length])).toEqual([
      [2, 5],
      [1, 4],
    ]);
    await consortium.register(orgName(5), 'admin', ['store']);
    const id = await propose(consortium, remove(2), 5);
    await voteOn(consortium, id, 5);
  });

  it('removes a member, with its range, its quota and its rights', async () => {
    const consortium = await founded(5);
    const quota = { bytes: 1e12, files: 1e6, requestsPerSecond: 100 };
    const quotas = { [orgName(4)]: quota, [orgName(5)]: quota };
    const withQuotas = { kind: 'policy', policy: { ...POLICY, quotas } } as const;
    await decide(consortium, withQuotas, [1, 2, 3]);
    await decide(consortium, remove(5), [1, 2, 3]);
    const { members, epochs, peers, policy } = await consortiumOf(consortium);
    expect(members).toHaveLength(4);
    expect(epochs[0]?.ranges.map(({ mspId }) => mspId)).not.toContain(orgName(5));
    expect(peers.filter(({ mspId }) => mspId === orgName(5))).toEqual([]);
    expect(Object.keys(policy.quotas ?? {})).toEqual([orgName(4)]);
    await expect(consortium.register(orgName(5), 'admin', ['store'])).rejects.toThrow(
      /^NOT_ALLOWED: /,
    );
  });

  it('does not go below what the policy needs', async () => {
    const consortium = await founded(3);
    await expect(propose(consortium, remove(3))).rejects.toThrow(/^BAD_ARGUMENT: policy.n: /);
    await expect(
      consortium.fabric.submit(agentOf(3), 'ledger/consortium:Leave', {}),
    ).rejects.toThrow(/^BAD_ARGUMENT: policy.n: /);
    await decide(consortium, policyWith({ n: 2, approvals: 1 }), [1, 2]);
    await consortium.fabric.submit(agentOf(3), 'ledger/consortium:Leave', {});
    expect((await consortiumOf(consortium)).members).toHaveLength(2);
  });

  it('gives other weights, in an epoch and in the members’ entries', async () => {
    const consortium = await founded();
    const weights = { Org1MSP: 1, Org2MSP: 1, Org3MSP: 2 };
    await decide(consortium, { kind: 'weights', weights }, [1, 2, 3]);
    const { epochs, members } = await consortiumOf(consortium);
    expect(epochs[0]?.ranges.map(({ start }) => start.slice(0, 2))).toEqual(['00', '40', '80']);
    expect(members.map(({ weight }) => weight)).toEqual([1, 1, 2, 1]);
    await decide(consortium, { kind: 'member', member: member(4, 4) }, [1, 2, 3]);
    const after = await consortiumOf(consortium);
    expect(after.epochs[0]?.ranges.map(({ start }) => start.slice(0, 2))).toEqual([
      ...['00', '20', '40', '80'],
    ]);
  });

  it('changes a member’s roots without a new epoch, and the auditors', async () => {
    const consortium = await founded();
    const changed = { ...member(4), overlayRoots: ['NEW'] };
    await decide(consortium, { kind: 'member', member: changed }, [1, 2, 3]);
    const auditors = [{ mspId: 'OtherMSP', name: 'Another', overlayRoots: [] }];
    await decide(consortium, { kind: 'auditors', auditors }, [1, 2, 3]);
    const after = await consortiumOf(consortium);
    expect(after.members[3]?.overlayRoots).toEqual(['NEW']);
    expect(after.epochs).toHaveLength(1);
    expect(after.auditors).toEqual(auditors);
    const both = [{ mspId: orgName(2), name: 'x', overlayRoots: [] }];
    await expect(propose(consortium, { kind: 'auditors', auditors: both })).rejects.toThrow(
      /^BAD_ARGUMENT: expected every organisation once/,
    );
  });

  it('changes the policy for new files, and loses none that is under way', async () => {
    const consortium = await founded();
    const { fabric } = consortium;
    const [first, second] = [await consortium.file(), await consortium.file()];
    const stricter = policyWith({ k: 3, chunkBytesMin: 32_768, inspectionPermille: 10 });
    await decide(consortium, stricter, [1, 2, 3]);
    expect((await consortiumOf(consortium)).policy).toEqual(stricter.policy);
    await fabric.submit(agentOf(1), 'ledger/records:Record', first.record);
    await expect(
      fabric.submit(agentOf(1), 'ledger/records:Record', { ...second.record, epoch: 2 }),
    ).rejects.toThrow(/^BAD_ARGUMENT: chunkCount: expected 1..3 /);
    await decide(consortium, policyWith({ k: 3 }), [1, 2, 3]);
    await expect(fabric.submit(agentOf(1), 'ledger/records:Record', second.record)).rejects.toThrow(
      /^WRONG_EPOCH: /,
    );
  });

  it.each([
    ['chunkBytesMin', { chunkBytesMin: 65_536, chunkBytesMax: 32_768 }],
    ['chunkBytes', { chunkBytesMax: 20_000 }],
    ['quotas', { quotas: { Org9MSP: { bytes: 1, files: 1, requestsPerSecond: 1 } } }],
    ['inspectionPermille', { inspectionPermille: 1001 }],
  ])('takes no policy whose %s does not fit', async (name, change) => {
    const consortium = await founded();
    const action = { kind: 'policy', policy: { ...POLICY, ...change } } as const;
    await expect(propose(consortium, action)).rejects.toThrow(
      new RegExp(`^BAD_ARGUMENT: .*${name}`),
    );
  });
});

describe('a penalty', () => {
  const report = async (consortium: TrialConsortium, of: number, evidence: string | null) => {
    const fileId = '11'.repeat(32);
    const { txId } = await consortium.fabric.submit(agentOf(2), 'ledger/consortium:ReportFault', {
      ...{ kind: 'missing-chunk', mspId: orgName(of), fileId, detail: '' },
      ...(evidence === null ? {} : { evidence }),
    });
    return `${txId}.0`;
  };
  const penalty = (of: number, faultIds: string[]) => ({
    ...{ kind: 'penalty' as const, mspId: orgName(of), decision: 'pays 100', faultIds },
  });

  it('is recorded by vote without the one concerned, resting on evidence', async () => {
    const consortium = await founded();
    const faultId = await report(consortium, 4, 'AAAA');
    const id = await decide(consortium, penalty(4, [faultId]), [1, 2]);
    const penalties = await consortium.fabric.evaluate(AUDITOR, 'ledger/consortium:ListPenalties', {
      mspId: orgName(4),
    });
    expect(penalties).toEqual([
      {
        ...{ mspId: orgName(4), decision: 'pays 100', faultIds: [faultId], proposalId: id },
        atMs: expect.any(Number),
      },
    ]);
    expect((await readProposal(consortium, id)).voters).not.toContain(orgName(4));
    expect((await consortiumOf(consortium)).epochs).toHaveLength(1);
  });

  it('needs faults of that member, with evidence or of two audits', async () => {
    const consortium = await founded();
    const bare = await report(consortium, 4, null);
    const other = await report(consortium, 3, 'AAAA');
    await expect(propose(consortium, penalty(4, [bare]))).rejects.toThrow(/^NOT_ALLOWED: .*evid/);
    await expect(propose(consortium, penalty(4, [other]))).rejects.toThrow(/^BAD_ARGUMENT: fault/);
    const unknown = `${'22'.repeat(32)}.0`;
    await expect(propose(consortium, penalty(4, [unknown]))).rejects.toThrow(/^NOT_FOUND: /);
  });

  it('may rest on what two audits found', async () => {
    const consortium = await founded();
    const { fabric } = consortium;
    const { record } = await consortium.recorded();
    const faultIds: string[] = [];
    for (let i = 0; i < 2; i++) {
      const { result } = await fabric.submit(AUDITOR, 'ledger/audits:Request', {
        ...{ fileIds: [record.fileId], reason: 'x', expiresAtMs: fabric.timeMs + 60_000 },
        recipients: consortium.recipients(),
      });
      const { requestId } = result;
      for (const voter of [2, 3]) {
        const vote = { requestId, approve: true, reason: '' };
        await fabric.submit(agentOf(voter), 'ledger/audits:Vote', vote);
      }
      const fault = { kind: 'missing-chunk' as const, mspId: orgName(4), fileId: record.fileId };
      const faults = [
        { ...fault, detail: '', evidence: 'AAAA' },
        { ...fault, detail: 'two' },
      ];
      const outcome = { ok: false, summary: '', faults: i === 0 ? faults.slice(1) : faults };
      const { txId } = await fabric.submit(AUDITOR, 'ledger/audits:Close', { requestId, outcome });
      faultIds.push(`${txId}.${i}`);
      const closed = await fabric.evaluate(AUDITOR, 'ledger/audits:GetRequest', { requestId });
      expect(closed?.outcome?.faults.at(-1)).toEqual({ ...fault, detail: 'two' });
    }
    const listed = await fabric.evaluate(AUDITOR, 'ledger/consortium:ListFaults', {
      mspId: orgName(4),
    });
    expect(listed.map(({ reporter }) => reporter)).toEqual(Array(3).fill('AuditorMSP'));
    await expect(propose(consortium, penalty(4, faultIds.slice(0, 1)))).rejects.toThrow(
      /^NOT_ALLOWED: /,
    );
    await propose(consortium, penalty(4, faultIds));
  });
});
