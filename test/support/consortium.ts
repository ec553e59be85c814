/**
 * A consortium on the in-memory Fabric, and files ready to be recorded in it.
 */
import { createHash } from 'node:crypto';
import { encrypt, identityFromRandom, recipientOf } from '@blocktorrent/protocol/age.ts';
import { bitfieldOf } from '@blocktorrent/protocol/bitfield.ts';
import { toBase64, toHex, utf8 } from '@blocktorrent/protocol/bytes.ts';
import { digestChunk } from '@blocktorrent/protocol/digest.ts';
import type {
  Argument,
  Dealing,
  Policy,
  RecordInput,
  Result,
  SignedReceipt,
  TransactionName,
} from '@blocktorrent/protocol/ledger-api.ts';
import { CHAIN_ROOT } from '@blocktorrent/protocol/manifest.ts';
import { holdersOf, ownersOf } from '@blocktorrent/protocol/placement.ts';
import { type Receipt, signReceipt } from '@blocktorrent/protocol/receipt.ts';
import { publicKeyOf } from '@blocktorrent/protocol/signing.ts';
import { type Caller, MemoryFabric, type Proposal } from './memory-fabric.ts';
import { Seeded } from './seeded.ts';

export const POLICY: Policy = {
  k: 2,
  n: 3,
  replicas: 3,
  receiptsMin: 2,
  approvals: 2,
  auditExpiryMsMax: 86_400_000,
  scheme: 'shamir-gf256',
};
export const CHANNEL = 'blocktorrent';
export const AUDITOR: Caller = { mspId: 'AuditorMSP', role: 'auditor' };

/** `Org1MSP`, … and their agents. */
export function orgName(number: number): string {
  return `Org${number}MSP`;
}
export function agentOf(number: number): Caller {
  return { mspId: orgName(number), role: 'agent' };
}

export function orgNames(organisations: number): string[] {
  return Array.from({ length: organisations }, (_, i) => orgName(i + 1));
}

/** A file whose key is deposited, with what a record of it needs. */
export interface TrialFile {
  readonly record: RecordInput;
  readonly identity: Uint8Array;
  readonly dealing: Dealing;
}

/** A ledger on which a trial consortium lives: the in-memory one, or a network's. */
export interface TrialLedger {
  readonly timeMs: number;
  evaluate<T extends TransactionName>(
    caller: Caller,
    name: T,
    argument: Argument<T>,
  ): Promise<Result<T>>;
  submit<T extends TransactionName>(
    caller: Caller,
    name: T,
    argument: Argument<T>,
    proposal?: Proposal,
  ): Promise<{ result: Result<T>; txId: string }>;
}

/** Organisations Org1MSP.. on a ledger, with files of theirs; everything from one seed. */
export class ConsortiumOn<F extends TrialLedger> {
  readonly fabric: F;
  readonly names: readonly string[];
  readonly policy: Policy;
  readonly random: Seeded;
  #heads = new Map<string, { seq: number; fileId: string }>();

  constructor(fabric: F, organisations: number, policy: Policy, seed: number | string) {
    this.names = orgNames(organisations);
    this.fabric = fabric;
    this.policy = policy;
    this.random = new Seeded(seed);
  }

  /** The overlay seed of an organisation's peer. */
  seedOf(mspId: string, peer = 'admin'): Uint8Array {
    return Uint8Array.from(createHash('sha256').update(`${mspId}/${peer}`).digest());
  }

  /** Founds it and registers one store peer each, and a gateway of the first organisation. */
  async found(): Promise<this> {
    const members = this.names.map((mspId) => ({
      mspId,
      name: `The ${mspId}`,
      weight: 1,
      overlayRoots: ['PEM'],
    }));
    const auditors = [{ mspId: AUDITOR.mspId, name: 'The auditor', overlayRoots: [] }];
    await this.fabric.submit(agentOf(1), 'ledger/consortium:Found', {
      members,
      auditors,
      policy: this.policy,
    });
    for (const mspId of this.names) await this.register(mspId, 'admin', ['store']);
    await this.register(orgName(1), 'gateway-1', ['ingest']);
    return this;
  }

  async register(mspId: string, name: string, roles: ('ingest' | 'store')[]): Promise<void> {
    await this.fabric.submit({ mspId, role: 'agent' }, 'ledger/consortium:RegisterPeer', {
      name,
      roles,
      overlayKey: toHex(publicKeyOf(this.seedOf(mspId, name))),
      dhtAddress: '127.0.0.1:6881',
    });
  }

  /** A receipt of `owner` for `chunks` of a file; `change` alters it before it is signed. */
  receipt(
    fileId: string,
    owner: string,
    chunkCount: number,
    chunks: readonly number[],
    change: Partial<Receipt> = {},
  ): SignedReceipt {
    const receipt: Receipt = {
      version: 1,
      channel: CHANNEL,
      fileId,
      source: orgName(1),
      owner,
      peer: 'admin',
      epoch: 1,
      chunkCount,
      chunks: bitfieldOf(chunks, chunkCount),
      nonce: this.random.bytes(16),
      timeMs: this.fabric.timeMs,
      ...change,
    };
    return signReceipt(receipt, this.seedOf(owner));
  }

  /** Deposits a key for the receipts' file and returns the public dealing. */
  async deposit(
    source: string,
    fileId: string,
    receipts: readonly { nonce: Uint8Array }[],
  ): Promise<{ dealing: Dealing; identity: Uint8Array }> {
    const identity = identityFromRandom(this.random.bytes(32));
    const { epochs } = await this.fabric.evaluate(
      agentOf(1),
      'ledger/consortium:GetConsortium',
      {},
    );
    const epoch = epochs[0];
    if (epoch === undefined) throw new Error('no epoch');
    const nonces = receipts.map(({ nonce }) => nonce);
    const holders = holdersOf(fileId, nonces, epoch, source, this.policy.n);
    const { result } = await this.fabric.submit(
      { mspId: source, role: 'agent' },
      'keys/keys:Deposit',
      {
        fileId,
        recipient: recipientOf(identity),
        scheme: this.policy.scheme,
        k: this.policy.k,
        n: holders.length,
        holders,
      },
      { transient: { identity, entropy: this.random.bytes(32) } },
    );
    return { dealing: result, identity };
  }

  /** A file of `source` with all its receipts and its key deposited, next in its chain. */
  async file(
    source = orgName(1),
    chunkCount = 5,
    gateway = 'gateway-1',
    fileId = toHex(this.random.bytes(32)),
  ): Promise<TrialFile> {
    const { epochs } = await this.fabric.evaluate(
      agentOf(1),
      'ledger/consortium:GetConsortium',
      {},
    );
    const epoch = epochs[0];
    if (epoch === undefined) throw new Error('no epoch');
    const owned = new Map<string, number[]>();
    for (let chunk = 0; chunk < chunkCount; chunk++) {
      const digests = digestChunk(this.random.bytes(32));
      for (const owner of ownersOf(digests, epoch, source, this.policy.replicas)) {
        owned.set(owner, [...(owned.get(owner) ?? []), chunk]);
      }
    }
    const nonces = new Map([...owned.keys()].map((owner) => [owner, this.random.bytes(16)]));
    const receipts = [...owned].map(([owner, chunks]) =>
      this.receipt(fileId, owner, chunkCount, chunks, {
        nonce: nonces.get(owner) ?? new Uint8Array(16),
        epoch: epoch.epoch,
        source,
      }),
    );
    const given = [...nonces.values()].map((nonce) => ({ nonce }));
    const { dealing, identity } = await this.deposit(source, fileId, given);
    const chain = `${source}/${gateway}`;
    const head = this.#heads.get(chain) ?? { seq: 0, fileId: CHAIN_ROOT };
    this.#heads.set(chain, { seq: head.seq + 1, fileId });
    const table = encrypt(utf8(`table of ${fileId}`), [dealing.recipient], this.random.bytes);
    const record: RecordInput = {
      fileId,
      kind: 'batch',
      recipient: dealing.recipient,
      bytes: chunkCount * 16_384,
      chunkCount,
      epoch: epoch.epoch,
      gateway,
      seq: head.seq + 1,
      previous: head.fileId,
      timeMs: this.fabric.timeMs,
      receipts,
      dealing,
      masterTableHash: createHash('sha256').update(table).digest('hex'),
      masterTable: toBase64(table),
    };
    return { record, identity, dealing };
  }

  /** Records a file and has every holder confirm it. */
  async recorded(source = orgName(1), gateway = 'gateway-1'): Promise<TrialFile> {
    const file = await this.file(source, 5, gateway);
    await this.fabric.submit(
      { mspId: source, role: 'agent' },
      'ledger/records:Record',
      file.record,
    );
    for (const holder of file.dealing.holders) {
      await this.fabric.submit({ mspId: holder, role: 'agent' }, 'ledger/audits:Confirm', {
        fileIds: [file.record.fileId],
      });
    }
    return file;
  }

  /** An age file to `recipient`, base64; nothing of use is in it. */
  ageFile(recipient: string): string {
    return toBase64(encrypt(utf8('{}'), [recipient], this.random.bytes));
  }

  /** A fresh age recipient for each organisation. */
  recipients(): Record<string, string> {
    return Object.fromEntries(
      this.names.map((name) => [name, recipientOf(identityFromRandom(this.random.bytes(32)))]),
    );
  }
}

/** A consortium on the in-memory Fabric. */
export class TrialConsortium extends ConsortiumOn<MemoryFabric> {
  constructor(organisations = 4, policy: Policy = POLICY, seed: number | string = 1) {
    super(new MemoryFabric(CHANNEL, orgNames(organisations)), organisations, policy, seed);
  }
}
