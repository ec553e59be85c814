/**
 * Deposits that wait at the same time share a transaction: the group commit of keys (P §3.2.2).
 *
 * Enters: one key at a time. Leaves: its dealing. A key that comes alone goes at once, by `Deposit`;
 * those that come while others are under way go together with the next `DepositMany`, which costs
 * every peer about as much as a single one. Where the contract refuses a group, each is tried alone,
 * so that one wrong key stops nobody else's. Each caller learns its deposit's id before it is sent.
 */
import { concatBytes } from '@blocktorrent/protocol/bytes.ts';
import { depositIdOf, ENTROPY_BYTES } from '@blocktorrent/protocol/dealing.ts';
import { type Dealing, type DepositInput, TRANSIENT } from '@blocktorrent/protocol/ledger-api.ts';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import type { Ledger } from '../ledger/ledger.ts';

/** Transactions under way at once: one is endorsed while another is ordered. */
const TRANSACTIONS_AT_ONCE = 3;

/** One key to deposit. */
export interface KeyToDeposit {
  readonly input: DepositInput;
  /** 32 bytes. */
  readonly identity: Uint8Array;
  /** It was refused before: another peer of ours is asked first, where there is one. */
  readonly elsewhere?: boolean;
  /** Called before it is sent: makes the deposit's id and its entropy (32 bytes) durable. */
  readonly onDepositId: (depositId: string, entropy: Uint8Array) => void;
}

interface Waiting extends KeyToDeposit {
  readonly resolve: (dealing: Dealing) => void;
  readonly reject: (error: unknown) => void;
}

export class DepositGroup {
  readonly #ledger: Ledger;
  readonly #random: (bytes: number) => Uint8Array;
  /** Bounded by its callers: each waits for its own. */
  readonly #waiting: Waiting[] = [];
  #underWay = 0;

  constructor(ledger: Ledger, random: (bytes: number) => Uint8Array) {
    this.#ledger = ledger;
    this.#random = random;
  }

  /** Resolves when the key's deposit is committed; throws LedgerError as `Ledger.submit` does. */
  deposit(key: KeyToDeposit): Promise<Dealing> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ ...key, resolve, reject });
      // Callers of the same turn go together.
      setImmediate(() => this.#next());
    });
  }

  #next(): void {
    if (this.#underWay >= TRANSACTIONS_AT_ONCE || this.#waiting.length === 0) return;
    this.#underWay += 1;
    void this.#send(this.#take()).finally(() => {
      this.#underWay -= 1;
      this.#next();
    });
  }

  /** As many as one transaction takes, each file once. */
  #take(): Waiting[] {
    const group: Waiting[] = [];
    const files = new Set<string>();
    let shards = 0;
    for (let one = this.#waiting[0]; one !== undefined; one = this.#waiting[0]) {
      const { fileId, n } = one.input;
      shards += n;
      if (group.length > 0 && (shards > LIMITS.shardsPerDepositMax || files.has(fileId))) break;
      files.add(fileId);
      group.push(one);
      this.#waiting.shift();
    }
    return group;
  }

  async #send(group: readonly Waiting[]): Promise<void> {
    const [only] = group;
    if (only === undefined) return;
    if (group.length === 1) return await this.#settle(only, () => this.#alone(only));
    try {
      const dealings = await this.#together(group);
      for (const [i, one] of group.entries()) {
        const dealing = dealings[i];
        if (dealing === undefined)
          one.reject(new Error('the ledger answered with too few dealings'));
        else one.resolve(dealing);
      }
    } catch (error) {
      const refused = error instanceof Error && 'code' in error && error.code === 'rejected';
      for (const one of group) {
        if (refused) await this.#settle(one, () => this.#alone(one));
        else one.reject(error);
      }
    }
  }

  async #settle(one: Waiting, work: () => Promise<Dealing>): Promise<void> {
    try {
      one.resolve(await work());
    } catch (error) {
      one.reject(error);
    }
  }

  async #alone({ input, identity, onDepositId, elsewhere = false }: Waiting): Promise<Dealing> {
    const entropy = this.#random(ENTROPY_BYTES);
    const { result } = await this.#ledger.submit('keys/keys:Deposit', input, {
      transient: { [TRANSIENT.identity]: identity, [TRANSIENT.entropy]: entropy },
      onTransactionId: (txId) => onDepositId(txId, entropy),
      elsewhere,
    });
    return result;
  }

  async #together(group: readonly Waiting[]): Promise<readonly Dealing[]> {
    const entropy = this.#random(ENTROPY_BYTES);
    const identities = concatBytes(...group.map(({ identity }) => identity));
    const deposits = group.map(({ input }) => input);
    const { result } = await this.#ledger.submit(
      'keys/keys:DepositMany',
      { deposits },
      {
        transient: { [TRANSIENT.identity]: identities, [TRANSIENT.entropy]: entropy },
        elsewhere: group.some((one) => one.elsewhere),
        onTransactionId: (txId) => {
          for (const { input, onDepositId } of group) {
            onDepositId(depositIdOf(txId, input.fileId), entropy);
          }
        },
      },
    );
    return result;
  }
}
