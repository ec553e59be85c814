/** `blocktorrent consortium …`: found the consortium, look at it, decide about it by vote, leave. */
import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { runAction } from '../action.ts';
import { CliError } from '../cli-error.ts';
import type { CliCommand, ContextOf } from '../command.ts';
import { EXIT } from '../exit-codes.ts';
import { duration, oneOf, overlayKey, proposalId } from '../options.ts';
import { requireRoots } from '../overlay-roots.ts';
import { registerFaults } from './consortium-faults.ts';

const STATES = ['any', 'open', 'accepted', 'refused', 'outdated', 'expired', 'enacted'] as const;
const TWO_WEEKS_MS = 14 * 24 * 60 * 60 * 1000;

export const consortiumCommand: CliCommand = {
  name: 'consortium',
  describe: 'found the consortium; show it; decide by vote; report faults; leave',
  group: 'Set-up:',
  register(command, contextOf) {
    command
      .command('found')
      .description('found the consortium, once, from a JSON file: { members, auditors, policy }')
      .argument('<file>', 'JSON as docs/PROTOCOL.md describes it')
      .action(async (path: string) => {
        const charter = parse(path, await readFile(path, 'utf8'));
        requireRoots(charter);
        await runAction(contextOf(), (actions, action) => actions.found(charter, action));
      });
    command
      .command('show')
      .description('what the ledger says of the consortium')
      .action(async () => {
        await runAction(contextOf(), (actions, action) => actions.showConsortium(action));
      });
    propose(command, contextOf);
    vote(command, contextOf, 'approve', 'vote for a proposal');
    vote(command, contextOf, 'deny', 'vote against a proposal');
    command
      .command('enact')
      .description('carry out a proposal that more than half of the members accepted')
      .argument('<proposal-id>', 'as `consortium proposals` shows it', proposalId)
      .action(async (id: string) => {
        const proposal = { proposalId: id };
        await runAction(contextOf(), (actions, action) => actions.enact(proposal, action));
      });
    listProposals(command, contextOf);
    command
      .command('revoke-certificate')
      .description("take back overlay certificates of one's own organisation, for good")
      .argument('<file...>', 'PEM of the certificates')
      .action(async (paths: string[]) => {
        const pems = await Promise.all(paths.map((path) => readFile(path, 'utf8')));
        await runAction(contextOf(), (actions, action) =>
          actions.revokeCertificates({ pems }, action),
        );
      });
    revokeKey(command, contextOf);
    registerFaults(command, contextOf);
  },
};

function propose(command: Command, contextOf: ContextOf): void {
  command
    .command('propose')
    .description('put a decision before the members, from a JSON file: { kind, … }')
    .argument('<file>', 'kind: join, member, remove, policy, weights, auditors or penalty')
    .requiredOption('--reason <text>', 'why; it is kept on the ledger')
    .option('--expires <duration>', 'void after, e.g. 12h, 14d', duration, TWO_WEEKS_MS)
    .action(async (path: string, { reason, expires }: { reason: string; expires: number }) => {
      const decision = parse(path, await readFile(path, 'utf8'));
      requireRoots(decision);
      const options = { action: decision, reason, expiresInMs: expires };
      await runAction(contextOf(), (actions, action) => actions.propose(options, action));
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
    .argument('<proposal-id>', 'as `consortium proposals` shows it', proposalId)
    .option('--reason <text>', 'why; it is kept on the ledger', '')
    .action(async (id: string, { reason }: { reason: string }) => {
      const vote = { proposalId: id, approve: name === 'approve', reason };
      await runAction(contextOf(), (actions, action) => actions.proposalVote(vote, action));
    });
}

function listProposals(command: Command, contextOf: ContextOf): void {
  command
    .command('proposals')
    .description('list proposals on the ledger')
    .option('--state <state>', `one of ${STATES.join(', ')}`, oneOf(...STATES), 'any' as const)
    .action(async ({ state }: { state: (typeof STATES)[number] }) => {
      await runAction(contextOf(), (actions, action) => actions.listProposals({ state }, action));
    });
}

function revokeKey(command: Command, contextOf: ContextOf): void {
  command
    .command('revoke-key')
    .description('revoke an earlier overlay key of a peer of one’s own, which was lost or stolen')
    .argument('<peer>', 'the agent’s name')
    .argument('<key>', 'public key, as `consortium show --json` lists it under keys', overlayKey)
    .action(async (peer: string, key: string) => {
      const options = { peer, overlayKey: key };
      await runAction(contextOf(), (actions, action) => actions.revokeKey(options, action));
    });
}

function parse(path: string, text: string): never {
  try {
    // The contract checks every field and names what is wrong.
    return JSON.parse(text) as never;
  } catch (error) {
    throw new CliError(`${path} is not JSON: ${error instanceof Error ? error.message : error}`, {
      exitCode: EXIT.usage,
    });
  }
}
