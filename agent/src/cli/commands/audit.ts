/** `blocktorrent audit …`: ask for an audit, vote on one, carry one out (P §3.2.4). */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { Address } from '../../overlay/types.ts';
import { runAction } from '../action.ts';
import { CliError } from '../cli-error.ts';
import type { CliCommand, ContextOf } from '../command.ts';
import { EXIT } from '../exit-codes.ts';
import { address, duration, fileId, inspectionId, instant, oneOf, requestId } from '../options.ts';

const STATES = ['any', 'open', 'approved', 'denied', 'expired', 'closed'] as const;

export const auditCommand: CliCommand = {
  name: 'audit',
  describe: 'draw inspections; request, vote on, carry out, close and list audits; give shards up',
  group: 'Audit:',
  register(command, contextOf) {
    draw(command, contextOf);
    requestAudit(command, contextOf);
    vote(command, contextOf, 'approve', 'vote for an audit request');
    vote(command, contextOf, 'deny', 'vote against an audit request');
    fetchAudit(command, contextOf);
    closeAudit(command, contextOf);
    listAudits(command, contextOf);
    giveUp(command, contextOf);
  },
};

/** 2286-11-20: the largest time that the ledger takes. */
const END_OF_TIME_MS = 9_999_999_999_999;

function draw(command: Command, contextOf: ContextOf): void {
  command
    .command('draw')
    .description('draw recorded files at random for an inspection, at the policy’s rate')
    .requiredOption('--from <time>', 'of the files, from this time on (ISO 8601)', instant)
    .requiredOption('--until <time>', 'before this time, which is past (ISO 8601)', instant)
    .action(async ({ from, until }: { from: number; until: number }) => {
      const { drawInspection } = await import('../oversight.ts');
      const range = { fromMs: from, toMs: until };
      await runAction(contextOf(), (_, action) => drawInspection(range, action));
    });
}

interface RequestOptions {
  readonly source?: string;
  readonly from?: number;
  readonly until?: number;
  readonly inspection?: string;
  readonly reason: string;
  readonly expires: number;
}

function requestAudit(command: Command, contextOf: ContextOf): void {
  command
    .command('request')
    .description('ask the consortium to open files')
    .argument('[file-id...]', 'files, 64 hex digits each')
    .option('--source <msp-id>', 'instead of file ids: all files of this organisation')
    .option('--from <time>', 'with --source: from this time on (ISO 8601)', instant)
    .option('--until <time>', 'with --source: before this time (ISO 8601)', instant)
    .option(
      '--inspection <inspection-id>',
      'with --source: what this inspection drew of its files',
      inspectionId,
    )
    .requiredOption('--reason <text>', 'why; it is kept on the ledger')
    .option('--expires <duration>', 'give up after, e.g. 30m, 12h, 7d', duration, 86_400_000)
    .action(async (ids: string[], options: RequestOptions) => {
      const fileIds = ids.map(fileId);
      const source = options.source ?? null;
      if ((fileIds.length === 0) === (source === null)) {
        throw new CliError('expected either file ids or --source', {
          todo: '`blocktorrent audit request FILE_ID… --reason TEXT`, or `--source MSP_ID --from … --until …`.',
          exitCode: EXIT.usage,
        });
      }
      const inspection = options.inspection ?? null;
      const timed = options.from !== undefined || options.until !== undefined;
      if (inspection !== null && (source === null || timed)) {
        throw new CliError('expected --inspection with --source and without times', {
          todo: '`blocktorrent audit request --inspection INSPECTION_ID --source MSP_ID --reason TEXT`.',
          exitCode: EXIT.usage,
        });
      }
      const { from = 0, until = END_OF_TIME_MS } = options;
      if (until <= from) {
        throw new CliError('--until: expected a time after that of --from', {
          exitCode: EXIT.usage,
        });
      }
      await runAction(contextOf(), (actions, action) =>
        actions.auditRequest(
          {
            fileIds,
            source,
            fromMs: from,
            toMs: until,
            inspection,
            reason: options.reason,
            expiresInMs: options.expires,
          },
          action,
        ),
      );
    });
}

function vote(
  command: Command,
  contextOf: ContextOf,
  name: 'approve' | 'deny',
  describe: string,
): void {
  command
    .command(name)
    .description(describe)
    .argument('<request-id>', 'as `audit list` shows it', requestId)
    .option('--reason <text>', 'why; it is kept on the ledger', '')
    .action(async (id: string, { reason }: { reason: string }) => {
      const vote = { requestId: id, approve: name === 'approve', reason };
      await runAction(contextOf(), (actions, action) => actions.auditVote(vote, action));
    });
}

interface FetchOptions {
  readonly out: string;
  readonly close: boolean;
  readonly peer: readonly Address[];
  readonly timeout?: number;
}

function fetchAudit(command: Command, contextOf: ContextOf): void {
  command
    .command('fetch')
    .description('wait for the vote, recover the files from their owners, verify, report')
    .argument('<request-id>', 'as `audit request` printed it', requestId)
    .requiredOption('-o, --out <folder>', 'where to put what is recovered')
    .option(
      '--peer <host:port>',
      'an ordinary BitTorrent client to fetch from as well; may be repeated',
      (text: string, before: readonly Address[]) => [...before, address(text)],
      [],
    )
    .option('--no-close', 'leave the request open on the ledger')
    .option('--timeout <duration>', 'stop waiting after, e.g. 10m', duration)
    .action(async (id: string, options: FetchOptions) => {
      await runAction(contextOf(), (actions, action) =>
        actions.auditFetch(
          {
            requestId: id,
            outputDir: resolve(options.out),
            close: options.close,
            peers: options.peer,
            timeoutMs: options.timeout ?? null,
          },
          action,
        ),
      );
    });
}

function closeAudit(command: Command, contextOf: ContextOf): void {
  command
    .command('close')
    .description('end one’s own request; once it has expired, silent holders are found by it')
    .argument('<request-id>', 'as `audit request` printed it', requestId)
    .option('--report <file>', 'report.json of `audit fetch --no-close`; without it: given up')
    .action(async (id: string, { report }: { report?: string }) => {
      const { closeAudit } = await import('../oversight.ts');
      const reportPath = report === undefined ? null : resolve(report);
      await runAction(contextOf(), (_, action) =>
        closeAudit({ requestId: id, reportPath }, action),
      );
    });
}

function listAudits(command: Command, contextOf: ContextOf): void {
  command
    .command('list')
    .description('list audit requests on the ledger')
    .option('--state <state>', `one of ${STATES.join(', ')}`, oneOf(...STATES), 'any' as const)
    .action(async ({ state }: { state: (typeof STATES)[number] }) => {
      await runAction(contextOf(), (actions, action) => actions.auditList({ state }, action));
    });
}

/** What a holder does when it will hold shards no more. */
function giveUp(command: Command, contextOf: ContextOf): void {
  command
    .command('withdraw')
    .description('say in public, for good, that we give our shards of these files up')
    .argument('<file-id...>', 'files, 64 hex digits each')
    .requiredOption('--reason <text>', 'why; it is kept on the ledger')
    .action(async (ids: string[], { reason }: { reason: string }) => {
      const { withdraw } = await import('../oversight.ts');
      const options = { fileIds: [...new Set(ids.map(fileId))], reason };
      await runAction(contextOf(), (_, action) => withdraw(options, action));
    });
  command
    .command('purge')
    .description('remove our shards of files that we have withdrawn from, for good')
    .argument('<file-id...>', 'files, 64 hex digits each')
    .action(async (ids: string[]) => {
      const { purge } = await import('../oversight.ts');
      const options = { fileIds: [...new Set(ids.map(fileId))] };
      await runAction(contextOf(), (_, action) => purge(options, action));
    });
}
