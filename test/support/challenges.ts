/**
 * A file whose manifest and chunks are known, recorded in a trial consortium, and an owner's answers
 * to challenges about it.
 */
import { createHash } from 'node:crypto';
import { identityFromRandom, recipientOf } from '@blocktorrent/protocol/age.ts';
import { bitfieldOf } from '@blocktorrent/protocol/bitfield.ts';
import { concatBytes, toBase64, toHex } from '@blocktorrent/protocol/bytes.ts';
import { type Answer, answerHash, drawOf, signAnswer } from '@blocktorrent/protocol/challenge.ts';
import { encodeInfo } from '@blocktorrent/protocol/chunking.ts';
import { digestChunk, packDigests } from '@blocktorrent/protocol/digest.ts';
import {
  CHALLENGE_TRANSIENT,
  type ChallengeFaultInput,
} from '@blocktorrent/protocol/ledger-api.ts';
import { CHAIN_ROOT, encodeManifest, fileIdOf } from '@blocktorrent/protocol/manifest.ts';
import { agentOf, CHANNEL, type ConsortiumOn, orgName, type TrialLedger } from './consortium.ts';

export const CHUNKS = 5;
export const ANSWERER = orgName(2);
export const CHALLENGER = orgName(3);
const CHUNK_BYTES = 16_384;

/** What a challenger brings to the ledger, and the chunk that it is about. */
export interface Challenged {
  readonly input: ChallengeFaultInput;
  readonly chunk: Uint8Array;
}

/** A recorded file of the first organisation, and what ANSWERER answers about it. */
export interface ChallengedFile {
  readonly fileId: string;
  readonly manifest: Uint8Array;
  readonly chunks: readonly Uint8Array[];
  /** A right answer, as `change` alters it before it is signed. */
  readonly answered: (change?: Partial<Answer>) => Challenged;
  readonly report: (
    challenged: Challenged,
    options?: { readonly by?: number; readonly withManifest?: Uint8Array },
  ) => Promise<{ result: { faultId: string } }>;
}

/** Records such a file. */
export async function challengedFile<F extends TrialLedger>(
  consortium: ConsortiumOn<F>,
): Promise<ChallengedFile> {
  const { fabric, random } = consortium;
  const chunks = Array.from({ length: CHUNKS }, () => random.bytes(CHUNK_BYTES));
  const manifest = manifestOf(chunks, recipientOf(identityFromRandom(random.bytes(32))));
  const fileId = fileIdOf(manifest);
  const { record } = await consortium.file(orgName(1), CHUNKS, 'gateway-1', fileId);
  await fabric.submit(agentOf(1), 'ledger/records:Record', record);
  const receipt = record.receipts.find(({ mspId }) => mspId === ANSWERER);
  if (receipt === undefined) throw new Error(`${ANSWERER} owns no chunk`);
  // Three others own everything between them in a consortium of four.
  const asked = bitfieldOf([0, 1, 2, 3, 4], CHUNKS);
  const answered = (change: Partial<Answer> = {}): Challenged => {
    const terms = {
      ...{ channel: CHANNEL, fileId, challenger: CHALLENGER, answerer: ANSWERER },
      ...{ chunkCount: CHUNKS, chunks: asked },
      ...{ challengerNonce: random.bytes(32), answererNonce: random.bytes(32) },
      ...change,
    };
    const { seed, chunk, block } = drawOf(terms, () => CHUNK_BYTES);
    const bytes = chunks[chunk] ?? new Uint8Array();
    const hash = answerHash(seed, bytes);
    const answer = { version: 1 as const, peer: 'admin', chunk, block, hash, ...terms, ...change };
    const signed = signAnswer(answer, consortium.seedOf(answer.answerer));
    const signature = toHex(signed.signature);
    return { input: { fileId, receipt, answer: toBase64(signed.answer), signature }, chunk: bytes };
  };
  const report: ChallengedFile['report'] = ({ input, chunk }, options = {}) =>
    fabric.submit(agentOf(options.by ?? 3), 'ledger/audits:ReportChallenge', input, {
      transient: {
        [CHALLENGE_TRANSIENT.manifest]: options.withManifest ?? manifest,
        [CHALLENGE_TRANSIENT.chunk]: chunk,
      },
    });
  return { fileId, manifest, chunks, answered, report };
}

function manifestOf(chunks: readonly Uint8Array[], recipient: string): Uint8Array {
  const ciphertext = concatBytes(...chunks);
  return encodeManifest({
    version: 1,
    ...{ channel: CHANNEL, source: orgName(1), gateway: 'gateway-1', kind: 'batch', epoch: 1 },
    ...{ seq: 1, previous: CHAIN_ROOT, timeMs: 1, recipient },
    ciphertextBytes: ciphertext.length,
    ciphertextSha256: createHash('sha256').update(ciphertext).digest(),
    info: encodeInfo({
      length: ciphertext.length,
      name: 'x',
      pieceLength: CHUNK_BYTES,
      pieces: concatBytes(...chunks.map((one) => createHash('sha1').update(one).digest())),
    }),
    digests: concatBytes(...chunks.map((one) => packDigests(digestChunk(one)))),
  });
}
