/**
 * One ordinary client fetches a whole ciphertext from five owners of whom none has all of it.
 *
 * reader-trial.ts CLIENT FOLDER; run in a network namespace of its own, whose loopback has the
 * addresses 10.77.0.1 to 10.77.0.6: Transmission takes no peers at 127.0.0.0/8, and no client can
 * reach anything else there. Prints one JSON line: what each owner had, and whether the bytes are equal.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { distribute } from '../../agent/src/distribute/distribute.ts';
import { Grid } from './grid.ts';
import { chunksAt, openDoors, torrentWith } from './readers-grid.ts';
import { createTrialFile } from './sealed-file.ts';
import { distribution } from './stored-files.ts';

const [client = '', folder = ''] = process.argv.slice(2);
const CLIENT_ADDRESS = '10.77.0.6';
const PATIENCE_MS = 60_000;
const BYTES = 3_000_000;

const grid = await Grid.start({ organisations: 6, seed: client });
const source = await grid.dialer('Org1MSP');
const file = await createTrialFile(join(grid.dir, 'file.age'), BYTES, grid.peer('Org1MSP'), {
  chunksTarget: 40,
});
const stored = await distribute(distribution(grid, source, file));
await stored.background;
await grid.node('Org1MSP').kill();
const owners = grid.nodes.filter((node) => node.alive);
const doors = await Promise.all(
  owners.map((node, at) => openDoors(grid, node, `10.77.0.${at + 1}`)),
);
const [first] = doors;
if (first === undefined) throw new Error('no owner');
const torrentPath = join(folder, 'file.torrent');
const home = join(folder, 'home');
const target = join(folder, 'fetched');
await mkdir(home, { recursive: true });
await mkdir(target, { recursive: true });
await writeFile(torrentPath, await torrentWith(first, file, owners.length));

const child = await start();
const startedMs = performance.now();
let equal = false;
while (!equal && performance.now() - startedMs < PATIENCE_MS) {
  await pause(100);
  const fetched = await readFile(join(target, 'trial.age')).catch(() => Buffer.alloc(0));
  equal = file.bytes.equals(fetched);
}
const seconds = (performance.now() - startedMs) / 1000;
const sentBytes = doors.map(({ plain }) => plain.accounts.total().sentBytes);
await end(child);
const chunks = await chunksAt(owners, file);
const chunkCount = file.manifest.digests.length / 144;
await Promise.all(doors.map((door) => door.stop()));
await grid.stop();
console.log(JSON.stringify({ equal, chunks, chunkCount, seconds, sentBytes }));

async function start(): Promise<ChildProcess> {
  const [program, args] = await commandOf();
  const env = { PATH: process.env.PATH, HOME: home };
  const started = spawn(program, args, { env, stdio: ['pipe', 'ignore', 'pipe'] });
  started.stderr?.pipe(process.stderr);
  return started;
}

async function commandOf(): Promise<[string, string[]]> {
  switch (client) {
    case 'aria2c':
      return [
        'aria2c',
        [
          ...['--no-conf', '--quiet', '--seed-time=60', `--dir=${target}`],
          ...['--enable-dht=false', '--bt-enable-lpd=false', '--enable-peer-exchange=false'],
          ...['--disable-ipv6', `--interface=${CLIENT_ADDRESS}`, torrentPath],
        ],
      ];
    case 'libtorrent': {
      const script = join(import.meta.dirname, 'libtorrent-client.py');
      return ['/usr/bin/python3', [script, 'fetch', torrentPath, target, CLIENT_ADDRESS]];
    }
    case 'transmission-daemon': {
      const settings = {
        ...{ 'dht-enabled': false, 'lpd-enabled': false, 'pex-enabled': false },
        ...{ 'utp-enabled': false, 'port-forwarding-enabled': false, 'rpc-enabled': false },
        ...{ 'bind-address-ipv4': CLIENT_ADDRESS, 'bind-address-ipv6': '::1' },
        ...{ 'watch-dir': folder, 'watch-dir-enabled': true, 'download-dir': target },
      };
      await writeFile(join(home, 'settings.json'), JSON.stringify(settings));
      return ['transmission-daemon', ['--foreground', '--config-dir', home]];
    }
    default:
      throw new Error(`no such client: ${client}`);
  }
}

async function end(running: ChildProcess): Promise<void> {
  if (running.exitCode !== null || running.signalCode !== null) return;
  const gone = once(running, 'exit');
  running.stdin?.end();
  running.kill('SIGTERM');
  const patience = setTimeout(() => running.kill('SIGKILL'), 3_000);
  await gone;
  clearTimeout(patience);
}
