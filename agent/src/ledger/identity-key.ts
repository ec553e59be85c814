/**
 * The key of our ledger identity, wherever it is: opened when first needed, once for all peers.
 *
 * Always holds: what could not be opened (a token that is not plugged in) is tried again next time.
 */
import { readFile } from 'node:fs/promises';
import type { FabricLedgerConfig } from './fabric-config.ts';
import { createPkcs11Signer } from './pkcs11-signer.ts';
import { createSigner, type MessageSigner } from './signer.ts';

interface OpenKey {
  readonly sign: MessageSigner;
  close(): void;
}

export class IdentityKey {
  readonly #config: FabricLedgerConfig;
  #key: Promise<OpenKey> | null = null;

  constructor(config: FabricLedgerConfig) {
    this.#config = config;
  }

  /** @throws Error where the key cannot be read or the module not be opened */
  async signer(): Promise<MessageSigner> {
    this.#key ??= this.#open();
    try {
      return (await this.#key).sign;
    } catch (error) {
      this.#key = null;
      throw error;
    }
  }

  close(): void {
    this.#key?.then(
      (key) => key.close(),
      () => undefined,
    );
    this.#key = null;
  }

  async #open(): Promise<OpenKey> {
    const { certFile, keyFile, pkcs11 } = this.#config;
    if (pkcs11 !== undefined) return createPkcs11Signer(pkcs11, await readFile(certFile, 'utf8'));
    if (keyFile === undefined) throw new Error('neither ledger.keyFile nor ledger.pkcs11 is given');
    return { sign: createSigner(await readFile(keyFile, 'utf8')), close: () => undefined };
  }
}
