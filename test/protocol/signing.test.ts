import {
  createPrivateKey,
  createPublicKey,
  sign as nodeSign,
  verify as nodeVerify,
} from 'node:crypto';
import { fromHex, toHex } from '@blocktorrent/protocol/bytes.ts';
import { publicKeyOf, sign, signingInput, verify } from '@blocktorrent/protocol/signing.ts';
import { describe, expect, it } from 'vitest';
import { codeOf } from '../support/errors.ts';
import { Seeded, seedOfRun } from '../support/seeded.ts';
import { protocolVectors } from '../support/vectors.ts';

/** RFC 8032 §7.1, tests 1 to 3: seed, public key, message, signature. */
const RFC_8032 = [
  [
    '9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60',
    'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a',
    '',
    'e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b',
  ],
  [
    '4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb',
    '3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c',
    '72',
    '92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00',
  ],
  [
    'c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7',
    'fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025',
    'af82',
    '6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a',
  ],
] as const;
/** Order of the prime subgroup: adding it to S gives the same point. */
const L = 2n ** 252n + 27742317777372353535851937790883648493n;

function keysOf(seed: Uint8Array) {
  const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]);
  const privateKey = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  return { privateKey, publicKey: createPublicKey(privateKey) };
}

describe('signatures', () => {
  it.each(RFC_8032)(
    'makes and takes the signature of RFC 8032 by %s',
    (seed, key, text, signature) => {
      expect(toHex(publicKeyOf(fromHex(seed)))).toBe(key);
      expect(toHex(sign(fromHex(seed), fromHex(text)))).toBe(signature);
      expect(verify(fromHex(key), fromHex(signature), fromHex(text))).toBe(true);
    },
  );

  it('agrees with node:crypto in both directions', () => {
    const seed = seedOfRun();
    const random = new Seeded(seed);
    for (let round = 0; round < 5; round++) {
      const secret = random.bytes(32);
      const input = random.bytes(random.integer(0, 300));
      const { privateKey, publicKey } = keysOf(secret);
      const theirs = nodeSign(null, input, privateKey);
      expect(sign(secret, input), `seed ${seed}`).toEqual(Uint8Array.from(theirs));
      expect(nodeVerify(null, input, publicKey, sign(secret, input)), `seed ${seed}`).toBe(true);
    }
  });

  it('refuses a signature with one bit changed, over other bytes, or by another key', () => {
    const seed = new Uint8Array(32).fill(5);
    const input = signingInput('blocktorrent/receipt/v1', 'blocktorrent', Uint8Array.of(1));
    const signature = sign(seed, input);
    const key = publicKeyOf(seed);
    expect(verify(key, signature, input)).toBe(true);
    for (const at of [0, 31, 32, 63]) {
      const altered = signature.slice();
      altered[at] = (altered[at] ?? 0) ^ 1;
      expect(verify(key, altered, input)).toBe(false);
    }
    expect(verify(key, signature, input.subarray(1))).toBe(false);
    expect(verify(publicKeyOf(new Uint8Array(32).fill(6)), signature, input)).toBe(false);
  });

  it('refuses the second form of a signature, S + L', () => {
    const [, key, text, signature] = RFC_8032[1];
    const bytes = fromHex(signature);
    let s = BigInt(`0x${toHex(bytes.slice(32).reverse())}`) + L;
    for (let i = 32; i < 64; i++, s >>= 8n) bytes[i] = Number(s & 0xffn);
    expect(verify(fromHex(key), bytes, fromHex(text))).toBe(false);
  });

  it('refuses a key of small order, under which one signature fits every message', () => {
    const identityPoint = new Uint8Array(32);
    identityPoint[0] = 1;
    const signature = new Uint8Array(64);
    signature[0] = 1;
    expect(verify(identityPoint, signature, Uint8Array.of(1, 2, 3))).toBe(false);
  });

  it('takes keys, seeds and signatures of another length for wrong', async () => {
    const seed = new Uint8Array(32).fill(5);
    const signature = sign(seed, Uint8Array.of(1));
    expect(verify(publicKeyOf(seed).subarray(1), signature, Uint8Array.of(1))).toBe(false);
    expect(verify(publicKeyOf(seed), signature.subarray(1), Uint8Array.of(1))).toBe(false);
    expect(await codeOf(() => publicKeyOf(seed.subarray(1)))).toBe('bad-key');
    expect(await codeOf(() => sign(seed.subarray(1), seed))).toBe('bad-key');
  });

  it('signs the domain, the channel and the body, as an independent encoder', () => {
    const vector = protocolVectors.signingInput;
    const input = signingInput('blocktorrent/receipt/v1', vector.channel, fromHex(vector.body));
    expect(toHex(input)).toBe(vector.input);
  });
});
