import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:http2';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, describe, expect, it } from 'vitest';
import { readOptions } from '../../chaincode/src/serve.ts';
import { createPki } from '../../devledger/src/pki.ts';

const MAIN = join(import.meta.dirname, '../../chaincode/src/serve.ts');
const children: ChildProcess[] = [];

afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

/** Starts a chaincode and waits for its first line. */
async function start(...args: string[]): Promise<{ child: ChildProcess; address: string }> {
  const child = spawn(process.execPath, [MAIN, '--ccid', 'x:1', ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  const lines = createInterface({ input: child.stdout });
  const [line] = (await once(lines, 'line')) as [string];
  const ready: unknown = JSON.parse(line);
  expect(ready).toEqual({ ready: true, address: expect.stringMatching(/^127\.0\.0\.1:\d+$/) });
  return { child, address: (ready as { address: string }).address };
}

describe('the chaincode process', () => {
  it.each(['ledger', 'keys'])('%s says where it listens, and ends on SIGTERM', async (name) => {
    const { child, address } = await start('--chaincode', name, '--listen', '127.0.0.1:0');
    const port = Number(address.split(':')[1]);
    const socket = createConnection({ host: '127.0.0.1', port });
    await once(socket, 'connect');
    socket.destroy();
    child.kill('SIGTERM');
    expect(await once(child, 'exit')).toEqual([0, null]);
  });

  it('ends with status 2 where its options are wrong, so that no unit starts it again', async () => {
    const child = spawn(process.execPath, [MAIN, '--ccid', 'x:1', '--chaincode', 'no'], {
      stdio: 'ignore',
    });
    children.push(child);
    expect(await once(child, 'exit')).toEqual([2, null]);
  });

  it('with TLS answers only those that its CA knows', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'chaincode-tls-'));
    const pki = await createPki(dir, 2);
    const [own, other] = pki.organisations;
    if (own === undefined || other === undefined) throw new Error('no organisations');
    const tls = [
      '--tls-key',
      own.peerTlsKey,
      '--tls-cert',
      own.peerTls,
      '--tls-client-ca',
      own.tlsca,
    ];
    const { address } = await start('--chaincode', 'keys', '--listen', '127.0.0.1:0', ...tls);
    const reaches = async (client: typeof own | null) => {
      const session = connect(`https://${address}`, {
        ca: readFileSync(own.tlsca),
        ...(client === null
          ? {}
          : { key: readFileSync(client.overlayKey), cert: readFileSync(client.overlay) }),
      });
      session.on('error', () => session.destroy());
      const request = session.request({ ':path': '/protos.Chaincode/None', ':method': 'POST' });
      const answered = await Promise.race([
        once(request, 'response').then(() => true),
        once(session, 'close').then(() => false),
      ]).catch(() => false);
      session.destroy();
      return answered;
    };
    expect(await reaches(own)).toBe(true);
    expect(await reaches(other)).toBe(false);
    expect(await reaches(null)).toBe(false);
    await rm(dir, { recursive: true });
  });

  it.each([
    ['--chaincode', ['--chaincode', 'other']],
    ['--ccid', ['--ccid', '']],
    ['--listen', ['--listen', '1234']],
    ['--listen: without TLS only loopback', ['--listen', '0.0.0.0:0']],
    ['--tls-key, --tls-cert and --tls-client-ca together', ['--tls-key', 'x']],
  ])('names what is wrong on its command line: %s', (expected, change) => {
    const good = ['--chaincode', 'keys', '--listen', '127.0.0.1:0', '--ccid', 'x'];
    expect(readOptions(good).tls).toBeNull();
    expect(() => readOptions([...good, ...change])).toThrow(expected);
  });
});
