/**
 * Chaincode events without a gap and without a repetition: from the checkpoint, over lost
 * connections and changing peers, until aborted. An event counts as dealt with when the next one
 * is asked for.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { LedgerEventName, LedgerEvents } from '@blocktorrent/protocol/ledger-api.ts';
import type { ChaincodeEvent, CloseableAsyncIterable } from '@hyperledger/fabric-gateway';
import { CheckpointFile } from './checkpoint-file.ts';
import type { EventsOptions, LedgerEvent } from './ledger.ts';

const RECONNECT_MS = 100;
const RECONNECT_MS_MAX = 5_000;

/** One stream of raw events. */
export interface RawEvents {
  readonly stream: CloseableAsyncIterable<ChaincodeEvent>;
  /** After so long the stream is given up for one at a better peer; null: this one is best. */
  readonly leaveAfterMs: number | null;
  /** The stream is over: why it broke, or null where we left it. */
  readonly onEnd: (broke: string | null) => void;
}

/**
 * Opens a stream of raw events after a checkpoint at the best peer that is up, or null. `failed`:
 * how many streams in a row broke before they gave anything.
 */
export type OpenEvents = (
  checkpoint: CheckpointFile,
  startBlock: bigint | undefined,
  failed: number,
) => Promise<RawEvents | null>;

/** Where an event that cannot be read is reported. */
export interface EventLog {
  warn(message: string, fields?: Record<string, unknown>): void;
}

const NAMES: ReadonlySet<string> = new Set<LedgerEventName>([
  'consortium-changed',
  'proposed',
  'proposal-voted',
  'recorded',
  'voided',
  'receipts',
  'replaced',
  'anchored',
  'confirmed',
  'withdrawn',
  'audit-requested',
  'inspection-drawn',
  'audit-voted',
  'audit-released',
  'audit-closed',
]);

/**
 * Yields events until the signal aborts; never throws because a peer went away. Before the first
 * event of a follower that began with "now" there is no position to resume from: what happens
 * while it is disconnected then is missed. Who must not miss anything begins with `fromStart`.
 */
export async function* followEvents(
  open: OpenEvents,
  { signal, checkpointFile, fromStart, channel }: EventsOptions & { readonly channel: string },
  log: EventLog,
): AsyncGenerator<LedgerEvent> {
  const checkpoint = await CheckpointFile.open(checkpointFile ?? null, channel);
  const startBlock = fromStart === true ? 0n : undefined;
  let pauseMs = RECONNECT_MS;
  let failed = 0;
  while (!signal.aborted) {
    const raws = await open(checkpoint, startBlock, failed).catch((error: unknown) => {
      log.warn('event stream does not open, trying again', { reason: String(error) });
      return null;
    });
    failed += 1;
    for await (const raw of untilBroken(raws, signal, log)) {
      pauseMs = RECONNECT_MS;
      failed = 0;
      const event = decode(raw, log);
      if (event !== null) {
        yield event;
      }
      await checkpoint.advance(raw.blockNumber, raw.transactionId);
    }
    await pauseUnless(signal, pauseMs);
    pauseMs = Math.min(pauseMs * 2, RECONNECT_MS_MAX);
  }
}

/** The stream's events; its end, whatever the reason, ends the iteration. */
async function* untilBroken(
  raws: RawEvents | null,
  signal: AbortSignal,
  log: EventLog,
): AsyncGenerator<ChaincodeEvent> {
  if (raws === null) {
    return;
  }
  const { stream, leaveAfterMs, onEnd } = raws;
  let leaving = false;
  let broke: string | null = null;
  const close = () => {
    leaving = true;
    stream.close();
  };
  const timer = leaveAfterMs === null ? undefined : setTimeout(close, leaveAfterMs);
  signal.addEventListener('abort', close);
  try {
    const iterator = stream[Symbol.asyncIterator]();
    while (!signal.aborted) {
      const next = await iterator.next();
      if (next.done === true) {
        if (!leaving) broke = 'the peer ended the stream of events';
        return;
      }
      yield next.value;
    }
  } catch (error) {
    if (!leaving) {
      broke = String(error);
      log.warn('event stream broke, reconnecting', { reason: broke });
    }
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', close);
    stream.close();
    onEnd(signal.aborted ? null : broke);
  }
}

function decode(raw: ChaincodeEvent, log: EventLog): LedgerEvent | null {
  if (!isName(raw.eventName)) {
    log.warn('unknown ledger event passed over', { name: raw.eventName, txId: raw.transactionId });
    return null;
  }
  try {
    return eventOf(raw.eventName, JSON.parse(Buffer.from(raw.payload).toString()), raw);
  } catch (error) {
    const fields = { name: raw.eventName, txId: raw.transactionId, reason: String(error) };
    log.warn('unreadable ledger event passed over', fields);
    return null;
  }
}

/** Name and payload belong together: the contracts emit them so. */
function eventOf<N extends LedgerEventName>(
  name: N,
  payload: LedgerEvents[N],
  { transactionId: txId, blockNumber }: ChaincodeEvent,
): Extract<LedgerEvent, { name: N }> {
  return { name, payload, txId, blockNumber } as Extract<LedgerEvent, { name: N }>;
}

function isName(name: string): name is LedgerEventName {
  return NAMES.has(name);
}

async function pauseUnless(signal: AbortSignal, ms: number): Promise<void> {
  try {
    await pause(ms, undefined, { signal });
  } catch (error) {
    if (!signal.aborted) {
      throw error;
    }
  }
}
