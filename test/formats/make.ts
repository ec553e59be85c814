/**
 * `node test/formats/make.ts VERSION`: one of every stored format, as this checkout writes it.
 *
 * Enters: the demo's cast, a few readings, two files. Leaves: test/formats/VERSION/, which later
 * releases must open. Always holds: a folder that is there is never written again: what was released
 * stays as it was.
 */
import { randomBytes } from 'node:crypto';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { FabricLedger } from '@blocktorrent/agent/ledger/fabric-ledger.ts';
import { FileQueue } from '@blocktorrent/agent/runtime/file-queue.ts';
import { silentLog } from '@blocktorrent/agent/runtime/log.ts';
import { openDatabase } from '@blocktorrent/agent/runtime/sqlite.ts';
import { decodeIdentity, decrypt } from '@blocktorrent/protocol/age.ts';
import { fromBase64, toBase64 } from '@blocktorrent/protocol/bytes.ts';
import { dealShards } from '@blocktorrent/protocol/dealing.ts';
import type { DepositInput } from '@blocktorrent/protocol/ledger-api.ts';
import { type Cast, castAndStart } from '../../demo/cast.ts';
import { Processes } from '../../demo/processes.ts';

const SENSORS = ['--sensors', '3', '--rate', '20', '--start-ms', '1700000000000'];
const FILE_BYTES = 40_000;
const AUDIT_REASON = 'what this release writes';

interface Audited {
  readonly requestId: string;
  readonly fileId: string;
  readonly identityPath: string;
}

/** `masterTable` as it is on the ledger: an age file, base64. */
interface Recorded extends Audited {
  readonly masterTable: string;
}

const version = process.argv[2] ?? '';
const target = join(import.meta.dirname, version);
if (!/^\d+\.\d+\.\d+$/.test(version)) {
  process.stderr.write('usage: node test/formats/make.ts VERSION, e.g. 0.1.0\n');
  process.exitCode = 2;
} else {
  await mkdir(target);
  await make();
}

/** Plays the life of some files, ends every process, and keeps what they have written. */
async function make(): Promise<void> {
  const workDir = await mkdtemp(join(tmpdir(), 'bt-'));
  const processes = new Processes(join(workDir, 'logs'));
  const stopping = new AbortController();
  let cast: Cast | null = null;
  try {
    cast = await castAndStart({
      organisations: 4,
      workDir,
      processes,
      signal: stopping.signal,
      sensorLog: join(workDir, 'sensors.jsonl'),
      batch: { maxAgeMs: 600_000, anchorEveryMs: 500 },
    });
    const audited = await play(cast, processes, workDir);
    const answers = await ask(cast, audited);
    await processes.endAll();
    await cast.network.stop();
    await put('answers.json', JSON.stringify(answers, null, 1));
    await keep(cast, workDir, { ...audited, masterTable: answers.masterTable });
  } finally {
    stopping.abort();
    await processes.endAll();
    await cast?.network.stop();
    await rm(workDir, { recursive: true, force: true });
  }
}

/** One batch and one file available and audited, one file under way, one batch open. */
async function play(cast: Cast, processes: Processes, workDir: string): Promise<Audited> {
  await cast.startSensors([
    ...SENSORS,
    '--bad-every',
    '9',
    '--repeat-every',
    '11',
    '--count',
    '40',
  ]);
  await until(async () => (await cast.status()).readings >= 40);
  await cast.closeBatch();
  const path = join(workDir, 'note.bin');
  await writeFile(path, randomBytes(FILE_BYTES));
  const put = await cast.command(cast.source, ['put', path, '--json']);
  const { fileId } = JSON.parse(put) as { fileId: string };
  await until(async () => (await cast.status()).files.available === 2);
  // Every owner's receipt, also the late one.
  await setTimeout(4_000);
  const asked = ['audit', 'request', fileId, '--reason', AUDIT_REASON, '--json'];
  const { requestId } = JSON.parse(await cast.auditor(asked)) as { requestId: string };
  const out = join(workDir, 'audit');
  const fetched = await cast.auditor(['audit', 'fetch', requestId, '--out', out, '--json']);
  const report = JSON.parse(fetched) as { files: { identityPath: string }[] };
  const mspIds = cast.network.organisations.map((each) => each.mspId);
  for (const mspId of mspIds.filter((one) => one !== cast.source)) {
    await processes.end(`agent ${mspId}`, 'SIGTERM');
  }
  await cast.command(cast.source, ['put', path, '--no-wait', '--json']);
  await until(async () => (await cast.status()).files.named === 1);
  await cast.startSensors([...SENSORS, '--seed', '8', '--count', '10']);
  await until(async () => (await cast.status()).openReadings >= 10);
  return { requestId, fileId, identityPath: report.files[0]?.identityPath ?? '' };
}

/** What the ledger answers of all this; later chaincodes must answer the same. */
async function ask(cast: Cast, { fileId, requestId }: Audited) {
  const ledger = new FabricLedger(cast.network.ledgerConfigFor(cast.source), silentLog);
  const { source } = cast;
  const chain = { source, gateway: 'gateway-1' };
  try {
    const table = await ledger.evaluate('ledger/records:GetMasterTable', { fileId });
    return {
      consortium: await ledger.evaluate('ledger/consortium:GetConsortium', {}),
      record: await ledger.evaluate('ledger/records:GetRecord', { fileId }),
      masterTable: table?.masterTable ?? '',
      chain: await ledger.evaluate('ledger/records:GetChain', chain),
      anchor: await ledger.evaluate('ledger/records:GetAnchor', chain),
      request: await ledger.evaluate('ledger/audits:GetRequest', { requestId }),
    };
  } finally {
    ledger.close();
  }
}

async function until(what: () => Promise<boolean>): Promise<void> {
  while (!(await what())) await setTimeout(100);
}

/** Copies what is kept; databases without their logs. */
async function keep(cast: Cast, workDir: string, audited: Recorded): Promise<void> {
  const { path, dataDir } = cast.configs.get(cast.source) ?? { path: '', dataDir: '' };
  const config = (await readFile(path, 'utf8')).replaceAll(workDir, '/trial');
  await put('blocktorrent.yaml', config);
  for (const name of ['consortium.json', 'ledger-checkpoint.json', 'spool']) {
    await cp(join(dataDir, name), join(target, 'gateway', name), { recursive: true });
  }
  await copyDatabase(join(dataDir, 'state.sqlite'), 'gateway/state.sqlite');
  for (const name of await readdir(join(dataDir, 'batches'))) {
    if (!name.endsWith('.sqlite')) continue;
    await copyDatabase(join(dataDir, 'batches', name), `gateway/batches/${name}`);
  }
  const owner = cast.configs.get(cast.second)?.dataDir ?? '';
  await cp(join(owner, 'chunks'), join(target, 'owner/chunks'), { recursive: true });
  await copyDatabase(join(owner, 'store.sqlite'), 'owner/store.sqlite');
  await copyDatabase(join(owner, 'state.sqlite'), 'owner/state.sqlite');
  const ledger = join(workDir, 'net/ledger');
  for (const name of await readdir(ledger)) {
    if (name.endsWith('.db')) await copyDatabase(join(ledger, name), `ledger/${name}`);
  }
  await put('bytes.json', JSON.stringify(await bytesOf(audited), null, 1));
}

/** What is signed, sent and recorded, in base64; and what it has to decode to. */
async function bytesOf({
  requestId,
  fileId,
  identityPath,
  masterTable,
}: Recorded): Promise<object> {
  const state = openDatabase(join(target, 'gateway/state.sqlite'));
  const queue = new FileQueue(state, Date.now);
  const file = queue.list(10).find((one) => one.fileId === fileId);
  state.close();
  if (file === undefined || file.manifest === null || file.dealing === null) {
    throw new Error(`file ${fileId} is not whole in the queue`);
  }
  const identity = decodeIdentity((await readFile(identityPath, 'utf8')).trim());
  const deposit: DepositInput = {
    fileId,
    recipient: file.dealing.recipient,
    scheme: file.dealing.scheme,
    k: file.dealing.k,
    n: file.dealing.n,
    holders: file.dealing.holders,
  };
  const entropy = new Uint8Array(32).fill(7);
  const dealt = dealShards({ identity, entropy, txId: 'ab'.repeat(32), input: deposit });
  return {
    fileId,
    requestId,
    manifest: toBase64(file.manifest),
    receipts: file.receipts,
    masterTable: toBase64(decrypt(fromBase64(masterTable), [identity])),
    identity: toBase64(identity),
    dealing: dealt.dealing,
    shards: dealt.shards.map(toBase64),
  };
}

async function put(name: string, text: string): Promise<void> {
  await mkdir(dirname(join(target, name)), { recursive: true });
  await writeFile(join(target, name), text);
}

async function copyDatabase(from: string, name: string): Promise<void> {
  await mkdir(dirname(join(target, name)), { recursive: true });
  const database = openDatabase(resolve(from));
  database.exec(`VACUUM INTO '${join(target, name)}'`);
  database.close();
}
