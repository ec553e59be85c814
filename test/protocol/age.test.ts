import { createHash, createPrivateKey, createPublicKey } from 'node:crypto';
import { inflateSync } from 'node:zlib';
import {
  type Aead,
  decodeIdentity,
  decodeRecipient,
  decrypt,
  decryptStream,
  encodeIdentity,
  encrypt,
  encryptedBytesOf,
  encryptStream,
  identityFromRandom,
  nobleAead,
  recipientOf,
} from '@blocktorrent/protocol/age.ts';
import { concatBytes, equalBytes, fromHex, toHex, utf8 } from '@blocktorrent/protocol/bytes.ts';
import { ProtocolError, type ProtocolErrorCode } from '@blocktorrent/protocol/errors.ts';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import { bech32 } from '@scure/base';
import { describe, expect, it } from 'vitest';
import { nodeAead } from '../../agent/src/crypto/node-aead.ts';
import { codeOf } from '../support/errors.ts';
import { gather, piecesOf } from '../support/pieces.ts';
import { Seeded, seedOfRun } from '../support/seeded.ts';
import { readVectors } from '../support/vectors.ts';

const KiB = 1024;
const CHUNK = 64 * KiB;
const SEALED_CHUNK = CHUNK + 16;

interface Testkit {
  readonly vectors: readonly {
    readonly name: string;
    readonly expect: keyof typeof CODES;
    readonly identities: readonly string[];
    readonly file: string;
    readonly payloadSha256?: string;
    readonly compressed?: 'zlib';
  }[];
}
const testkit = readVectors('age-testkit.json') as Testkit;

/** What each of the testkit's results is to us. */
const CODES = {
  success: [null],
  'no match': ['no-identity-matched'],
  'HMAC failure': ['bad-digest'],
  'header failure': ['malformed', 'bad-version', 'truncated', 'too-large', 'bad-key'],
  'payload failure': ['bad-digest', 'truncated', 'malformed'],
} as const satisfies Record<string, readonly (ProtocolErrorCode | null)[]>;

/** What a stream lets out before it ends, and how it ends. */
async function released(source: AsyncIterable<Uint8Array>) {
  const hash = createHash('sha256');
  try {
    for await (const piece of source) hash.update(piece);
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    return { code: error.code, sha256: hash.digest('hex') };
  }
  return { code: null, sha256: hash.digest('hex') };
}

describe('age, by the C2SP testkit', () => {
  it.each(testkit.vectors)('$name ends as expected: $expect', async (vector) => {
    const stored = Buffer.from(vector.file, 'base64');
    const file = Uint8Array.from(vector.compressed === 'zlib' ? inflateSync(stored) : stored);
    const identities = vector.identities.map(decodeIdentity);
    const expected: readonly (ProtocolErrorCode | null)[] = CODES[vector.expect];
    expect(expected).toContain(await codeOf(() => decrypt(file, identities, nodeAead)));
    const big = file.length > 100 * KiB;
    for (const pieceBytes of big ? [file.length, 4099] : [file.length, 4099, 1]) {
      const result = await released(
        decryptStream(piecesOf(file, pieceBytes), identities, big ? nodeAead : nobleAead),
      );
      expect(expected).toContain(result.code);
      if (vector.payloadSha256 !== undefined) expect(result.sha256).toBe(vector.payloadSha256);
    }
  });
});

describe('age keys', () => {
  it('have the public keys that node:crypto computes', () => {
    const random = new Seeded('x25519');
    for (let round = 0; round < 5; round++) {
      const identity = random.bytes(32);
      const der = concatBytes(fromHex('302e020100300506032b656e04220420'), identity);
      const options = { key: Buffer.from(der), format: 'der', type: 'pkcs8' } as const;
      const spki = createPublicKey(createPrivateKey(options)).export({
        format: 'der',
        type: 'spki',
      });
      expect(decodeRecipient(recipientOf(identity))).toEqual(Uint8Array.from(spki.subarray(-32)));
    }
  });

  it('are read and written as age-keygen does', () => {
    const text = 'AGE-SECRET-KEY-1HXN2GSRMRVE09HH50GCC0QMFWMFUT7CUQEP8F9D09KZKEYQZ08ZQS4RFQN';
    expect(recipientOf(decodeIdentity(text))).toBe(
      'age1g354hnms4shsgxw68jrtwydxs6mmm4nyr0a0mmak4mgvklad74kq2q2lvt',
    );
    expect(encodeIdentity(decodeIdentity(text))).toBe(text);
  });

  it('are clamped when they are made, and the random bytes are left alone', () => {
    const random = new Uint8Array(32).fill(0xff);
    const identity = identityFromRandom(random);
    expect(identity[0]).toBe(0xf8);
    expect(identity[31]).toBe(0x7f);
    expect(random[0]).toBe(0xff);
    expect(recipientOf(identity)).toBe(recipientOf(random));
  });

  it('go to text and back', () => {
    const identity = identityFromRandom(new Seeded(1).bytes(32));
    const text = encodeIdentity(identity);
    expect(text).toMatch(/^AGE-SECRET-KEY-1[0-9A-Z]{58}$/);
    expect(decodeIdentity(text)).toEqual(identity);
    expect(recipientOf(identity)).toMatch(/^age1[0-9a-z]{58}$/);
  });

  it('of another prefix, case, length or checksum are refused, without quoting a secret', async () => {
    const text = encodeIdentity(identityFromRandom(new Seeded(1).bytes(32)));
    const recipient = recipientOf(decodeIdentity(text));
    const short = bech32.encodeFromBytes('age', new Uint8Array(31));
    const bad = [text.toLowerCase(), `${text.slice(0, -1)}Q`, `${text} `, '', recipient];
    for (const one of bad) {
      const error = await Promise.resolve()
        .then(() => decodeIdentity(one))
        .catch((reason: unknown) => reason);
      expect(error).toHaveProperty('code', 'malformed');
      expect(String(error)).not.toContain(text.slice(20, 40));
      expect(error instanceof Error && error.cause).toBeUndefined();
    }
    for (const one of [
      recipient.toUpperCase(),
      `${recipient.slice(0, -1)}b`,
      short,
      text,
      'age1',
    ]) {
      expect(await codeOf(() => decodeRecipient(one))).toBe('malformed');
    }
  });

  it('of low order are refused', async () => {
    for (const point of [
      '0000000000000000000000000000000000000000000000000000000000000000',
      '0100000000000000000000000000000000000000000000000000000000000000',
      'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
      '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
      `ec${'ff'.repeat(30)}7f`,
      // p and p + 1, and the second of order 8 with the bit that X25519 does not read.
      `ed${'ff'.repeat(30)}7f`,
      `ee${'ff'.repeat(30)}7f`,
      '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f11d7',
    ]) {
      const text = bech32.encodeFromBytes('age', fromHex(point));
      expect(await codeOf(() => decodeRecipient(text))).toBe('bad-key');
      expect(await codeOf(() => encrypt(utf8('x'), [text], new Seeded(1).bytes))).toBe('bad-key');
    }
  });
});

describe('age files', () => {
  const random = new Seeded('age files');
  const identity = identityFromRandom(random.bytes(32));
  const recipient = recipientOf(identity);
  const SIZES = [0, 1, 100, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 7];

  it.each(SIZES)('of %i bytes come back, whole and streamed, with either cipher', async (size) => {
    const plaintext = random.bytes(size);
    const file = encrypt(plaintext, [recipient], random.bytes, nodeAead);
    expect(file.length).toBe(encryptedBytesOf(size, 1));
    for (const aead of [nodeAead, nobleAead]) {
      expect(equalBytes(decrypt(file, [identity], aead), plaintext)).toBe(true);
      const stream = decryptStream(piecesOf(file, 5000), [identity], aead);
      expect(equalBytes(await gather(stream), plaintext)).toBe(true);
    }
  });

  it.each(SIZES)('of %i bytes are the same file however the source is cut', async (size) => {
    const plaintext = random.bytes(size);
    const whole = encrypt(plaintext, [recipient], new Seeded(7).bytes, nodeAead);
    for (const pieceBytes of [1, 1000, CHUNK, 2 * CHUNK]) {
      const pieces = piecesOf(plaintext, pieceBytes);
      const file = await gather(encryptStream(pieces, [recipient], new Seeded(7).bytes, nodeAead));
      expect(equalBytes(file, whole)).toBe(true);
    }
  });

  it('open for each of several recipients, and for nobody else', async () => {
    const others = Array.from({ length: 5 }, () => identityFromRandom(random.bytes(32)));
    const recipients = [identity, ...others].map(recipientOf);
    const file = encrypt(utf8('shared'), recipients, random.bytes);
    expect(file.length).toBe(encryptedBytesOf(6, 6));
    for (const one of [identity, ...others]) expect(decrypt(file, [one])).toEqual(utf8('shared'));
    const stranger = identityFromRandom(random.bytes(32));
    expect(await codeOf(() => decrypt(file, [stranger]))).toBe('no-identity-matched');
    expect(await codeOf(() => decrypt(file, []))).toBe('no-identity-matched');
    expect(decrypt(file, [stranger, identity])).toEqual(utf8('shared'));
  });

  it('need at least one recipient, and at most 64', async () => {
    const many = Array.from({ length: LIMITS.recipientsPerFileMax + 1 }, () => recipient);
    expect(await codeOf(() => encrypt(utf8(''), [], random.bytes))).toBe('bad-argument');
    expect(await codeOf(() => encrypt(utf8(''), many, random.bytes))).toBe('bad-argument');
    const file = encrypt(utf8('x'), many.slice(1), random.bytes);
    expect(decrypt(file, [identity])).toEqual(utf8('x'));
  });

  it('cut off at any boundary are refused, and let out nothing that is not theirs', async () => {
    const plaintext = random.bytes(2 * CHUNK + 100);
    const file = encrypt(plaintext, [recipient], random.bytes, nodeAead);
    const payload = file.length - (2 * CHUNK + 100 + 3 * 16);
    const ends = [0, 10, 22, 23, 70, payload - 17, payload - 16, payload - 1, payload, payload + 1];
    for (let chunk = 1; chunk <= 2; chunk++) {
      const boundary = payload + chunk * SEALED_CHUNK;
      ends.push(boundary - 1, boundary, boundary + 1, boundary + 15, boundary + 16, boundary + 17);
    }
    ends.push(file.length - 1);
    for (const end of ends) {
      const cut = file.subarray(0, end);
      const code = await codeOf(() => decrypt(cut, [identity], nodeAead));
      expect(['truncated', 'bad-digest', 'bad-version'], `cut at ${end}`).toContain(code);
      const result = await released(decryptStream(piecesOf(cut, 3000), [identity], nodeAead));
      expect(result.code, `cut at ${end}`).toBe(code);
    }
    const atBoundary = file.subarray(0, payload + SEALED_CHUNK);
    expect(await codeOf(() => decrypt(atBoundary, [identity]))).toBe('truncated');
  });

  it('with chunks swapped, repeated, dropped or added are refused', async () => {
    const file = encrypt(random.bytes(3 * CHUNK), [recipient], random.bytes, nodeAead);
    const payload = file.length - 3 * SEALED_CHUNK;
    const opening = file.subarray(0, payload);
    const chunks = [0, 1, 2].map((index) =>
      file.subarray(payload + index * SEALED_CHUNK, payload + (index + 1) * SEALED_CHUNK),
    );
    const [a, b, c] = chunks;
    if (a === undefined || b === undefined || c === undefined) throw new Error('three chunks');
    for (const order of [[b, a, c], [a, a, b, c], [a, c], [b, c], [c]]) {
      const file = concatBytes(opening, ...order);
      expect(await codeOf(() => decrypt(file, [identity], nodeAead))).toBe('bad-digest');
    }
    for (const more of [Uint8Array.of(0), new Uint8Array(16), c]) {
      const longer = concatBytes(opening, a, b, c, more);
      expect(await codeOf(() => decrypt(longer, [identity], nodeAead))).toBe('malformed');
    }
  });

  it('with an empty last chunk after a full one are refused', async () => {
    const file = encrypt(random.bytes(CHUNK), [recipient], random.bytes, nodeAead);
    const longer: Aead = {
      seal: (key, nonce, chunk) => nodeAead.seal(key, nonce, chunk),
      open: () => new Uint8Array(0),
    };
    expect(
      await codeOf(() => decrypt(concatBytes(file, new Uint8Array(16)), [identity], longer)),
    ).toBe('malformed');
  });

  it('with any one bit changed are refused', async () => {
    const seed = seedOfRun();
    const seeded = new Seeded(seed);
    const file = encrypt(utf8('evidence'), [recipient], random.bytes);
    for (let round = 0; round < 150; round++) {
      const altered = file.slice();
      const at = round < 100 ? seeded.integer(0, file.length - 1) : file.length - 1 - (round - 100);
      altered[at] = (altered[at] ?? 0) ^ (1 << seeded.integer(0, 7));
      const code = await codeOf(() => decrypt(altered, [identity]));
      expect(code, `seed ${seed}, byte ${at}`).not.toBeNull();
    }
  });

  it('of random bytes behind a right first line never do more than throw a ProtocolError', async () => {
    const seed = seedOfRun();
    const seeded = new Seeded(seed);
    const words = [
      '-> X25519 ',
      '-> ',
      '\n',
      '--- ',
      '---',
      'A'.repeat(43),
      'A'.repeat(64),
      ' ',
      '=',
    ];
    for (let round = 0; round < 300; round++) {
      const parts = [utf8('age-encryption.org/v1\n')];
      for (let part = seeded.integer(0, 12); part > 0; part--) {
        parts.push(seeded.integer(0, 4) > 0 ? utf8(seeded.pick(words)) : seeded.bytes(5));
      }
      const file = concatBytes(...parts);
      const whole = await codeOf(() => decrypt(file, [identity]));
      const streamed = await released(decryptStream(piecesOf(file, 1), [identity]));
      expect(whole, `seed ${seed}`).not.toBeNull();
      expect(streamed.code, `seed ${seed}`).toBe(whole);
    }
  });

  it('with an endless header are refused at 64 KiB', async () => {
    let asked = 0;
    async function* endless() {
      yield utf8('age-encryption.org/v1\n');
      for (;;) {
        asked += 1000;
        yield utf8('-> x\n\n'.repeat(1000));
      }
    }
    expect((await released(decryptStream(endless(), [identity]))).code).toBe('too-large');
    expect(asked).toBeLessThan(20_000);
    const crowd = '-> x y\nAAAA\n'.repeat(65);
    const file = utf8(`age-encryption.org/v1\n${crowd}--- ${'A'.repeat(43)}\n`);
    expect(await codeOf(() => decrypt(file, [identity]))).toBe('too-large');
  });

  it('tell a source that is no longer wanted to stop', async () => {
    let stopped = false;
    async function* source() {
      try {
        for (;;) yield new Uint8Array(CHUNK);
      } finally {
        stopped = true;
      }
    }
    let pieces = 0;
    for await (const _ of encryptStream(source(), [recipient], random.bytes, nodeAead)) {
      if (++pieces === 3) break;
    }
    expect(stopped).toBe(true);
  });
});

describe('ChaCha20-Poly1305', () => {
  it('is that of RFC 8439 §2.8.2 in both implementations, and of either for the other', () => {
    const key = Uint8Array.from({ length: 32 }, (_, i) => 0x80 + i);
    const nonce = fromHex('070000004041424344454647');
    const plain = utf8(
      "Ladies and Gentlemen of the class of '99: If I could offer you only one tip",
    );
    const [one, other] = [nobleAead.seal(key, nonce, plain), nodeAead.seal(key, nonce, plain)];
    expect(toHex(one)).toBe(toHex(other));
    expect(Uint8Array.from(nodeAead.open(key, nonce, one))).toEqual(plain);
    expect(nobleAead.open(key, nonce, other)).toEqual(plain);
    for (const aead of [nobleAead, nodeAead]) {
      const altered = one.slice();
      altered[0] = (altered[0] ?? 0) ^ 1;
      expect(() => aead.open(key, nonce, altered)).toThrow();
      expect(() => aead.open(key, nonce, one.subarray(1))).toThrow();
    }
  });
});
