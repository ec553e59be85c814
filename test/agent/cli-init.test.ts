/** `blocktorrent init`: from an empty folder to a configuration that works. */
import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runProgram } from '../../agent/src/cli/program.ts';
import { COMMANDS } from '../../agent/src/cli/table.ts';
import { loadConfig } from '../../agent/src/config/load.ts';
import { requireTool } from '../support/tools.ts';

const LAUNCHER = resolve(import.meta.dirname, '../../agent/bin/blocktorrent.js');
let home = '';
beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), 'bt-init-'));
});
afterAll(() => rmSync(home, { recursive: true }));

async function cli(argv: readonly string[], answers: readonly string[] | null = null) {
  const out: string[] = [];
  const err: string[] = [];
  const asked: string[] = [];
  const left = [...(answers ?? [])];
  const ask = async (question: string) => {
    asked.push(question);
    return left.shift() ?? '';
  };
  const code = await runProgram(argv, {
    commands: COMMANDS,
    version: '1.2.3',
    env: { HOME: home },
    out: { write: (text) => out.push(text) },
    err: { write: (text) => err.push(text) },
    signal: new AbortController().signal,
    ...(answers === null ? {} : { ask }),
  });
  return { code, out: out.join(''), err: err.join(''), asked };
}
const certificate = (path: string) => new X509Certificate(readFileSync(path));

describe('init', () => {
  it('for a trial makes everything, and what it made passes config check', async () => {
    const folder = join(home, 'trial');
    const { code, out } = await cli(['init', folder, '--organisation', 'Org1MSP', '--trial']);
    expect(code).toBe(0);
    expect(out).toContain(`blocktorrent config check --config ${folder}/blocktorrent.yaml`);
    const checked = await cli(['config', 'check', '-c', join(folder, 'blocktorrent.yaml')]);
    expect([checked.code, checked.err]).toEqual([0, '']);

    const spoilt = join(home, 'spoilt');
    cpSync(folder, spoilt, { recursive: true });
    const bad = async (file: string, bytes: string | Buffer) => {
      writeFileSync(join(spoilt, file), bytes);
      const { err: said } = await cli(['config', 'check', '-c', join(spoilt, 'blocktorrent.yaml')]);
      copyFileSync(join(folder, file), join(spoilt, file));
      return said;
    };
    const der = certificate(join(folder, 'ledger/cert.pem')).raw;
    expect(await bad('ledger/cert.pem', der)).toMatch(
      /:7:3: ledger.certFile: expected a file with a PEM certificate, at .*found 'ledger\/cert.pem'/,
    );
    expect(await bad('overlay/cert.pem', '')).toMatch(/overlay.certFile: .* a PEM certificate/);
    expect(await bad('overlay/key.pem', 'x')).toMatch(/overlay.keyFile: .* a PEM private key/);
    expect(await bad('overlay/key.pem', readFileSync(join(folder, 'peer/key.pem')))).toMatch(
      /overlay.keyFile: expected the private key of the certificate in/,
    );
    expect(await bad('overlay/signing.key', 'AB'.repeat(32))).toMatch(/64 hex digits, lower case/);
    // The doctor says it, and looks at everything else all the same.
    writeFileSync(join(spoilt, 'overlay/cert.pem'), '');
    const doctor = await cli(['check', '--json', '-c', join(spoilt, 'blocktorrent.yaml')]);
    const { findings } = JSON.parse(doctor.out) as { findings: { name: string }[] };
    const names = findings.map(({ name }) => name);
    expect([doctor.code, names]).toEqual([1, expect.arrayContaining(['configuration', 'clock'])]);

    const root = certificate(join(folder, 'root/cert.pem'));
    for (const name of ['ledger', 'overlay', 'peer']) {
      const one = certificate(join(folder, name, 'cert.pem'));
      const key = join(folder, name, 'key.pem');
      expect(one.verify(root.publicKey)).toBe(true);
      expect(one.checkIssued(root)).toBe(true);
      expect(execFileSync('openssl', ['pkey', '-in', key, '-pubout']).toString().trim()).toBe(
        one.publicKey.export({ type: 'spki', format: 'pem' }).toString().trim(),
      );
      expect(statSync(key).mode & 0o777).toBe(0o600);
    }
    expect(certificate(join(folder, 'overlay/cert.pem')).checkHost('localhost')).toBe('localhost');
    expect(certificate(join(folder, 'overlay/cert.pem')).checkIP('127.0.0.1')).toBe('127.0.0.1');
    expect(readFileSync(join(folder, 'overlay/signing.key'), 'utf8')).toMatch(/^[0-9a-f]{64}\n$/);
    expect(statSync(join(folder, 'data')).mode & 0o777).toBe(0o700);
  });

  it('makes requests for an organisation’s own CA, and says what is missing', async (context) => {
    requireTool('openssl', context);
    const folder = join(home, 'real');
    const argv = ['init', folder, '--organisation', 'Org1MSP', '--host', 'gw.example', '10.0.0.7'];
    const { code, out } = await cli([...argv, '--listen', '0.0.0.0:6880', '--json']);
    expect(code).toBe(0);
    const { config, next } = JSON.parse(out) as { config: string; next: string[] };
    expect(next.join('\n')).toContain(join(folder, 'ledger/cert.pem'));
    const text = execFileSync('openssl', [
      ...['req', '-in', join(folder, 'overlay/request.csr'), '-noout', '-verify', '-text'],
    ]).toString();
    expect(text).toContain('DNS:gw.example, IP Address:10.0.0.7');
    const checked = await cli(['config', 'check', '-c', config]);
    const missing = [...checked.err.matchAll(/: (\w+\.[\w[\].]+): expected a file/g)];
    expect(missing.map((match) => match[1])).toEqual([
      'ledger.certFile',
      'ledger.peers[0].tlsRootFile',
      'overlay.certFile',
    ]);
    expect(loadConfig(config, {}).overlay.listen).toEqual({ host: '0.0.0.0', port: 6880 });
  });

  it('speaks of wrong answers, not of lines of a file that is not there', async () => {
    const at = join(home, 'wrong');
    const wrong = ['--organisation', 'Org 1', '--roles', 'store,', '--ledger-peer', 'peer'];
    const { code, err } = await cli(['init', at, ...wrong]);
    expect(code).toBe(2);
    expect(err).toContain(
      "organisation.mspId: expected a Fabric MSP id, e.g. Org1MSP, found 'Org 1'",
    );
    expect(err).toContain('ledger.peers[0].endpoint: expected host:port');
    expect(err).toContain('Nothing was written.');
    expect([err.includes('.yaml'), err.includes('roles'), existsSync(at)]).toEqual([
      false,
      false,
      false,
    ]);
  });

  it('never overwrites a file, and writes none where one is there', async () => {
    const folder = join(home, 'twice');
    const argv = ['init', folder, '--organisation', 'Org1MSP', '--trial'];
    expect((await cli(argv)).code).toBe(0);
    const before = readFileSync(join(folder, 'overlay/signing.key'), 'utf8');
    rmSync(join(folder, 'ledger/key.pem'));
    const { code, err } = await cli(argv);
    expect(code).toBe(2);
    expect(err).toMatch(/already there: .*signing\.key[\s\S]*Nothing was written/);
    expect(readFileSync(join(folder, 'overlay/signing.key'), 'utf8')).toBe(before);
    expect(existsSync(join(folder, 'ledger/key.pem'))).toBe(false);
  });

  it('for the service names keys as systemd hands them over', async () => {
    const folder = join(home, 'etc');
    const root = join(home, 'their-root.pem');
    writeFileSync(root, 'PEM');
    const argv = ['init', folder, '--service', '--trial', '--organisation', 'AuditorMSP'];
    const peer = ['--ledger-peer-organisation', 'Org1MSP', '--ledger-tls-root', root];
    const { code, out } = await cli([...argv, ...peer, '--roles', 'audit', '--name', 'auditor']);
    expect(code).toBe(0);
    expect(out).toContain('systemctl enable --now blocktorrent-agent');
    const env = { CREDENTIALS_DIRECTORY: '/run/c' };
    const config = loadConfig(join(folder, 'blocktorrent.yaml'), env);
    expect(config.ledger.keyFile).toBe('/run/c/keys_ledger.pem');
    expect(config.dataDir).toBe('/var/lib/blocktorrent');
    expect(readFileSync(join(folder, 'ledger-tls-root.pem'), 'utf8')).toBe('PEM');
    expect(existsSync(join(folder, 'keys/overlay.pem'))).toBe(true);
    expect(existsSync(join(folder, 'data'))).toBe(false);
    expect(certificate(join(folder, 'ledger.pem')).raw.toString('latin1')).toContain(
      '"role":"auditor"',
    );
  });

  it('asks what no option says, with a default to each', async () => {
    const folder = join(home, 'asked');
    const answers = ['Org7MSP', '', 'store', '', 'y'];
    const { code, asked } = await cli(['init', folder, '--name', 'admin'], answers.toSpliced(1, 1));
    expect(code).toBe(0);
    expect(asked.map((question) => question.split(/[:[]/)[0]?.trim())).toEqual([
      'MSP id of your organisation',
      'Roles',
      'Ledger peer',
      'Trial without a CA of your own',
    ]);
    const config = loadConfig(join(folder, 'blocktorrent.yaml'), {});
    expect([config.organisation.mspId, config.roles]).toEqual(['Org7MSP', ['store']]);
  });

  it.each([
    ['no organisation', [], /--organisation: expected the MSP id/],
    ['a wrong name', ['--organisation', 'Org1MSP', '--name', 'No Good'], /name: expected a peer/],
    ['a role that there is not', ['--organisation', 'O', '--roles', 'cook'], /roles\[0\]/],
  ])('refuses %s, and writes nothing', async (_title, more, message) => {
    const folder = join(home, 'none');
    const { code, err } = await cli(['init', folder, ...more]);
    expect(err).toMatch(message);
    expect([code, existsSync(folder)]).toEqual([2, false]);
  });

  it('asks on a real terminal', (context) => {
    requireTool('script', context);
    const folder = join(home, 'terminal');
    const command = `${process.execPath} ${LAUNCHER} init ${folder} --name gateway-1`;
    const shown = execFileSync('script', ['-qec', command, '/dev/null'], {
      input: 'Org1MSP\nstore\n\ny\n',
    }).toString();
    expect(shown).toContain('MSP id of your organisation: ');
    expect(shown).toContain('written:');
    expect(loadConfig(join(folder, 'blocktorrent.yaml'), {}, { checkFiles: true }).name).toBe(
      'gateway-1',
    );
  });
});
