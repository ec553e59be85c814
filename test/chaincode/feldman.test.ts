/**
 * The contracts under the scheme `feldman-25519`: what cannot be recorded, and the complaint of a
 * holder that was dealt a wrong shard, with both sides lying in turn.
 */
import { fromHex, toBase64 } from '@blocktorrent/protocol/bytes.ts';
import { verifyShard } from '@blocktorrent/protocol/dealing.ts';
import {
  type Dealing,
  type KeyScheme,
  type RecordInput,
  shardCollection,
  shardName,
} from '@blocktorrent/protocol/ledger-api.ts';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import { decodeShard, encodeShard } from '@blocktorrent/protocol/shard.ts';
import { describe, expect, it } from 'vitest';
import { AUDITOR, agentOf, orgName, POLICY, TrialConsortium } from '../support/consortium.ts';
import { dealingOver } from '../support/dealings.ts';
import { feldmanVectors } from '../support/feldman-vectors.ts';

const { points } = feldmanVectors;
const RECORD = 'ledger/records:Record';

async function trial(scheme: KeyScheme = 'feldman-25519') {
  const consortium = await new TrialConsortium(4, { ...POLICY, scheme }).found();
  const file = await consortium.file();
  const { fabric } = consortium;
  const { dealing, record } = file;
  const shards = dealing.holders.map((holder, i) => {
    const key = `${shardCollection(holder)}:${shardName(dealing.depositTx, i + 1)}`;
    return Uint8Array.from(fabric.stored('keys', key) ?? []);
  });
  return { consortium, fabric, record, dealing, shards };
}

/** The record of a source with other software, which dealt `shards` in place of the right ones. */
function recordOf(
  record: RecordInput,
  shards: readonly Uint8Array[],
  change: Partial<Dealing> = {},
): RecordInput {
  const dealing = { ...dealingOver(record.dealing, shards), ...change };
  return { ...record, dealing };
}
const at = <T>(all: readonly T[], index: number): T => {
  const one = all[index];
  if (one === undefined) throw new Error(`nothing at ${index}`);
  return one;
};
const replaced = (shards: readonly Uint8Array[], index: number, other: Uint8Array) =>
  shards.map((one, i) => (i === index - 1 ? other : one));
/** Shard `index` with the share of another one. */
function mixed(shards: readonly Uint8Array[], index: number, from: number): Uint8Array {
  const { share } = decodeShard(at(shards, from - 1));
  return encodeShard({ ...decodeShard(at(shards, index - 1)), share });
}

describe('recording under feldman-25519', () => {
  it('takes what was dealt', async () => {
    const { fabric, record, dealing } = await trial();
    expect(dealing.commitments).toHaveLength(2);
    await fabric.submit(agentOf(1), RECORD, record);
    const { fileId } = record;
    const found = await fabric.evaluate(AUDITOR, 'ledger/records:GetRecord', { fileId });
    expect(found?.dealing).toEqual(dealing);
  });

  const changes: readonly [string, string, (dealing: Dealing) => Partial<Dealing>][] = [
    [
      'MALFORMED',
      'a commitment missing',
      ({ commitments }) => ({ commitments: commitments.slice(1) }),
    ],
    [
      'MALFORMED',
      'a commitment too many',
      ({ commitments }) => ({ commitments: [...commitments, points.good] }),
    ],
    ['MALFORMED', 'no commitments', () => ({ commitments: [] })],
    [
      'BAD_COMMITMENT',
      'a point of low order',
      ({ commitments: [c0 = ''] }) => ({ commitments: [c0, points.order8] }),
    ],
    [
      'BAD_KEY',
      'C_0 of another key',
      ({ commitments: [, c1 = ''] }) => ({ commitments: [c1, c1] }),
    ],
    [
      'WRONG_DEALING',
      'the scheme that shows nothing',
      () => ({ scheme: 'shamir-gf256', commitments: [] }),
    ],
  ];
  it.each(changes)('refuses with %s %s', async (code, _, change) => {
    const { fabric, record } = await trial();
    const dealing = { ...record.dealing, ...change(record.dealing) };
    const submitted = fabric.submit(agentOf(1), RECORD, { ...record, dealing });
    await expect(submitted).rejects.toThrow(new RegExp(`^${code}: `));
  });

  it('refuses every encoding that is no point of the subgroup', async () => {
    const { fabric, record } = await trial();
    for (const { point } of points.bad) {
      const dealing = {
        ...record.dealing,
        commitments: [at(record.dealing.commitments, 0), point],
      };
      const submitted = fabric.submit(agentOf(1), RECORD, { ...record, dealing });
      await expect(submitted).rejects.toThrow(/^BAD_COMMITMENT: /);
    }
  });

  it('refuses a key that is not that of the record, whoever dealt it', async () => {
    const { consortium, fabric, record } = await trial();
    const other = (await consortium.file()).dealing;
    const { recipient, commitments } = other;
    for (const dealing of [
      { ...record.dealing, recipient },
      { ...record.dealing, recipient, commitments },
      { ...record.dealing, commitments },
    ]) {
      const submitted = fabric.submit(agentOf(1), RECORD, { ...record, dealing });
      await expect(submitted).rejects.toThrow(/^(BAD_KEY|WRONG_DEALING): /);
    }
  });
});

describe('a complaint', () => {
  const complain = (
    { fabric, record }: Awaited<ReturnType<typeof trial>>,
    holder: string,
    shard: Uint8Array,
    role = 'agent',
  ) =>
    fabric.submit({ mspId: holder, role }, 'ledger/audits:Complain', {
      fileId: record.fileId,
      shard: toBase64(shard),
    });

  it('about a wrong share is a fault of the source, with the shard as evidence', async () => {
    const case_ = await trial();
    const { fabric, record, shards, dealing } = case_;
    const wrong = mixed(shards, 2, 3);
    const lied = recordOf(record, replaced(shards, 2, wrong));
    await fabric.submit(agentOf(1), RECORD, lied);
    const holder = at(dealing.holders, 1);
    const { result } = await complain(case_, holder, wrong);
    const { faultId } = result;
    expect(fabric.events.at(-1)).toEqual({
      name: 'consortium-changed',
      payload: { what: 'fault' },
    });
    const fault = await fabric.evaluate(AUDITOR, 'ledger/consortium:GetFault', { faultId });
    expect(fault).toMatchObject({
      kind: 'bad-dealing',
      mspId: orgName(1),
      fileId: record.fileId,
      reporter: holder,
      evidence: toBase64(wrong),
      detail: `shard 2, dealt to ${holder}: share 2 does not fit the commitments`,
    });
    const mspId = orgName(1);
    const listed = await fabric.evaluate(AUDITOR, 'ledger/consortium:ListFaults', { mspId });
    expect(listed.map((one) => one.faultId)).toEqual([faultId]);
    await expect(complain(case_, holder, wrong)).rejects.toThrow(/^ALREADY_EXISTS: /);
  });

  it.each<[string, (shards: readonly Uint8Array[]) => Uint8Array]>([
    ['bytes that are no shard', () => Uint8Array.of(1, 2, 3)],
    ['far too many bytes', () => new Uint8Array(LIMITS.evidenceBytesMax)],
    ["another holder's shard", (shards) => at(shards, 2)],
    [
      'a share that is not below l',
      (shards) =>
        encodeShard({ ...decodeShard(at(shards, 1)), share: fromHex(feldmanVectors.order) }),
    ],
    [
      'a shard of another file',
      (shards) => encodeShard({ ...decodeShard(at(shards, 1)), fileId: '11'.repeat(32) }),
    ],
    [
      'a shard of the scheme that shows nothing',
      (shards) =>
        encodeShard({
          ...decodeShard(at(shards, 1)),
          ...{ scheme: 'shamir-gf256', share: new Uint8Array(48) },
        }),
    ],
  ])('holds for %s', async (_, make) => {
    const case_ = await trial();
    const { fabric, record, shards, dealing } = case_;
    const wrong = make(shards);
    await fabric.submit(agentOf(1), RECORD, recordOf(record, replaced(shards, 2, wrong)));
    const { result } = await complain(case_, at(dealing.holders, 1), wrong);
    const { faultId } = result;
    const fault = await fabric.evaluate(AUDITOR, 'ledger/consortium:GetFault', { faultId });
    expect(fault?.mspId).toBe(orgName(1));
  });

  it('holds where the commitments are of another polynomial', async () => {
    const case_ = await trial();
    const { fabric, record, shards, dealing } = case_;
    const commitments = [at(dealing.commitments, 0), points.good];
    await fabric.submit(agentOf(1), RECORD, { ...record, dealing: { ...dealing, commitments } });
    for (const [i, holder] of dealing.holders.entries()) {
      await complain(case_, holder, at(shards, i));
    }
  });

  it('about a shard that is as it should be is refused', async () => {
    const case_ = await trial();
    const { fabric, record, shards, dealing } = case_;
    await fabric.submit(agentOf(1), RECORD, record);
    for (const [i, holder] of dealing.holders.entries()) {
      verifyShard(at(shards, i), i + 1, dealing);
      await expect(complain(case_, holder, at(shards, i))).rejects.toThrow(/^NO_FAULT: /);
    }
    expect(fabric.keys('ledger').filter((key) => /^(fault|complaint)/.test(key))).toEqual([]);
  });

  it('with a shard that was not dealt is refused: a holder cannot swap it', async () => {
    const case_ = await trial();
    const { fabric, record, shards, dealing } = case_;
    await fabric.submit(agentOf(1), RECORD, record);
    const holder = at(dealing.holders, 1);
    for (const swapped of [mixed(shards, 2, 3), at(shards, 0), Uint8Array.of(1)]) {
      await expect(complain(case_, holder, swapped)).rejects.toThrow(/^BAD_DIGEST: /);
    }
  });

  it('is for holders of the file, once it is recorded', async () => {
    const case_ = await trial();
    const { fabric, record, shards, dealing } = case_;
    const wrong = mixed(shards, 2, 3);
    const holder = at(dealing.holders, 1);
    await expect(complain(case_, holder, wrong)).rejects.toThrow(/^NOT_FOUND: /);
    await fabric.submit(agentOf(1), RECORD, recordOf(record, replaced(shards, 2, wrong)));
    await expect(complain(case_, orgName(1), wrong)).rejects.toThrow(/^NOT_HOLDER: /);
    await expect(complain(case_, holder, wrong, 'admin')).rejects.toThrow(/^NOT_ALLOWED: /);
    await expect(complain(case_, AUDITOR.mspId, wrong)).rejects.toThrow(/^NOT_ALLOWED: /);
    await expect(complain(case_, at(dealing.holders, 2), wrong)).rejects.toThrow(/^BAD_DIGEST: /);
    const long = new Uint8Array(LIMITS.evidenceBytesMax + 3);
    await expect(complain(case_, holder, long)).rejects.toThrow(/^TOO_LARGE: /);
    await complain(case_, holder, wrong);
  });

  it('is the only way to such a fault: nobody can just say so', async () => {
    const { fabric, record } = await trial();
    const { fileId } = record;
    const said = { kind: 'bad-dealing', mspId: orgName(1), fileId, detail: 'x' } as const;
    const reported = fabric.submit(agentOf(2), 'ledger/consortium:ReportFault', said);
    await expect(reported).rejects.toThrow(/^BAD_ARGUMENT: argument.kind/);
  });

  it('shows only malformed shards under shamir-gf256, where nothing commits to a share', async () => {
    const case_ = await trial('shamir-gf256');
    const { fabric, record, shards, dealing } = case_;
    const bytes = [at(shards, 0), mixed(shards, 2, 3), Uint8Array.of(1, 2, 3)];
    await fabric.submit(agentOf(1), RECORD, recordOf(record, bytes));
    const unseen = complain(case_, at(dealing.holders, 1), at(bytes, 1));
    await expect(unseen).rejects.toThrow(/^NO_FAULT: /);
    await complain(case_, at(dealing.holders, 2), at(bytes, 2));
  });
});
