/**
 * What a publisher has put on the envelope of a message (MQTT 5): user properties and content type.
 *
 * Enters: the properties of a PUBLISH. Leaves: samples, which are kept with the reading and are in
 * the chain of hashes: `$user/NAME` for a user property, `$content-type`. Always holds: there are at
 * most `PROPERTIES_MAX` of them, and what is left out is counted in `$user-left-out`.
 */
import type { Sample } from '@blocktorrent/protocol/reading.ts';

/** User properties of one message that are kept. */
const PROPERTIES_MAX = 64;
/** Characters of one name, and of one value. */
const NAME_CHARS_MAX = 200;
const VALUE_CHARS_MAX = 4096;

/** The part of MQTT.js's properties of a PUBLISH that is looked at. */
export interface PublishProperties {
  readonly contentType?: string | undefined;
  readonly userProperties?: Readonly<Record<string, string | string[]>> | undefined;
}

/** Samples of the properties; none where there are none. [MQTT-3.3.2-18] keeps their order. */
export function propertySamples(properties: PublishProperties | undefined): readonly Sample[] {
  const { contentType, userProperties } = properties ?? {};
  const samples: Sample[] = [];
  if (contentType !== undefined) samples.push(sample('$content-type', contentType));
  const pairs = Object.entries(userProperties ?? {}).flatMap(([name, values]) =>
    [values].flat().map((value) => [name, value] as const),
  );
  const kept = pairs.filter(
    ([name, value]) => name.length <= NAME_CHARS_MAX && value.length <= VALUE_CHARS_MAX,
  );
  for (const [name, value] of kept.slice(0, PROPERTIES_MAX)) {
    samples.push(sample(`$user/${name}`, value));
  }
  const leftOut = pairs.length - Math.min(kept.length, PROPERTIES_MAX);
  if (leftOut > 0) samples.push(sample('$user-left-out', leftOut));
  return samples;
}

function sample(name: string, value: string | number): Sample {
  const text = typeof value === 'string' ? value.toWellFormed() : value;
  return { sensor: null, name: name.toWellFormed(), unit: '', timeMs: null, value: text };
}
