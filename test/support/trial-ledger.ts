/**
 * The ledger as upkeep needs it, in memory: records with receipts, re-placements, faults. What the
 * contracts check of a re-placement's receipts is checked here too.
 */
import { fromBase64, fromHex, toBase64, utf8 } from '@blocktorrent/protocol/bytes.ts';
import {
  decodeAnswer,
  drawOf,
  judgeAnswer,
  verifyAnswer,
} from '@blocktorrent/protocol/challenge.ts';
import { chunkLengthOf, decodeInfo } from '@blocktorrent/protocol/chunking.ts';
import { digestChunk, digestsEqual } from '@blocktorrent/protocol/digest.ts';
import type {
  Argument,
  ChallengeFaultInput,
  Fault,
  FileRecord,
  Hex,
  MspId,
  Result,
  SignedReceipt,
  TransactionName,
} from '@blocktorrent/protocol/ledger-api.ts';
import { decodeManifest, fileIdOf, manifestChunkDigests } from '@blocktorrent/protocol/manifest.ts';
import { verifyReceipt } from '@blocktorrent/protocol/receipt.ts';
import type { Ledger, LedgerEvent, Transient } from '../../agent/src/ledger/ledger.ts';
import type { TrialMembership } from './membership.ts';
import type { TrialFile } from './sealed-file.ts';

export class TrialLedger {
  readonly records = new Map<Hex, FileRecord>();
  readonly faults: (Fault & { readonly reporter: MspId })[] = [];
  /** Everything that was told to everybody, in order. */
  readonly events: LedgerEvent[] = [];
  /** No transaction and no query gets through while this is set. */
  down = false;
  /** Queries are answered, and no transaction gets through. */
  readOnly = false;
  /** So many answers to transactions are lost on their way back, after they have taken effect. */
  answersToLose = 0;
  /** Queries, in order. */
  readonly asked: TransactionName[] = [];
  readonly #membership: TrialMembership;
  readonly #onEvent: () => void;

  constructor(membership: TrialMembership, onEvent: () => void) {
    this.#membership = membership;
    this.#onEvent = onEvent;
  }

  /** Records a file with the receipts of its owners. */
  record(file: TrialFile, receipts: readonly SignedReceipt[]): void {
    const { fileId, manifest } = file;
    const record = {
      fileId,
      receipts,
      source: manifest.source,
      epoch: manifest.epoch,
      timeMs: manifest.timeMs,
      recordedAtMs: manifest.timeMs,
      void: null,
      replacements: [],
    };
    // The part of a record that upkeep reads.
    this.records.set(fileId, record as unknown as FileRecord);
    this.#emit('recorded', { files: [{ fileId, holders: [] }] });
  }

  /** The ledger as one organisation reaches it. */
  as(mspId: MspId): Pick<Ledger, 'evaluate' | 'submit'> {
    return {
      evaluate: async (name, argument) => this.#answer(name, argument) as never,
      submit: async (name, argument, options) => {
        const result = this.#take(mspId, name, argument, options?.transient) as never;
        if (this.answersToLose === 0) return { result, txId: 'tx' };
        this.answersToLose -= 1;
        throw new Error('commit: the answer was lost');
      },
    };
  }

  #answer<T extends TransactionName>(name: T, argument: Argument<T>): unknown {
    if (this.down) throw new Error('the ledger is down');
    this.asked.push(name);
    if (name === 'ledger/records:GetRecord') {
      const { fileId } = argument as Argument<'ledger/records:GetRecord'>;
      return this.records.get(fileId) ?? null;
    }
    if (name === 'ledger/consortium:ListFaults') {
      const { mspId } = argument as Argument<'ledger/consortium:ListFaults'>;
      return this.faults.filter((fault) => fault.mspId === mspId);
    }
    if (name === 'ledger/records:ListRecords') {
      const { source } = argument as Argument<'ledger/records:ListRecords'>;
      const files = [...this.records.values()].filter((record) => record.source === source);
      const listed = files.map((record) => ({ ...record, replacements: [] }));
      return { files: listed, bookmark: '' } satisfies Result<'ledger/records:ListRecords'>;
    }
    throw new Error(`the trial ledger has no ${name}`);
  }

  #take<T extends TransactionName>(
    by: MspId,
    name: T,
    argument: Argument<T>,
    transient?: Transient,
  ): null {
    if (this.down || this.readOnly) throw new Error('the ledger is down');
    if (name === 'ledger/consortium:ReportFault') {
      this.faults.push({ ...(argument as Fault), reporter: by });
      this.#emit('consortium-changed', { what: 'fault' });
      return null;
    }
    if (name === 'ledger/audits:ReportChallenge') {
      this.#reportChallenge(by, argument as ChallengeFaultInput, transient);
      return null;
    }
    if (name !== 'ledger/records:RecordReplacement') {
      throw new Error(`the trial ledger has no ${name}`);
    }
    const input = argument as Argument<'ledger/records:RecordReplacement'>;
    const record = this.records.get(input.fileId);
    if (record === undefined) throw new Error('NOT_FOUND');
    for (const signed of input.receipts) {
      const keys = this.#membership.keysOf(signed.mspId, signed.peer);
      const receipt = verifyReceipt(signed, keys);
      if (receipt.epoch !== input.epoch || input.epoch !== this.#membership.epoch()) {
        throw new Error(`WRONG_EPOCH ${receipt.epoch}`);
      }
    }
    const replacement = { ...input, by, atMs: Date.now() };
    const replacements = [...record.replacements, replacement];
    this.records.set(input.fileId, { ...record, replacements });
    this.#emit('replaced', { fileId: input.fileId, epoch: input.epoch });
    return null;
  }

  /** A third party's check: nothing but what was brought, and the keys on the ledger. */
  #reportChallenge(by: MspId, input: ChallengeFaultInput, transient: Transient = {}): void {
    const keysOf = (mspId: MspId, peer: string) => this.#membership.keysOf(mspId, peer);
    const bytes = fromBase64(input.answer);
    const { answerer, peer } = decodeAnswer(bytes);
    const signed = { answer: bytes, signature: fromHex(input.signature) };
    const answer = verifyAnswer(signed, keysOf(answerer, peer));
    const { receipt } = input;
    const promise = verifyReceipt(receipt, keysOf(receipt.mspId, receipt.peer));
    const { manifest: manifestBytes = new Uint8Array(), chunk = new Uint8Array() } = transient;
    if (answer.hash.length > 0) {
      if (fileIdOf(manifestBytes) !== input.fileId) throw new Error('BAD_DIGEST');
      const manifest = decodeManifest(manifestBytes);
      const { pieceLength } = decodeInfo(manifest.info);
      const lengthOf = (index: number) =>
        chunkLengthOf(manifest.ciphertextBytes, pieceLength, index);
      const { chunk: index } = drawOf(answer, lengthOf);
      const right = manifestChunkDigests(manifest, index);
      if (!digestsEqual(digestChunk(chunk), right)) throw new Error('BAD_DIGEST');
      if (judgeAnswer(answer, promise, chunk, lengthOf) !== 'wrong') throw new Error('NO_FAULT');
    }
    const { fileId } = input;
    const detail = answer.hash.length > 0 ? 'wrong' : 'lost';
    const evidence = toBase64(utf8(JSON.stringify(input)));
    const kind = 'challenge-failed';
    this.faults.push({ kind, mspId: answerer, fileId, detail, evidence, reporter: by });
    this.#emit('consortium-changed', { what: 'fault' });
  }

  #emit(name: LedgerEvent['name'], payload: LedgerEvent['payload']): void {
    this.events.push({ name, payload, txId: 'tx', blockNumber: 1n } as LedgerEvent);
    this.#onEvent();
  }
}
