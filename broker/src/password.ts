/**
 * Hashed passwords: scrypt (RFC 7914) by node:crypto, as text `scrypt$ln=15,r=8,p=1$SALT$HASH`.
 *
 * Always holds: a password is compared in constant time; at most `AT_ONCE_MAX` are hashed at once and
 * `WAITING_MAX` wait, so that guessing fills neither memory nor the thread pool. Who has been right
 * once is known by a keyed digest that ends with the process: a fleet that comes back costs nothing.
 */
import { createHmac, randomBytes, scrypt, timingSafeEqual } from 'node:crypto';

const HASH =
  /^scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d)\$([A-Za-z0-9+/]{16,88})\$([A-Za-z0-9+/]{22,88})$/;
/** What a new hash is made with: 32 MiB, about 0.1 s. */
const COST = { ln: 15, r: 8, p: 1 } as const;
const SALT_BYTES = 16;
const HASH_BYTES = 32;
const MEMORY_BYTES_MAX = 128 * 1024 * 1024;
const AT_ONCE_MAX = 2;
const WAITING_MAX = 200;
const REMEMBERED_MAX = 10_000;

/** Whether a text is a hash that `PasswordChecker` can check. */
export function isPasswordHash(text: string): boolean {
  const [, ln, r, p] = HASH.exec(text) ?? [];
  if (ln === undefined) return false;
  const bytes = 128 * 2 ** Number(ln) * Number(r) * Number(p);
  return Number(ln) >= 10 && Number(r) >= 1 && Number(p) >= 1 && bytes <= MEMORY_BYTES_MAX / 2;
}

/** The hash of a new password, with a salt of its own. */
export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(SALT_BYTES);
  const { ln, r, p } = COST;
  const hash = await derive(Buffer.from(password), salt, HASH_BYTES, { ln, r, p });
  return `scrypt$ln=${ln},r=${r},p=${p}$${unpadded(salt)}$${unpadded(hash)}`;
}

/** More are to be checked than may wait. */
export class TooManyPasswordsError extends Error {
  override readonly name = 'TooManyPasswordsError';
  readonly code = 'too-many-passwords';
}

/** Checks passwords; one for a broker. */
export class PasswordChecker {
  readonly #key = randomBytes(32);
  /** Digests of password and hash that belong together. */
  readonly #right = new Set<string>();
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  /**
   * Whether `password` has the hash `expected` (`isPasswordHash`).
   * @throws TooManyPasswordsError when too many wait already
   */
  async check(password: Uint8Array, expected: string): Promise<boolean> {
    const digest = createHmac('sha256', this.#key).update(expected).update('\0').update(password);
    const name = digest.digest('base64');
    if (this.#right.has(name)) return true;
    const right = await this.#inTurn(() => matches(password, expected));
    if (right) {
      if (this.#right.size >= REMEMBERED_MAX) this.#right.clear();
      this.#right.add(name);
    }
    return right;
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (this.#running >= AT_ONCE_MAX) {
      if (this.#waiting.length >= WAITING_MAX) throw new TooManyPasswordsError('too many at once');
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    this.#running += 1;
    try {
      return await work();
    } finally {
      this.#running -= 1;
      this.#waiting.shift()?.();
    }
  }
}

async function matches(password: Uint8Array, expected: string): Promise<boolean> {
  const [, ln, r, p, salt = '', hash = ''] = HASH.exec(expected) ?? [];
  const wanted = Buffer.from(hash, 'base64');
  const cost = { ln: Number(ln), r: Number(r), p: Number(p) };
  const found = await derive(password, Buffer.from(salt, 'base64'), wanted.length, cost);
  return timingSafeEqual(found, wanted);
}

function derive(
  password: Uint8Array,
  salt: Uint8Array,
  bytes: number,
  { ln, r, p }: { ln: number; r: number; p: number },
): Promise<Buffer> {
  const options = { N: 2 ** ln, r, p, maxmem: MEMORY_BYTES_MAX };
  return new Promise((resolve, reject) => {
    scrypt(password, salt, bytes, options, (error, key) => {
      if (error === null) resolve(key);
      else reject(error);
    });
  });
}

function unpadded(bytes: Buffer): string {
  return bytes.toString('base64').replace(/=+$/, '');
}
