/**
 * Asks Sparkplug nodes for their births where messages are missing, if a rule says so.
 *
 * Enters: committed readings. Leaves: NCMD "Node Control/Rebirth" for a node, `REORDER_MS` after a gap
 * or a metric without a name, unless its birth has come meanwhile. Always holds: a node is asked at
 * most once in `EVERY_MS`, and only by a rule with `rebirth`. By default nobody is asked: Sparkplug
 * 3.0 wants a host application to ask [tck-id-operational-behavior-host-reordering-rebirth], and
 * wants commands from the primary host alone (chapter 5). A recorder is not that: a right to publish
 * NCMD is a right to write outputs, a birth costs the node and everybody who listens, and nothing is
 * lost without one: the gap is in the record, and values keep their alias.
 */
import type { Reading } from '@blocktorrent/protocol/reading.ts';
import { matchesFilter } from '@blocktorrent/protocol/topic-filter.ts';
import type { Log } from '../runtime/log.ts';
import { GAP_SAMPLE, UNKNOWN_ALIAS } from './decoders/sparkplug.ts';
import { rebirthCommand } from './decoders/sparkplug-payload.ts';

export interface RebirthsOptions {
  /** Filters of the rules with `rebirth`. */
  readonly filters: readonly string[];
  /** Publishes at QoS 0, not retained [tck-id-payloads-ncmd-qos]. */
  readonly publish: (topic: string, payload: Uint8Array) => void;
  readonly nowMs: () => number;
  readonly monotonicMs: () => number;
  readonly log: Log;
  readonly onAsked: () => void;
}

/** Sparkplug's Reorder Timeout. */
const REORDER_MS = 2_000;
const EVERY_MS = 60_000;
const NODES_MAX = 1_000;

/** See the header. */
export class Rebirths {
  readonly #options: RebirthsOptions;
  /** Nodes to ask, by `GROUP/NODE`. */
  readonly #due = new Map<string, NodeJS.Timeout>();
  readonly #askedMs = new Map<string, number>();

  constructor(options: RebirthsOptions) {
    this.#options = options;
  }

  /** Looks at readings in their order. */
  see(readings: readonly Reading[]): void {
    if (this.#options.filters.length === 0) return;
    for (const { topic, samples, duplicateOf } of readings) {
      if (duplicateOf !== null || !this.#options.filters.some((one) => matchesFilter(one, topic))) {
        continue;
      }
      const [, group, type, node] = topic.split('/');
      if (type === 'NBIRTH') this.#cancel(`${group}/${node}`);
      else if (samples.some(({ name }) => name === GAP_SAMPLE || name.startsWith(UNKNOWN_ALIAS))) {
        this.#plan(`${group}/${node}`, `spBv1.0/${group}/NCMD/${node}`);
      }
    }
  }

  stop(): void {
    for (const node of [...this.#due.keys()]) this.#cancel(node);
  }

  #plan(node: string, topic: string): void {
    const { monotonicMs } = this.#options;
    const sinceMs = monotonicMs() - (this.#askedMs.get(node) ?? Number.NEGATIVE_INFINITY);
    if (this.#due.has(node) || sinceMs < EVERY_MS || this.#due.size >= NODES_MAX) return;
    this.#due.set(
      node,
      setTimeout(() => this.#ask(node, topic), REORDER_MS),
    );
  }

  #cancel(node: string): void {
    clearTimeout(this.#due.get(node));
    this.#due.delete(node);
  }

  #ask(node: string, topic: string): void {
    const { publish, nowMs, monotonicMs, log, onAsked } = this.#options;
    this.#due.delete(node);
    this.#askedMs.delete(node);
    this.#askedMs.set(node, monotonicMs());
    for (const oldest of this.#askedMs.keys()) {
      if (this.#askedMs.size <= NODES_MAX) break;
      this.#askedMs.delete(oldest);
    }
    log.info('births are asked for', { node });
    publish(topic, rebirthCommand(Math.max(0, Math.round(nowMs()))));
    onAsked();
  }
}
