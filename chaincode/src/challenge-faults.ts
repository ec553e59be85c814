/**
 * A wrong answer to a challenge between owners, brought to the ledger by who had asked.
 *
 * Everything that makes it a fault is checked: the answerer's signature, its receipt for the chunk
 * that both nonces draw, and that the answer admits a loss or differs from the right one. The right
 * one follows from the chunk, whose digests are in the manifest, whose hash is the fileId; chunk and
 * manifest come in the transient map, so every endorser compares and the ledger stays small.
 */
import { createHash } from 'node:crypto';
import { fromBase64, fromHex, toBase64, utf8 } from '@blocktorrent/protocol/bytes.ts';
import {
  type Answer,
  decodeAnswer,
  drawOf,
  judgeAnswer,
  verifyAnswer,
} from '@blocktorrent/protocol/challenge.ts';
import { chunkLengthOf, decodeInfo } from '@blocktorrent/protocol/chunking.ts';
import { digestChunk, digestsEqual } from '@blocktorrent/protocol/digest.ts';
import {
  CHALLENGE_TRANSIENT,
  type ChallengeFaultInput,
  type MspId,
} from '@blocktorrent/protocol/ledger-api.ts';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import { decodeManifest, fileIdOf, manifestChunkDigests } from '@blocktorrent/protocol/manifest.ts';
import { countingKeys } from '@blocktorrent/protocol/peer-keys.ts';
import { openReceipt, type Receipt, verifyReceipt } from '@blocktorrent/protocol/receipt.ts';
import { SIGNATURE_BYTES } from '@blocktorrent/protocol/signing.ts';
import type { Context } from 'fabric-contract-api';
import { peerLookup } from './consortium-state.ts';
import { putFault } from './fault-state.ts';
import { requireRecord, type StoredRecord } from './record-state.ts';
import { Refusal } from './refusal.ts';
import { canonicalJson, getJson, nowMs, putJson } from './state.ts';
import { KEY } from './state-keys.ts';
import { transient } from './transient.ts';

/** Checks what `challenger` brings and puts the fault on the ledger; returns the fault's id. */
export async function reportChallenge(
  ctx: Context,
  input: ChallengeFaultInput,
  challenger: MspId,
): Promise<string> {
  const record = await requireRecord(ctx, input.fileId);
  const answer = await requireAnswer(ctx, input, record, challenger);
  const receipt = await requireReceipt(ctx, input, record, answer);
  const hash = createHash('sha256').update(fromBase64(input.answer)).digest('hex');
  const key = KEY.challengeFault(input.fileId, answer.answerer, hash);
  if ((await getJson(ctx, key)) !== null) {
    throw new Refusal('ALREADY_EXISTS', `this answer of ${answer.answerer} is a fault already`);
  }
  const detail = `${answer.answerer}/${answer.peer}: ${flawOf(ctx, answer, receipt)}`;
  const evidence = toBase64(utf8(canonicalJson(input)));
  const { fileId } = input;
  const fault = {
    kind: 'challenge-failed',
    mspId: answer.answerer,
    fileId,
    detail,
    evidence,
  } as const;
  const faultId = await putFault(ctx, fault, { reporter: challenger });
  await putJson(ctx, key, { faultId, atMs: nowMs(ctx) });
  return faultId;
}

/** The answer, signed by a peer of the answerer's, to this challenger, about this file. */
async function requireAnswer(
  ctx: Context,
  input: ChallengeFaultInput,
  record: StoredRecord,
  challenger: MspId,
): Promise<Answer> {
  const bytes = fromBase64(input.answer);
  const { answerer, peer: name } = decodeAnswer(bytes);
  const peer = await peerLookup(ctx)(answerer, name);
  const keys = peer === null ? [] : countingKeys(peer, null);
  const signature = fromHex(input.signature, SIGNATURE_BYTES);
  const answer = verifyAnswer({ answer: bytes, signature }, keys);
  const pairs: readonly (readonly [string, unknown, unknown])[] = [
    ['channel', ctx.stub.getChannelID(), answer.channel],
    ['fileId', record.fileId, answer.fileId],
    ['chunkCount', record.chunkCount, answer.chunkCount],
    ['challenger', challenger, answer.challenger],
  ];
  for (const [what, wanted, got] of pairs) {
    if (wanted !== got) {
      throw new Refusal('BAD_ARGUMENT', `answer.${what}: expected ${wanted}, got ${got}`);
    }
  }
  return answer;
}

/** The answerer's receipt: one of the record, or another one that its peer has signed. */
async function requireReceipt(
  ctx: Context,
  { receipt: signed }: ChallengeFaultInput,
  record: StoredRecord,
  { answerer }: Answer,
): Promise<Receipt> {
  const receipt = openReceipt(signed);
  const peer = await peerLookup(ctx)(receipt.owner, receipt.peer);
  const isRecorded = record.receipts.some((one) => one.receipt === signed.receipt);
  // What the record has was checked then: a key that was revoked since ends no promise.
  const takenAtMs = isRecorded ? record.recordedAtMs : null;
  verifyReceipt(signed, peer === null ? [] : countingKeys(peer, takenAtMs));
  const { channel, fileId, chunkCount, owner } = receipt;
  const isFor =
    channel === ctx.stub.getChannelID() &&
    fileId === record.fileId &&
    chunkCount === record.chunkCount &&
    owner === answerer;
  if (!isFor) {
    throw new Refusal('WRONG_RECEIPT', `expected a receipt of ${answerer} for ${record.fileId}`);
  }
  return receipt;
}

/** What is wrong with the answer, in words; a Refusal NO_FAULT for a right one. */
function flawOf(ctx: Context, answer: Answer, receipt: Receipt): string {
  if (answer.hash.length === 0) {
    // Which chunk is drawn does not depend on their lengths.
    const blockBytes = () => LIMITS.blockBytes;
    judgeAnswer(answer, receipt, new Uint8Array(), blockBytes);
    return `it signed for chunk ${drawOf(answer, blockBytes).chunk} and says that it has lost it`;
  }
  const manifestBytes = transient(ctx, CHALLENGE_TRANSIENT.manifest, 1, LIMITS.manifestBytesMax);
  if (fileIdOf(manifestBytes) !== answer.fileId) {
    throw new Refusal('BAD_DIGEST', `transient.manifest is not the one of ${answer.fileId}`);
  }
  const manifest = decodeManifest(manifestBytes);
  const { pieceLength } = decodeInfo(manifest.info);
  const chunkBytes = (index: number) => chunkLengthOf(manifest.ciphertextBytes, pieceLength, index);
  const { chunk: index, block } = drawOf(answer, chunkBytes);
  const chunk = transient(ctx, CHALLENGE_TRANSIENT.chunk, 1, LIMITS.chunkBytesMax);
  if (!digestsEqual(digestChunk(chunk), manifestChunkDigests(manifest, index))) {
    throw new Refusal('BAD_DIGEST', `transient.chunk is not chunk ${index} of ${answer.fileId}`);
  }
  if (judgeAnswer(answer, receipt, chunk, chunkBytes) === 'wrong') {
    return `its answer for block ${block} of chunk ${index} is wrong`;
  }
  throw new Refusal('NO_FAULT', `the answer for block ${block} of chunk ${index} is right`);
}
