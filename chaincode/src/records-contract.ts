/**
 * Contract `records`: master tables, gateways' chains, late receipts, re-placements, anchors.
 *
 * A file is recorded once, by its source, as the next step of one of its gateways' chains
 * (design: PROTOCOL §2.7). Nothing recorded is ever changed; what comes later has its own keys.
 */
import { createHash } from 'node:crypto';
import type {
  Anchor,
  AnchorList,
  FileRecord,
  Hex,
  ListResult,
  RecordInput,
  Replacement,
} from '@blocktorrent/protocol/ledger-api.ts';
import type { Context } from 'fabric-contract-api';
import { ARGUMENTS } from './arguments.ts';
import { COLLECTORS, requireGateway, requireMember } from './caller.ts';
import { parseArgument } from './checks.ts';
import {
  loadEpochs,
  peerLookup,
  policiesFor,
  recentEpoch,
  requireEpoch,
} from './consortium-state.ts';
import { BlockTorrentContract, type TransactionsOf } from './contract.ts';
import { emitEvent } from './events.ts';
import { checkReceipts, checkUnderOneOf } from './record-rules.ts';
import {
  type ChainHead,
  chainHead,
  putRecord,
  putVoid,
  readListed,
  readRecord,
  requireNext,
  requireRecord,
  storedRecord,
  voidRecord,
} from './record-state.ts';
import { Refusal } from './refusal.ts';
import { getJson, nowMs, putJson, scan } from './state.ts';
import { countPlace, KEY, timeStart } from './state-keys.ts';

export class RecordsContract
  extends BlockTorrentContract
  implements TransactionsOf<'ledger/records'>
{
  constructor() {
    super('records');
  }

  /**
   * Records one file of the caller's, as `RecordMany` with one.
   * Who: an agent or gateway of a member, for a gateway of its own. When: as the next step of that gateway's
   * chain. Effects: record, master table, place in the source's list, end of the chain.
   * Event: `recorded`. Errors: as `RecordMany`.
   */
  async Record(ctx: Context, argument: string): Promise<null> {
    const record = parseArgument(argument, ARGUMENTS['ledger/records:Record']);
    await recordRun(ctx, [record]);
    return null;
  }

  /**
   * Records a consecutive run of one gateway's chain: all of it or nothing.
   * Who, when, effects: as `Record`. Each file follows today's policy, or, if it was placed under
   * the previous epoch, that epoch's.
   * Event: `recorded` with every file and its holders.
   * Errors: BAD_ARGUMENT, TOO_LARGE, NOT_FOUNDED, NOT_ALLOWED, WRONG_EPOCH, WRONG_CHAIN,
   * TOO_EARLY (its time is ahead of the ledger's), ALREADY_EXISTS, BAD_DIGEST, WRONG_RECEIPT,
   * TOO_FEW_RECEIPTS, WRONG_DEALING, and the protocol's own codes for receipts and dealings
   * (BAD_SIGNATURE, BAD_PROOF, MALFORMED and the like).
   */
  async RecordMany(ctx: Context, argument: string): Promise<null> {
    const { records } = parseArgument(argument, ARGUMENTS['ledger/records:RecordMany']);
    await recordRun(ctx, records);
    return null;
  }

  /**
   * Records that a file was given up, so that later ones of its chain go on.
   * Who: an agent or gateway of a member, for a gateway of its own. When: as the next step of its chain.
   * Effects: a void record under a key of the source's own, which keeps nobody else from recording
   * a file of that id; place in the list, end of the chain. Event: `voided`.
   * Errors: BAD_ARGUMENT, NOT_FOUNDED, NOT_ALLOWED, WRONG_CHAIN, ALREADY_EXISTS.
   */
  async Void(ctx: Context, argument: string): Promise<null> {
    const input = parseArgument(argument, ARGUMENTS['ledger/records:Void']);
    const { mspId: source } = await requireMember(ctx, ...COLLECTORS);
    await requireGateway(ctx, peerLookup(ctx), source, input.gateway);
    requireNext(await chainHead(ctx, source, input.gateway), input);
    const { current } = await loadEpochs(ctx);
    const added = { source, recordedAtMs: nowMs(ctx), txId: ctx.stub.getTxID() };
    await putVoid(ctx, voidRecord(input, current.epoch, added));
    const head: ChainHead = { seq: input.seq, fileId: input.fileId };
    await putJson(ctx, KEY.chain(source, input.gateway), head);
    emitEvent(ctx, 'voided', { fileId: input.fileId });
    return null;
  }

  /**
   * Adds receipts that came after the record.
   * Who: an agent or gateway of the source, or of an owner for its own. When: any time after the record.
   * Effects: each receipt under a key of its own; a record shows `lateReceiptsPerOwnerMax` of each
   * owner. Event: `receipts`.
   * Errors: BAD_ARGUMENT, TOO_LARGE, NOT_FOUNDED, NOT_ALLOWED, NOT_FOUND, WRONG_RECEIPT, and the
   * protocol's codes for receipts.
   */
  async AppendReceipts(ctx: Context, argument: string): Promise<null> {
    const { fileId, receipts } = parseArgument(
      argument,
      ARGUMENTS['ledger/records:AppendReceipts'],
    );
    const { mspId, constitution } = await requireMember(ctx, ...COLLECTORS);
    const record = await requireRecord(ctx, fileId);
    if (mspId !== record.source && receipts.some((receipt) => receipt.mspId !== mspId)) {
      throw new Refusal('NOT_ALLOWED', `${mspId} may append only its own receipts to ${fileId}`);
    }
    const epoch = await requireEpoch(ctx, record.epoch);
    const expected = {
      channel: ctx.stub.getChannelID(),
      fileId,
      chunkCount: record.chunkCount,
      epoch,
      source: record.source,
      policy: constitution.policy,
    };
    await checkReceipts(receipts, expected, peerLookup(ctx));
    for (const signed of receipts) {
      const hash = createHash('sha256').update(signed.receipt).digest('hex');
      await putJson(ctx, KEY.receipt(fileId, signed.mspId, hash), signed);
    }
    emitEvent(ctx, 'receipts', { fileId });
    return null;
  }

  /**
   * Records that chunks found new owners under a recent epoch. `detail`, encrypted to the file's
   * recipient, tells its readers which.
   * Who: an agent of any member: the source may be gone. When: under the current or the previous
   * epoch, not an older one than the file's. Effects: the replacement; a record shows the latest
   * `replacementsPerMemberMax` of each member. Event: `replaced`.
   * Errors: BAD_ARGUMENT, TOO_LARGE, NOT_FOUNDED, NOT_ALLOWED, NOT_FOUND, WRONG_EPOCH,
   * WRONG_RECEIPT, and the protocol's codes for receipts.
   */
  async RecordReplacement(ctx: Context, argument: string): Promise<null> {
    const input = parseArgument(argument, ARGUMENTS['ledger/records:RecordReplacement']);
    const { mspId: by, constitution } = await requireMember(ctx);
    const record = await requireRecord(ctx, input.fileId);
    const epoch = recentEpoch(await loadEpochs(ctx), input.epoch);
    if (input.epoch < record.epoch) {
      throw new Refusal('WRONG_EPOCH', `the file was placed under epoch ${record.epoch} already`);
    }
    const expected = {
      channel: ctx.stub.getChannelID(),
      fileId: input.fileId,
      chunkCount: record.chunkCount,
      epoch,
      source: record.source,
      policy: constitution.policy,
    };
    await checkReceipts(input.receipts, expected, peerLookup(ctx));
    const atMs = nowMs(ctx);
    const replacement: Replacement = { ...input, by, atMs };
    await putJson(ctx, KEY.replacement(input.fileId, by, atMs, ctx.stub.getTxID()), replacement);
    emitEvent(ctx, 'replaced', { fileId: input.fileId, epoch: input.epoch });
    return null;
  }

  /**
   * Anchors a gateway's running chain hash. Every anchor is kept by its count: a reading that was
   * changed afterwards no longer leads to the anchored head. Saying the last one again is harmless.
   * Who: an agent or gateway of a member, for a gateway of its own. When: any time; counts only grow, batches
   * never go back. Effects: the latest anchor, and the one of this count. Event: `anchored`.
   * Errors: BAD_ARGUMENT, NOT_FOUNDED, NOT_ALLOWED, WRONG_CHAIN.
   */
  async Anchor(ctx: Context, argument: string): Promise<null> {
    const input = parseArgument(argument, ARGUMENTS['ledger/records:Anchor']);
    const { mspId: source } = await requireMember(ctx, ...COLLECTORS);
    await requireGateway(ctx, peerLookup(ctx), source, input.gateway);
    const { gateway, batch, count, head } = input;
    const key = KEY.anchor(source, gateway);
    const before = await getJson<Anchor>(ctx, key);
    if (before !== null) {
      const isSame = count === before.count && batch === before.batch && head === before.head;
      if (isSame) return null;
      if (count <= before.count || batch < before.batch) {
        throw new Refusal(
          'WRONG_CHAIN',
          `expected more than ${before.count} readings in batch ${before.batch} or later, ` +
            `got ${count} in ${batch}`,
        );
      }
    }
    const anchor: Anchor = { ...input, source, atMs: nowMs(ctx) };
    await putJson(ctx, key, anchor);
    await putJson(ctx, KEY.anchorAt(source, gateway, count), anchor);
    emitEvent(ctx, 'anchored', { source, gateway, count });
    return null;
  }

  /**
   * A recorded file with what came later, or one that was given up, or null.
   * Who: anybody on the channel. Effects: none. Errors: BAD_ARGUMENT.
   */
  async GetRecord(ctx: Context, argument: string): Promise<FileRecord | null> {
    const { fileId } = parseArgument(argument, ARGUMENTS['ledger/records:GetRecord']);
    return readRecord(ctx, fileId);
  }

  /**
   * A recorded file's encrypted master table, or null.
   * Who: anybody on the channel. Effects: none. Errors: BAD_ARGUMENT.
   */
  async GetMasterTable(ctx: Context, argument: string): Promise<{ masterTable: string } | null> {
    const { fileId } = parseArgument(argument, ARGUMENTS['ledger/records:GetMasterTable']);
    return getJson<{ masterTable: string }>(ctx, KEY.masterTable(fileId));
  }

  /**
   * A source's files by the time of their manifests, in pages, with confirmations; late receipts
   * and replacements are in `GetRecord` only.
   * Who: anybody on the channel. Effects: none. Errors: BAD_ARGUMENT.
   */
  async ListRecords(ctx: Context, argument: string): Promise<ListResult> {
    const input = parseArgument(argument, ARGUMENTS['ledger/records:ListRecords']);
    const to = timeStart(input.toMs);
    const start = timeStart(input.fromMs);
    const from = [start, input.bookmark].sort().at(-1) ?? start;
    if (from >= to) return { files: [], bookmark: '' };
    const files: FileRecord[] = [];
    for await (const { place, value } of scan<{ fileId: Hex }>(ctx, KEY.timesOf(input.source), {
      from,
      to,
    })) {
      if (files.length >= input.limit) return { files, bookmark: place };
      const file = await readListed(ctx, value.fileId, input.source);
      if (file !== null) files.push(file);
    }
    return { files, bookmark: '' };
  }

  /**
   * Where a gateway's chain ends; seq 0 and 64 zeros before its first file.
   * Who: anybody on the channel. Effects: none. Errors: BAD_ARGUMENT.
   */
  async GetChain(ctx: Context, argument: string): Promise<ChainHead> {
    const { source, gateway } = parseArgument(argument, ARGUMENTS['ledger/records:GetChain']);
    return chainHead(ctx, source, gateway);
  }

  /**
   * A gateway's latest anchor, or null.
   * Who: anybody on the channel. Effects: none. Errors: BAD_ARGUMENT.
   */
  async GetAnchor(ctx: Context, argument: string): Promise<Anchor | null> {
    const { source, gateway } = parseArgument(argument, ARGUMENTS['ledger/records:GetAnchor']);
    return getJson<Anchor>(ctx, KEY.anchor(source, gateway));
  }

  /**
   * A gateway's anchors in order of their counts, from `fromCount` on, in pages.
   * Who: anybody on the channel. Effects: none. Errors: BAD_ARGUMENT.
   */
  async ListAnchors(ctx: Context, argument: string): Promise<AnchorList> {
    const input = parseArgument(argument, ARGUMENTS['ledger/records:ListAnchors']);
    const anchors: Anchor[] = [];
    const prefix = KEY.anchorsOf(input.source, input.gateway);
    const range = { from: countPlace(input.fromCount) };
    for await (const { value } of scan<Anchor>(ctx, prefix, range)) {
      if (anchors.length >= input.limit) return { anchors, nextCount: value.count };
      anchors.push(value);
    }
    return { anchors, nextCount: null };
  }
}

/** Checks and writes a run; the head moves on here, because reads do not see own writes. */
async function recordRun(ctx: Context, records: readonly RecordInput[]): Promise<void> {
  const { mspId: source, constitution } = await requireMember(ctx, ...COLLECTORS);
  const gateway = records[0]?.gateway ?? '';
  const peers = peerLookup(ctx);
  await requireGateway(ctx, peers, source, gateway);
  const epochs = await loadEpochs(ctx);
  const added = { source, recordedAtMs: nowMs(ctx), txId: ctx.stub.getTxID() };
  const seen = new Set<Hex>();
  let head = await chainHead(ctx, source, gateway);
  for (const record of records) {
    const { fileId } = record;
    if (record.gateway !== gateway) {
      throw new Refusal(
        'WRONG_CHAIN',
        `expected a run of ${gateway}, got one of ${record.gateway}`,
      );
    }
    if (seen.has(fileId)) throw new Refusal('ALREADY_EXISTS', `file ${fileId} is in the run twice`);
    seen.add(fileId);
    requireNext(head, record);
    const epoch = recentEpoch(epochs, record.epoch);
    const expected = {
      channel: ctx.stub.getChannelID(),
      fileId,
      chunkCount: record.chunkCount,
      epoch,
      source,
    };
    const policies = policiesFor(constitution, epochs, record.epoch);
    await checkUnderOneOf(policies, record, expected, peers, added.recordedAtMs);
    await putRecord(ctx, storedRecord(record, added), record.masterTable);
    head = { seq: record.seq, fileId };
  }
  await putJson(ctx, KEY.chain(source, gateway), head);
  emitEvent(ctx, 'recorded', {
    files: records.map(({ fileId, dealing }) => ({ fileId, holders: dealing.holders })),
  });
}
