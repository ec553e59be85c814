/**
 * The control routes of the role `ingest`: dead letters, and readings as they come.
 * Bodies are checked here; an agent without the role says so.
 */
import { once } from 'node:events';
import type { Reading } from '@blocktorrent/protocol/reading.ts';
import { filterFault, TOPIC_FILTER } from '@blocktorrent/protocol/topic-filter.ts';
import type { Gateway } from './gateway.ts';
import { type ControlCall, type ControlHandler, refusal } from './runtime/control.ts';

export interface DeadLettersBody {
  /** 1..1000. */
  readonly limit: number;
  /** MQTT topic filter; null for all. */
  readonly topic: string | null;
}
/** A dead letter, its payload as text where it is text. */
export interface DeadLetterLine extends Shown {
  readonly batch: number;
  readonly seq: number;
  readonly receivedMs: number;
  readonly topic: string;
  readonly refusal: string;
}
export interface TapBody {
  /** MQTT topic filter. */
  readonly topic: string;
}
/** A reading that was committed just now. */
export interface TapLine extends Shown {
  readonly seq: number;
  readonly receivedMs: number;
  readonly topic: string;
  readonly sensor: string | null;
  readonly deviceSeq: number | null;
  readonly deviceMs: number | null;
  readonly duplicateOf: number | null;
  readonly refusal: string | null;
  readonly historical: boolean;
  readonly samples: Reading['samples'];
  /** Readings left out before this one, because there were too many to show, or to read. */
  readonly skipped: number;
}
/** A payload, or its beginning, as JSON can hold it. */
interface Shown {
  readonly bytes: number;
  readonly payload: string;
  readonly encoding: 'utf8' | 'base64';
}

const LIMIT_MAX = 1000;
const HEAD_BYTES = 512;
const SAMPLES_SHOWN_MAX = 50;
/** Readings shown a second, to one tap. */
const TAP_LINES_MAX = 200;

/** Routes `dead-letters` and `tap`. */
export function gatewayRoutes(gateway: Gateway | null): Record<string, ControlHandler> {
  return {
    'dead-letters': async (body) => deadLetters(body, present(gateway)),
    tap: async (body, call) => tap(body, call, present(gateway)),
  };
}

async function deadLetters(body: unknown, gateway: Gateway): Promise<DeadLetterLine[]> {
  const { limit, topic = null } = Object(body) as { limit?: unknown; topic?: unknown };
  if (typeof limit !== 'number' || !Number.isInteger(limit) || limit < 1 || limit > LIMIT_MAX) {
    throw refusal(`dead-letters: "limit" must be a whole number from 1 to ${LIMIT_MAX}`);
  }
  const filter = topic === null ? null : filterOf(topic, 'dead-letters');
  const letters = await gateway.deadLetters({ limit, filter, headBytes: HEAD_BYTES });
  return letters.map(({ head, bytes, ...letter }) => ({ ...letter, ...shown(head, bytes) }));
}

/** Shows readings until the caller goes away. */
async function tap(body: unknown, call: ControlCall, gateway: Gateway): Promise<null> {
  const filter = filterOf((Object(body) as { topic?: unknown }).topic, 'tap');
  let second = 0;
  let shownNow = 0;
  let skipped = 0;
  const untap = gateway.taps.add(filter, (reading) => {
    const now = Math.floor(reading.receivedMs / 1000);
    if (now !== second) shownNow = 0;
    second = now;
    shownNow += 1;
    const isShown = shownNow <= TAP_LINES_MAX && call.progress(lineOf(reading, skipped));
    skipped = isShown ? 0 : skipped + 1;
  });
  try {
    if (!call.signal.aborted) await once(call.signal, 'abort');
  } finally {
    untap();
  }
  return null;
}

function lineOf(reading: Reading, skipped: number): TapLine {
  const { seq, receivedMs, topic, sensor, deviceSeq, deviceMs, payload } = reading;
  const { duplicateOf, refusal: why, historical } = reading;
  return {
    seq,
    receivedMs,
    topic,
    sensor,
    deviceSeq,
    deviceMs,
    duplicateOf,
    refusal: why,
    historical,
    samples: reading.samples.slice(0, SAMPLES_SHOWN_MAX),
    skipped,
    ...shown(payload.subarray(0, HEAD_BYTES), payload.length),
  };
}

function shown(head: Uint8Array, bytes: number): Shown {
  try {
    // A character that the cut goes through is no reason to show the whole as base64.
    const decoder = new TextDecoder('utf-8', { fatal: true });
    const payload = decoder.decode(head, { stream: head.length < bytes });
    return { bytes, payload, encoding: 'utf8' };
  } catch {
    return { bytes, payload: Buffer.from(head).toString('base64'), encoding: 'base64' };
  }
}

function filterOf(topic: unknown, route: string): string {
  const fault = typeof topic === 'string' ? filterFault(topic) : 'it is no text';
  if (typeof topic === 'string' && fault === null) return topic;
  throw refusal(`${route}: "topic" must be ${TOPIC_FILTER}; here ${fault}`);
}

function present(gateway: Gateway | null): Gateway {
  if (gateway !== null) return gateway;
  throw refusal('this agent takes no readings: it has not the role ingest, or no section mqtt');
}
