/**
 * YAML 1.2 with positions: a file's plain value, and where each key stands.
 *
 * Enters: text and the environment. Leaves: maps, lists, text, numbers, booleans; every problem of
 * syntax with its place. A key without a value counts as not given, and so does an item of a list, so
 * that a section may have all its lines commented out. Aliases are bounded; keys are text.
 */
import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  Scalar,
} from 'yaml';
import { expand } from './env.ts';
import { keyText, type Position, type Problem } from './problems.ts';

/** A parsed file. `positions` is by `pathKey`. */
export interface Layer {
  readonly value: unknown;
  readonly positions: ReadonlyMap<string, Position>;
  readonly problems: readonly Problem[];
}

/** Key of a path in `positions`. */
export function pathKey(path: readonly PropertyKey[]): string {
  return path.map(String).join('\0');
}

const NODES_MAX = 20_000;
const DEPTH_MAX = 32;

/** Parses one file; never throws. `file` is its name in positions. */
export function parseYaml(
  text: string,
  file: string,
  env: Readonly<Record<string, string | undefined>>,
): Layer {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const at = (offset: number): Position => {
    const { line, col } = lines.linePos(offset);
    return { file, line, column: col };
  };
  const positions = new Map<string, Position>([['', at(0)]]);
  const problems: Problem[] = [...document.errors, ...document.warnings].map((error) => ({
    ...at(error.pos[0]),
    key: '',
    expected: 'YAML 1.2',
    found: error.message.replace(/[\n.]+$/, ''),
  }));
  const anchors = new Map<string, Node>();
  let nodes = 0;

  const walk = (node: Node | null, path: readonly PropertyKey[], depth: number): unknown => {
    const place = node?.range === undefined || node.range === null ? at(0) : at(node.range[0]);
    const report = (expected: string, found: string) => {
      problems.push({ ...place, key: keyText(path), expected, found });
      return undefined;
    };
    nodes += 1;
    if (nodes > NODES_MAX || depth > DEPTH_MAX) {
      if (nodes <= NODES_MAX + 1) return report('a smaller file', 'too many or too deep values');
      return undefined;
    }
    if (!positions.has(pathKey(path))) positions.set(pathKey(path), place);
    // Not by its own `resolve`, which goes through the whole document each time.
    if (isAlias(node)) return walk(anchors.get(node.source) ?? null, path, depth + 1);
    if (node?.anchor !== undefined) anchors.set(node.anchor, node);
    if (isSeq(node)) {
      const items: unknown[] = [];
      for (const item of node.items) {
        const value = walk(item as Node | null, [...path, items.length], depth + 1) ?? null;
        if (value !== null) items.push(value);
      }
      return items;
    }
    if (isMap(node)) {
      const map: Record<string, unknown> = Object.create(null);
      for (const pair of node.items) {
        const name = isScalar(pair.key) ? String(pair.key.value) : null;
        if (name === null) {
          report('keys that are text', 'a key that is a map or list');
          continue;
        }
        const keyNode = pair.key as Scalar;
        if (keyNode.range) positions.set(pathKey([...path, name]), at(keyNode.range[0]));
        const value = walk(pair.value as Node | null, [...path, name], depth + 1);
        if (value !== null && value !== undefined) map[name] = value;
      }
      return { ...map };
    }
    if (!isScalar(node)) return null;
    if (typeof node.value !== 'string' || !node.value.includes('${')) return node.value;
    const expansion = expand(node.value, env);
    if ('expected' in expansion) return report(expansion.expected, expansion.found);
    return node.type === Scalar.PLAIN ? plainScalar(expansion.text) : expansion.text;
  };

  const value = walk(document.contents, [], 0) ?? {};
  return { value, positions, problems };
}

/** What an unquoted text means in YAML's core schema: a number, a boolean, nothing or itself. */
function plainScalar(text: string): unknown {
  if (/^[-+]?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?$/.test(text)) return Number(text);
  if (/^(true|True|TRUE)$/.test(text)) return true;
  if (/^(false|False|FALSE)$/.test(text)) return false;
  return text === '' || text === '~' || text === 'null' ? null : text;
}
