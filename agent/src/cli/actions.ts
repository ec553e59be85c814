/**
 * Bodies of the commands that work without a running agent: audits and opening shared files.
 * Each takes the configuration, its options and where to report progress; prints nothing.
 */
import { X509Certificate } from 'node:crypto';
import { statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type {
  Argument,
  AuditRequest,
  ProposalAction,
  ProposalState,
} from '@blocktorrent/protocol/ledger-api.ts';
import { openLedger, openNet, openView } from '../assemble.ts';
import type { FetchResult, Seed } from '../audit/fetch.ts';
import type { ChainReport } from '../audit/joins.ts';
import type { FetchTarget } from '../audit/recover.ts';
import type { Config } from '../config/load.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { serialOf } from '../overlay/peer-identity.ts';
import type { Address } from '../overlay/types.ts';
import { seedAt } from '../readers.ts';
import type { Log } from '../runtime/log.ts';
import { systemRandom } from '../runtime/random.ts';
import { CliError } from './cli-error.ts';
import { EXIT } from './exit-codes.ts';
import { table, timeText } from './output.ts';

/** Where a body reports how far it is. */
export interface ActionContext {
  readonly config: Config;
  readonly signal: AbortSignal;
  readonly log: Log;
  progress(label: string, done: number, total: number): void;
}
/** What a body gives back: a JSON value, and the same for people. */
export interface ActionResult {
  readonly value: unknown;
  readonly text: string;
  /** False where a check failed although the command went through to its end. */
  readonly verified: boolean;
}

export interface AuditRequestOptions {
  /** File ids; empty when `source` says whose. */
  readonly fileIds: readonly string[];
  /** Organisation whose files are meant; null with `fileIds`. */
  readonly source: string | null;
  /** Milliseconds since 1970, inclusive / exclusive; with `source`. */
  readonly fromMs: number;
  readonly toMs: number;
  /** Instead of times, with `source`: what this inspection drew of its files. */
  readonly inspection: string | null;
  readonly reason: string;
  readonly expiresInMs: number;
}
export interface AuditFetchOptions {
  readonly requestId: string;
  /** Absolute folder for what is recovered. */
  readonly outputDir: string;
  /** Close the request on the ledger with the outcome. */
  readonly close: boolean;
  /** Ordinary BitTorrent clients to fetch from besides the owners. */
  readonly peers: readonly Address[];
  /** Patience with votes and releases; null: until the request expires. */
  readonly timeoutMs: number | null;
}
export interface GetOptions {
  readonly fileId: string;
  /** Absolute path of the file to write. */
  readonly outputPath: string;
  /** File with age identities. */
  readonly identityPath: string;
}

/** Asks the consortium for an audit; makes and keeps the request's identities in dataDir. */
export async function auditRequest(
  options: AuditRequestOptions,
  context: ActionContext,
): Promise<ActionResult> {
  const { requestAudit, filesInRange, filesDrawn } = await import('../audit/request.ts');
  const { source, fromMs, toMs, inspection, reason, expiresInMs } = options;
  return withLedger(context, async (ledger) => {
    let { fileIds } = options;
    if (source !== null) {
      fileIds =
        inspection === null
          ? (await filesInRange(ledger, { source, fromMs, toMs })).map((file) => file.fileId)
          : await filesDrawn(ledger, inspection, source);
    }
    const { requestId } = await requestAudit({
      ledger,
      fileIds,
      inspection,
      reason,
      expiresAtMs: Date.now() + expiresInMs,
      random: systemRandom,
      auditsDir: auditsDir(context.config),
    });
    const text =
      `request ${requestId} for ${fileIds.length} files is on the ledger; ` +
      `\`blocktorrent audit fetch ${requestId} --out FOLDER\` waits for the vote and opens them`;
    return { value: { requestId, files: fileIds.length }, text, verified: true };
  });
}

/** Waits for votes and releases, recovers, verifies, reports. */
export async function auditFetch(
  options: AuditFetchOptions,
  context: ActionContext,
): Promise<ActionResult> {
  const { requestId, outputDir, close, peers, timeoutMs } = options;
  const [{ loadIdentities }, { runAudit }] = await Promise.all([
    import('../audit/request.ts'),
    import('../audit/audit.ts'),
  ]);
  const identities = await loadIdentities(auditsDir(context.config), requestId);
  const patience = timeoutMs === null ? [] : [AbortSignal.timeout(timeoutMs)];
  const signal = AbortSignal.any([context.signal, ...patience]);
  const seeds = peers.map((address) => seedAt(address, systemRandom));
  return withReader({ context, signal, seeds }, async (ledger, fetch) => {
    const report = await runAudit({
      ledger,
      requestId,
      identities,
      outputDir,
      fetch,
      close,
      signal,
      onProgress: (progress) => {
        if (progress.step === 'request') {
          const { state, votes, releases } = progress.request;
          const seen = `${votes.length} votes, ${releases.length} releases`;
          context.progress(`${state}, ${seen}`, 0, 0);
        } else if (progress.step === 'file') {
          context.progress('files', progress.done, progress.files);
        }
      },
    });
    const faults = report.faults.map(
      ({ mspId, kind, fileId, detail }) => `fault: ${mspId} ${kind}, file ${fileId}: ${detail}`,
    );
    const failed = report.failed.map(({ fileId, reason }) => `not recovered: ${fileId}: ${reason}`);
    const silent = report.withoutRelease.map((mspId) => `nothing released by ${mspId} so far`);
    const chains = report.chains.flatMap(chainLines);
    const again =
      close && report.mayPass > 0
        ? ['the request stays open: the same command tries the others again until it expires']
        : [];
    const summary = `${report.files.length} files recovered to ${outputDir}`;
    return {
      value: report,
      text: [summary, ...failed, ...faults, ...chains, ...silent, ...again].join('\n'),
      verified: report.ok,
    };
  });
}

/** What a person is told of a gateway's recovered batches: whether they join. */
function chainLines({ source, gateway, batches, gaps, breaks }: ChainReport): string[] {
  const name = `${source}/${gateway}`;
  if (batches > 1 && gaps.length + breaks.length === 0) {
    return [`chain of ${name}: its ${batches} batches join`];
  }
  return [
    ...gaps.map(
      ({ firstSeq, lastSeq, filesBetween }) =>
        `chain of ${name}: readings ${firstSeq} to ${lastSeq} are in none of these files; the ` +
        `ledger has ${filesBetween} others of it in between`,
    ),
    ...breaks.map(
      ({ first, second, reason }) =>
        `chain of ${name} is broken between files ${first} and ${second}: ${reason}`,
    ),
  ];
}

/** Votes on an audit request in the name of this organisation. */
export async function auditVote(
  vote: { readonly requestId: string; readonly approve: boolean; readonly reason: string },
  context: ActionContext,
): Promise<ActionResult> {
  return withLedger(context, async (ledger) => {
    await ledger.submit('ledger/audits:Vote', vote);
    const request = await ledger.evaluate('ledger/audits:GetRequest', {
      requestId: vote.requestId,
    });
    const state = request?.state ?? 'unknown';
    const voted = vote.approve ? 'voted for it' : 'voted against it';
    return { value: { ...vote, state }, text: `${voted}; it is ${state} now`, verified: true };
  });
}

/** Lists audit requests on the ledger by state. */
export async function auditList(
  options: { readonly state: AuditRequest['state'] | 'any' },
  context: ActionContext,
): Promise<ActionResult> {
  return withLedger(context, async (ledger) => {
    const requests = await ledger.evaluate('ledger/audits:ListRequests', options);
    const titles = ['request', 'state', 'auditor', 'files', 'yes', 'no', 'releases', 'reason'];
    const rows = requests.map(({ requestId, state, auditor, fileIds, votes, releases, reason }) => {
      const yes = votes.filter((vote) => vote.approve).length;
      const no = votes.length - yes;
      return [requestId, state, auditor, fileIds.length, yes, no, releases.length, reason];
    });
    const text = rows.length === 0 ? 'no audit requests' : table(titles, rows);
    return { value: requests, text, verified: true };
  });
}

/** Founds the consortium: members with their weights and roots, auditors, policy. */
export async function found(
  charter: Argument<'ledger/consortium:Found'>,
  context: ActionContext,
): Promise<ActionResult> {
  return withLedger(context, async (ledger) => {
    const { txId } = await ledger.submit('ledger/consortium:Found', charter);
    return { value: { txId }, text: 'the consortium is founded', verified: true };
  });
}

/** What the ledger says of the consortium. */
export async function showConsortium(context: ActionContext): Promise<ActionResult> {
  return withLedger(context, async (ledger) => {
    const consortium = await ledger.evaluate('ledger/consortium:GetConsortium', {});
    const { members, peers, policy, epochs, auditors } = consortium;
    const rows = members.map(({ mspId, name, weight }) => {
      const own = peers.filter((peer) => peer.mspId === mspId).map((peer) => peer.name);
      return [mspId, name, weight, own.join(', ')];
    });
    const { k, n, replicas, receiptsMin, approvals, scheme } = policy;
    const text = [
      table(['organisation', 'name', 'weight', 'agents'], rows),
      `epoch ${epochs[0]?.epoch ?? 'none'}; ${k} of ${n} shards (${scheme}), ${replicas} owners ` +
        `a chunk, ${receiptsMin} receipts, ${approvals} approvals; auditors: ` +
        (auditors.map((auditor) => auditor.mspId).join(', ') || 'none'),
    ].join('\n');
    return { value: consortium, text, verified: true };
  });
}

/** Takes overlay certificates of our own organisation back, by their PEM. */
export async function revokeCertificates(
  options: { readonly pems: readonly string[] },
  context: ActionContext,
): Promise<ActionResult> {
  const serials = options.pems.map((pem) => serialOf(certificateIn(pem)));
  return withLedger(context, async (ledger) => {
    const { txId } = await ledger.submit('ledger/consortium:RevokeCertificates', { serials });
    const names = serials.map((serial) => `serial number ${serial}`).join(', ');
    const text = `revoked for good: ${names}; every agent that follows the ledger ends its links`;
    return { value: { serials, txId }, text, verified: true };
  });
}

function certificateIn(pem: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch (cause) {
    const found = pem.trim() === '' ? 'nothing' : 'something else';
    throw new CliError(`expected a PEM certificate, found ${found}: nothing was revoked`, {
      exitCode: EXIT.usage,
      cause,
    });
  }
}

/** Revokes an earlier overlay key of a peer of this organisation. */
export async function revokeKey(
  options: Argument<'ledger/consortium:RevokeKey'>,
  context: ActionContext,
): Promise<ActionResult> {
  return withLedger(context, async (ledger) => {
    const { txId } = await ledger.submit('ledger/consortium:RevokeKey', options);
    const text = `nothing signed with ${options.overlayKey} is taken any more; what the ledger took before stays good`;
    return { value: { ...options, txId }, text, verified: true };
  });
}

/** Puts a decision before the members; `action` is checked by the contract. */
export async function propose(
  options: {
    readonly action: ProposalAction;
    readonly reason: string;
    readonly expiresInMs: number;
  },
  context: ActionContext,
): Promise<ActionResult> {
  const { action, reason, expiresInMs } = options;
  return withLedger(context, async (ledger) => {
    const expiresAtMs = Date.now() + expiresInMs;
    const argument = { action, reason, expiresAtMs };
    const { result } = await ledger.submit('ledger/consortium:Propose', argument);
    const { proposalId } = result;
    const text =
      `proposal ${proposalId} is on the ledger; each member votes with ` +
      `\`blocktorrent consortium approve ${proposalId}\` or \`deny\``;
    return { value: { proposalId, expiresAtMs }, text, verified: true };
  });
}

/** Votes on a proposal in the name of this organisation. */
export async function proposalVote(
  vote: Argument<'ledger/consortium:VoteOn'>,
  context: ActionContext,
): Promise<ActionResult> {
  return withLedger(context, async (ledger) => {
    await ledger.submit('ledger/consortium:VoteOn', vote);
    const { proposalId, approve } = vote;
    const found = await ledger.evaluate('ledger/consortium:GetProposal', { proposalId });
    const state = found?.state ?? 'unknown';
    const next = state === 'accepted' ? `; \`consortium enact ${proposalId}\` carries it out` : '';
    const text = `voted ${approve ? 'for' : 'against'} it; it is ${state} now${next}`;
    return { value: { ...vote, state }, text, verified: true };
  });
}

/** Carries an accepted proposal out. */
export async function enact(
  proposal: { readonly proposalId: string },
  context: ActionContext,
): Promise<ActionResult> {
  return withLedger(context, async (ledger) => {
    const { txId } = await ledger.submit('ledger/consortium:Enact', proposal);
    return { value: { ...proposal, txId }, text: 'the decision is in force', verified: true };
  });
}

/** Lists proposals on the ledger by state. */
export async function listProposals(
  options: { readonly state: ProposalState | 'any' },
  context: ActionContext,
): Promise<ActionResult> {
  return withLedger(context, async (ledger) => {
    const proposals = await ledger.evaluate('ledger/consortium:ListProposals', options);
    const titles = ['proposal', 'state', 'what', 'by', 'yes', 'no', 'needed', 'until', 'reason'];
    const rows = proposals.map(({ proposalId, state, action, proposer, votes, ...rest }) => {
      const yes = votes.filter((vote) => vote.approve).length;
      const { needed, expiresAtMs, reason } = rest;
      const counts = [yes, votes.length - yes, needed];
      const until = timeText(expiresAtMs);
      return [proposalId, state, actionText(action), proposer, ...counts, until, reason];
    });
    const text = rows.length === 0 ? 'no proposals' : table(titles, rows);
    return { value: proposals, text, verified: true };
  });
}

/** `remove Org4MSP`, `policy`: what a proposal would do, in a few words. */
function actionText(action: ProposalAction): string {
  if ('mspId' in action) return `${action.kind} ${action.mspId}`;
  return 'member' in action ? `${action.kind} ${action.member.mspId}` : action.kind;
}

/** Fetches and opens a file that was sealed to one's own identity. */
export async function getFile(options: GetOptions, context: ActionContext): Promise<ActionResult> {
  const { fileId, outputPath, identityPath } = options;
  const [{ getShared }, { readIdentities }] = await Promise.all([
    import('../audit/get.ts'),
    import('./identity-file.ts'),
  ]);
  const identities = readIdentities(identityPath);
  requirePlace(outputPath);
  const workDir = join(context.config.dataDir, 'get', fileId);
  return withReader({ context, signal: context.signal }, async (ledger, fetch) => {
    const { signal } = context;
    const got = await getShared({ ledger, fileId, identities, outputPath, workDir, fetch, signal });
    const value = { fileId, path: outputPath, ...got };
    return { value, text: `${fileId} is at ${outputPath}`, verified: true };
  });
}

/** Looks before anything is fetched. @throws CliError where no file of that name can be written */
function requirePlace(path: string): void {
  const [folder, there] = [dirname(path), path].map((one) =>
    statSync(one, { throwIfNoEntry: false }),
  );
  if (folder?.isDirectory() === true && there?.isDirectory() !== true) return;
  const found = there === undefined ? `no folder ${dirname(path)}` : `a folder at ${path}`;
  throw new CliError(`--out: expected a file in a folder that is there, found ${found}`, {
    means: 'Nothing was fetched.',
    exitCode: EXIT.usage,
  });
}

/** Runs `body` with a ledger of its own, which is closed afterwards. */
export async function withLedger(
  { config, log }: ActionContext,
  body: (ledger: Ledger) => Promise<ActionResult>,
): Promise<ActionResult> {
  const ledger = openLedger(config, log);
  try {
    return await body(ledger);
  } finally {
    ledger.close();
  }
}

/** A ledger and a way to fetch from owners: what a reader without a running agent needs. */
async function withReader(
  reading: {
    readonly context: ActionContext;
    readonly signal: AbortSignal;
    readonly seeds?: readonly Seed[];
  },
  body: (
    ledger: Ledger,
    fetch: (target: FetchTarget) => Promise<FetchResult>,
  ) => Promise<ActionResult>,
): Promise<ActionResult> {
  const { context, signal, seeds = [] } = reading;
  const { config, log } = context;
  const { fetchFile } = await import('../audit/fetch.ts');
  return withLedger(context, async (ledger) => {
    const view = openView(config, ledger, false);
    await view.refresh();
    const net = openNet(config, view, log, { doors: null });
    try {
      await net.start();
      const { overlay, addressBook } = net;
      return await body(ledger, (target) =>
        fetchFile({ ...target, overlay, addressBook, membership: view, seeds, signal }),
      );
    } finally {
      await net.stop();
    }
  });
}

function auditsDir(config: Config): string {
  return join(config.dataDir, 'audits');
}
