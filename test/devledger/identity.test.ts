/** Who may act: signatures, transaction ids, certificate chains, the time window. */
import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { common, gateway as gatewayProtos, peer } from '@hyperledger/fabric-protos';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createSigner } from '../../agent/src/ledger/signer.ts';
import { createRoot, issueLeaf } from '../../devledger/src/certificates.ts';
import { issueCertificate } from '../../devledger/src/pki.ts';
import { type FabricClient, fabricClient, json } from '../support/fabric-client.ts';
import { startNetwork, type TestNetwork } from '../support/network.ts';

const P256_ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
let network: TestNetwork;
let org1: FabricClient;

beforeAll(async () => {
  network = await startNetwork({ organisations: 2, chaincode: 'fixture' });
  org1 = await fabricClient(network, 'Org1MSP');
});
afterAll(async () => {
  org1?.[Symbol.dispose]();
  await network?.stop();
});

function organisation(index: number) {
  const found = network.organisations[index];
  if (found === undefined) {
    throw new RangeError(`no organisation ${index}`);
  }
  return found;
}

const refused = (message: string) => ({
  code: 9,
  details: [expect.objectContaining({ message: expect.stringContaining(message) })],
});

async function attempt(client: FabricClient): Promise<unknown> {
  return await client.ledger.evaluateTransaction('get', '{"key":"a"}');
}

/** A proposal of ours with its header changed, signed anew by the real key. */
async function withHeader(
  change: (header: common.ChannelHeader) => void,
): Promise<{ evaluate(): Promise<Uint8Array> }> {
  const config = network.ledgerConfigFor('Org1MSP');
  const built = org1.ledger.newProposal('get', { arguments: ['{"key":"a"}'] });
  const proposed = gatewayProtos.ProposedTransaction.deserializeBinary(built.getBytes());
  const signed = proposed.getProposal() ?? new peer.SignedProposal();
  const proposal = peer.Proposal.deserializeBinary(signed.getProposalBytes_asU8());
  const header = common.Header.deserializeBinary(proposal.getHeader_asU8());
  const channel = common.ChannelHeader.deserializeBinary(header.getChannelHeader_asU8());
  change(channel);
  header.setChannelHeader(channel.serializeBinary());
  proposal.setHeader(header.serializeBinary());
  signed.setProposalBytes(proposal.serializeBinary());
  proposed.setProposal(signed);
  const sign = createSigner(await readFile(config.keyFile, 'utf8'));
  const signature = await sign(proposal.serializeBinary());
  return org1.gateway.newSignedProposal(proposed.serializeBinary(), signature);
}

describe('the ledger', () => {
  it('serves a client whose certificate its organisation’s CA issued', async () => {
    expect(json(await org1.ledger.evaluateTransaction('get', '{"key":"a"}'))).toBe('');
    using auditor = await fabricClient(network, 'AuditorMSP', { via: 'Org2MSP' });
    expect(await attempt(auditor)).toBeDefined();
  });

  it('refuses a signature by another key', async () => {
    const other = await readFile(organisation(1).agentKey, 'utf8');
    using client = await fabricClient(network, 'Org1MSP', { signer: createSigner(other) });
    await expect(attempt(client)).rejects.toMatchObject(refused('signature'));
  });

  it('refuses a signature with a high S', async () => {
    const key = await readFile(organisation(0).agentKey, 'utf8');
    const sign = createSigner(key);
    const high = async (message: Uint8Array) => highS(Buffer.from(await sign(message)));
    using client = await fabricClient(network, 'Org1MSP', { signer: high });
    await expect(attempt(client)).rejects.toMatchObject(refused('signature'));
  });

  it('refuses certificates of a foreign CA, even one with the right name', async () => {
    const root = await createRoot('Org1MSP identity CA', 'Org1MSP');
    const identity = await issueLeaf(root, {
      commonName: 'agent',
      organisation: 'Org1MSP',
      use: 'identity',
      role: 'agent',
    });
    using client = await fabricClient(network, 'Org1MSP', { identity });
    await expect(attempt(client)).rejects.toMatchObject(refused('unknown authority'));
  });

  it('refuses a certificate that was changed after it had been issued', async () => {
    const { agent, agentKey } = organisation(0);
    const der = new X509Certificate(await readFile(agent)).raw;
    der.write('"admin"', der.indexOf('"agent"'));
    const certificate = `-----BEGIN CERTIFICATE-----\n${der.toString('base64')}\n-----END CERTIFICATE-----\n`;
    const identity = { certificate, key: await readFile(agentKey, 'utf8') };
    using client = await fabricClient(network, 'Org1MSP', { identity });
    await expect(attempt(client)).rejects.toMatchObject(refused('unknown authority'));
  });

  it('refuses one organisation’s certificate under another’s name', async () => {
    const { agent, agentKey } = organisation(1);
    const certificate = await readFile(agent, 'utf8');
    const identity = { certificate, key: await readFile(agentKey, 'utf8') };
    using client = await fabricClient(network, 'Org1MSP', { identity });
    await expect(attempt(client)).rejects.toMatchObject(refused('unknown authority'));
  });

  it('refuses certificates that have expired or begin before their CA', async () => {
    const base = { commonName: 'agent', use: 'identity', role: 'agent' } as const;
    const expired = await issueCertificate(organisation(0), {
      ...base,
      notAfter: new Date(Date.now() - 1000),
    });
    using late = await fabricClient(network, 'Org1MSP', { identity: expired });
    await expect(attempt(late)).rejects.toMatchObject(refused('expired'));
    const early = await issueCertificate(organisation(0), { ...base, notBefore: new Date(0) });
    using before = await fabricClient(network, 'Org1MSP', { identity: early });
    await expect(attempt(before)).rejects.toMatchObject(refused('validity'));
  });

  it('refuses a transaction id that is not the hash of nonce and creator', async () => {
    const forged = await withHeader((header) => header.setTxId('00'.repeat(32)));
    await expect(forged.evaluate()).rejects.toMatchObject(refused('transaction id'));
  });

  it('refuses a proposal from outside the time window', async () => {
    const old = await withHeader((header) => {
      const time = header.getTimestamp();
      time?.setSeconds(time.getSeconds() - 300);
    });
    await expect(old.evaluate()).rejects.toMatchObject(refused('timestamp'));
  });

  it('refuses a proposal for another channel', async () => {
    const other = await withHeader((header) => header.setChannelId('elsewhere'));
    await expect(other.evaluate()).rejects.toMatchObject(refused('channel'));
  });

  it('refuses to order what somebody else signed, and marks a forged result invalid', async () => {
    const argument = JSON.stringify({ key: 'forge', value: 'honest' });
    const options = { arguments: [argument] };
    const stolen = await org1.ledger.newProposal('put', options).endorse();
    const sign = createSigner(await readFile(organisation(1).agentKey, 'utf8'));
    const bytes = stolen.getBytes();
    const foreign = org1.gateway.newSignedTransaction(bytes, await sign(stolen.getDigest()));
    await expect(foreign.submit()).rejects.toMatchObject({ code: 10 });

    const endorsed = await org1.ledger.newProposal('put', options).endorse();
    const forged = org1.gateway.newTransaction(forgeResult(endorsed.getBytes()));
    const status = await (await forged.submit()).getStatus();
    expect(status.code).toBe(10);
    expect(json(await org1.ledger.evaluateTransaction('get', '{"key":"forge"}'))).toBe('');
  });

  it('refuses events and commit status to those who cannot sign for themselves', async () => {
    const other = await readFile(organisation(1).agentKey, 'utf8');
    using client = await fabricClient(network, 'Org1MSP', { signer: createSigner(other) });
    const stream = await client.channel.getChaincodeEvents('ledger');
    const next = stream[Symbol.asyncIterator]().next();
    await expect(next).rejects.toMatchObject({ code: 7 });
  });

  it('answers UNIMPLEMENTED to what it does not offer', async () => {
    const blocks = await org1.channel.getBlockEvents();
    await expect(blocks[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: 12 });
  });
});

/** The same number pair with n - s: valid mathematics, but not the one form that Fabric takes. */
function highS(der: Buffer): Uint8Array {
  const rLength = der[3] ?? 0;
  const r = der.subarray(2, 4 + rLength);
  const s = BigInt(`0x${der.subarray(6 + rLength).toString('hex')}`);
  const digits = Buffer.from(`00${(P256_ORDER - s).toString(16).padStart(64, '0')}`, 'hex');
  const body = Buffer.concat([r, Buffer.from([2, digits.length]), digits]);
  return Buffer.concat([Buffer.from([0x30, body.length]), body]);
}

/** Replaces the written value inside the endorsed result, keeping the endorsers' signatures. */
function forgeResult(bytes: Uint8Array): Uint8Array {
  const text = Buffer.from(bytes);
  for (let at = text.indexOf('honest'); at !== -1; at = text.indexOf('honest', at + 1)) {
    // Not the argument (JSON), only the write.
    if (text[at + 6] !== 0x22) {
      text.write('forged', at);
    }
  }
  return text;
}
