/**
 * Figures from a peer's or orderer's operations endpoint, in Prometheus' text format.
 */

/** Every figure of a process by `name{labels}`; null while it does not answer. */
async function readMetrics(port: number): Promise<ReadonlyMap<string, number> | null> {
  let text: string;
  try {
    const answer = await fetch(`http://127.0.0.1:${port}/metrics`, {
      signal: AbortSignal.timeout(5_000),
    });
    text = await answer.text();
  } catch {
    // Not up yet, or down: the caller asks again or reports it.
    return null;
  }
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => {
      const cut = line.lastIndexOf(' ');
      return [line.slice(0, cut), Number(line.slice(cut + 1))] as const;
    }),
  );
}

/** Blocks that a peer has committed on the channel; null if it is not there. */
export async function blockHeight(port: number, channel: string): Promise<number | null> {
  const metrics = await readMetrics(port);
  return metrics?.get(`ledger_blockchain_height{channel="${channel}"}`) ?? null;
}

/** Peers of the channel, itself left out, that a peer knows by gossip; null if it is not there. */
export async function peersKnown(port: number, channel: string): Promise<number | null> {
  const metrics = await readMetrics(port);
  return metrics?.get(`gossip_membership_total_peers_known{channel="${channel}"}`) ?? null;
}

/** Whether an orderer says that it leads the channel. */
export async function isLeader(port: number, channel: string): Promise<boolean> {
  const metrics = await readMetrics(port);
  const label = `{channel="${channel}"}`;
  return (
    metrics?.get(`consensus_etcdraft_is_leader${label}`) === 1 ||
    metrics?.get(`consensus_BFT_is_leader${label}`) === 1
  );
}
