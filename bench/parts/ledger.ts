/**
 * What the ledger can do with keys (P §5, Figs. 5 and 6), with the default scheme, Feldman's, and
 * key-level policies; 2 of n, 200 ms blocks, 100 calls in flight from one organisation.
 *
 * `depositRate`: deposits a second through the gateway's own `DepositGroup`, which lets those that
 *   wait together share a transaction; `oneByOne` in `others` is one transaction a deposit. Baseline:
 *   a put of one key by one organisation, a transaction each, through a chaincode that does no more.
 * `keysRate`: keys a second by `DepositMany`, 300 shards a transaction; a key counts when its
 *   transaction is committed and every holder has read its shard and compared its pinned hash.
 * `queryRate`: access-checked shard reads a second by the holders, 50 in flight; baseline: an
 *   evaluate that reads nothing, same clients, same peers.
 * `CASE@RATE`: transactions sent one by one, so many a second: `depositRate` is what came of it,
 *   `depositLatencyMs` from sending to commit (Fig. 5); `queryRate` and `queryLatencyMs` (Fig. 6).
 */

import { interleave } from '../figures.ts';
import { startBenchNetwork } from '../ledger/network.ts';
import { Trial } from '../ledger/trial.ts';
import type { BenchOptions, BenchPart } from '../part.ts';

/** Organisations of a network, and numbers of shards that are tried on it. */
const NETWORKS = [
  { organisations: 4, shards: [2, 3] },
  { organisations: 5, shards: [4] },
  { organisations: 11, shards: [10] },
] as const;

/** Numbers and lengths of measurements. */
interface Plan {
  readonly runs: number;
  readonly windowMs: number;
  readonly depositRates: readonly number[];
  readonly queryRates: readonly number[];
  readonly sendMs: number;
}
const FULL: Plan = {
  runs: 5,
  windowMs: 5_000,
  depositRates: [10, 25, 50, 75, 100, 150],
  queryRates: [100, 200, 400, 600, 800],
  sendMs: 8_000,
};
const QUICK: Plan = {
  runs: 3,
  windowMs: 2_500,
  depositRates: [10, 25, 50, 100],
  queryRates: [100, 400],
  sendMs: 3_000,
};

async function measureCase(name: string, trial: Trial, plan: Plan, emit: BenchOptions['emit']) {
  const { runs, windowMs } = plan;
  const rates = await interleave(
    {
      barePut: () => trial.barePuts(windowMs),
      depositRate: () => trial.deposits(windowMs),
      oneByOne: () => trial.depositsOneByOne(windowMs),
      keysRate: () => trial.keys(windowMs),
    },
    runs,
    1,
  );
  const reads = await interleave(
    { queryRate: () => trial.queries(windowMs), emptyEvaluate: () => trial.nothings(windowMs) },
    runs,
    1,
  );
  const each = { case: name, unit: '/s' };
  const put = { name: 'barePut', samples: rates.barePut };
  emit({
    ...each,
    metric: 'depositRate',
    samples: rates.depositRate,
    baseline: put,
    others: { oneByOne: rates.oneByOne },
  });
  emit({ ...each, metric: 'keysRate', samples: rates.keysRate, baseline: put });
  const baseline = { name: 'emptyEvaluate', samples: reads.emptyEvaluate };
  emit({ ...each, metric: 'queryRate', samples: reads.queryRate, baseline });
}

/** The paper's Figs. 5 and 6: one transaction a deposit, one evaluate a shard. */
async function measureSendRates(
  name: string,
  trial: Trial,
  plan: Plan,
  emit: BenchOptions['emit'],
) {
  const kinds = [
    { kind: 'deposit', rates: plan.depositRates },
    { kind: 'query', rates: plan.queryRates },
  ] as const;
  for (const { kind, rates } of kinds) {
    for (const rate of rates) {
      const sent = await trial.sendAt(kind, rate, plan.sendMs);
      const at = `${name}@${rate}`;
      emit({ metric: `${kind}Rate`, case: at, unit: '/s', samples: [sent.rate] });
      emit({ metric: `${kind}LatencyMs`, case: at, unit: 'ms', samples: sent.latenciesMs });
    }
  }
}

export const part: BenchPart = {
  describe: 'deposits, keys and shard queries, at most and at rising send rates',
  async run({ quick, ledger, emit, note }) {
    const plan = quick ? QUICK : FULL;
    for (const { organisations, shards } of NETWORKS) {
      note(`starting ${organisations} organisations (${ledger})`);
      const network = await startBenchNetwork(ledger, organisations);
      try {
        for (const n of shards) {
          const name = `${organisations}orgs/n${n}`;
          note(name);
          const trial = await Trial.start(network, n);
          try {
            await measureCase(name, trial, plan, emit);
            await measureSendRates(name, trial, plan, emit);
          } finally {
            trial.stop();
          }
        }
      } finally {
        await network.stop();
      }
    }
  },
};
