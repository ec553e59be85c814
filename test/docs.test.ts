/**
 * What the documents promise is there: every file that they name, every heading that they link to,
 * every command that they print; and they name every metric and every transaction that there is.
 */
import { existsSync, globSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, expect, it } from 'vitest';
import { LIVE_KEYS } from '../agent/src/config/live.ts';
import { METRICS, metricName } from '../agent/src/runtime/metric-table.ts';

const ROOT = join(import.meta.dirname, '..');
const DOCUMENTS = ['README.md', 'CONTRIBUTING.md', ...globSync('docs/*.md', { cwd: ROOT })].map(
  (path) => ({ path, text: readFileSync(join(ROOT, path), 'utf8') }),
);
/** Folders of the repository: a path that begins with one of them is one of ours. */
const ROOMS = readdirSync(ROOT, { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && !['node_modules', '.git'].includes(entry.name))
  .map(({ name }) => name);

interface Document {
  readonly path: string;
  readonly text: string;
}

/** Targets of Markdown links that stay in the repository: path relative to the root, and heading. */
function linksOf({ path, text }: Document): { target: string; heading: string }[] {
  return [...withoutFences(text).matchAll(/\]\(([^)\s]+)\)/g)]
    .map((match) => match[1] ?? '')
    .filter((link) => !/^[a-z]+:/.test(link))
    .map((link) => {
      const [file = '', heading = ''] = link.split('#', 2);
      const target = file === '' ? path : relative(ROOT, join(ROOT, dirname(path), file));
      return { target, heading };
    });
}

/** Paths of the repository that are written out, in backticks or anywhere with a file's ending. */
function pathsOf({ text }: Document): string[] {
  const rooms = ROOMS.map((name) => name.replace('.', '\\.')).join('|');
  const quoted = new RegExp(`\`((?:${rooms})/[\\w./-]*)\``, 'g');
  const written = new RegExp(
    `(?<![\\w./-])((?:${rooms})/[\\w./-]+\\.(?:ts|js|md|py|json|service))\\b`,
    'g',
  );
  return [...text.matchAll(quoted), ...text.matchAll(written)].map((match) => match[1] ?? '');
}

/** Anchors of a document's headings, as GitHub makes them. */
function anchorsOf(text: string): string[] {
  return [...withoutFences(text).matchAll(/^#+ (.+)$/gm)].map((match) =>
    (match[1] ?? '')
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );
}

function withoutFences(text: string): string {
  return text.replace(/^```[\s\S]*?^```/gm, '');
}

/** Code of a document: fenced blocks and what stands in backticks. */
function codeOf(text: string): string {
  const fences = [...text.matchAll(/^```[\s\S]*?^```/gm)].map((match) => match[0]);
  const quotes = [...withoutFences(text).matchAll(/`([^`\n]+)`/g)].map((match) => match[1] ?? '');
  return [...fences, ...quotes].join('\n');
}

function missingTargets(document: Document): string[] {
  return linksOf(document).flatMap(({ target, heading }) => {
    const file = join(ROOT, target);
    if (!existsSync(file)) return [`${document.path} links to ${target}, which is not there`];
    if (heading === '' || anchorsOf(readFileSync(file, 'utf8')).includes(heading)) return [];
    return [`${document.path} links to #${heading} of ${target}, which has no such heading`];
  });
}

function missingPaths(document: Document): string[] {
  return [...new Set(pathsOf(document))]
    .filter((path) => !existsSync(join(ROOT, path)))
    .map((path) => `${document.path} names ${path}, which is not there`);
}

/** npm scripts that a text runs, by `npm run NAME`, `npm test` and `npm start`. */
function scriptsIn(text: string): string[] {
  return [...text.matchAll(/\bnpm (?:run ([\w:-]+)|(test|start)\b)/g)].map(
    (match) => match[1] ?? match[2] ?? '',
  );
}

describe('the documents', () => {
  it('link to files and headings that are there', () => {
    expect(DOCUMENTS.flatMap(missingTargets)).toEqual([]);
  });

  it('name files of the repository that are there', () => {
    expect(DOCUMENTS.flatMap(missingPaths)).toEqual([]);
  });

  it('run npm scripts that there are', () => {
    const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
      scripts: Record<string, string>;
    };
    const readme = DOCUMENTS.find(({ path }) => path === 'README.md')?.text ?? '';
    expect(scriptsIn(readme)).toEqual(expect.arrayContaining(['demo', 'test', 'check']));
    const unknown = DOCUMENTS.flatMap(({ path, text }) =>
      scriptsIn(text).flatMap((name) => (name in scripts ? [] : [`${path}: npm run ${name}`])),
    );
    expect(unknown).toEqual([]);
  });

  it('run blocktorrent commands that there are', () => {
    const commands = readdirSync(join(ROOT, 'agent/src/cli/commands')).map((name) =>
      name.replace(/\.ts$/, ''),
    );
    const unknown = DOCUMENTS.flatMap(({ path, text }) =>
      [...codeOf(text).matchAll(/\bblocktorrent ([a-z][a-z-]*)/g)]
        .map((match) => match[1] ?? '')
        .filter((name) => !commands.includes(name))
        .map((name) => `${path}: blocktorrent ${name}`),
    );
    expect(unknown).toEqual([]);
  });

  it('name every key that a reload applies', () => {
    const text = readFileSync(join(ROOT, 'docs/OPERATIONS.md'), 'utf8');
    const list = text.slice(
      text.indexOf('`systemctl reload`'),
      text.indexOf('what waits for a restart'),
    );
    expect([...list.matchAll(/`([a-z]+\.[A-Za-z.]+)`/g)].map(([, key]) => key)).toEqual([
      ...LIVE_KEYS,
    ]);
  });

  it('name every metric in METRICS.md, and none that there is not', () => {
    const table = DOCUMENTS.find(({ path }) => path === 'docs/METRICS.md')?.text ?? '';
    const listed = [...table.matchAll(/^\| `(blocktorrent_\w+)` /gm)].map((match) => match[1]);
    const known = Object.keys(METRICS).map((key) => metricName(key as keyof typeof METRICS));
    const rows = listed.filter((name, index) => listed.indexOf(name) === index);
    expect(known.filter((name) => !rows.includes(name))).toEqual([]);
    expect(rows.filter((name) => !known.includes(name ?? ''))).toEqual([]);
  });

  it('hold a dashboard of metrics that there are, by labels that they have', () => {
    const dashboard = readFileSync(join(ROOT, 'docs/grafana-dashboard.json'), 'utf8');
    const rows = new Map<string, readonly string[]>(
      Object.entries(METRICS).map(([key, { labels }]) => {
        return [metricName(key as keyof typeof METRICS), labels];
      }),
    );
    const { panels } = JSON.parse(dashboard) as {
      panels: { targets?: { expr: string; legendFormat: string }[] }[];
    };
    const targets = panels.flatMap((panel) => panel.targets ?? []);
    expect(targets.length).toBeGreaterThan(30);
    const wrong = targets.flatMap(({ expr, legendFormat }) => {
      const names = [...expr.matchAll(/blocktorrent_\w+/g)].map((match) =>
        match[0].replace(/_bucket$/, ''),
      );
      const known = names.flatMap((name) => rows.get(name) ?? []);
      const by = /by \(([^)]*)\)/.exec(expr)?.[1]?.split(/, */) ?? [];
      const shown = [...legendFormat.matchAll(/\{\{(\w+)\}\}/g)].map((match) => match[1] ?? '');
      const labels = [...by, ...shown].filter((label) => !['le', 'instance'].includes(label));
      return [
        ...names.filter((name) => !rows.has(name)),
        ...labels.filter((label) => !known.includes(label)).map((label) => `${expr}: ${label}`),
      ];
    });
    expect(wrong).toEqual([]);
    const others = [...dashboard.matchAll(/\b(?:process|nodejs)_\w+/g)].map((match) => match[0]);
    expect(new Set(others)).toEqual(
      new Set(['process_resident_memory_bytes', 'nodejs_eventloop_lag_p99_seconds']),
    );
  });

  it('name no metric that the code never counts', () => {
    const sources = globSync('agent/src/**/*.ts', { cwd: ROOT }).map((path) =>
      readFileSync(join(ROOT, path), 'utf8'),
    );
    const counted = sources.flatMap((text) =>
      [...text.matchAll(/metrics\.(?:add|set|observe)\('(\w+)'/g)].map((match) => match[1]),
    );
    expect(Object.keys(METRICS).filter((key) => !counted.includes(key))).toEqual([]);
  });

  it('name every package that is installed with us, with its reason', () => {
    const table = DOCUMENTS.find(({ path }) => path === 'docs/ARCHITECTURE.md')?.text ?? '';
    const listed = [...table.matchAll(/^\| ([^|]+) \|/gm)]
      .map((match) => match[1] ?? '')
      .join(', ');
    const manifests = ['agent', 'broker', 'chaincode', 'protocol'].map((room) => {
      const text = readFileSync(join(ROOT, room, 'package.json'), 'utf8');
      return Object.keys((JSON.parse(text) as { dependencies?: object }).dependencies ?? {});
    });
    const missing = manifests
      .flat()
      .filter((name) => !name.startsWith('@blocktorrent/'))
      .filter((name) => !listed.includes(name) && !listed.includes(name.split('/')[1] ?? name));
    expect([...new Set(missing)]).toEqual([]);
  });

  it('name every transaction', () => {
    const text = DOCUMENTS.map((document) => document.text).join('\n');
    const missing = transactionNames().filter((name) => !text.includes(`\`${name}\``));
    expect(missing).toEqual([]);
  });

  it('say of no transaction that nothing calls it once the agent does', () => {
    const protocol = DOCUMENTS.find(({ path }) => path === 'docs/PROTOCOL.md')?.text ?? '';
    const [said = ''] = /No command and no stage of the agent calls[^.]*\./.exec(protocol) ?? [];
    const idle = [...said.matchAll(/`(\w+)`/g)].map((match) => match[1] ?? '');
    const sources = globSync('agent/src/**/*.ts', { cwd: ROOT }).map((path) =>
      readFileSync(join(ROOT, path), 'utf8'),
    );
    const called = idle.filter((name) => sources.some((text) => text.includes(`:${name}'`)));
    expect(called).toEqual([]);
  });
});

describe('the checks of documents', () => {
  const path = 'docs/TRIAL.md';

  it('find a broken link, a missing heading and a missing file', () => {
    const text =
      '# One two\n[a](gone.md) [b](LIMITS.md#nowhere) [c](#one-two) [d](https://x.example)\n';
    expect(missingTargets({ path: 'docs/LIMITS.md', text })).toEqual([
      'docs/LIMITS.md links to docs/gone.md, which is not there',
      'docs/LIMITS.md links to #nowhere of docs/LIMITS.md, which has no such heading',
      'docs/LIMITS.md links to #one-two of docs/LIMITS.md, which has no such heading',
    ]);
    expect(
      missingPaths({ path, text: '`agent/src/gone/` and run protocol/src/gone.ts now' }),
    ).toEqual([
      `${path} names agent/src/gone/, which is not there`,
      `${path} names protocol/src/gone.ts, which is not there`,
    ]);
  });

  it('leave links outside, fenced text and whole words alone', () => {
    const text =
      '```sh\n[x](gone.md)\n```\n[y](mailto:a@b.example) `agent/src/main.ts` my-agent/src/x.ts';
    expect([...missingTargets({ path, text }), ...missingPaths({ path, text })]).toEqual([]);
    expect(scriptsIn('npm ci && npm test; npm run test:long -- x')).toEqual(['test', 'test:long']);
  });
});

/** Keys of the interface `Transactions`: types are gone at run time, so they are read as text. */
function transactionNames(): string[] {
  const text = readFileSync(join(ROOT, 'protocol/src/ledger-api.ts'), 'utf8');
  const names = [...text.matchAll(/^ {2}'((?:ledger|keys)\/\w+:\w+)':/gm)].map(
    (match) => match[1] ?? '',
  );
  expect(names.length).toBeGreaterThan(25);
  return names;
}
