/** The demo's cast for a scenario test: real processes, started before its tests, ended after. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterAll, beforeAll } from 'vitest';
import { type Cast, type CastOptions, castAndStart } from '../../demo/cast.ts';
import { Processes } from '../../demo/processes.ts';

/** What is known once `beforeAll` has run. */
export interface Stage extends Cast {
  readonly workDir: string;
  readonly processes: Processes;
}

type StageOptions = Partial<Pick<CastOptions, 'organisations'>> &
  Omit<CastOptions, 'organisations' | 'workDir' | 'processes' | 'signal' | 'sensorLog'>;

/** Starts 4 organisations (or as many as `options` say) and an auditor in a folder; whoever calls ends them. */
export async function stageIn(
  workDir: string,
  processes: Processes,
  options: StageOptions,
  signal: AbortSignal = new AbortController().signal,
): Promise<Stage> {
  const sensorLog = join(workDir, 'sensors.jsonl');
  const cast = await castAndStart({
    organisations: 4,
    ...options,
    ...{ workDir, processes, signal, sensorLog },
  });
  return { ...cast, workDir, processes };
}

/** The same around the tests of this file; call it in `describe`. */
export function useCast(options: StageOptions): () => Stage {
  const stopping = new AbortController();
  let stage: Stage | null = null;
  let workDir = '';
  let processes: Processes | null = null;

  beforeAll(async () => {
    workDir = await mkdtemp(join(tmpdir(), 'bt-'));
    processes = new Processes(join(workDir, 'logs'));
    stage = await stageIn(workDir, processes, options, stopping.signal);
  });
  afterAll(async () => {
    stopping.abort();
    await processes?.endAll();
    await stage?.network.stop();
    await rm(workDir, { recursive: true, force: true });
  });
  return () => {
    if (stage === null) throw new Error('the cast is not on stage yet');
    return stage;
  };
}

/** Waits until `what` holds; the test's own time-out bounds it. */
export async function until(what: () => Promise<boolean>): Promise<void> {
  while (!(await what())) await setTimeout(100);
}

/** Asks for an audit as the auditor and carries it out; returns its report. */
export async function audit(stage: Stage, what: readonly string[]): Promise<AuditResult> {
  const asked = await stage.auditor(['audit', 'request', ...what, '--reason', 'test', '--json']);
  const { requestId } = JSON.parse(asked) as { requestId: string };
  const out = join(stage.workDir, `audit-${requestId}`);
  const fetched = await stage.auditor(['audit', 'fetch', requestId, '--out', out, '--json']);
  return JSON.parse(fetched) as AuditResult;
}
export interface AuditResult {
  readonly ok: boolean;
  readonly files: readonly { readonly contentPath: string }[];
  readonly faults: readonly unknown[];
}
