/**
 * kill -9 of the gateway's agent at every step, then restart: every reading that the broker has
 * from the sensors ends in exactly one recorded file, once among the rows that are no duplicates.
 */
import { setTimeout } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { compare } from '../../demo/compare.ts';
import { audit, type Stage, useCast } from '../support/cast.ts';

/** The agent is killed as soon as it logs a line that starts so; each step's start and end. */
const KILL_AT = [
  'connected to broker',
  'batch closed',
  'seal: started',
  'seal: done',
  'name: started',
  'name: done',
  'distribute: started',
  'distribute: done',
  'deposit: started',
  'deposit: about to be sent',
  'deposit: done',
  'record: started',
  'record: done',
  'settle: started',
  'settle: done',
];

describe('a gateway that is killed', () => {
  const stage = useCast({ batch: { maxAgeMs: 700 }, logLevel: 'debug' });

  /** Starts the gateway and kills it at the first log line that begins with `message`. */
  async function runUntil(message: string): Promise<void> {
    const { startAgent, source, processes } = stage();
    let seen: () => void = () => undefined;
    const reached = new Promise<void>((resolve) => {
      seen = resolve;
    });
    await startAgent(source, (line) => {
      if (line.includes(`"message":"${message}`)) seen();
    });
    await reached;
    await processes.end(`agent ${source}`, 'SIGKILL');
  }

  it('loses no acknowledged reading and records none twice, whichever step it died at', async () => {
    const cast = stage();
    const { processes, source } = cast;
    await processes.end(`agent ${source}`, 'SIGKILL');
    await cast.startSensors();
    for (const message of KILL_AT) await runUntil(message);
    await cast.startAgent(source);
    await processes.end('sensors', 'SIGTERM');
    await settled(cast);

    const report = await audit(cast, ['--source', source]);
    const verdict = compare(
      cast.sensorLog,
      report.files.map((file) => file.contentPath),
    );
    expect(report.ok).toBe(true);
    expect(verdict.sent).toBeGreaterThan(100);
    expect(verdict).toMatchObject({ missing: 0, altered: 0, recovered: verdict.sent });
  }, 240_000);
});

/** Waits until nothing is in the open batch, the broker's queue, or under way. */
async function settled(cast: Stage): Promise<void> {
  for (let quiet = 0, last = -1; quiet < 3; ) {
    await setTimeout(300);
    const status = await cast.status().catch(() => null);
    if (status === null) continue;
    await cast.closeBatch();
    const { available: _, void: __, ...underWay } = status.files;
    const busy = status.openReadings + Object.values(underWay).reduce((a, b) => a + b, 0);
    quiet = busy === 0 && status.readings === last ? quiet + 1 : 0;
    last = status.readings;
  }
}
