/**
 * One organisation's peer is killed at each step of storing and of auditing a file, with whole
 * agents around: the step finishes, or fails with a named error and is repeated; nothing is lost.
 *
 * Runs on any network whose peers can be stopped one by one; on real Fabric also with the orderer
 * that leads (PROTOCOL §2, §3).
 */
import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import type { FileStatus } from '@blocktorrent/agent/controls.ts';
import { callControl } from '@blocktorrent/agent/runtime/control-client.ts';
import { STAGES } from '@blocktorrent/agent/runtime/file-queue.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type AuditResult, type Stage, until, useCast } from '../support/cast.ts';

/** What is killed, and how it comes back. */
export interface Victim {
  readonly title: string;
  kill(stage: Stage): Promise<void>;
  revive(stage: Stage): Promise<void>;
}

export interface PeerLossOptions {
  readonly ledger: 'dev' | 'fabric';
  /** Who is killed at a step; `step` counts from 0 over all steps of store and audit. */
  readonly victims: (step: number) => readonly Victim[];
}

/** Steps of storing, each with the queue's stage in which it is in hand. */
const STORE_STEPS = [
  ['while its chunks are distributed', 'named'],
  ['while its key is deposited', 'distributed'],
  ['while it is recorded', 'deposited'],
  ['while holders confirm', 'recorded'],
] as const;

/** Steps of an audit, in their order. */
const AUDIT_STEPS = ['request', 'vote', 'release', 'recovery and close'] as const;

/** A victim stays away for so long, ms: several attempts of whatever needs it fail. */
const AWAY_MS = 2_500;
const FILE_BYTES = 40_000;
/** Holders of each key: the cast's policy. */
const HOLDERS = 3;
/** The step an error of the ledger's client names first (`ledger/fabric-errors.ts`). */
const NAMED_ERROR = /\b(evaluate|endorse|submit|commit|unavailable|timeout|conflict)\b/;

export function describePeerLoss(name: string, { ledger, victims }: PeerLossOptions): void {
  describe(`${name} loses a node`, () => {
    const stage = useCast({ ledger, vote: 'manual' });
    const contents = new Map<string, Buffer>();
    let fileId = '';

    beforeAll(async () => {
      fileId = (await store(stage(), contents, () => Promise.resolve())).fileId ?? '';
    });
    afterAll(() => contents.clear());

    for (const [step, [when, inHand]] of STORE_STEPS.entries()) {
      it.each(victims(step))(
        `a file becomes available though $title is killed ${when}`,
        async (victim) => {
          const cast = stage();
          const file = await store(cast, contents, async (seen) => {
            await until(async () => STAGES.indexOf((await seen()).stage) >= STAGES.indexOf(inHand));
            await victim.kill(cast);
            await setTimeout(AWAY_MS);
            const { error } = await seen();
            if (error !== null) expect(error).toMatch(NAMED_ERROR);
            await victim.revive(cast);
          });
          expect(file.stage).toBe('available');
        },
        120_000,
      );
    }

    for (const [index, step] of AUDIT_STEPS.entries()) {
      it.each(victims(STORE_STEPS.length + index))(
        `an audit recovers its file though $title is killed at its ${step}`,
        async (victim) => {
          const cast = stage();
          const within = <T>(at: string, work: () => Promise<T>) =>
            at === step ? without(victim, cast, work) : work();
          const requestId = await within('request', () => request(cast, [fileId]));
          await within('vote', () => vote(cast, requestId, 'Org2MSP'));
          await vote(cast, requestId, 'Org3MSP');
          if (step === 'release') {
            await victim.kill(cast);
            await setTimeout(AWAY_MS);
            await victim.revive(cast);
            await until(async () => (await releases(cast, requestId)) === HOLDERS);
          }
          const report = await within('recovery and close', () => recover(cast, requestId));
          await expectContents(report, contents, 1);
        },
        120_000,
      );
    }

    it('has lost no file in all this: one audit brings every byte back', async () => {
      const cast = stage();
      const requestId = await request(cast, ['--source', cast.source]);
      for (const mspId of ['Org2MSP', 'Org3MSP']) await vote(cast, requestId, mspId);
      await expectContents(await recover(cast, requestId), contents, contents.size);
    }, 120_000);
  });
}

/** Puts a file of random bytes; `meanwhile` may look at it and do harm. Resolves with its end. */
async function store(
  cast: Stage,
  contents: Map<string, Buffer>,
  meanwhile: (seen: () => Promise<FileStatus>) => Promise<void>,
): Promise<FileStatus> {
  const dataDir = cast.configs.get(cast.source)?.dataDir ?? '';
  const path = join(cast.workDir, `${randomBytes(8).toString('hex')}.bin`);
  const content = randomBytes(FILE_BYTES);
  await writeFile(path, content);
  const ended = callControl(dataDir, 'put', { path }) as Promise<FileStatus>;
  const seen = async (): Promise<FileStatus> => {
    const files = (await callControl(dataDir, 'files', null)) as FileStatus[];
    const file = files.find((each) => each.path === path);
    return file ?? (await setTimeout(5).then(seen));
  };
  const [file] = await Promise.all([ended, meanwhile(seen)]);
  contents.set(path, content);
  return file;
}

/** Does `work` while the victim is away; what failed with a named error is done again after. */
async function without<T>(victim: Victim, cast: Stage, work: () => Promise<T>): Promise<T> {
  await victim.kill(cast);
  try {
    return await work();
  } catch (error) {
    expect(String(error)).toMatch(NAMED_ERROR);
  } finally {
    await victim.revive(cast);
  }
  return await work();
}

async function request(cast: Stage, what: readonly string[]): Promise<string> {
  const asked = await cast.auditor(['audit', 'request', ...what, '--reason', 'loss', '--json']);
  return (JSON.parse(asked) as { requestId: string }).requestId;
}

async function vote(cast: Stage, requestId: string, mspId: string): Promise<void> {
  await cast.command(mspId, ['audit', 'approve', requestId]);
}

async function recover(cast: Stage, requestId: string): Promise<AuditResult> {
  const out = join(cast.workDir, `audit-${requestId}`);
  const args = ['audit', 'fetch', requestId, '--out', out, '--timeout', '60s', '--json'];
  return JSON.parse(await cast.auditor(args)) as AuditResult;
}

/** Holders that have released their shards to this request. */
async function releases(cast: Stage, requestId: string): Promise<number> {
  const list = JSON.parse(await cast.auditor(['audit', 'list', '--json'])) as {
    requestId: string;
    releases: unknown[];
  }[];
  return list.find((each) => each.requestId === requestId)?.releases.length ?? 0;
}

/** Every recovered file is one that was stored, byte by byte, and there are `count` of them. */
async function expectContents(
  report: AuditResult,
  contents: ReadonlyMap<string, Buffer>,
  count: number,
): Promise<void> {
  expect(report).toMatchObject({ ok: true, faults: [] });
  const stored = new Set([...contents.values()].map((each) => each.toString('hex')));
  const found = await Promise.all(
    report.files.map(async ({ contentPath }) => (await readFile(contentPath)).toString('hex')),
  );
  expect(new Set(found).size).toBe(count);
  for (const each of found) expect(stored.has(each)).toBe(true);
}

/** What has peers that can be killed: the dev ledger's network and the real one. */
interface PeerControl {
  stopPeer(mspId: string, signal?: NodeJS.Signals): Promise<void>;
  startPeer(mspId: string): Promise<void>;
}

/** An organisation's peer, killed without a warning. */
export function peerVictim(mspId: string): Victim {
  const control = (stage: Stage) => stage.network as unknown as PeerControl;
  return {
    title: `${mspId}'s peer`,
    kill: (stage) => control(stage).stopPeer(mspId, 'SIGKILL'),
    revive: (stage) => control(stage).startPeer(mspId),
  };
}
