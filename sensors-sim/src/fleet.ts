/**
 * The fleet: which sensors there are, and the messages they would publish, one after the other.
 *
 * Enters: how many sensors, how many readings a second, a seed, the start. Leaves: messages in order
 * of time. Always holds: the same settings give the same messages, byte for byte, and a sensor's
 * sequence grows by one with each of its messages.
 */
import { encodeReading, type Format, type SensorReading } from './formats.ts';
import { createRandom, type Random } from './random.ts';
import { SparkplugNode } from './sparkplug.ts';
import { spoil } from './spoil.ts';
import { humidity, temperature } from './waveforms/cold-room.ts';
import { door, shock } from './waveforms/events.ts';
import { power } from './waveforms/power.ts';
import { truck } from './waveforms/truck.ts';
import type { Waveform, WaveformFactory } from './waveforms/waveform.ts';

export interface FleetSettings {
  /** Sensors in all, spread over the kinds. */
  readonly sensors: number;
  /** Readings a second of simulated time, over the whole fleet; gaps make it a little less. */
  readonly rate: number;
  readonly seed: number;
  /** Time of the first reading, milliseconds since the Unix epoch. */
  readonly startMs: number;
  /** Every this many messages one is bad; 0 for never. */
  readonly badEvery: number;
  /** Formats that sensors take in turn; JSON if not given. */
  readonly formats?: readonly Format[];
  /** Every this many messages one is sent again as it was; 0 or not given: never. */
  readonly repeatEvery?: number;
  /** So often it is sent again; once if not given. A storm where it is many. */
  readonly repeatTimes?: number;
  /** Outages: so often, and so long; what is measured meanwhile is sent after it. */
  readonly outageEveryMs?: number;
  readonly outageMs?: number;
  /** The sensors' clocks jump by `clockJumpMs`, and back, so often in turn. */
  readonly clockJumpEveryMs?: number;
  readonly clockJumpMs?: number;
}

export interface SensorMessage {
  readonly topic: string;
  readonly sensor: string;
  /** From 1, without holes. */
  readonly seq: number;
  /** Simulated time since the start. */
  readonly afterMs: number;
  readonly payload: string | Uint8Array;
  /** No decoder should take the payload. */
  readonly bad: boolean;
  /** The same was sent just before. */
  readonly repeat: boolean;
}

/** A source of messages. */
export interface Fleet {
  /** Null where there are no more; a simulated fleet never ends. */
  next(): SensorMessage | null;
}

interface Sensor {
  readonly id: string;
  readonly topic: string;
  readonly waveform: Waveform;
  readonly format: Format;
  seq: number;
}

/** Kind, the kind of place where it hangs, and its waveform; sensors take them in turn. */
const KINDS: readonly (readonly [kind: string, place: string, WaveformFactory])[] = [
  ['temperature', 'cold-room', temperature],
  ['humidity', 'cold-room', humidity],
  ['door', 'cold-room', door],
  ['shock', 'truck', shock],
  ['gps', 'truck', truck],
  ['power', 'depot', power],
];

function createSensor(index: number, format: Format, random: (name: string) => Random): Sensor {
  const place = 1 + Math.floor(index / KINDS.length);
  const [kind, placeKind, factory] = KINDS[index % KINDS.length] ?? ['power', 'depot', power];
  const id = `${kind}-${place}`;
  return {
    id,
    format,
    topic: `${format === 'json' ? 'site' : format}/${placeKind}-${place}/${kind}/${id}`,
    waveform: factory(random(id)),
    seq: 0,
  };
}

/** A seeded fleet. Throws RangeError on settings that make no fleet. */
export function createFleet(settings: FleetSettings): { next(): SensorMessage } {
  if (!(settings.sensors >= 1) || !(settings.rate > 0)) {
    throw new RangeError('sensors: expected at least 1, rate: expected more than 0');
  }
  const random = (name: string): Random => createRandom(settings.seed, name);
  const formats = settings.formats ?? ['json'];
  const sensors = Array.from({ length: settings.sensors }, (_, index) =>
    createSensor(index, formats[index % formats.length] ?? 'json', random),
  );
  const node = new SparkplugNode();
  const chance = random('bad');
  let outage = 0;
  const ready: SensorMessage[] = [];
  let slot = 0;
  let sent = 0;
  /** Messages of the next moment at which a sensor has something to say. */
  const measure = (): void => {
    const sensor = sensors[slot % sensors.length];
    const measuredMs = Math.floor((slot * 1000) / settings.rate);
    slot += 1;
    const measurement = sensor?.waveform.at(measuredMs / 1000) ?? null;
    if (sensor === undefined || measurement === null) return;
    sensor.seq += 1;
    const afterMs = sentAfterMs(measuredMs, settings);
    const { id, seq, format } = sensor;
    const timeMs = settings.startMs + measuredMs + clockOffMs(measuredMs, settings);
    const buffered = afterMs > measuredMs;
    const lost = buffered ? Math.floor(measuredMs / (settings.outageEveryMs ?? 1)) : outage;
    const death = lost > outage ? node.death() : null;
    outage = lost;
    if (death !== null) {
      // Its broker says so, at once.
      const message = { ...death, sensor: id, seq, afterMs: measuredMs };
      ready.push({ ...message, bad: false, repeat: false });
    }
    const reading = { sensor: id, seq, timeMs, measurement, buffered };
    for (const { topic, payload } of encode(sensor, reading, node)) {
      sent += 1;
      const bad = isEvery(settings.badEvery, sent);
      const given = bad ? spoil(payload, format, chance) : payload;
      const message = { topic, sensor: id, seq, afterMs, payload: given, bad, repeat: false };
      ready.push(message);
      if (!isEvery(settings.repeatEvery, sent)) continue;
      for (let n = 0; n < (settings.repeatTimes ?? 1); n += 1) {
        ready.push({ ...message, repeat: true });
      }
    }
  };
  return {
    next() {
      for (;;) {
        const message = ready.shift();
        if (message !== undefined) return message;
        measure();
      }
    },
  };
}

/** How much the sensors' clocks are off: nothing, and the jump, in turn. */
function clockOffMs(ms: number, { clockJumpEveryMs = 0, clockJumpMs = 0 }: FleetSettings): number {
  if (clockJumpEveryMs <= 0) return 0;
  return Math.floor(ms / clockJumpEveryMs) % 2 === 0 ? 0 : clockJumpMs;
}

function isEvery(every: number | undefined, count: number): boolean {
  return every !== undefined && every > 0 && count % every === 0;
}

/** When what was measured at `ms` is sent: at once, or at the end of the outage. */
function sentAfterMs(ms: number, { outageEveryMs = 0, outageMs = 0 }: FleetSettings): number {
  if (outageEveryMs <= 0 || outageMs <= 0) return ms;
  const start = Math.floor(ms / outageEveryMs) * outageEveryMs;
  // The first one begins after a while of good connection.
  return start > 0 && ms < start + outageMs ? start + outageMs : ms;
}

function encode(
  { format, topic }: Sensor,
  reading: SensorReading,
  node: SparkplugNode,
): readonly { readonly topic: string; readonly payload: string | Uint8Array }[] {
  if (format === 'sparkplug') return node.messages(reading);
  return [{ topic, payload: encodeReading(format, reading) }];
}
