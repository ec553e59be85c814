/**
 * The house's own rules, checked on the sources: who imports whom, one file for each third-party
 * library, how long a file may be, and that protocol stays pure.
 */
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { breaches, edgesOf, importsOf, type SourceFile } from './support/import-rules.ts';

const ROOT = join(import.meta.dirname, '..');
const LINES_MAX = 500;

const files: SourceFile[] = globSync('**/*.{ts,js,mjs}', {
  cwd: ROOT,
  exclude: (name) => name === 'node_modules' || name === '.git' || name === 'demo-output',
})
  .filter((path) => !path.endsWith('.d.ts'))
  .map((path) => ({ path, text: readFileSync(join(ROOT, path), 'utf8') }));
const product = files.filter(({ path }) => !path.startsWith('test/'));

/**
 * Library -> the files that may import it as a value (a prefix). A library that is not here needs a
 * decision: wrap it in one file, and name that here.
 */
const IMPORTERS: Readonly<Record<string, readonly string[]>> = {
  '@grpc/grpc-js': ['agent/src/ledger/', 'devledger/src/'],
  '@hyperledger/fabric-gateway': ['agent/src/ledger/'],
  '@hyperledger/fabric-protos': ['devledger/src/'],
  '@noble/ciphers': ['protocol/src/'],
  '@noble/curves': ['protocol/src/'],
  '@noble/hashes': ['protocol/src/'],
  '@peculiar/x509': ['agent/src/cli/certificates.ts', 'devledger/src/', 'fabric/src/'],
  '@scure/base': ['protocol/src/'],
  '@msgpack/msgpack': ['agent/src/ingest/decoders/msgpack.ts', 'sensors-sim/src/formats.ts'],
  aedes: ['broker/src/'],
  'aedes-persistence': ['broker/src/'],
  bencode: ['agent/src/overlay/'],
  'better-sqlite3': [
    'broker/src/journal.ts',
    'agent/src/runtime/sqlite.ts',
    'agent/src/batch/',
    'agent/src/audit/verify-batch.ts',
    'devledger/src/',
  ],
  'bittorrent-dht': ['agent/src/overlay/'],
  'bittorrent-protocol': ['agent/src/overlay/'],
  cborg: [
    'protocol/src/cbor.ts',
    'agent/src/ingest/decoders/cbor-document.ts',
    'sensors-sim/src/formats.ts',
  ],
  commander: ['agent/src/cli/program.ts', 'agent/src/cli/options.ts'],
  'csv-parse': ['agent/src/ingest/decoders/csv.ts', 'sensors-sim/src/replay.ts'],
  'fabric-contract-api': ['chaincode/'],
  'fabric-shim': ['chaincode/'],
  'fabric-shim-api': ['chaincode/'],
  'google-protobuf': ['devledger/src/'],
  koffi: ['systemd/notify.ts', 'agent/src/runtime/malloc-trim.ts'],
  merkletreejs: ['protocol/src/merkle.ts'],
  mqtt: ['agent/src/ingest/', 'agent/src/cli/checks/brokers.ts', 'sensors-sim/'],
  'mqtt-packet': ['agent/src/ingest/mqtt-publish-reader.ts'],
  pino: ['agent/src/runtime/log.ts'],
  'prom-client': ['agent/src/runtime/metrics.ts'],
  protobufjs: ['agent/src/ingest/decoders/sparkplug-payload.ts', 'sensors-sim/src/sparkplug.ts'],
  'reflect-metadata': ['agent/src/cli/certificates.ts', 'devledger/src/', 'fabric/src/'],
  rolldown: ['packaging/bundle.ts'],
  'secrets.js-grempe': ['protocol/src/shamir.ts'],
  systeminformation: ['agent/src/runtime/'],
  vitest: ['vitest.'],
  yaml: ['agent/src/config/yaml.ts', 'broker/src/yaml-file.ts', 'fabric/src/'],
  zod: ['agent/src/config/', 'broker/src/access.ts', 'broker/src/config.ts'],
};

/** Imports of a library as a value by a file that the table does not name. */
function strayImporters(sources: readonly SourceFile[]): string[] {
  return edgesOf(sources)
    .filter(
      ({ library, typeOnly }) => library !== null && !library.startsWith('node:') && !typeOnly,
    )
    .filter(({ from, library }) => {
      const allowed = IMPORTERS[library ?? ''] ?? [];
      const trial = from.startsWith('bench/') || from.startsWith('demo/');
      return !trial && !allowed.some((prefix) => from.startsWith(prefix));
    })
    .map(({ from, library }) => `${from} imports ${library}`);
}

/** Files of more than 500 lines. */
function tooLong(sources: readonly SourceFile[]): string[] {
  return sources
    .map(({ path, text }) => ({ path, lines: text.split('\n').length - 1 }))
    .filter(({ lines }) => lines > LINES_MAX)
    .map(({ path, lines }) => `${path} has ${lines} lines`);
}

const IMPURE =
  /\bDate\.now\(|\bnew Date\(\)|\bMath\.random\(|\bperformance\.|\bprocess\.|\bconsole\.|\bcrypto\.(getRandomValues|randomUUID)\b|\bset(Timeout|Interval)\(/;

/** Files of protocol that ask for time, chance, the environment or a console. */
function impure(sources: readonly SourceFile[]): string[] {
  return sources
    .filter(({ path }) => path.startsWith('protocol/src/'))
    .filter(({ text }) => IMPURE.test(text.replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '')))
    .map(({ path }) => path);
}

/** Libraries that `entries` load sooner or later, by whatever way. */
function librariesOf(entries: readonly string[], sources: readonly SourceFile[]): Set<string> {
  const edges = Map.groupBy(edgesOf(sources), ({ from }) => from);
  const reached = new Set(entries);
  const libraries = new Set<string>();
  for (const path of reached) {
    for (const { to, library, typeOnly } of edges.get(path) ?? []) {
      if (typeOnly) continue;
      if (to !== null) reached.add(to);
      if (library !== null) libraries.add(library);
    }
  }
  return libraries;
}

describe('the sources', () => {
  it('import only what the rules allow', () => {
    expect(files.length).toBeGreaterThan(20);
    expect(breaches(files)).toEqual([]);
  });

  it('import each third-party library in the files that are named for it', () => {
    expect(strayImporters(product)).toEqual([]);
  });

  it('keep the libraries of the configuration out of a running agent', () => {
    const entries = ['agent/src/main.ts', 'agent/src/cli/commands/run.ts'];
    const libraries = librariesOf(entries, product);
    expect(libraries).toContain('mqtt');
    expect(libraries).not.toContain('zod');
    expect(libraries).not.toContain('yaml');
  });

  it('of the agent import nothing of node:http but types: an import loads fetch along', () => {
    const stray = edgesOf(product)
      .filter(({ library, typeOnly }) => library === 'node:http' && !typeOnly)
      .filter(({ from }) => /^(agent|protocol|systemd)\//.test(from));
    expect(stray).toEqual([]);
  });

  it(`have at most ${LINES_MAX} lines`, () => {
    expect(tooLong(files)).toEqual([]);
  });

  it('of protocol ask for no time, chance, environment or console', () => {
    expect(impure(files)).toEqual([]);
  });
});

describe('the import scanner', () => {
  it('finds static, re-exported, bare and lazy imports, and tells types from values', () => {
    const text = [
      "import { a } from './a.ts';",
      "import type { B } from './b.ts';",
      'import {\n  type C,\n  type D,\n} from "x";'.replaceAll('"', "'"),
      "import { type E, f } from './e.ts';",
      "import './side.ts';",
      "export * from './g.ts';",
      "const h = await import('./h.ts');",
      "type I = typeof import('./i.ts');",
      "// import { no } from './comment.ts';",
      "/* import './no.ts'; */",
    ].join('\n');
    expect(importsOf(text)).toEqual([
      { specifier: './a.ts', typeOnly: false },
      { specifier: './b.ts', typeOnly: true },
      { specifier: 'x', typeOnly: true },
      { specifier: './e.ts', typeOnly: false },
      { specifier: './side.ts', typeOnly: false },
      { specifier: './g.ts', typeOnly: false },
      { specifier: './h.ts', typeOnly: false },
      { specifier: './i.ts', typeOnly: true },
    ]);
  });
});

describe('the import rules refuse', () => {
  const refused: readonly (readonly [title: string, path: string, line: string])[] = [
    ['protocol with a built-in module', 'protocol/src/x.ts', "import { hash } from 'node:crypto';"],
    [
      'protocol with the agent',
      'protocol/src/x.ts',
      "import { a } from '@blocktorrent/agent/main.ts';",
    ],
    ['chaincode with another library', 'chaincode/records.ts', "import { z } from 'zod';"],
    ['chaincode with the agent', 'chaincode/x.ts', "import '@blocktorrent/agent/main.ts';"],
    [
      'an adapter with another adapter',
      'agent/src/ledger/x.ts',
      "import { a } from '../overlay/a.ts';",
    ],
    [
      'an adapter with another one’s types',
      'agent/src/ledger/x.ts',
      "import type { A } from '../overlay/a.ts';",
    ],
    [
      'an adapter with a stage, by type',
      'agent/src/runtime/x.ts',
      "import type { A } from '../seal/a.ts';",
    ],
    [
      'a stage with an adapter’s values',
      'agent/src/seal/x.ts',
      "import { openDatabase } from '../runtime/sqlite.ts';",
    ],
    [
      'a stage with another stage, by type',
      'agent/src/seal/x.ts',
      "import type { A } from '../batch/a.ts';",
    ],
    ['audit with record', 'agent/src/audit/x.ts', "import type { A } from '../record/a.ts';"],
    ['a stage with main', 'agent/src/store/x.ts', "import type { House } from '../house.ts';"],
    [
      'an adapter with the command line',
      'agent/src/runtime/x.ts',
      "import { a } from '../cli/a.ts';",
    ],
    [
      'the agent with the dev ledger',
      'agent/src/main.ts',
      "import { a } from '@blocktorrent/devledger/a.ts';",
    ],
    ['the chaincode with systemd', 'chaincode/src/x.ts', "import '../../systemd/ready.ts';"],
    ['systemd with the agent', 'systemd/x.ts', "import '../agent/src/main.ts';"],
    [
      'the agent with the broker',
      'agent/src/ingest/x.ts',
      "import { a } from '../../../broker/src/a.ts';",
    ],
    [
      'the Fabric network with the agent',
      'fabric/src/x.ts',
      "import { a } from '../../agent/src/a.ts';",
    ],
    [
      'the dev ledger with the agent',
      'devledger/src/x.ts',
      "import { a } from '@blocktorrent/agent/a.ts';",
    ],
  ];
  it.each(refused)('%s', (_title, path, text) => {
    expect(breaches([{ path, text }])).not.toEqual([]);
  });

  it('an audit that reaches the source’s side by way of another file', () => {
    const sources = [
      { path: 'agent/src/audit/a.ts', text: "import type { B } from '../ledger/b.ts';" },
      { path: 'agent/src/ledger/b.ts', text: "export type { C } from '../record/c.ts';" },
    ];
    expect(breaches(sources).filter((breach) => breach.startsWith('audit reaches'))).toEqual([
      'audit reaches agent/src/record/c.ts by agent/src/ledger/b.ts: the source takes no part in an audit',
    ]);
  });

  it('a library in a second file, a long file, and a clock in protocol', () => {
    const zod = { path: 'agent/src/cli/x.ts', text: "import { z } from 'zod';" };
    expect(strayImporters([zod])).toEqual(['agent/src/cli/x.ts imports zod']);
    expect(tooLong([{ path: 'a.ts', text: 'x\n'.repeat(501) }])).toEqual(['a.ts has 501 lines']);
    expect(tooLong([{ path: 'a.ts', text: 'x\n'.repeat(500) }])).toEqual([]);
    expect(impure([{ path: 'protocol/src/a.ts', text: 'const t = Date.now();' }])).toEqual([
      'protocol/src/a.ts',
    ]);
  });
});

describe('the import rules allow', () => {
  const allowed: readonly (readonly [title: string, path: string, line: string])[] = [
    [
      'a stage with an adapter’s types',
      'agent/src/seal/x.ts',
      "import type { Log } from '../runtime/log.ts';",
    ],
    [
      'a stage with protocol',
      'agent/src/seal/x.ts',
      "import { a } from '@blocktorrent/protocol/age.ts';",
    ],
    [
      'an adapter with the log’s type',
      'agent/src/ledger/x.ts',
      "import type { Log } from '../runtime/log.ts';",
    ],
    ['the pipeline with stages', 'agent/src/pipeline.ts', "import { a } from './seal/seal.ts';"],
    [
      'the agent’s adapter with the datagrams to systemd',
      'agent/src/runtime/x.ts',
      "import { notifySender } from '../../../systemd/notify.ts';",
    ],
    ['the command line with main', 'agent/src/cli/x.ts', "await import('../main.ts');"],
  ];
  it.each(allowed)('%s', (_title, path, text) => {
    expect(breaches([{ path, text }])).toEqual([]);
  });
});
