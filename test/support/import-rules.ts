/**
 * Who may import whom (docs/ARCHITECTURE.md), as a function of file names and their imports.
 *
 * Enters: source files as text. Leaves: one sentence for each breach. The parser is a scan for import
 * statements outside of comments; it is enough for code that Biome has formatted.
 */
import { posix } from 'node:path';

/** One import of one file. */
export interface Import {
  /** As written: './x.ts', 'zod', 'node:fs', '@blocktorrent/protocol/cbor.ts'. */
  readonly specifier: string;
  /** Nothing of it is left at run time. */
  readonly typeOnly: boolean;
}
/** A file, its path from the repository's root with '/'. */
export interface SourceFile {
  readonly path: string;
  readonly text: string;
}

const STATEMENT =
  /(?:^|[;\n])\s*(import|export)\s+(?:(type)\s+)?((?:[\w$*\s,]|\{[^}]*\})*?)\s*from\s*'([^']+)'|(?:^|[;\n])\s*import\s*'([^']+)'|\bimport\(\s*'([^']+)'\s*\)/g;

/** Imports and re-exports of a file; `typeof import('…')` counts as a type. */
export function importsOf(text: string): Import[] {
  const code = text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '');
  return [...code.matchAll(STATEMENT)].map((match) => {
    const [, , type, names = '', from, bare, dynamic] = match;
    const before = code.slice(Math.max(0, match.index - 8), match.index);
    const inner = /^\{([\s\S]*)\}$/.exec(names.trim())?.[1];
    const allTypes =
      inner !== undefined &&
      inner.trim() !== '' &&
      inner.split(',').every((name) => name.trim() === '' || name.trim().startsWith('type '));
    return {
      specifier: from ?? bare ?? dynamic ?? '',
      typeOnly: type === 'type' || allTypes || (dynamic !== undefined && /typeof\s*$/.test(before)),
    };
  });
}

/** An import with its target: a path from the root, or the name of a package. */
export interface Edge extends Import {
  readonly from: string;
  /** Path in the repository; null for packages and built-in modules. */
  readonly to: string | null;
  /** `zod`, `@noble/hashes`, `node:fs`; null for the repository's own files. */
  readonly library: string | null;
}

/** Every import of every file, resolved by name only. */
export function edgesOf(files: readonly SourceFile[]): Edge[] {
  return files.flatMap(({ path, text }) => importsOf(text).map((one) => edge(path, one)));
}

function edge(from: string, one: Import): Edge {
  const { specifier } = one;
  if (specifier.startsWith('.')) {
    return { ...one, from, to: posix.join(posix.dirname(from), specifier), library: null };
  }
  const own = /^@blocktorrent\/([^/]+)\/(.+)$/.exec(specifier);
  if (own !== null) return { ...one, from, to: `${own[1]}/src/${own[2]}`, library: null };
  const parts = specifier.split('/');
  const library = specifier.startsWith('@') ? parts.slice(0, 2).join('/') : (parts[0] ?? '');
  return { ...one, from, to: null, library };
}

export const ADAPTERS = ['runtime', 'ledger', 'overlay', 'config', 'crypto'];
export const STAGES = [
  'ingest',
  'batch',
  'seal',
  'distribute',
  'record',
  'store',
  'consortium',
  'audit',
];
const OWNERS_SIDE = ['batch', 'seal', 'record'];
const PROTOCOL_LIBRARIES = [
  '@noble/ciphers',
  '@noble/curves',
  '@noble/hashes',
  '@scure/base',
  'cborg',
  'merkletreejs',
  'secrets.js-grempe',
];
const CHAINCODE_LIBRARIES = ['fabric-contract-api', 'fabric-shim', 'fabric-shim-api'];
/** Rooms that are deployed nowhere: they may import everything. */
const TOOLING = ['test', 'bench', 'demo', 'packaging'];
/** What is imported as a value across rooms all the same, and why. */
const VALUES_ALLOWED: Readonly<Record<string, string>> = {
  'agent/src/ledger/ledger.ts': 'LedgerError, to switch on its code; the file loads no library',
};

/** Room of a file: `protocol`, `agent/seal`, `agent` for its top files, `agent/bin`, `test`, … */
export function roomOf(path: string): string {
  const [top = '', second = '', third = '', fourth] = path.split('/');
  if (top !== 'agent') return top;
  if (second !== 'src') return `agent/${second}`;
  return fourth === undefined ? 'agent' : `agent/${third}`;
}

/** Every breach of the import rules, as sentences. */
export function breaches(files: readonly SourceFile[]): string[] {
  const edges = edgesOf(files);
  return [...edges.flatMap((one) => breachesOf(one)), ...auditReach(edges)];
}

function breachesOf(one: Edge): string[] {
  const from = roomOf(one.from);
  const say = (rule: string) => [`${one.from} imports ${one.specifier}: ${rule}`];
  if (one.to === null) {
    const library = one.library ?? '';
    if (from === 'protocol' && !PROTOCOL_LIBRARIES.includes(library)) {
      return say('protocol imports hash, curve, cipher, Merkle and Shamir libraries only');
    }
    const builtIn = library.startsWith('node:');
    if (from === 'chaincode' && !builtIn && !CHAINCODE_LIBRARIES.includes(library)) {
      return say("chaincode imports protocol and Fabric's contract libraries only");
    }
    return [];
  }
  const to = roomOf(one.to);
  if (from === to || TOOLING.includes(from) || from.endsWith('.config.ts')) return [];
  if (to === 'protocol') return [];
  if (from === 'protocol') return say('protocol imports nothing of ours');
  if (from === 'fabric') {
    if (to === 'devledger' || to === 'chaincode') return [];
    return say("fabric imports protocol, chaincode's collections and devledger's certificates");
  }
  if (from === 'agent/runtime' && one.to === 'systemd/notify.ts') return [];
  if (!from.startsWith('agent')) return say(`${from} imports protocol only`);
  if (!to.startsWith('agent')) return say('agent never imports devledger, broker, sensors-sim');
  return insideAgent(one, from.slice('agent/'.length), to.slice('agent/'.length), say);
}

function insideAgent(
  one: Edge,
  from: string,
  to: string,
  say: (rule: string) => string[],
): string[] {
  const together = ['', 'cli', 'console', 'bin'];
  if (together.includes(from)) return [];
  if (together.includes(to)) return say('only the pieces that put things together import those');
  const allowedValue = to === 'crypto' || Object.hasOwn(VALUES_ALLOWED, one.to ?? '');
  if (ADAPTERS.includes(from)) {
    if (STAGES.includes(to)) return say('an adapter never imports a stage');
    if ((one.typeOnly && to === 'runtime') || to === 'crypto') return [];
    return say('an adapter imports protocol and its library, never another adapter');
  }
  if (STAGES.includes(from)) {
    if (STAGES.includes(to)) return say('a stage never imports another stage');
    if (one.typeOnly || allowedValue) return [];
    return say('a stage imports only types of adapters');
  }
  return say(`agent/${from} is a room that the rules do not know`);
}

/** Everything that `audit` reaches, by any number of imports, types too. */
function auditReach(edges: readonly Edge[]): string[] {
  const byFile = Map.groupBy(edges, ({ from }) => from);
  const seen = new Set(
    edges.map(({ from }) => from).filter((path) => roomOf(path) === 'agent/audit'),
  );
  const found: string[] = [];
  for (const path of seen) {
    for (const { to } of byFile.get(path) ?? []) {
      if (to === null || seen.has(to)) continue;
      seen.add(to);
      if (OWNERS_SIDE.some((room) => roomOf(to) === `agent/${room}`)) {
        found.push(`audit reaches ${to} by ${path}: the source takes no part in an audit`);
      }
    }
  }
  return found;
}
