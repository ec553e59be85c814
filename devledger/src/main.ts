/**
 * CLI: `node devledger/src/main.ts --config FILE` (`-` = standard input). Prints one JSON line
 * when every peer listens and every chaincode has registered; stops on SIGTERM, SIGINT, or when
 * the standard input it was configured from ends.
 */
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { serveAdmin } from './admin.ts';
import { parseConfig } from './config.ts';
import { DevLedger } from './dev-ledger.ts';

const NOTICE =
  'dev ledger: one process, no consensus, every organisation’s keys and private data in one ' +
  'place. It is for trying and testing; a real network is Hyperledger Fabric’s job.\n';

const { values } = parseArgs({ options: { config: { type: 'string' } } });
if (values.config === undefined) {
  process.stderr.write('usage: node devledger/src/main.ts --config FILE\n');
  process.exitCode = 2;
} else {
  process.stderr.write(NOTICE);
  await run(values.config);
}

async function run(file: string): Promise<void> {
  const lines = file === '-' ? createInterface({ input: process.stdin }) : null;
  const text = lines === null ? await readFile(file, 'utf8') : await firstLine(lines);
  const config = parseConfig(JSON.parse(text));
  const ledger = await DevLedger.open(config);
  let stopping = false;
  const stop = (): void => {
    if (!stopping) {
      stopping = true;
      ledger.stop();
      process.exit(0);
    }
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
  lines?.once('close', stop);
  await ledger.start();
  if (config.adminSocket !== null) {
    await serveAdmin(config.adminSocket, ledger);
  }
  const ready = {
    ready: true,
    channel: config.channel,
    height: ledger.height(),
    endpoints: ledger.endpoints(),
    adminSocket: config.adminSocket,
  };
  process.stdout.write(`${JSON.stringify(ready)}\n`);
}

async function firstLine(lines: ReturnType<typeof createInterface>): Promise<string> {
  return await new Promise((resolve) => {
    lines.once('line', resolve);
  });
}
