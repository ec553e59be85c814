/** Readings made up for tests, and folders that vanish. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Reading } from '@blocktorrent/protocol/reading.ts';

/** Reading number `seq` of a sensor that has sent as many. */
export function aReading(seq: number, change: Partial<Reading> = {}): Reading {
  const body = { sensor: 't-1', seq, time: 1.7e12 + seq * 1000, value: seq / 2 };
  return {
    seq,
    receivedMs: 1.7e12 + seq * 1000 + 5,
    monotonicMs: seq * 1000,
    bootId: 'boot-1',
    clockSynchronised: true,
    topic: `site/cold-room-${seq % 3}/temperature/t-1`,
    qos: 1,
    dup: false,
    retain: false,
    payload: Buffer.from(JSON.stringify(body)),
    sensor: 't-1',
    deviceSeq: seq,
    deviceMs: body.time,
    duplicateOf: null,
    refusal: null,
    historical: false,
    samples: [],
    ...change,
  };
}

/** Readings `from` to `to`, both included. */
export function readings(from: number, to: number): Reading[] {
  return Array.from({ length: to - from + 1 }, (_, index) => aReading(from + index));
}

/** A new folder; the second value removes it. */
export function aFolder(): [path: string, remove: () => void] {
  const path = mkdtempSync(join(tmpdir(), 'blocktorrent-'));
  return [path, () => rmSync(path, { recursive: true, force: true })];
}
