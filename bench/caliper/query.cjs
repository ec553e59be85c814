/** Caliper workload: each holder reads its shard (the paper's Fig. 6). Argument: `shards`. */
const { WorkloadModuleBase } = require('@hyperledger/caliper-core');
const { deposit, holdersOf, keyPool } = require('./keys.cjs');

const KEYS = 10;

class Query extends WorkloadModuleBase {
  async initializeWorkloadModule(...args) {
    await super.initializeWorkloadModule(...args);
    const pool = await keyPool();
    this.holders = holdersOf(this.roundArguments.shards);
    this.deposits = [];
    this.turn = 0;
    for (let i = 0; i < KEYS; i += 1) {
      const status = await this.sutAdapter.sendRequests(deposit(pool[i], this.holders));
      if (status.GetStatus() !== 'success') throw new Error('a deposit failed');
      this.deposits.push(JSON.parse(Buffer.from(status.GetResult()).toString()));
    }
  }

  async submitTransaction() {
    const turn = this.turn++;
    const at = turn % this.holders.length;
    const { depositTx, shardHashes } = this.deposits[turn % this.deposits.length];
    // As a holder's agent asks: with the hash that the record pins.
    const shard = { depositTx, index: at + 1, hash: shardHashes[at] };
    await this.sutAdapter.sendRequests({
      contractId: 'keys',
      contractFunction: 'keys:GetShard',
      contractArguments: [JSON.stringify(shard)],
      invokerMspId: this.holders[at],
      invokerIdentity: 'agent',
      readOnly: true,
    });
  }
}

exports.createWorkloadModule = () => new Query();
