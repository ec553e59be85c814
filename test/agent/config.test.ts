/** Configuration: what is accepted, and that every error says where it is and what was expected. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type Config,
  ConfigError,
  loadConfig,
  type Problem,
  parseConfig,
} from '../../agent/src/config/load.ts';
import { loadConfigApart } from '../../agent/src/config/load-apart.ts';
import { sampleConfig } from '../../agent/src/config/sample.ts';
import { jsonSchema } from '../../agent/src/config/schema.ts';
import { Seeded, seedOfRun } from '../support/seeded.ts';

const MINIMAL = `
organisation: { mspId: Org1MSP }
name: gateway-1
dataDir: data
roles: [store]
ledger:
  certFile: cert.pem
  keyFile: key.pem
  peers: [{ endpoint: 'localhost:7051', mspId: Org1MSP, tlsRootFile: tls.pem }]
overlay: { certFile: o.pem, keyFile: o.key, signingKeyFile: sign.key }
`;

const MUTATIONS = process.env.BLOCKTORRENT_LONG === undefined ? 200 : 1_000;
const PIECES = [
  ...': -#\'"[]{}&*!|>%@`\t\n\0',
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the notation itself
  '${A}',
  '${A',
  'null',
  '1e9',
  '- ',
  '  ',
  '<<: *a',
];

function problemsIn(work: () => Config): readonly Problem[] {
  try {
    work();
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
}
const problemsOf = (text: string, env: Record<string, string> = {}) =>
  problemsIn(() => parseConfig(text, 'a.yaml', env));

describe('a configuration', () => {
  it('may be short: everything that has a sensible value has a default', () => {
    const config = parseConfig(MINIMAL, '/etc/bt/a.yaml', {});
    expect(config.ledger.channel).toBe('blocktorrent');
    expect(config.overlay.listen).toEqual({ host: '127.0.0.1', port: 0 });
    expect(config.seal.chunksTarget).toBe(200);
    expect(config.consortium.vote).toBe('manual');
    expect(config.metrics).toBeUndefined();
    expect(config.mqtt).toBeUndefined();
  });

  it('has its relative paths from its own folder, and leaves absolute ones alone', () => {
    const text = MINIMAL.replace('keyFile: key.pem', 'keyFile: /run/secrets/key.pem');
    const config = parseConfig(text, '/etc/bt/a.yaml', {});
    expect(config.dataDir).toBe('/etc/bt/data');
    expect(config.ledger.peers[0]?.tlsRootFile).toBe('/etc/bt/tls.pem');
    expect(config.ledger.keyFile).toBe('/run/secrets/key.pem');
  });

  it('takes IPv6 addresses in brackets', () => {
    const config = parseConfig(`${MINIMAL}metrics: { listen: '[::1]:9464' }\n`, 'a.yaml', {});
    expect(config.metrics?.listen).toEqual({ host: '::1', port: 9464 });
  });

  it('may have a section with nothing in it', () => {
    expect(parseConfig(`${MINIMAL}batch:\n`, 'a.yaml', {}).batch.maxReadings).toBe(100_000);
  });
});

describe('every error of a configuration', () => {
  it('is reported at once, with file, line, key, what was found and what was expected', () => {
    const text = MINIMAL.replace('name: gateway-1', 'name: Gateway_1')
      .replace('roles: [store]', 'roles: [store, stor]')
      .replace('  keyFile: key.pem\n', '')
      .concat('batch: { maxAgeMs: soon }\nextra: 1\n');
    const problems = problemsOf(text);
    expect(problems.map(({ line, key }) => `${line} ${key}`)).toEqual([
      '3 name',
      '5 roles[1]',
      '6 ledger.keyFile',
      '10 batch.maxAgeMs',
      '11 extra',
    ]);
    expect(problems[0]).toMatchObject({ file: 'a.yaml', column: 1, found: "'Gateway_1'" });
    expect(problems[0]?.expected).toMatch(/^a peer name/);
    expect(problems[1]).toMatchObject({ column: 16, suggestion: "'store'" });
    expect(problems[2]).toMatchObject({ found: 'nothing' });
    expect(problems[3]?.expected).toMatch(/^milliseconds, a whole number from 100 to /);
  });

  it('of an unknown key names the known key that is nearest', () => {
    const [problem] = problemsOf(
      MINIMAL.replace('certFile: cert.pem', 'certFlie: cert.pem'),
    ).filter(({ found }) => found === 'an unknown key');
    expect(problem).toMatchObject({ line: 7, key: 'ledger.certFlie', suggestion: "'certFile'" });
  });

  it('of a QoS that is asked for says which one there is', () => {
    const [problem] = problemsOf(
      `${MINIMAL}\nmqtt: { brokers: [{ url: 'mqtt://127.0.0.1', qos: 2 }], rules: [{ topic: a, value: /v }] }\n`,
    );
    expect(problem).toMatchObject({ key: 'mqtt.brokers[0].qos', found: 'an unknown key' });
    expect(problem?.expected).toMatch(/QoS 2 is not offered$/);
  });

  it('in YAML itself has its line', () => {
    const broken = problemsOf('a: 1\nb: [1, 2\nc: 3\n');
    expect(broken.some(({ line, expected }) => line === 3 && expected === 'YAML 1.2')).toBe(true);
    expect(
      problemsOf('a: 1\na: 2\n').some(({ line, found }) => line === 2 && /unique/.test(found)),
    ).toBe(true);
  });

  it.each([
    ['the role ingest without mqtt', 'roles: [store]', 'roles: [ingest]', 'mqtt'],
    ['a role given twice', 'roles: [store]', 'roles: [store, store]', 'roles'],
    ['store without an overlay key', ', signingKeyFile: sign.key', '', 'overlay.signingKeyFile'],
    ['a port beyond 65535', 'localhost:7051', 'localhost:70510', 'ledger.peers[0].endpoint'],
    [
      'an MSP id with a blank',
      'mspId: Org1MSP }\nname',
      "mspId: 'Org 1' }\nname",
      'organisation.mspId',
    ],
  ])('names %s', (_title, from, to, key) => {
    expect(MINIMAL).toContain(from);
    expect(problemsOf(MINIMAL.replace(from, to)).map((problem) => problem.key)).toContain(key);
  });

  it.each([
    ['site/#/x', false],
    ['site+/x', false],
    ['', false],
    ['site/+/x/#', true],
    ['#', true],
    ['$share/group/a', false],
  ])('of a topic filter is found: %j', (topic, good) => {
    const mqtt = `mqtt:\n  brokers: [{ url: 'mqtt://127.0.0.1' }]\n  rules: [{ topic: '${topic}', value: /v }]\n`;
    expect(problemsOf(MINIMAL + mqtt).length === 0).toBe(good);
  });

  it.each([
    ['192.0.2.7:0', true],
    ['[2001:db8::7]:65535', true],
    ['gateway-1.example:7000', true],
    ['192.0.2.700:7000', false],
    ['192.0.2:7000', false],
    ['[2001:db8::7::1]:7000', false],
    ['[::1]:65536', false],
    [':7000', false],
  ])('of an address is found: %j', (address, good) => {
    const text = `${MINIMAL}metrics: { listen: '${address}' }\n`;
    expect(problemsOf(text).map(({ key }) => key)).toEqual(good ? [] : ['metrics.listen']);
  });

  it.each([
    ['/a/b~1c', true],
    ['value', false],
    ['/a~2', false],
    ['/a"b', false],
  ])('of a JSON pointer is found: %j', (pointer, good) => {
    const mqtt = `mqtt:\n  brokers: [{ url: 'mqtt://127.0.0.1' }]\n  rules: [{ topic: a, value: '${pointer}' }]\n`;
    expect(problemsOf(MINIMAL + mqtt).length === 0).toBe(good);
  });

  it('of a recipient is found by its checksum', () => {
    const good = 'age1lcypygxhm9gpaqdqep3clmzkl0lugx9r80s6pgzk470ehhhtlgrqvz4nku';
    expect(problemsOf(`${MINIMAL}seal: { recipients: [${good}] }\n`)).toEqual([]);
    const bad = good.replace('lcyp', 'lcyq');
    expect(problemsOf(`${MINIMAL}seal: { recipients: [${bad}] }\n`)[0]?.key).toBe(
      'seal.recipients[0]',
    );
  });

  it('of a rule that points into what describes itself is found, and of one that does not point', () => {
    const problem = (rule: string) => {
      const mqtt = `mqtt:\n  brokers: [{ url: 'mqtt://127.0.0.1' }]\n  rules: [{ topic: a, ${rule} }]\n`;
      return problemsOf(MINIMAL + mqtt)[0]?.expected;
    };
    expect(problem('decoder: influx, value: /v')).toBe('no `value`: influx describes itself');
    expect(problem('decoder: number, time: /t')).toBe('no `time`: number describes itself');
    expect(problem('decoder: cbor')).toBe('either `value` or `values`');
    expect(problem('decoder: protobuf')).toMatch(/json/);
    const forged = "rules: [{ topic: '$blocktorrent/dropped', decoder: number }]";
    const mqtt = `mqtt:\n  brokers: [{ url: 'mqtt://127.0.0.1' }]\n  ${forged}\n`;
    expect(problemsOf(MINIMAL + mqtt)[0]?.expected).toBe('a topic that is not reserved');
    expect(problem("decoder: csv, value: /0, separator: ', '")).toBe('one character');
    expect(problem('decoder: influx, unitAt: /u')).toBe('no `unitAt`: influx describes itself');
    expect(problem("value: /t, timeOffset: 'CET'")).toMatch("'Z' (UTC) or an offset");
    expect(problem("value: /t, timeOffset: '-03:30'")).toBeUndefined();
    expect(problem('values: { t: /t }, units: { h: Cel }')).toMatch('no unit of `h`');
    expect(problem(`value: /t, unit: ${'x'.repeat(65)}`)).toMatch('at most 64 characters');
    expect(problem('values: { t: /t }, units: { t: Cel }, unitAt: /u')).toBeUndefined();
  });

  it('of a budget of the disk that holds no two batches is found', () => {
    const batch = 'batch: { maxBytes: 1000000, disk: { maxBytes: 1500000 } }\n';
    expect(problemsOf(MINIMAL + batch)[0]).toMatchObject({
      key: 'batch.disk.maxBytes',
      expected: 'at least twice `batch.maxBytes`, 2000000',
    });
    expect(problemsOf(`${MINIMAL}batch: { maxBytes: 4000000000 }\n`)[0]).toMatchObject({
      key: 'batch.disk.maxBytes',
    });
  });

  it('of a rule with both value and values is found', () => {
    const rule = "{ topic: 'a', value: /v, values: { t: /t } }";
    const mqtt = `mqtt:\n  brokers: [{ url: 'mqtt://127.0.0.1' }]\n  rules: [${rule}]\n`;
    expect(problemsOf(MINIMAL + mqtt)[0]).toMatchObject({ key: 'mqtt.rules[0]', line: 13 });
  });

  it.each([
    'mqtt://127.[0.1:1883',
    'mqtt://127.0.0.[:1883',
    'mqtt://host:99999',
    'mqtts://[::g]',
    'ws://1.2.3.256',
    'mqtt://host name',
    'mqtt://',
    'host:1883',
  ])('names the broker address %s, which nothing could dial', (url) => {
    const mqtt = `mqtt:\n  brokers: [{ url: '${url}' }]\n  rules: [{ topic: a, value: /v }]\n`;
    const problems = problemsOf(MINIMAL + mqtt);
    expect(problems.map(({ key, expected }) => [key, expected])).toEqual([
      ['mqtt.brokers[0].url', expect.stringContaining('mqtts://')],
    ]);
  });

  it('names a second link to one broker under the same client id', () => {
    const [one, own] = ["url: 'mqtt://127.0.0.1'", "url: 'mqtt://127.0.0.1', clientId: own"];
    const problems = (two: string) =>
      problemsOf(
        `${MINIMAL}mqtt:\n  brokers: [{ ${one} }, { ${two} }]\n  rules: [{ topic: a, value: /v }]\n`,
      );
    expect(problems(one)).toMatchObject([{ line: 12, key: 'mqtt.brokers[1].url' }]);
    expect(problems(own)).toEqual([]);
  });

  it('never repeats a password that was put into the address of a broker', () => {
    const mqtt =
      "mqtt:\n  brokers: [{ url: 'mqtt://u:hunter2@host' }]\n  rules: [{ topic: a, value: /v }]\n";
    const text = JSON.stringify(problemsOf(MINIMAL + mqtt));
    expect(text).toContain('without user and password');
    expect(text).not.toContain('hunter2');
  });
});

describe('the environment', () => {
  const named = (value: string) => MINIMAL.replace('name: gateway-1', `name: ${value}`);
  // biome-ignore-start lint/suspicious/noTemplateCurlyInString: the notation itself
  it('fills in variables, with defaults where they are empty', () => {
    expect(parseConfig(named('${NAME}'), 'a.yaml', { NAME: 'truck-7' }).name).toBe('truck-7');
    expect(parseConfig(named('${NAME:-van}'), 'a.yaml', { NAME: '' }).name).toBe('van');
    expect(parseConfig(named('g-${N:-1}-${M:-2}'), 'a.yaml', { M: 'x' }).name).toBe('g-1-x');
  });

  it('makes numbers of unquoted values', () => {
    const text = `${MINIMAL}distribute:\n  filesInFlight: \${FLIGHT:-7}\n`;
    expect(parseConfig(text, 'a.yaml', {}).distribute.filesInFlight).toBe(7);
    expect(parseConfig(text, 'a.yaml', { FLIGHT: '9' }).distribute.filesInFlight).toBe(9);
  });

  it('that lacks a variable is an error with its name and the message given', () => {
    const [problem, ...more] = problemsOf(named('${NAME:?which gateway is this}'));
    expect(problem).toMatchObject({ line: 3, key: 'name' });
    expect(problem?.expected).toContain('NAME to be set: which gateway is this');
    expect(more).toEqual([]);
    expect(problemsOf(named('${NAME}'))[0]?.expected).toContain('NAME');
    expect(problemsOf(named("'${na me}'"))[0]?.expected).toContain('${NAME:-default}');
  });

  it('is not looked into a second time, and $${ stands for itself', () => {
    const path = (value: string, env: Record<string, string>) =>
      parseConfig(
        MINIMAL.replace('dataDir: data', () => `dataDir: ${value}`),
        '/a.yaml',
        env,
      ).dataDir;
    expect(path('${A}', { A: '${B}', B: 'no' })).toBe('/${B}');
    expect(path('x$${A}', { A: 'no' })).toBe('/x${A}');
  });
  // biome-ignore-end lint/suspicious/noTemplateCurlyInString: the notation itself
});

describe('files', () => {
  let folder = '';
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'blocktorrent-config-'));
    writeFileSync(join(folder, 'a.yaml'), MINIMAL);
    mkdirSync(join(folder, 'a.d'));
    writeFileSync(join(folder, 'a.d', '20.yaml'), 'name: second\n');
    writeFileSync(join(folder, 'a.d', '10.yaml'), 'name: first\nseal: { chunksTarget: 20 }\n');
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  it('of NAME.d are laid over NAME.yaml in alphabetical order', () => {
    const config = loadConfig(join(folder, 'a.yaml'), {});
    expect(config.name).toBe('second');
    expect(config.seal.chunksTarget).toBe(20);
    expect(config.dataDir).toBe(join(folder, 'data'));
  });

  it('read by a process of its own give the same configuration, and the same errors', async () => {
    const path = join(folder, 'a.yaml');
    const { signal } = new AbortController();
    expect(await loadConfigApart(path, {}, {}, signal)).toEqual(loadConfig(path, {}));
    const missing = join(folder, 'no.yaml');
    const error: unknown = await loadConfigApart(missing, {}, {}, signal).catch(
      (cause: unknown) => cause,
    );
    expect(error).toBeInstanceOf(ConfigError);
    expect(error).toMatchObject({ problems: problemsIn(() => loadConfig(missing, {})) });
  });

  it('without an end, and ones with a hundred thousand aliases, are refused in their time', () => {
    const [endless] = problemsIn(() => loadConfig('/dev/zero', {}));
    expect(endless).toMatchObject({ expected: 'at most 1048576 bytes' });
    const text = `${MINIMAL}x: &a 1\ny: [${Array(300_000).fill('*a').join(',')}]\n`;
    const found = problemsOf(text).map((problem) => problem.found);
    expect(found).toContain('too many or too deep values');
    const named = parseConfig(
      MINIMAL.replace('gateway-1\ndataDir: data', '&a same\ndataDir: *a'),
      '/a',
      {},
    );
    expect(named).toMatchObject({ name: 'same', dataDir: '/same' });
  });

  it('are named where a value is wrong', () => {
    const file = join(folder, 'a.d', '30.yaml');
    writeFileSync(file, '\nname: 5\n');
    expect(problemsIn(() => loadConfig(join(folder, 'a.yaml'), {}))).toMatchObject([
      { file, line: 2, key: 'name', found: '5' },
    ]);
    rmSync(file);
  });

  it('that the configuration names must be there where that is asked for', () => {
    const problems = problemsIn(() => loadConfig(join(folder, 'a.yaml'), {}, { checkFiles: true }));
    expect(problems.map(({ key }) => key)).toEqual([
      'ledger.certFile',
      'ledger.keyFile',
      'ledger.peers[0].tlsRootFile',
      'overlay.certFile',
      'overlay.keyFile',
      'overlay.signingKeyFile',
    ]);
    expect(problems[0]?.expected).toContain(join(folder, 'cert.pem'));
  });

  it('that cannot be read are an error with their name', () => {
    expect(problemsIn(() => loadConfig(join(folder, 'no.yaml'), {}))).toMatchObject([
      { file: join(folder, 'no.yaml'), found: 'no file' },
    ]);
    expect(problemsIn(() => loadConfig(folder, {}))).toMatchObject([{ found: 'a folder' }]);
  });
});

describe('the sample', () => {
  it('passes, and is YAML with every key explained', () => {
    const config = parseConfig(sampleConfig(), '/etc/bt/a.yaml', {});
    expect(config.roles).toEqual(['ingest', 'store']);
    expect(
      sampleConfig()
        .split('\n')
        .filter((line) => line.length > 104),
    ).toEqual([]);
  });

  it('passes with every setting uncommented, and then changes no default', () => {
    const all = sampleConfig()
      .replace(/^(\s*)#(?=[a-z])/gm, '$1')
      .replace(/^ *(values|units):.*\n/gm, '');
    const config = parseConfig(all, '/etc/bt/a.yaml', {});
    const defaults = parseConfig(sampleConfig(), '/etc/bt/a.yaml', {});
    for (const section of ['batch', 'seal', 'distribute', 'consortium', 'log'] as const) {
      expect(config[section]).toEqual(defaults[section]);
    }
    expect(config.metrics?.listen.port).toBe(9464);
  });

  it('mutated is a configuration or named errors, never another failure', () => {
    const seed = seedOfRun();
    const random = new Seeded(seed);
    const sample = sampleConfig();
    let refused = 0;
    for (let round = 0; round < MUTATIONS; round += 1) {
      const at = random.integer(0, sample.length - 1);
      const cut = random.integer(0, 8);
      const piece = PIECES[random.integer(0, PIECES.length - 1)] ?? '';
      const problems = problemsOf(sample.slice(0, at) + piece + sample.slice(at + cut));
      if (problems.length > 0) refused += 1;
      for (const { file, expected, found } of problems) {
        expect([file, expected, found], `SEED=${seed} round ${round}`).not.toContain('');
      }
    }
    expect(refused, `SEED=${seed}`).toBeGreaterThan(MUTATIONS / 20);
  }, 600_000);
});

describe('the JSON Schema', () => {
  it('describes every key and holds no marks of ours', () => {
    const schema = jsonSchema();
    expect(schema).toMatchObject({ type: 'object', additionalProperties: false });
    expect(JSON.stringify(schema)).not.toMatch(/inSample|"alternative"/);
    const bare: string[] = [];
    const walk = (node: unknown, path: string): void => {
      const { properties, items } = Object(node) as { properties?: object; items?: unknown };
      for (const [key, child] of Object.entries(properties ?? {})) {
        if (!('description' in Object(child))) bare.push(`${path}.${key}`);
        walk(child, `${path}.${key}`);
      }
      if (items !== undefined) walk(items, `${path}[]`);
    };
    walk(schema, '');
    expect(bare).toEqual([]);
  });
});
