/** Caliper workload: deposits of one key each (the paper's Fig. 5). Argument: `shards`. */
const { WorkloadModuleBase } = require('@hyperledger/caliper-core');
const { deposit, holdersOf, keyPool } = require('./keys.cjs');

class Deposit extends WorkloadModuleBase {
  async initializeWorkloadModule(...args) {
    await super.initializeWorkloadModule(...args);
    this.pool = await keyPool();
    this.holders = holdersOf(this.roundArguments.shards);
    this.turn = 0;
  }

  async submitTransaction() {
    const key = this.pool[this.turn++ % this.pool.length];
    await this.sutAdapter.sendRequests(deposit(key, this.holders));
  }
}

exports.createWorkloadModule = () => new Deposit();
