/**
 * A sample configuration, made from the schema: every key with its description; what must be given
 * has an example, what may be left out is commented out (`#key`, no space) with its default.
 * The sample passes `loadConfig`, also with every `#key` line uncommented.
 */
import { type SchemaNode, schemaTree } from './lookup.ts';

const HEADER = [
  '# BlockTorrent agent. `blocktorrent config check --config FILE` checks this file.',
  '# Lines that begin with # and no space are settings with their default or an example.',
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the notation itself
  '# ${NAME}, ${NAME:-default} and ${NAME:?message} are taken from the environment.',
  '# Relative paths start from the folder of this file. Units stand last in names.',
  '',
];

/** YAML text that passes the schema. */
export function sampleConfig(): string {
  return [...HEADER, ...section(schemaTree(), '', '', true)].join('\n');
}

/** Lines of a section's keys; `mark` is '#' where the section itself is commented out. */
function section(node: SchemaNode, indent: string, mark: '' | '#', spaced = false): string[] {
  const required = new Set(node.required ?? []);
  return Object.entries(node.properties ?? {}).flatMap(([key, child]) => {
    const shown = required.has(key) || child.inSample === true;
    const lines = [
      ...(child.description === undefined ? [] : [`${indent}# ${child.description}`]),
      ...entry(key, child, indent, mark === '#' || !shown ? '#' : ''),
    ];
    return spaced ? [...lines, ''] : lines;
  });
}

function entry(key: string, node: SchemaNode, indent: string, mark: '' | '#'): string[] {
  if (node.properties !== undefined) {
    // A section whose keys are all commented out counts as not given.
    return [`${indent}${key}:`, ...section(node, `${indent}  `, mark)];
  }
  if (node.items?.properties !== undefined) {
    const [first = '', ...rest] = section(node.items, `${indent}    `, mark);
    return [`${indent}${key}:`, `${indent}  - ${first.trimStart()}`, ...rest];
  }
  return [`${indent}${mark}${key}: ${flow(exampleOf(node))}`];
}

function exampleOf(node: SchemaNode): unknown {
  return node.default ?? node.examples?.[0] ?? node.enum?.[0] ?? (node.type === 'array' ? [] : '');
}

/** A value on one line of YAML. */
function flow(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(flow).join(', ')}]`;
  if (value instanceof Object) {
    const pairs = Object.entries(value).map(([key, item]) => `${key}: ${flow(item)}`);
    return `{ ${pairs.join(', ')} }`;
  }
  if (typeof value !== 'string') return String(value);
  const plain = /^[A-Za-z/][A-Za-z0-9./:_-]*$|^[0-9.]+:[0-9]+$/.test(value);
  return plain ? value : `'${value.replaceAll("'", "''")}'`;
}
