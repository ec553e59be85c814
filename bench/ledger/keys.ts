/**
 * Keys to deposit, made before the clock runs: a client of a gateway has its keys when it deposits.
 * Feldman's scheme, the default. Identities repeat; file ids, and so deposits, never do.
 */
import { randomBytes } from 'node:crypto';
import { identityFromRandom, recipientOf } from '@blocktorrent/protocol/age.ts';
import { concatBytes, toHex } from '@blocktorrent/protocol/bytes.ts';
import type { DepositInput } from '@blocktorrent/protocol/ledger-api.ts';
import type { Call } from './client.ts';

/** Needed shards of each key; how many there are is the case. */
const K = 2;
const POOL = 256;

/** Calls that deposit keys for the holders, the first `n` of `holders`. */
export class KeySource {
  readonly holders: readonly string[];
  readonly #pool: readonly { identity: Uint8Array; recipient: string }[];
  #next = 0;

  constructor(holders: readonly string[]) {
    this.holders = holders;
    this.#pool = Array.from({ length: POOL }, () => {
      const identity = identityFromRandom(randomBytes(32));
      return { identity, recipient: recipientOf(identity) };
    });
  }

  /** `keys:Deposit` of one key. */
  deposit(): Call {
    const { input, identity } = this.next();
    return this.#call('keys:Deposit', input, identity);
  }

  /** `keys:DepositMany` of `count` keys. */
  depositMany(count: number): Call {
    const keys = Array.from({ length: count }, () => this.next());
    const deposits = keys.map(({ input }) => input);
    return this.#call(
      'keys:DepositMany',
      { deposits },
      concatBytes(...keys.map(({ identity }) => identity)),
    );
  }

  #call(name: string, argument: unknown, identity: Uint8Array): Call {
    return {
      chaincode: 'keys',
      name,
      args: [JSON.stringify(argument)],
      transient: { identity, entropy: randomBytes(32) },
    };
  }

  /** A key and for whom, as `DepositGroup` takes it. */
  next(): { input: DepositInput; identity: Uint8Array } {
    const one = this.#pool[this.#next++ % POOL];
    if (one === undefined) throw new RangeError('the pool of keys is empty');
    const { holders } = this;
    const fileId = toHex(randomBytes(32));
    return {
      identity: one.identity,
      input: {
        fileId,
        recipient: one.recipient,
        scheme: 'feldman-25519',
        k: K,
        n: holders.length,
        holders,
      },
    };
  }
}
