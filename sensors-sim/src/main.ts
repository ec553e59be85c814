/**
 * `node sensors-sim/src/main.ts --broker mqtt://127.0.0.1:1883 --log FILE`: the fleet as a process.
 *
 * Prints `{"ready":true}` when connected, and when it ends, by itself or on SIGTERM or SIGINT,
 * `{"sent":n,"bad":m,"outstanding":0}`: acknowledged messages, the bad ones among them, and those
 * without an answer. The log has one JSON line for each acknowledged message, written at once.
 */
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { createFleet, type Fleet, type SensorMessage } from './fleet.ts';
import { FORMATS, type Format } from './formats.ts';
import { createPublisher, type VersionChoice } from './publisher.ts';
import { readRecording, replayFleet } from './replay.ts';

const USAGE = `Usage: node sensors-sim/src/main.ts --log FILE [options]
  --broker URL              mqtt:// or mqtts://host:port (default mqtt://127.0.0.1:1883)
  --username NAME --password-file FILE --ca-file FILE   as the broker wants them
  --mqtt-version auto|4|5   (default auto: 5 where the broker speaks it)
  --client-id TEXT
  --log FILE                one JSON line for each message that was acknowledged
 What is measured:
  --sensors N               sensors in the fleet (default 12)
  --rate N                  readings a second of simulated time, over the fleet (default 20)
  --speed N                 simulated seconds in one real second (default 1)
  --seed N                  same seed, same readings (default 1)
  --start-ms N              time of the first reading (default: now)
  --duration-s N | --count N  end after so many real seconds or messages (default: never)
  --formats A,B             formats that sensors take in turn, or all (default json); the topics of
                            others than JSON begin with the format's name, Sparkplug's with spBv1.0
  --replay FILE             a recording instead: CSV with time, topic, payload or payload_base64
 What goes wrong:
  --bad-every N             every so many messages one is no payload of its format (default: never)
  --repeat-every N          every so many messages one is sent again (default 0: never),
  --repeat-times N          so often (default 1)
  --outage-every-s N --outage-s N  outages; what is measured meanwhile is sent after them, marked where
                            the format can say so; Sparkplug's node dies, and is born again
  --clock-jump-every-s N --clock-jump-s M  the sensors' clocks jump by M (back: --clock-jump-s=-M),
                            and return
  --help`;

/** Messages in flight: within the window that brokers allow by default, with room to spare. */
const OUTSTANDING_MAX = 1000;
/** How long answers are waited for at the end; by somebody who has told it to end, shorter. */
const ANSWER_WITHIN_MS = 60_000;
const STOPPED_WITHIN_MS = 10_000;
const TICK_MS = 10;
const SENSORS_MAX = 100_000;
/** Of readings a second, and of simulated seconds in one. */
const RATE_MAX = 1_000_000;
const REPEATS_MAX = 10_000;
/** 2,000 years: a start and a jump together are still a date. */
const TIME_S_MAX = 2_000 * 365 * 86_400;

class UsageError extends Error {}

type NumberOption =
  | 'sensors'
  | 'rate'
  | 'speed'
  | 'seed'
  | 'start-ms'
  | 'duration-s'
  | 'count'
  | 'bad-every'
  | 'repeat-every'
  | 'repeat-times'
  | 'outage-every-s'
  | 'outage-s'
  | 'clock-jump-every-s'
  | 'clock-jump-s';

function parse() {
  const { values } = parseArgs({
    options: {
      broker: { type: 'string', default: 'mqtt://127.0.0.1:1883' },
      sensors: { type: 'string', default: '12' },
      rate: { type: 'string', default: '20' },
      speed: { type: 'string', default: '1' },
      seed: { type: 'string', default: '1' },
      'start-ms': { type: 'string' },
      'duration-s': { type: 'string' },
      count: { type: 'string' },
      'bad-every': { type: 'string', default: '0' },
      'repeat-every': { type: 'string', default: '0' },
      formats: { type: 'string', default: 'json' },
      'outage-every-s': { type: 'string', default: '0' },
      'outage-s': { type: 'string', default: '0' },
      'mqtt-version': { type: 'string', default: 'auto' },
      'client-id': { type: 'string', default: `sensors-sim-${process.pid}` },
      log: { type: 'string' },
      'repeat-times': { type: 'string', default: '1' },
      'clock-jump-every-s': { type: 'string', default: '0' },
      'clock-jump-s': { type: 'string', default: '0' },
      replay: { type: 'string' },
      username: { type: 'string' },
      'password-file': { type: 'string' },
      'ca-file': { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  const number = (name: NumberOption, least: number, most: number, fallback?: number): number => {
    const text = values[name];
    if (text === undefined && fallback !== undefined) return fallback;
    const value = text === undefined || text === '' ? Number.NaN : Number(text);
    if (value >= least && value <= most) return value;
    throw new UsageError(`--${name}: expected a number, ${least} to ${most}, found "${text}"`);
  };
  if (values.help) return null;
  const version = values['mqtt-version'];
  if (version !== 'auto' && version !== '4' && version !== '5') {
    throw new UsageError(`--mqtt-version: expected auto, 4 or 5, found "${version}"`);
  }
  if (!/^mqtts?:$/.test(URL.parse(values.broker)?.protocol ?? '')) {
    throw new UsageError(`--broker: expected mqtt://HOST:PORT, found "${values.broker}"`);
  }
  if (values.log === undefined) throw new UsageError('--log: expected a file, found nothing');
  return {
    broker: values.broker,
    clientId: values['client-id'],
    version: version as VersionChoice,
    log: values.log,
    replay: values.replay,
    credentials: {
      ...(values.username === undefined ? {} : { username: values.username }),
      ...(values['password-file'] === undefined
        ? {}
        : { password: firstLine(values['password-file']) }),
      ...(values['ca-file'] === undefined ? {} : { ca: readFileSync(values['ca-file']) }),
    },
    speed: number('speed', 0.001, RATE_MAX),
    durationMs: number('duration-s', 0, TIME_S_MAX, Number.POSITIVE_INFINITY) * 1000,
    count: number('count', 1, Number.MAX_SAFE_INTEGER, Number.POSITIVE_INFINITY),
    fleet: {
      sensors: Math.floor(number('sensors', 1, SENSORS_MAX)),
      rate: number('rate', 0.001, RATE_MAX),
      seed: number('seed', 0, Number.MAX_SAFE_INTEGER),
      startMs: number('start-ms', 0, TIME_S_MAX * 1000, Date.now()),
      badEvery: Math.floor(number('bad-every', 0, Number.MAX_SAFE_INTEGER)),
      repeatEvery: Math.floor(number('repeat-every', 0, Number.MAX_SAFE_INTEGER)),
      repeatTimes: Math.floor(number('repeat-times', 1, REPEATS_MAX)),
      clockJumpEveryMs: number('clock-jump-every-s', 0, TIME_S_MAX) * 1000,
      clockJumpMs: number('clock-jump-s', -TIME_S_MAX, TIME_S_MAX) * 1000,
      formats: formatsOf(values.formats),
      outageEveryMs: number('outage-every-s', 0, TIME_S_MAX) * 1000,
      outageMs: number('outage-s', 0, TIME_S_MAX) * 1000,
    },
  };
}

function firstLine(path: string): string {
  return readFileSync(path, 'utf8').split(/\r?\n/, 1)[0] ?? '';
}

function formatsOf(text: string): readonly Format[] {
  if (text === 'all') return FORMATS;
  return text.split(',').map((name) => {
    const format = FORMATS.find((one) => one === name);
    if (format !== undefined) return format;
    throw new UsageError(`--formats: expected ${FORMATS.join(', ')} or all, found "${name}"`);
  });
}

/** Text as it is, other bytes as base64. */
function loggedPayload(payload: string | Uint8Array): object {
  if (typeof payload === 'string') return { payload };
  return { payload: Buffer.from(payload).toString('base64'), encoding: 'base64' };
}

function warn(message: string, fields: Record<string, unknown>): void {
  console.error(JSON.stringify({ level: 'warn', message, ...fields }));
}

async function run(): Promise<void> {
  const settings = parse();
  if (settings === null) {
    console.log(USAGE);
    return;
  }
  const fleet: Fleet =
    settings.replay === undefined
      ? createFleet(settings.fleet)
      : replayFleet(readRecording(settings.replay));
  const log = openSync(settings.log, 'a');
  let sent = 0;
  let bad = 0;
  const publisher = await createPublisher({
    ...settings,
    acknowledged({ topic, sensor, seq, payload, bad: isBad, repeat }: SensorMessage) {
      sent += 1;
      if (isBad) bad += 1;
      const marks = { ...(isBad ? { bad: true } : {}), ...(repeat ? { repeat } : {}) };
      const line = { topic, sensor, seq, ...loggedPayload(payload), ...marks };
      writeSync(log, `${JSON.stringify(line)}\n`);
    },
    refused: ({ sensor, seq }, reason) => warn('not accepted', { sensor, seq, reason }),
  });
  const stopping = new AbortController();
  process.on('SIGTERM', () => stopping.abort());
  process.on('SIGINT', () => stopping.abort());
  console.log(JSON.stringify({ ready: true }));
  await publishAll(fleet, settings, publisher, stopping.signal);
  await publisher.drained(0, stopping.signal.aborted ? STOPPED_WITHIN_MS : ANSWER_WITHIN_MS);
  const outstanding = publisher.outstanding();
  await publisher.close();
  closeSync(log);
  console.log(JSON.stringify({ sent, bad, outstanding }));
}

/** Publishes what is due, tick by tick, until the count, the duration or the signal ends it. */
async function publishAll(
  fleet: Fleet,
  settings: { readonly count: number; readonly durationMs: number; readonly speed: number },
  publisher: Awaited<ReturnType<typeof createPublisher>>,
  signal: AbortSignal,
): Promise<void> {
  const startedAt = performance.now();
  let message = fleet.next();
  for (let published = 0; message !== null && published < settings.count && !signal.aborted; ) {
    const elapsedMs = performance.now() - startedAt;
    if (elapsedMs >= settings.durationMs) return;
    const open = publisher.outstanding() < OUTSTANDING_MAX;
    if (open && message.afterMs <= elapsedMs * settings.speed) {
      publisher.publish(message);
      published += 1;
      message = fleet.next();
      // Let answers in between the messages of one tick.
      if (published % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
    } else {
      await new Promise((resolve) => setTimeout(resolve, TICK_MS));
    }
  }
}

try {
  await run();
  process.exit(0);
} catch (error) {
  const message = error instanceof Error ? error.message : String(error);
  const usage = error instanceof UsageError || (error instanceof TypeError && 'code' in error);
  console.error(usage ? `${message}\n${USAGE}` : message);
  process.exit(usage ? 2 : 1);
}
