/** Facts about the machine, and whether the agent says that it serves. */
import { tmpdir } from 'node:os';
import { describe, expect, it } from 'vitest';
import { gaugeHost } from '../../agent/src/measure.ts';
import { readiness } from '../../agent/src/readiness.ts';
import { flashWear, HostWatch, hostFacts, throttled } from '../../agent/src/runtime/host.ts';
import { silentLog } from '../../agent/src/runtime/log.ts';
import { createMetrics } from '../../agent/src/runtime/metrics.ts';

describe('the machine', () => {
  it('is looked at again and again, and never after the end', async () => {
    const seen: number[] = [];
    const watch = new HostWatch({
      dataDir: tmpdir(),
      log: silentLog,
      ...{ firstMs: 1, everyMs: 1 },
      onFacts: (facts) => seen.push(facts.diskFreeBytes),
    });
    expect(watch.facts).toBeNull();
    watch.start();
    await expect.poll(() => seen.length).toBeGreaterThan(1);
    watch.stop();
    const { length } = seen;
    await hostFacts(tmpdir());
    expect(seen.length).toBe(length);
    expect(seen[0]).toBeGreaterThan(0);
  });

  it('has memory and a disk; what is not known is null, and has no metric', async () => {
    const facts = await hostFacts(tmpdir());
    expect(facts.memoryAvailableBytes).toBeGreaterThan(0);
    expect(facts.memoryAvailableBytes).toBeLessThanOrEqual(facts.memoryBytes);
    expect(facts.diskFreeBytes).toBeLessThanOrEqual(facts.diskBytes);
    const metrics = createMetrics();
    const known = { temperatureCelsius: 61.5, throttled: true, flashWear: null };
    gaugeHost({ ...facts, ...known }, metrics);
    const text = await metrics.text();
    expect(text).toContain('blocktorrent_host_temperature_celsius 61.5');
    expect(text).toContain('blocktorrent_host_throttled 1');
    expect(text).toContain(`blocktorrent_host_disk_bytes ${facts.diskBytes}`);
    expect(text).not.toMatch(/^blocktorrent_host_flash_wear_ratio/m);
    gaugeHost({ ...facts, temperatureCelsius: null, throttled: null, flashWear: 0.1 }, metrics);
    const later = await metrics.text();
    expect(later).toMatch(/^blocktorrent_host_flash_wear_ratio 0.1$/m);
    expect(later).not.toMatch(/^blocktorrent_host_(temperature|throttled)/m);
  });

  it('tells throttling now from throttling before, and nothing where nothing is told', () => {
    expect([throttled('50005\n'), throttled('50000\n'), throttled('')]).toEqual([
      true,
      false,
      null,
    ]);
  });

  it('tells the wear of its most worn flash memory', () => {
    expect(flashWear([])).toBeNull();
    expect(flashWear(['0x01 0x03\n', '0x00 0x00'])).toBe(0.2);
    expect(flashWear(['0x0b 0x01'])).toBe(1);
  });
});

describe('/readyz', () => {
  const broker = {
    url: 'mqtt://b',
    connected: true,
    reason: null,
    sessionsLost: 0,
    sessionLostMs: null,
  };
  const well = {
    ...{ epoch: 1, ledgerTrouble: null, brokers: [broker], disk: null },
    ...{ doors: [], sources: [] },
  };

  it('is well where the ledger is known and every broker subscribed', () => {
    expect(readiness(well)).toEqual({ ok: true, reasons: [] });
    const disk = { admission: 'all', alarm: 'batch 3 is damaged' } as never;
    expect(readiness({ ...well, disk })).toEqual({ ok: true, reasons: [] });
  });

  it('names everything that is missing', () => {
    const disk = { admission: 'none', alarm: 'the disk is full' } as never;
    const brokers = [{ ...broker, connected: false, reason: 'ECONNREFUSED' }];
    const sources = [{ kind: 'folder' as const, name: '/in', reason: 'no permission' }];
    const doors = [{ name: 'overlay', reason: 'EADDRNOTAVAIL' }];
    const ledgerTrouble = { sinceMs: 1, reason: 'no peer answers' };
    const bad = { epoch: null, ledgerTrouble, brokers, disk, doors, sources };
    expect(readiness(bad).reasons).toEqual([
      expect.stringContaining('the ledger has never been reached'),
      'the ledger does not answer: no peer answers',
      'not subscribed at mqtt://b: ECONNREFUSED',
      '/in: no permission',
      'overlay does not listen: EADDRNOTAVAIL',
      'the disk is full',
    ]);
  });
});
