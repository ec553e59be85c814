/** The runtime adapter: what is logged, counted, started and stopped. */
import { execFileSync } from 'node:child_process';
import { get } from 'node:http';
import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../agent/src/runtime/clock.ts';
import { startHttp } from '../../agent/src/runtime/http.ts';
import { Lifecycle, signalsOf } from '../../agent/src/runtime/lifecycle.ts';
import { createLog, silentLog, withPriorities } from '../../agent/src/runtime/log.ts';
import { METRICS, metricName } from '../../agent/src/runtime/metric-table.ts';
import { createMetrics } from '../../agent/src/runtime/metrics.ts';
import { MigrationError, migrate } from '../../agent/src/runtime/migrate.ts';

function captured(level: 'debug' | 'info' = 'info') {
  const lines: string[] = [];
  const stream = { write: (line: string) => lines.push(line) };
  const log = createLog({ level, stream, fields: { component: 'test' } });
  return { log, lines, last: () => JSON.parse(lines.at(-1) ?? '{}') as Record<string, unknown> };
}
const IDENTITY = `AGE-SECRET-KEY-1${'Q'.repeat(58)}`;

describe('the log', () => {
  it('writes one JSON line with time, level, component, message and fields', () => {
    const { log, lines, last } = captured();
    log.child({ batch: 7 }).info('sealed', { chunks: 200 });
    expect(lines).toHaveLength(1);
    expect(lines[0]?.endsWith('\n')).toBe(true);
    const { time, ...rest } = last();
    expect(new Date(String(time)).toISOString()).toBe(time);
    expect(rest).toEqual({
      level: 'info',
      component: 'test',
      batch: 7,
      message: 'sealed',
      chunks: 200,
    });
  });

  it('names one component on each line, also where nobody said which', () => {
    const lines: string[] = [];
    const log = createLog({ stream: { write: (line: string) => lines.push(line) } });
    log.info('a');
    log.child({ component: 'store' }).child({ component: 'repair', id: 1 }).info('b');
    const components = lines.map((line) => line.match(/"component":"\w+"/g));
    expect(components).toEqual([['"component":"agent"'], ['"component":"repair"']]);
  });

  it('tells the journal how urgent each line is, in the way of sd-daemon(3)', () => {
    const lines: string[] = [];
    const stream = withPriorities({ write: (line: string) => lines.push(line) });
    const log = createLog({ level: 'debug', stream });
    log.debug('a');
    log.child({ x: 1 }).info('b');
    log.warn('c');
    log.error('d');
    expect(lines.map((line) => line.slice(0, 4))).toEqual(['<7>{', '<6>{', '<4>{', '<3>{']);
  });

  it('writes nothing below its level', () => {
    const { log, lines } = captured();
    log.debug('no');
    expect(lines).toEqual([]);
  });

  it('writes ten lines of one trouble, says how many it left out, and begins anew once that is over', async () => {
    const lines: Record<string, unknown>[] = [];
    const stream = { write: (line: string) => lines.push(JSON.parse(line)) };
    const log = createLog({ stream, repeatsMs: 40 });
    const part = log.child({ component: 'deposit' });
    for (let id = 0; id < 300; id += 1) part.warn('failed', { id });
    expect(lines.map(({ id }) => id)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    part.warn('failed', { code: 'clock' });
    log.child({ component: 'record' }).warn('failed');
    part.error('failed');
    for (let id = 0; id < 20; id += 1) part.info('done');
    expect(lines).toHaveLength(33);
    await expect.poll(() => lines.length).toBe(34);
    expect(lines.at(-1)).toMatchObject({ level: 'warn', message: 'failed', leftOut: 290 });
    const begins = () => {
      const { length } = lines;
      for (let id = 0; id < 3; id += 1) part.warn('failed', { id });
      return lines.length - length === 3;
    };
    await expect.poll(begins).toBe(true);
  });

  it('at level debug leaves nothing out', () => {
    const { log, lines } = captured('debug');
    for (let id = 0; id < 300; id += 1) log.warn('failed', { id });
    expect(lines).toHaveLength(300);
  });

  it.each([
    'pin',
    'key',
    'overlayKey',
    'shard',
    'shards',
    'identity',
    'payload',
    'password',
    'shard_bytes',
    'entropy',
    'plaintext',
  ])('never holds what is under the name %s', (name) => {
    const { log, lines } = captured();
    const secret = 'c0ffee';
    log.info('x', { [name]: secret, deep: { list: [{ [name]: [secret] }] } });
    log.child({ [name]: secret }).info('y');
    expect(lines.join('')).not.toContain(secret);
    expect(lines.join('')).toContain('[redacted]');
  });

  it('tells of keys and shards what is no secret: counts, files, hashes', () => {
    const { log, last } = captured();
    log.info('x', { shards: 3, keyFile: '/etc/k.pem', shardHash: 'ab', payloadBytes: 12 });
    expect(last()).toMatchObject({
      shards: 3,
      keyFile: '/etc/k.pem',
      shardHash: 'ab',
      payloadBytes: 12,
    });
  });

  it('never holds bytes, age identities or private keys, wherever they are', () => {
    const { log, lines } = captured('debug');
    const pem = '-----BEGIN PRIVATE KEY-----\nMIIsecret\n-----END PRIVATE KEY-----';
    log.info(`opened with ${IDENTITY}`, {
      note: pem,
      data: new Uint8Array([1, 2]),
      b: Buffer.from('hi'),
    });
    log.error('x', { error: new Error(`bad ${IDENTITY}`, { cause: new Error(pem) }) });
    const text = lines.join('');
    expect(text).not.toContain('AGE-SECRET-KEY-1');
    expect(text).not.toContain('MIIsecret');
    expect(text).toContain('[2 bytes]');
    expect(text).not.toContain('"data":{"0"');
  });

  it('tells an error by name, message, code and cause, with its stack only at debug', () => {
    const error = Object.assign(new TypeError('no', { cause: new Error('why') }), { code: 'E1' });
    const { log, last } = captured();
    log.warn('x', { error });
    expect(last().error).toEqual({
      name: 'TypeError',
      message: 'no',
      code: 'E1',
      cause: { name: 'Error', message: 'why' },
    });
    const debug = captured('debug');
    debug.log.warn('x', { error });
    expect(JSON.stringify(debug.last().error)).toContain('runtime.test.ts');
  });

  it('survives fields that refer to themselves, and bigints', () => {
    const { log, last } = captured();
    const loop: Record<string, unknown> = { block: 5n };
    loop.loop = loop;
    log.info('x', loop);
    expect(last().block).toBe('5');
  });
});

describe('metrics', () => {
  it('have names by convention, a help text, and each row once', async () => {
    const text = await createMetrics().text();
    for (const key of Object.keys(METRICS) as (keyof typeof METRICS)[]) {
      const name = metricName(key);
      expect(name).toMatch(/^blocktorrent_[a-z]+(_[a-z]+)*$/);
      expect(text.split(`# HELP ${name} `)).toHaveLength(2);
      expect(METRICS[key].help).toMatch(/^[A-Z0-9].*\.$/);
      if (METRICS[key].kind === 'histogram') expect(name).toMatch(/_seconds$/);
    }
  });

  it('count by label, sum over labels, and say so to Prometheus', async () => {
    const metrics = createMetrics();
    metrics.add('distributeReceipts', 100, { msp: 'Org2MSP' });
    metrics.add('distributeReceipts', 20, { msp: 'Org3MSP' });
    metrics.set('batchOpenReadings', 5);
    metrics.observe('ingestCommitSeconds', 0.002);
    expect(await metrics.total('distributeReceipts')).toBe(120);
    expect(await metrics.total('batchOpenReadings')).toBe(5);
    const text = await metrics.text();
    expect(text).toContain('blocktorrent_distribute_receipts_total{msp="Org2MSP"} 100\n');
    expect(text).toContain('blocktorrent_ingest_commit_seconds_bucket{le="0.0025"} 1\n');
  });

  it('are gauges without a value until it is known: 0 would be an alarm at each start', async () => {
    const metrics = createMetrics();
    const gauges = /^blocktorrent_(host_disk_free_bytes|ingest_brokers_connected) /m;
    expect(await metrics.text()).not.toMatch(gauges);
    metrics.set('hostDiskFreeBytes', 0);
    expect(await metrics.text()).toMatch(/^blocktorrent_host_disk_free_bytes 0$/m);
  });

  it('begin at 0 with each known value of a label: the first count is an increase', async () => {
    const text = await createMetrics().text();
    for (const where of ['batch', 'arrival']) {
      expect(text).toContain(`blocktorrent_batch_dropped_readings_total{where="${where}"} 0\n`);
    }
  });

  it('of two registries are apart', async () => {
    const [one, other] = [createMetrics(), createMetrics()];
    one.add('storeReceipts', 1);
    expect(await other.total('storeReceipts')).toBe(0);
  });
});

describe('the metrics listener', () => {
  const fetchText = (port: number, path: string) =>
    new Promise<[status: number, body: string]>((resolve, reject) => {
      get({ port, path, host: '127.0.0.1' }, (response) => {
        let body = '';
        response.setEncoding('utf8').on('data', (text: string) => {
          body += text;
        });
        response.on('end', () => resolve([response.statusCode ?? 0, body]));
      }).on('error', reject);
    });

  it('answers /metrics, and health with its reasons', async () => {
    const reasons: string[] = ['the ledger has not answered yet'];
    const http = await startHttp({
      listen: { host: '127.0.0.1', port: 0 },
      metrics: createMetrics({ processMetrics: true }),
      log: silentLog,
      healthz: () => ({ ok: true, reasons: [] }),
      readyz: () => ({ ok: reasons.length === 0, reasons }),
    });
    expect((await fetchText(http.port, '/metrics'))[1]).toContain('process_resident_memory_bytes');
    expect(await fetchText(http.port, '/healthz?x')).toEqual([200, '{"ok":true,"reasons":[]}\n']);
    const [status, body] = await fetchText(http.port, '/readyz');
    expect([status, JSON.parse(body)]).toEqual([503, { ok: false, reasons }]);
    reasons.pop();
    expect((await fetchText(http.port, '/readyz'))[0]).toBe(200);
    expect((await fetchText(http.port, '/'))[0]).toBe(404);
    await http.stop();
    await expect(fetchText(http.port, '/healthz')).rejects.toThrow();
  });
});

describe('the lifecycle', () => {
  const service = (name: string, calls: string[]) => ({
    name,
    start: () => void calls.push(`+${name}`),
    stop: () => void calls.push(`-${name}`),
  });

  it('starts in order and stops in the reverse order, once', async () => {
    const calls: string[] = [];
    const lifecycle = new Lifecycle({ log: silentLog });
    await lifecycle.start(service('a', calls));
    await lifecycle.start(service('b', calls));
    await Promise.all([lifecycle.untilStopped(), lifecycle.stop('done')]);
    await lifecycle.stop('again');
    expect(calls).toEqual(['+a', '+b', '-b', '-a']);
    expect(lifecycle.signal.aborted).toBe(true);
  });

  it('stops what has started where a later service does not start, and what that began', async () => {
    const calls: string[] = [];
    const lifecycle = new Lifecycle({ log: silentLog });
    await lifecycle.start(service('a', calls));
    const bad = {
      ...service('bad', calls),
      start: () => Promise.reject(new Error('no port')),
    };
    await expect(lifecycle.start(bad)).rejects.toThrow('no port');
    expect(calls).toEqual(['+a', '-bad', '-a']);
  });

  it('goes on past a service that fails or hangs while stopping', async () => {
    const calls: string[] = [];
    const { log, lines } = captured();
    const lifecycle = new Lifecycle({ log });
    await lifecycle.start(service('a', calls));
    await lifecycle.start({
      name: 'hangs',
      stopTimeoutMs: 5,
      stop: () => new Promise(() => undefined),
    });
    await lifecycle.start({ name: 'fails', stop: () => Promise.reject(new Error('x')) });
    await lifecycle.stop('done');
    expect(calls).toEqual(['+a', '-a']);
    expect(lines.join('')).toMatch(/"service":"fails"[\s\S]*"service":"hangs"/);
  });

  it('follows an outer signal, and tells the service manager', async () => {
    const outer = new AbortController();
    const told: string[] = [];
    const notify = (state: string) => void told.push(state);
    const lifecycle = new Lifecycle({ log: silentLog, signal: outer.signal, notify });
    lifecycle.ready('serving');
    outer.abort();
    await lifecycle.untilStopped();
    await lifecycle.stop('aborted');
    expect(told).toEqual(['READY=1\nSTATUS=serving', 'STOPPING=1']);
  });

  it('ends the process on a second signal, but not on the same one twice', () => {
    const handlers = new Map<string, () => void>();
    const exits: number[] = [];
    let now = 0;
    const source = {
      on: (name: string, handler: () => void) => handlers.set(name, handler),
      off: (name: string) => handlers.delete(name),
      exit: (code: number) => exits.push(code) as never,
    };
    const { signal, dispose } = signalsOf(source, () => now);
    handlers.get('SIGINT')?.();
    expect(signal.aborted).toBe(true);
    now = 10;
    handlers.get('SIGINT')?.();
    expect(exits).toEqual([]);
    now = 1_500;
    handlers.get('SIGTERM')?.();
    expect(exits).toEqual([143]);
    dispose();
    expect(handlers.size).toBe(0);
  });
});

describe('migrations', () => {
  const steps = ['CREATE TABLE a (x INTEGER)', 'ALTER TABLE a ADD y INTEGER'];

  it('bring any older version up to date, once', () => {
    const db = new Database(':memory:');
    expect(migrate(db, steps.slice(0, 1))).toBe(0);
    expect(migrate(db, steps)).toBe(1);
    expect(migrate(db, steps)).toBe(2);
    db.exec('INSERT INTO a (x, y) VALUES (1, 2)');
    db.close();
  });

  it('refuse a file from a newer release, and say what to do', () => {
    const db = new Database(':memory:');
    db.pragma('user_version = 3');
    expect(() => migrate(db, steps)).toThrow(/has version 3; this release knows versions up to 2/);
    db.close();
  });

  it('leave the file as it was where a step fails', () => {
    const db = new Database(':memory:');
    const bad = [...steps, 'CREATE TABLE b (x); CREATE TABLE a (x)'];
    expect(() => migrate(db, bad)).toThrow(MigrationError);
    expect(db.pragma('user_version', { simple: true })).toBe(2);
    expect(db.prepare("SELECT count(*) AS n FROM sqlite_master WHERE name = 'b'").get()).toEqual({
      n: 0,
    });
    db.close();
  });
});

describe('the clock', () => {
  it('counts from the boot of the machine, for every process the same', () => {
    const script = 'process.stdout.write(String(process.hrtime.bigint()))';
    const before = systemClock.monotonicMs();
    const other = Number(execFileSync(process.execPath, ['-e', script])) / 1e6;
    expect(other).toBeGreaterThan(before);
    expect(systemClock.monotonicMs()).toBeGreaterThan(other);
  });
});
