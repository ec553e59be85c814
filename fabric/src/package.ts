/**
 * Chaincode packages for chaincode as a service: a tar.gz with metadata.json and code.tar.gz, which
 * holds connection.json. Pure. Always holds: the same input gives the same bytes (fixed times and
 * owner), so that every organisation computes the same package id.
 *
 * The connection is a template, because each organisation's differs. Our external builder ignores
 * it and reads the peer's own file; Fabric's `ccaas` builder fills it in from the JSON in
 * CHAINCODE_AS_A_SERVICE_BUILDER_CONFIG.
 */
import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';

const BLOCK_BYTES = 512;

export interface ChaincodePackage {
  /** `NAME_VERSION`. */
  readonly label: string;
  /** `LABEL:SHA-256`. */
  readonly packageId: string;
  readonly bytes: Uint8Array;
}

/** Makes the package of a chaincode; `name` without underscores. */
export function packageChaincode(name: string, version: string): ChaincodePackage {
  const label = `${name}_${version}`;
  const connection = {
    address: `{{.${name}_address}}`,
    dial_timeout: '10s',
    tls_required: true,
    client_auth_required: true,
    root_cert: '{{.root_cert}}',
    client_cert: '{{.client_cert}}',
    client_key: '{{.client_key}}',
  };
  const code = tarGz([['connection.json', json(connection)]]);
  const bytes = tarGz([
    ['metadata.json', json({ type: 'ccaas', label })],
    ['code.tar.gz', code],
  ]);
  const digest = createHash('sha256').update(bytes).digest('hex');
  return { label, packageId: `${label}:${digest}`, bytes };
}

function json(value: unknown): Uint8Array {
  return Buffer.from(`${JSON.stringify(value)}\n`);
}

function tarGz(files: readonly (readonly [name: string, bytes: Uint8Array])[]): Uint8Array {
  const parts = files.flatMap(([name, bytes]) => [
    header(name, bytes.byteLength),
    bytes,
    new Uint8Array(-bytes.byteLength & (BLOCK_BYTES - 1)),
  ]);
  // No compression: zlib versions differ in what they make of the same input.
  const packed = gzipSync(Buffer.concat([...parts, new Uint8Array(2 * BLOCK_BYTES)]), { level: 0 });
  // RFC 1952: byte 9 names the system that compressed; 255 is "unknown", on every system.
  packed[9] = 255;
  return packed;
}

/** POSIX ustar header of a plain file: mode 0644, owner 0, time 0. */
function header(name: string, bytes: number): Uint8Array {
  const block = Buffer.alloc(BLOCK_BYTES);
  block.write(name, 0, 100);
  block.write('0000644\0', 100);
  block.write('0000000\0', 108);
  block.write('0000000\0', 116);
  block.write(`${bytes.toString(8).padStart(11, '0')}\0`, 124);
  block.write('00000000000\0', 136);
  block.write('        ', 148);
  block.write('0', 156);
  block.write('ustar\x0000', 257);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return block;
}
