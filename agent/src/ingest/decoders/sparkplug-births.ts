/**
 * What the births of edge nodes and their devices have said: name, alias, datatype and unit of each
 * metric.
 *
 * Always holds: a node's birth makes all that was known of it and its devices void. Kept in the
 * memory as JSON, one value for each node and one for each device, so that a birth costs its own
 * size and not its node's; in mind is what was used last, up to `TEXT_CHARS_MAX`.
 */
import type { DecoderMemory } from '../finding.ts';
import type { SparkplugMetric } from './sparkplug-payload.ts';

export interface BornMetric {
  readonly name: string;
  readonly alias: string | null;
  readonly datatype: number | null;
  readonly unit: string | null;
}

/** What one birth has said. */
interface Birth {
  /** Birth of the node, counted, that it belongs to. */
  readonly of: number;
  readonly metrics: readonly BornMetric[];
}

interface KnownBirth {
  readonly of: number;
  readonly byName: ReadonlyMap<string, BornMetric>;
  readonly byAlias: ReadonlyMap<string, BornMetric>;
  readonly chars: number;
}

/** Nodes in mind; of more than that the oldest are read from the disk again. */
const NODES_MAX = 1000;
/** The same for births, by the length of what is stored of them. */
const TEXT_CHARS_MAX = 16 * 1024 * 1024;
/** What each costs besides, in the same measure. */
const BIRTH_CHARS = 600;
/** `seq` goes from 0 to 255, and begins again. */
const SEQ_MODULUS = 256;

/** One edge node. */
export interface EdgeNode {
  /** `GROUP/NODE`. */
  readonly name: string;
  /** `bdSeq` of its birth. */
  session: string | null;
  /** Births that were seen. */
  births: number;
  /** `seq` of the message to come; null where none has been seen since the start. */
  nextSeq: number | null;
}

/** All edge nodes of one rule. */
export class Births {
  readonly #memory: DecoderMemory;
  /** Used last at the end; so are the births. */
  readonly #nodes = new Map<string, EdgeNode>();
  readonly #births = new Map<string, KnownBirth>();
  #chars = 0;

  constructor(memory: DecoderMemory) {
    this.#memory = memory;
  }

  node(name: string): EdgeNode {
    const node = this.#nodes.get(name) ?? this.#load(name);
    this.#nodes.delete(name);
    this.#nodes.set(name, node);
    for (const oldest of this.#nodes.keys()) {
      if (this.#nodes.size <= NODES_MAX) break;
      this.#nodes.delete(oldest);
    }
    return node;
  }

  /** A birth of the node itself; `learn` follows. */
  reborn(node: EdgeNode, session: string | null): void {
    node.session = session;
    node.births += 1;
    this.#memory.put(nodeKey(node.name), JSON.stringify({ session, births: node.births }));
  }

  /** Takes the metrics of a birth of the node (device '') or of one of its devices. */
  learn(node: EdgeNode, device: string, metrics: readonly SparkplugMetric[]): void {
    const named = metrics.flatMap(({ name, alias, datatype, unit }) =>
      name === null || name === '' ? [] : [{ name, alias, datatype, unit }],
    );
    const birth: Birth = { of: node.births, metrics: named };
    const text = JSON.stringify(birth);
    const key = deviceKey(node.name, device);
    this.#memory.put(key, text);
    this.#keep(key, birth, text.length);
  }

  /** Finds what the last birth said of a metric in the data; null if that was not seen. */
  finder(node: EdgeNode, device: string): (metric: SparkplugMetric) => BornMetric | null {
    const birth = this.#birth(deviceKey(node.name, device));
    if (birth.of !== node.births) return () => null;
    return ({ name, alias }) => {
      const named = name === null ? undefined : birth.byName.get(name);
      return named ?? (alias === null ? undefined : birth.byAlias.get(alias)) ?? null;
    };
  }

  #load(name: string): EdgeNode {
    const text = this.#memory.get(nodeKey(name));
    const stored = text === null ? { session: null, births: 0 } : JSON.parse(text);
    return { name, ...(stored as Pick<EdgeNode, 'session' | 'births'>), nextSeq: null };
  }

  #birth(key: string): KnownBirth {
    const known = this.#births.get(key);
    if (known !== undefined) {
      this.#births.delete(key);
      this.#births.set(key, known);
      return known;
    }
    const text = this.#memory.get(key);
    // Also that there is none is kept: data of unborn devices must not cost a look at the disk each.
    const birth: Birth = text === null ? { of: -1, metrics: [] } : (JSON.parse(text) as Birth);
    return this.#keep(key, birth, text?.length ?? 0);
  }

  #keep(key: string, { of, metrics }: Birth, chars: number): KnownBirth {
    const withAlias = metrics.flatMap((one) => (one.alias === null ? [] : [[one.alias, one]]));
    const known: KnownBirth = {
      of,
      byName: new Map(metrics.map((one) => [one.name, one])),
      byAlias: new Map(withAlias as [string, BornMetric][]),
      chars: BIRTH_CHARS + chars + 2 * key.length,
    };
    this.#forget(key);
    this.#births.set(key, known);
    this.#chars += known.chars;
    for (const oldest of this.#births.keys()) {
      if (this.#chars <= TEXT_CHARS_MAX || oldest === key) break;
      this.#forget(oldest);
    }
    return known;
  }

  #forget(key: string): void {
    this.#chars -= this.#births.get(key)?.chars ?? 0;
    this.#births.delete(key);
  }
}

/**
 * Messages missing before the one with this `seq` (0..255, counted over the node and its devices).
 * What comes late, or again, is none of them and leaves no gap: 128 or more are taken for that.
 */
export function missingBefore(node: EdgeNode, seq: number, birth: boolean): number {
  const expected = birth ? seq : (node.nextSeq ?? seq);
  const ahead = (((seq - expected) % SEQ_MODULUS) + SEQ_MODULUS) % SEQ_MODULUS;
  if (ahead >= SEQ_MODULUS / 2) return 0;
  node.nextSeq = (seq + 1) % SEQ_MODULUS;
  return ahead;
}

/** Whether a death is that of the present session; that of an earlier one may come late. */
export function dies(node: EdgeNode, session: string | null): boolean {
  return session === null || node.session === null || session === node.session;
}

function nodeKey(node: string): string {
  return `spb/${node}`;
}

function deviceKey(node: string, device: string): string {
  return `spb/${node}/${device}`;
}
