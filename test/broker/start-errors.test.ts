/** What keeps the broker from starting, or from taking new certificates, is named; it never hangs. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { type BrokerOptions, startBroker } from '@blocktorrent/broker/broker.ts';
import { expect, it } from 'vitest';
import { aFolder } from '../support/readings.ts';
import { makeTlsFiles } from '../support/tls-files.ts';
import { requireTool } from '../support/tools.ts';

it('a folder that cannot be made, and a port that is taken', async (context) => {
  await expect(startBroker({ port: 0, dataDir: '/proc/none/data' })).rejects.toThrow(
    /^dataDir '\/proc\/none\/data': expected a folder that this user can make/,
  );
  const broker = await startBroker({ port: 0 });
  context.onTestFinished(() => broker.stop());
  await expect(startBroker({ port: broker.port })).rejects.toThrow(
    `cannot listen on 127.0.0.1:${broker.port}: `,
  );
});

it('certificates that do not fit, also at a reload, which changes nothing then', async (context) => {
  requireTool('openssl', context);
  const [folder, remove] = aFolder();
  context.onTestFinished(remove);
  makeTlsFiles(folder, ['one', 'two']);
  const file = (name: string) => join(folder, name);
  const listener = (name: string, more: object = {}) => ({
    listen: { host: '127.0.0.1', port: 0 },
    tls: { certFile: file(`${name}.pem`), keyFile: file(`${name}.key`), ...more },
  });
  const clientCaFile = file('two.key');
  const wrong: BrokerOptions = { listeners: [listener('one', { clientCaFile })] };
  await expect(startBroker(wrong)).rejects.toThrow(/two\.key: expected a certificate, its key/);
  const broker = await startBroker({ listeners: [listener('one'), listener('two')] });
  context.onTestFinished(() => broker.stop());
  writeFileSync(file('one.pem'), readFileSync(file('two.pem')));
  writeFileSync(file('one.key'), readFileSync(file('two.key')));
  writeFileSync(file('two.key'), 'no key');
  expect(() => broker.reload()).toThrow(/two\.pem, .*two\.key: expected a certificate, its key/);
  const name = await new Promise((resolve) => {
    const options = { port: broker.port, host: '127.0.0.1', rejectUnauthorized: false };
    const socket = connect(options, () => resolve(socket.getPeerCertificate().subject.CN));
    context.onTestFinished(() => void socket.destroy());
  });
  expect(name).toBe('one');
});
