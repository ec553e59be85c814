/**
 * What the contracts have in common: typed against `ledger-api.ts`, errors as `CODE: sentence`.
 *
 * fabric-shim exposes every prototype method of a contract class, private or not. So contracts
 * hold transactions only, everything else is functions in modules; what is here overrides methods
 * of Contract itself, which are not exposed.
 */
import type { Result, TransactionName } from '@blocktorrent/protocol/ledger-api.ts';
import contractApi, { type Context } from 'fabric-contract-api';
import { refusalText } from './refusal.ts';

/** The transactions of contract `P` (`ledger/records`): one JSON argument, one JSON result. */
export type TransactionsOf<P extends string> = {
  [N in TransactionName as N extends `${P}:${infer F}` ? F : never]: (
    ctx: Context,
    argument: string,
  ) => Promise<Result<N>>;
};

/** Base of the contracts: turns whatever a transaction throws into its text with a code. */
export class BlockTorrentContract extends contractApi.Contract {
  override async aroundTransaction(
    ctx: Context,
    // biome-ignore lint/complexity/noBannedTypes: the library's signature
    fn: Function,
    parameters: unknown,
  ): Promise<void> {
    try {
      return await super.aroundTransaction(ctx, fn, parameters);
    } catch (error) {
      throw new Error(refusalText(error), { cause: error });
    }
  }

  override async unknownTransaction(ctx: Context): Promise<void> {
    const { fcn } = ctx.stub.getFunctionAndParameters();
    throw new Error(`NOT_FOUND: no transaction ${JSON.stringify(fcn.slice(0, 128))}`);
  }
}
