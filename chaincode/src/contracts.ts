/**
 * Which contracts each chaincode is made of, and as fabric-shim wants them.
 *
 * The metadata lists every transaction, so that the shim exposes exactly these, passes arguments
 * as they are, and does not have to guess from prototypes.
 */
import type { CHAINCODE } from '@blocktorrent/protocol/ledger-api.ts';
import type { Contract } from 'fabric-contract-api';
import { ARGUMENTS } from './arguments.ts';
import { AuditsContract } from './audits-contract.ts';
import { ConsortiumContract } from './consortium-contract.ts';
import { Dispatcher } from './dispatch.ts';
import { KeysContract } from './keys-contract.ts';
import { RecordsContract } from './records-contract.ts';

/** Name of a chaincode. */
export type ChaincodeName = (typeof CHAINCODE)[keyof typeof CHAINCODE];

/** The contract classes of each chaincode. */
export const CONTRACTS: Readonly<Record<ChaincodeName, readonly (new () => Contract)[]>> = {
  ledger: [ConsortiumContract, RecordsContract, AuditsContract],
  keys: [KeysContract],
};

/** Results as one JSON value, null included; arguments are text that the contracts parse. */
class JsonResult {
  toBuffer(result: unknown): Buffer {
    return Buffer.from(JSON.stringify(result ?? null));
  }

  fromBuffer(data: Buffer): { value: string; validateData: string } {
    const value = data.toString('utf8');
    return { value, validateData: value };
  }
}

/** The transactions of a contract of a chaincode, by name. */
export function transactionNames(chaincode: ChaincodeName, contract: string): string[] {
  const prefix = `${chaincode}/${contract}:`;
  return Object.keys(ARGUMENTS)
    .filter((name) => name.startsWith(prefix))
    .map((name) => name.slice(prefix.length));
}

/** The chaincode as fabric-shim's server takes it. */
export function createChaincode(chaincode: ChaincodeName): Dispatcher {
  const classes = [...CONTRACTS[chaincode]];
  const contracts: Record<string, { name: string; transactions: { name: string }[] }> = {
    'org.hyperledger.fabric': {
      name: 'org.hyperledger.fabric',
      transactions: [{ name: 'GetMetadata' }],
    },
  };
  const own = new Map<string, Contract>();
  const transactions = new Set<string>();
  for (const ContractClass of classes) {
    const instance = new ContractClass();
    const name = instance.getName();
    const names = transactionNames(chaincode, name);
    own.set(name, instance);
    for (const one of names) transactions.add(`${name}:${one}`);
    contracts[name] = { name, transactions: names.map((one) => ({ name: one })) };
  }
  const serializers = { transaction: 'json', serializers: { json: JsonResult } };
  return new Dispatcher([classes, serializers, { contracts }, chaincode, '1'], own, transactions);
}
