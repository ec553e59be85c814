/** The doctor's looks outwards: the running agent, ledger, DHT, peers, our own port. */
import { connect } from 'node:net';
import { toHex } from '@blocktorrent/protocol/bytes.ts';
import { publicKeyOf } from '@blocktorrent/protocol/signing.ts';
import { openLedger, openNet, openView, overlaySeed } from '../../assemble.ts';
import { type Config, type HostPort, parseHostPort } from '../../config/load.ts';
import type { AgentStatus } from '../../controls.ts';
import type { Ledger } from '../../ledger/ledger.ts';
import type { ConsortiumView } from '../../ledger/membership.ts';
import { listPeers, type PeerLine } from '../../peer-list.ts';
import { silentLog } from '../../runtime/log.ts';
import type { Explanation } from '../explain.ts';
import { type Finding, fail, looked, ok, warn } from './finding.ts';

const CONNECT_MS_MAX = 3_000;
const NO_DEPOSIT = '0'.repeat(64);

/** What the running agent says of itself, or why it says nothing. */
export function checkAgent(config: Config, status: AgentStatus | Explanation): Finding[] {
  if ('exitCode' in status) {
    const { code, message, todo } = status;
    if (code !== 'no-agent') return [fail('agent', message, todo)];
    // Audits are made by commands.
    if (config.roles.every((role) => role === 'audit'))
      return [ok('agent', 'none runs, none is needed')];
    return [warn('agent', 'not running', 'Start it: `systemctl start blocktorrent-agent`.')];
  }
  const alarms = [status.disk?.alarm ?? null, status.anchor?.alarm ?? null];
  const said = alarms.filter((alarm) => alarm !== null).map((alarm) => fail('agent', alarm, ''));
  const problems = status.problems.slice(0, 5).map(({ id, stage, error }) => {
    return warn(
      'agent',
      `file ${id} (${stage}): ${error}`,
      'See docs/OPERATIONS.md, what the log says.',
    );
  });
  const findings = [...said, ...problems];
  return findings.length > 0 ? findings : [ok('agent', `runs as ${status.mspId}/${status.name}`)];
}

/** Ledger first; DHT, peers and ports with what it says of the consortium. */
export async function checkConsortium(config: Config, running: boolean): Promise<Finding[]> {
  const ledger = openLedger(config, silentLog);
  const view = openView(config, ledger, false);
  const todo = 'Is the ledger peer up? Are endpoint, channel and TLS root right?';
  try {
    const onLedger = await looked('ledger', todo, () => checkLedger(config, ledger, view));
    if (!view.known) return [...onLedger];
    const around = await looked('dht', 'See `blocktorrent peers`.', () =>
      checkPeers(config, view, running),
    );
    return [...onLedger, ...around];
  } finally {
    ledger.close();
  }
}

async function checkLedger(
  config: Config,
  ledger: Ledger,
  view: ConsortiumView,
): Promise<Finding[]> {
  const { mspId } = config.organisation;
  const startedMs = performance.now();
  const { members, auditors, epochs } = await view.refresh();
  const tookMs = Math.round(performance.now() - startedMs);
  const { channel } = config.ledger;
  const findings = [ok('ledger', `channel ${channel}, epoch ${epochs[0]?.epoch}, ${tookMs} ms`)];
  const audits = config.roles.includes('audit');
  const listed = audits ? auditors : members;
  const known = listed.some((one) => one.mspId === mspId);
  const kind = audits ? 'an auditor' : 'a member';
  findings.push(
    known
      ? ok('membership', `${mspId} is ${kind} of ${members.length} members`)
      : fail(
          'membership',
          `${mspId} is not ${kind}`,
          'A member has to propose it: `consortium propose`.',
        ),
  );
  if (audits) return findings;
  return [...findings, registration(config, view), ...(await checkKeys(config, ledger))];
}

/** Our entry against the key that we sign with. */
function registration(config: Config, view: ConsortiumView): Finding {
  const { mspId } = config.organisation;
  const name = `registration of ${config.name}`;
  const found = view.peers().find((peer) => peer.mspId === mspId && peer.name === config.name);
  if (found === undefined) {
    return warn(name, 'not on the ledger', 'The agent registers itself when it runs.');
  }
  if (found.overlayKey !== toHex(publicKeyOf(overlaySeed(config)))) {
    const todo =
      'Does another agent run under this name? Otherwise it is registered anew at start.';
    return warn(name, 'the ledger has another overlay key', todo);
  }
  return ok(name, `roles ${found.roles.join(', ')}`);
}

/**
 * Asks for a shard that is not there: answered only where the chaincode of keys is deployed and our
 * private collection is defined. An agent that keeps no shards may have a certificate that reads
 * none (`role=gateway`): it asks for a dealing. Endorsement policies cannot be seen from here.
 */
async function checkKeys(config: Config, ledger: Ledger): Promise<readonly Finding[]> {
  const { mspId } = config.organisation;
  const todo = `Is the chaincode of keys deployed at our own peer, with a collection for ${mspId}?`;
  return looked('keys', todo, async () => {
    if (!config.roles.includes('store')) {
      await ledger.evaluate('keys/keys:GetDealing', { depositTx: NO_DEPOSIT });
      return [ok('keys', 'the chaincode answers')];
    }
    await ledger.evaluate('keys/keys:GetShard', { depositTx: NO_DEPOSIT, index: 1 });
    return [ok('keys', `the chaincode answers, the collection of ${mspId} is there`)];
  });
}

async function checkPeers(
  config: Config,
  view: ConsortiumView,
  running: boolean,
): Promise<Finding[]> {
  const net = openNet(config, view, silentLog, { doors: null });
  const { mspId } = config.organisation;
  try {
    await net.start();
    const own = (peer: { mspId: string; name: string }) =>
      peer.mspId === mspId && peer.name === config.name;
    const lines = await listPeers(view.peers(), net.addressBook, own);
    const others = lines.filter((line) => !line.own);
    const found = others.filter((line) => line.address !== null);
    const text = `${found.length} of ${others.length} other agents have an address`;
    const todo = 'An agent that is down has none after a while; otherwise: is UDP let through?';
    const dht =
      found.length === others.length
        ? ok('dht', text)
        : warn('dht', `${text}${missing(others)}`, todo);
    const reached = await Promise.all(found.map(reachOf));
    return [dht, ...reached, ...(await ownPort(config, lines, running))];
  } finally {
    await net.stop();
  }
}

function missing(others: readonly PeerLine[]): string {
  const names = others.filter((line) => line.address === null).map(nameOf);
  return `; missing: ${names.slice(0, 10).join(', ')}`;
}

async function reachOf(line: PeerLine): Promise<Finding> {
  const name = `peer ${nameOf(line)}`;
  const reason = await connects(parseHostPort(line.address ?? ''));
  if (reason === null) return ok(name, `answers at ${line.address}`);
  return warn(name, `${line.address}: ${reason}`, 'Is it up, and is TCP let through to it?');
}

/** From here one can only try one's own address, and say which one it is. */
async function ownPort(
  config: Config,
  lines: readonly PeerLine[],
  running: boolean,
): Promise<Finding[]> {
  if (!running || config.roles.includes('audit')) return [];
  const { advertise, listen } = config.overlay;
  const told = lines.find((line) => line.own)?.address ?? null;
  const address = advertise ?? (told === null ? null : parseHostPort(told));
  if (address === null) {
    return [warn('port', 'our own address is not in the DHT', 'Wait a minute, then look again.')];
  }
  const text = `${address.host}:${address.port}`;
  const reason = await connects(address);
  if (reason !== null) {
    return [
      fail('port', `${text}: ${reason}`, 'Check overlay.listen, overlay.advertise, NAT, firewall.'),
    ];
  }
  if (/^(127\.|::1$|localhost$)/.test(listen.host) && others(lines) > 0) {
    const todo = 'Right only where all agents are on this machine; otherwise set overlay.listen.';
    return [warn('port', `${text} answers on this machine only`, todo)];
  }
  return [ok('port', `${text} answers from here; try it from another machine too`)];
}

function others(lines: readonly PeerLine[]): number {
  return lines.filter((line) => !line.own).length;
}

function nameOf({ mspId, name }: PeerLine): string {
  return `${mspId}/${name}`;
}

/** Null where somebody listens; otherwise why not. */
function connects(address: HostPort | null): Promise<string | null> {
  if (address === null) return Promise.resolve('no address');
  return new Promise((resolve) => {
    const socket = connect({ ...address, timeout: CONNECT_MS_MAX });
    const end = (reason: string | null) => {
      socket.destroy();
      resolve(reason);
    };
    socket.once('connect', () => end(null));
    socket.once('timeout', () => end(`no answer within ${CONNECT_MS_MAX / 1_000} s`));
    socket.once('error', (error: NodeJS.ErrnoException) => end(error.code ?? error.message));
  });
}
