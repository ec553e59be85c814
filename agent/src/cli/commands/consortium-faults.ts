/** Sub-commands of `blocktorrent consortium` about members that fail: faults, penalties, leaving. */
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { toBase64 } from '@blocktorrent/protocol/bytes.ts';
import type { FaultKind } from '@blocktorrent/protocol/ledger-api.ts';
import type { Command } from 'commander';
import { runAction } from '../action.ts';
import type { ContextOf } from '../command.ts';
import { duration, faultId, fileId, instant } from '../options.ts';

const TWO_WEEKS_MS = 14 * 24 * 60 * 60 * 1000;

interface ReportOptions {
  readonly kind: string;
  readonly file: string;
  readonly detail: string;
  readonly evidence?: string;
}

/** Adds `report-fault`, `faults`, `fault`, `propose-penalty`, `penalties` and `leave`. */
export function registerFaults(command: Command, contextOf: ContextOf): void {
  report(command, contextOf);
  list(command, contextOf);
  penalties(command, contextOf);
  command
    .command('leave')
    .description("end one's own organisation's membership; the others vote on nothing")
    .argument('<msp-id>', 'the own organisation, named so that nobody leaves by mistake')
    .action(async (mspId: string) => {
      const { leave } = await import('../oversight.ts');
      await runAction(contextOf(), (_, action) => leave({ mspId }, action));
    });
}

function report(command: Command, contextOf: ContextOf): void {
  command
    .command('report-fault')
    .description('put a fault of a member on the ledger, with what proves it')
    .argument('<msp-id>', 'the organisation that failed')
    .requiredOption(
      '--kind <kind>',
      'bad-chunk, missing-chunk, bad-shard, no-release, wrong-key, unopenable or unreachable',
    )
    .requiredOption('--file <file-id>', 'the file concerned', fileId)
    .requiredOption('--detail <text>', 'what happened; it is kept on the ledger')
    .option('--evidence <file>', 'what a third party can check, at most 64 KiB')
    .action(async (mspId: string, options: ReportOptions) => {
      const { kind, file, detail, evidence } = options;
      const { reportFault } = await import('../oversight.ts');
      const proof = evidence === undefined ? {} : { evidence: toBase64(await readFile(evidence)) };
      // The contract checks the kind and names those that it takes.
      const fault = { kind: kind as FaultKind, mspId, fileId: file, detail, ...proof };
      await runAction(contextOf(), (_, action) => reportFault(fault, action));
    });
}

function list(command: Command, contextOf: ContextOf): void {
  command
    .command('faults')
    .description('list the faults reported of a member, the newest first')
    .argument('<msp-id>', 'the organisation')
    .option('--before <time>', 'only those reported before this time (ISO 8601)', instant)
    .action(async (mspId: string, { before }: { before?: number }) => {
      const { listFaults } = await import('../oversight.ts');
      const range = before === undefined ? {} : { beforeMs: before };
      await runAction(contextOf(), (_, action) => listFaults({ mspId, ...range }, action));
    });
  command
    .command('fault')
    .description('show one fault, and get its evidence')
    .argument('<fault-id>', 'as `consortium faults` shows it', faultId)
    .option('-o, --evidence <file>', 'where to put its evidence')
    .action(async (id: string, { evidence }: { evidence?: string }) => {
      const { showFault } = await import('../oversight.ts');
      const evidencePath = evidence === undefined ? null : resolve(evidence);
      await runAction(contextOf(), (_, action) => showFault({ faultId: id, evidencePath }, action));
    });
}

interface PenaltyOptions {
  readonly decision: string;
  readonly reason: string;
  readonly expires: number;
}

function penalties(command: Command, contextOf: ContextOf): void {
  command
    .command('propose-penalty')
    .description('propose to record a penalty; `approve`, `deny` and `enact` go on from there')
    .argument('<msp-id>', 'the organisation that failed')
    .argument('<fault-id...>', 'the faults that it rests on', (text: string, before?: string[]) => [
      ...(before ?? []),
      faultId(text),
    ])
    .requiredOption('--decision <text>', 'what is decided; it is kept on the ledger')
    .requiredOption('--reason <text>', 'why; it is kept on the ledger')
    .option('--expires <duration>', 'void after, e.g. 12h, 14d', duration, TWO_WEEKS_MS)
    .action(async (mspId: string, faultIds: string[], options: PenaltyOptions) => {
      const { decision, reason, expires } = options;
      const penalty = { kind: 'penalty', mspId, decision, faultIds } as const;
      const proposal = { action: penalty, reason, expiresInMs: expires };
      await runAction(contextOf(), (actions, action) => actions.propose(proposal, action));
    });
  command
    .command('penalties')
    .description('list the penalties that were decided about a member, the newest first')
    .argument('<msp-id>', 'the organisation')
    .action(async (mspId: string) => {
      const { listPenalties } = await import('../oversight.ts');
      await runAction(contextOf(), (_, action) => listPenalties({ mspId }, action));
    });
}
