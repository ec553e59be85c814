/**
 * The way from the shim to a contract's transaction, shorter than the contract library's for our own
 * transactions: that one parses the caller's certificate for each call and writes results as JSON
 * for a log that is off, together a third of a query. Anything else goes through the library.
 */
import type { Context, Contract } from 'fabric-contract-api';
import shim, { type ChaincodeResponse, type ChaincodeStub } from 'fabric-shim';
import ChaincodeFromContract from 'fabric-shim/lib/contract-spi/chaincodefromcontract.js';

type Identity = Context['clientIdentity'];

/** Callers whose parsed certificates are kept. */
const IDENTITIES_MAX = 256;

export class Dispatcher extends ChaincodeFromContract {
  /** By MSP id and certificate. */
  readonly #identities = new Map<string, Identity>();
  readonly #contracts: ReadonlyMap<string, Contract>;
  readonly #transactions: ReadonlySet<string>;

  /** As the library's; `contracts` by name, `transactions` as `contract:function`. */
  constructor(
    library: ConstructorParameters<typeof ChaincodeFromContract>,
    contracts: ReadonlyMap<string, Contract>,
    transactions: ReadonlySet<string>,
  ) {
    super(...library);
    this.#contracts = contracts;
    this.#transactions = transactions;
  }

  override async Invoke(stub: ChaincodeStub): Promise<ChaincodeResponse> {
    const { fcn, params } = stub.getFunctionAndParameters();
    const [name = '', transaction = ''] = fcn.split(':', 2);
    const contract = this.#contracts.get(name);
    if (contract === undefined || params.length !== 1 || !this.#transactions.has(fcn)) {
      return await super.Invoke(stub);
    }
    try {
      const ctx = contract.createContext();
      ctx.stub = stub;
      ctx.clientIdentity = this.#identityOf(stub);
      // By the name: its types say a function, the library gives and takes a name.
      const call = [ctx, transaction, params];
      const result: unknown = await Reflect.apply(contract.aroundTransaction, contract, call);
      return shim.success(Buffer.from(JSON.stringify(result ?? null)));
    } catch (error) {
      return shim.error(error instanceof Error ? error.message : String(error));
    }
  }

  /** The caller, without the transaction that it came with. */
  #identityOf(stub: ChaincodeStub): Identity {
    const { mspid, idBytes } = stub.getCreator();
    const key = `${mspid}/${Buffer.from(idBytes).toString('base64')}`;
    const known = this.#identities.get(key);
    if (known !== undefined) return known;
    const { stub: _, ...identity } = Object.assign({ stub }, new shim.ClientIdentity(stub));
    const kept: Identity = Object.assign(
      Object.create(shim.ClientIdentity.prototype) as Identity,
      identity,
    );
    if (this.#identities.size >= IDENTITIES_MAX) this.#identities.clear();
    this.#identities.set(key, kept);
    return kept;
  }
}
