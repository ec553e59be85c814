/**
 * Our chaincode `keys` with one transaction more: `privatePuts` hands each of the organisations in
 * its arguments a private value as long as a shard, writes one public key, and does no more. What
 * Fabric itself makes of that is as fast as a deposit of its own transaction could be.
 */
import { shardCollection } from '@blocktorrent/protocol/ledger-api.ts';
import type shim from 'fabric-shim';
import type { ChaincodeInterface } from 'fabric-shim';
import { runChaincode } from '../../chaincode/src/serve.ts';

/** Name of the transaction. */
export const PRIVATE_PUTS = 'privatePuts';

/** Length of a Feldman shard, about. */
const SHARD_BYTES = 100;
const VALUE = Buffer.alloc(SHARD_BYTES, 'x');

function withPrivatePuts(
  contracts: ChaincodeInterface,
  { success }: typeof shim,
): ChaincodeInterface {
  return {
    Init: (stub) => contracts.Init(stub),
    Invoke: async (stub) => {
      const { fcn, params: mspIds } = stub.getFunctionAndParameters();
      if (fcn !== PRIVATE_PUTS) return await contracts.Invoke(stub);
      const key = stub.getTxID();
      for (const mspId of mspIds) await stub.putPrivateData(shardCollection(mspId), key, VALUE);
      await stub.putState(key, VALUE);
      return success();
    },
  };
}

if (import.meta.main) {
  runChaincode(process.argv.slice(2), withPrivatePuts).catch((error: unknown) => {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exit(1);
  });
}
