/**
 * What the ledger can do with keys (P §5, Figs. 5 and 6), with the default scheme, Feldman's, and
 * key-level policies; 2 of n, 200 ms blocks, 100 calls in flight from one organisation.
 *
 * `depositRate`: deposits a second through the gateway's own `DepositGroup`, which lets those that
 *   wait together share a transaction. Baseline: a put of one key by one organisation, a transaction
 *   each, through a chaincode that does no more. In `others`: `oneByOne`, one transaction a deposit;
 *   `privatePuts`, what Fabric can do at the most then: a private value for each holder and a public
 *   key in one transaction, by a chaincode that does no more, without key-level policies.
 * `keysRate`: keys a second by `DepositMany`, 300 shards a transaction; a key counts when its
 *   transaction is committed and every holder has read its shard and compared its pinned hash.
 * `queryRate`: access-checked shard reads a second by the holders, 50 in flight; baseline: an
 *   evaluate that reads nothing, same clients, same peers.
 * `CASE@RATE`: transactions sent one by one, so many a second: `depositRate` is what came of it,
 *   `depositLatencyMs` from sending to commit (Fig. 5); `queryRate` and `queryLatencyMs` (Fig. 6).
 *   They rise until the ledger does not keep up.
 * Whatever the machine does, it ends: each call and each measurement has a limit in time, and a
 * figure is made of the runs that fitted in.
 */

import { interleave } from '../figures.ts';
import type { Outcome } from '../ledger/load.ts';
import { type BenchNetwork, startBenchNetwork } from '../ledger/network.ts';
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
  readonly readRuns: number;
  /** After so long no further run of a figure starts. */
  readonly budgetMs: number;
  readonly depositRates: readonly number[];
  readonly queryRates: readonly number[];
  readonly sendMs: number;
}
const FULL: Plan = {
  runs: 5,
  windowMs: 4_000,
  readRuns: 15,
  budgetMs: 240_000,
  depositRates: [5, 10, 25, 50, 75, 100, 150],
  queryRates: [100, 200, 400, 600, 800],
  sendMs: 5_000,
};
const QUICK: Plan = {
  runs: 3,
  windowMs: 2_000,
  readRuns: 7,
  budgetMs: 60_000,
  depositRates: [10, 25, 50, 100],
  queryRates: [100, 400],
  sendMs: 3_000,
};
/**
 * Turns of the query and of its baseline, each so long. Many short ones: the machine's drift meets both
 * alike. The first do not count: until every holder's process has compiled what it runs, which
 * takes some thousand calls, either costs up to twice as much.
 */
const READ_WARM_UPS = 6;
const READ_WINDOW_MS = 1_000;
/** A ledger that brings less than this share of what is sent does not keep up. */
const KEPT_UP = 2 / 3;

type Output = Pick<BenchOptions, 'emit' | 'note'>;

/** The rates of a figure's runs, and how many calls failed in all of them. */
function ratesOf(name: string, outcomes: readonly Outcome[], note: Output['note']) {
  const failed = outcomes.reduce((sum, outcome) => sum + outcome.failed, 0);
  if (failed > 0) {
    const failure = outcomes.find((one) => one.failure !== null)?.failure ?? 'no answer in time';
    note(`${name}: ${failed} calls failed: ${String(failure)}`);
  }
  return { samples: outcomes.map(({ rate }) => rate), failed };
}

async function measureCase(name: string, trial: Trial, plan: Plan, { emit, note }: Output) {
  const { runs, windowMs, readRuns, budgetMs } = plan;
  const contenders = {
    barePut: () => trial.barePuts(windowMs),
    depositRate: () => trial.deposits(windowMs),
    oneByOne: () => trial.depositsOneByOne(windowMs),
    privatePuts: () => trial.privatePuts(windowMs),
    keysRate: () => trial.keys(windowMs),
  };
  const writes = await interleave(contenders, runs, 1, budgetMs);
  const rates = (kind: keyof typeof writes) => ratesOf(`${name} ${kind}`, writes[kind], note);
  const each = { case: name, unit: '/s' };
  const put = { name: 'barePut', samples: rates('barePut').samples };
  const others = {
    oneByOne: rates('oneByOne').samples,
    privatePuts: rates('privatePuts').samples,
  };
  emit({ ...each, metric: 'depositRate', ...rates('depositRate'), baseline: put, others });
  emit({ ...each, metric: 'keysRate', ...rates('keysRate'), baseline: put });
  const readers = {
    queryRate: () => trial.queries(READ_WINDOW_MS),
    emptyEvaluate: () => trial.nothings(READ_WINDOW_MS),
  };
  const reads = await interleave(readers, readRuns, READ_WARM_UPS, budgetMs);
  const queries = ratesOf(`${name} queryRate`, reads.queryRate, note);
  const { samples } = ratesOf(`${name} emptyEvaluate`, reads.emptyEvaluate, note);
  const baseline = { name: 'emptyEvaluate', samples };
  emit({ ...each, metric: 'queryRate', ...queries, baseline });
}

/** The paper's Figs. 5 and 6: one transaction a deposit, one evaluate a shard. */
async function measureSendRates(name: string, trial: Trial, plan: Plan, { emit, note }: Output) {
  const kinds = [
    { kind: 'deposit', rates: plan.depositRates },
    { kind: 'query', rates: plan.queryRates },
  ] as const;
  for (const { kind, rates } of kinds) {
    for (const rate of rates) {
      const sent = await trial.sendAt(kind, rate, plan.sendMs);
      const at = `${name}@${rate}`;
      const { failed } = ratesOf(`${at} ${kind}`, [sent], note);
      emit({ metric: `${kind}Rate`, case: at, unit: '/s', samples: [sent.rate], failed });
      emit({ metric: `${kind}LatencyMs`, case: at, unit: 'ms', samples: sent.latenciesMs, failed });
      if (sent.rate < KEPT_UP * rate) {
        note(`${at}: ${sent.rate.toFixed(1)}/s came of it; no higher rate is tried`);
        break;
      }
    }
  }
}

async function measureNetwork(
  network: BenchNetwork,
  shards: readonly number[],
  plan: Plan,
  output: Output,
): Promise<void> {
  for (const n of shards) {
    const name = `${network.mspIds.length}orgs/n${n}`;
    output.note(name);
    const trial = await Trial.start(network, n);
    try {
      await measureCase(name, trial, plan, output);
      await measureSendRates(name, trial, plan, output);
    } finally {
      trial.stop();
    }
  }
}

export const part: BenchPart = {
  describe: 'deposits, keys and shard queries, at most and at rising send rates',
  async run({ quick, ledger, emit, note }) {
    const plan = quick ? QUICK : FULL;
    for (const { organisations, shards } of NETWORKS) {
      const startMs = performance.now();
      note(`starting ${organisations} organisations (${ledger})`);
      const network = await startBenchNetwork(ledger, organisations);
      const seconds = ((performance.now() - startMs) / 1000).toFixed(0);
      note(`${organisations} organisations run after ${seconds} s`);
      try {
        await measureNetwork(network, shards, plan, { emit, note });
      } finally {
        await network.stop();
      }
    }
  },
};
