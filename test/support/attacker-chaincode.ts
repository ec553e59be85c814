/**
 * The chaincode of an organisation that has changed its own copy: besides the real contracts it
 * does to the state whatever its client asks for. `attacker-chaincode.ts MSPID ...serve.ts options`:
 * only the process of that organisation (CORE_PEER_LOCALMSPID) is changed, the others' are as they are.
 */
import shim, { type ChaincodeInterface, type ChaincodeStub } from 'fabric-shim';
import { runChaincode } from '../../chaincode/src/serve.ts';

/** Argument of an attack; each uses what it needs. */
export interface Attack {
  readonly do:
    | 'put'
    | 'delete'
    | 'setPolicy'
    | 'putPrivate'
    | 'deletePrivate'
    | 'purgePrivate'
    | 'setPrivatePolicy'
    | 'getPrivate';
  readonly key: string;
  readonly collection?: string;
  /** Text to write. */
  readonly value?: string;
  /** Bytes to write in its place, as base64. */
  readonly base64?: string;
  /** Who shall have to endorse later changes. */
  readonly mspIds?: readonly string[];
}

/** Name under which the attacks are called. */
export const ATTACK = 'attack';

async function attack(stub: ChaincodeStub, what: Attack): Promise<Uint8Array> {
  const { key, collection = '', mspIds = [] } = what;
  const value =
    what.base64 === undefined ? Buffer.from(what.value ?? '') : Buffer.from(what.base64, 'base64');
  const policy = new shim.KeyEndorsementPolicy();
  if (mspIds.length > 0) policy.addOrgs('PEER', ...mspIds);
  switch (what.do) {
    case 'put':
      await stub.putState(key, value);
      break;
    case 'delete':
      await stub.deleteState(key);
      break;
    case 'setPolicy':
      await stub.setStateValidationParameter(key, policy.getPolicy());
      break;
    case 'putPrivate':
      await stub.putPrivateData(collection, key, value);
      break;
    case 'deletePrivate':
      await stub.deletePrivateData(collection, key);
      break;
    case 'purgePrivate':
      await stub.purgePrivateData(collection, key);
      break;
    case 'setPrivatePolicy':
      await stub.setPrivateDataValidationParameter(collection, key, policy.getPolicy());
      break;
    case 'getPrivate':
      return stub.getPrivateData(collection, key);
  }
  return Buffer.from('null');
}

function changed(real: ChaincodeInterface): ChaincodeInterface {
  return {
    Init: (stub) => real.Init(stub),
    async Invoke(stub) {
      const { fcn, params } = stub.getFunctionAndParameters();
      if (fcn !== ATTACK) return real.Invoke(stub);
      try {
        return shim.success(Buffer.from(await attack(stub, JSON.parse(params[0] ?? '{}'))));
      } catch (error) {
        return shim.error(error instanceof Error ? error.message : String(error));
      }
    },
  };
}

if (import.meta.main) {
  const [attacker, ...args] = process.argv.slice(2);
  const isAttacker = process.env.CORE_PEER_LOCALMSPID === attacker;
  await runChaincode(args, isAttacker ? changed : undefined);
}
