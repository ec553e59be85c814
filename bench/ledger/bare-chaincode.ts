/**
 * The least that a chaincode can do, as the baseline of the ledger's figures: `put` writes one key,
 * `nothing` reads and writes nothing. Straight on the shim, without the contract library, served
 * like our own chaincode (`chaincode/src/serve.ts`, same options, same TLS).
 */
import type shim from 'fabric-shim';
import type { ChaincodeInterface, ChaincodeResponse, ChaincodeStub } from 'fabric-shim';
import { runChaincode } from '../../chaincode/src/serve.ts';

/** Name under which it is deployed, and of its two transactions. */
export const BARE = { chaincode: 'bare', put: 'put', nothing: 'nothing' } as const;

function bare({ success }: typeof shim): ChaincodeInterface {
  return {
    async Init(): Promise<ChaincodeResponse> {
      return success();
    },
    async Invoke(stub: ChaincodeStub): Promise<ChaincodeResponse> {
      const { fcn, params } = stub.getFunctionAndParameters();
      if (fcn === BARE.nothing) return success();
      const [key = '', value = ''] = params;
      await stub.putState(key, Buffer.from(value));
      return success();
    },
  };
}

if (import.meta.main) {
  runChaincode(process.argv.slice(2), (_, shim) => bare(shim)).catch((error: unknown) => {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exit(1);
  });
}
