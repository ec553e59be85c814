/** The part of fabric-shim that turns contract classes into a chaincode; it has no types. */
declare module 'fabric-shim/lib/contract-spi/chaincodefromcontract.js' {
  import type { Contract } from 'fabric-contract-api';
  import type { ChaincodeInterface, ChaincodeResponse, ChaincodeStub } from 'fabric-shim';

  interface Serializer {
    toBuffer(result: unknown): Buffer;
    fromBuffer(data: Buffer): { value: string; validateData: string };
  }

  export interface ContractMetadata {
    contracts: Record<string, { name: string; transactions: { name: string }[] }>;
  }

  export default class ChaincodeFromContract implements ChaincodeInterface {
    readonly metadata: ContractMetadata;
    /** Adds the system contract to `contractClasses`. */
    constructor(
      contractClasses: (new () => Contract)[],
      serializers: { transaction: string; serializers: Record<string, new () => Serializer> },
      metadata: ContractMetadata,
      title: string,
      version: string,
    );
    Init(stub: ChaincodeStub): Promise<ChaincodeResponse>;
    Invoke(stub: ChaincodeStub): Promise<ChaincodeResponse>;
  }
}
