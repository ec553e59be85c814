/** What the schema says about the value at a path: for messages about wrong and missing values. */
import { annotatedJsonSchema } from './schema.ts';

/** One node of a JSON Schema, as far as it is looked at here. */
export interface SchemaNode {
  readonly type?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly examples?: readonly unknown[];
  readonly enum?: readonly unknown[];
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly required?: readonly string[];
  readonly items?: SchemaNode;
  readonly additionalProperties?: SchemaNode | boolean;
  readonly inSample?: boolean;
}

let tree: SchemaNode | null = null;

/** The whole schema as a tree of nodes; made once. */
export function schemaTree(): SchemaNode {
  tree ??= annotatedJsonSchema() as SchemaNode;
  return tree;
}

/** The node at a path of keys and indices; null if the schema has none. */
export function annotatedAt(path: readonly PropertyKey[]): SchemaNode | null {
  let node: SchemaNode | undefined = schemaTree();
  for (const part of path) {
    if (node === undefined) return null;
    if (typeof part === 'number') node = node.items;
    else if (node.properties !== undefined) node = node.properties[String(part)];
    else {
      const more: SchemaNode | boolean | undefined = node.additionalProperties;
      node = typeof more === 'object' ? more : undefined;
    }
  }
  return node ?? null;
}

/** Keys that may stand in the section at a path. */
export function knownKeysAt(path: readonly PropertyKey[]): readonly string[] {
  return Object.keys(annotatedAt(path)?.properties ?? {});
}
